package azurekms

import (
	"context"
	"slices"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/retry"
)

// find returns the versions that cfg is about and that may sign now, oldest
// first; there is one at least. Its first call gets the token, alone, so that
// those that come later find it: each of many at once would be challenged.
func find(ctx context.Context, c *client, cfg Config) ([]*version, error) {
	bundle, err := c.get(ctx, "open key", first, cfg.version())
	if err != nil {
		return nil, err
	}
	var found []*version
	if cfg.version() != "" {
		v, err := newVersion("open key", cfg, bundle, cfg.version())
		if err != nil {
			return nil, err
		}
		found = []*version{v}
	} else if found, err = findAll(ctx, c, cfg); err != nil {
		return nil, err
	}
	now := cfg.clock()()
	found = slices.DeleteFunc(found, func(v *version) bool { return !v.usable(now) })
	if len(found) == 0 {
		return nil, refuse("open key", capsign.KeyDisabled)
	}
	slices.SortFunc(found, older)
	return found, nil
}

// findAll returns the key's versions that may sign by their attributes, in no
// order. What cannot sign is not looked at: a retired version may be of any
// type.
func findAll(ctx context.Context, c *client, cfg Config) ([]*version, error) {
	listed, err := c.list(ctx, "list versions")
	if err != nil {
		return nil, err
	}
	var found []*version
	for _, properties := range listed {
		if properties == nil || properties.KID == nil || properties.Attributes == nil {
			return nil, refuse("list versions", capsign.Integrity)
		}
		if !listedUsable(properties.Attributes, cfg) {
			continue
		}
		v, err := fetch(ctx, c, "open key", cfg, properties.KID.Version())
		if err != nil {
			return nil, err
		}
		found = append(found, v)
	}
	return found, nil
}

// listedUsable reports whether a version may sign now by what a list says.
func listedUsable(a *azkeys.KeyAttributes, cfg Config) bool {
	v := version{signs: valueOf(a.Enabled), from: valueOf(a.NotBefore), until: valueOf(a.Expires)}
	return v.usable(cfg.clock()())
}

// fetch returns one version of the key.
func fetch(ctx context.Context, c *client, op string, cfg Config, id string) (*version, error) {
	if !versionForm.MatchString(id) {
		return nil, refuse(op, capsign.Integrity)
	}
	bundle, err := c.get(ctx, op, retry.Default, id)
	if err != nil {
		return nil, err
	}
	return newVersion(op, cfg, bundle, id)
}
