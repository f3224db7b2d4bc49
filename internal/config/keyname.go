package config

import (
	"cmp"
	"strings"

	"github.com/capsign/cap/capsign"
)

// KeyName returns the key's logical name: key.name where it is given, else the
// name the selected provider knows the key by, else [DefaultKeyName]. That name
// is pkcs11.key_label or the URI's object, or cloudkms.key, of an aws alias what
// follows "alias/". A section that is not in use never changes it, since the kid
// would change with it.
func (c Config) KeyName() string {
	name := c.Key.Name
	switch {
	case name != "":
	case c.Key.Provider == capsign.ProviderPKCS11:
		token, _, _ := c.Key.PKCS11.merged()
		name = token.KeyLabel
	case c.Key.Provider == capsign.ProviderCloudKMS:
		name = c.Key.CloudKMS.keyName()
	}
	return cmp.Or(name, DefaultKeyName)
}

// keyName returns the name that the vendor knows the key by, or "" for an aws
// key id or ARN: it is another one in another region.
func (k CloudKMS) keyName() string {
	if k.Vendor != VendorAWS {
		return k.Key
	}
	_, alias, _ := strings.Cut(k.Key, "alias/")
	return alias
}

// AllowsGenerate reports whether operators may have the worker make key versions
// through the queue: as the configuration says, and else behind the embedded
// server only, which is reached from this machine alone.
func (c Config) AllowsGenerate() bool {
	if c.Key.AllowGenerate != nil {
		return *c.Key.AllowGenerate
	}
	return c.NATS.URL == "" && c.NATS.Context == ""
}
