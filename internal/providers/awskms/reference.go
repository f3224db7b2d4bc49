package awskms

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/retry"
)

// The forms of names in the service.
var (
	idForm     = regexp.MustCompile(`^[A-Za-z0-9-]{1,128}$`)
	aliasForm  = regexp.MustCompile(`^alias/[A-Za-z0-9/_-]{1,250}$`)
	regionForm = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)
)

// reference is a configured key, in one of four forms.
type reference struct {
	prefix string // "arn:aws:kms:REGION:ACCOUNT:" of an ARN; empty without one
	region string // of the ARN
	id     string // the key id; empty for an alias
	alias  string // "alias/NAME"; empty for a key id
}

// parseReference takes a configured key apart. Anything but the four forms
// wraps [capsign.ConfigInvalid].
func parseReference(key string) (reference, error) {
	var ref reference
	resource := key
	if parsed, err := arn.Parse(key); err == nil {
		if parsed.Service != "kms" || !regionForm.MatchString(parsed.Region) {
			return reference{}, fmt.Errorf("awskms: key: %w", capsign.ConfigInvalid)
		}
		ref.region, ref.prefix = parsed.Region, strings.TrimSuffix(key, parsed.Resource)
		resource = strings.TrimPrefix(parsed.Resource, "key/")
		if resource == parsed.Resource && !aliasForm.MatchString(resource) {
			return reference{}, fmt.Errorf("awskms: key: %w", capsign.ConfigInvalid)
		}
	}
	switch {
	case aliasForm.MatchString(resource):
		ref.alias = resource
	case idForm.MatchString(resource):
		ref.id = resource
	default:
		return reference{}, fmt.Errorf("awskms: key: %w", capsign.ConfigInvalid)
	}
	return ref, nil
}

// version returns the reference of version n, counted from 1: the same key
// where the key is no alias.
func (r reference) version(n int) reference {
	if r.alias != "" && n > 1 {
		r.alias += "-" + strconv.Itoa(n)
	}
	return r
}

// keyID returns the reference in the words of a request.
func (r reference) keyID() string {
	switch {
	case r.alias != "":
		return r.prefix + r.alias
	case r.prefix != "":
		return r.prefix + "key/" + r.id
	}
	return r.id
}

// accepts reports whether an answer in the name of keyARN can be one to the
// reference, and returns the key's id. It must be a key ARN, which the service
// answers with however it was asked; of an ARN's account and region; and of the
// key id that was named.
func (r reference) accepts(keyARN string) (id string, ok bool) {
	parsed, err := arn.Parse(keyARN)
	if err != nil || parsed.Service != "kms" {
		return "", false
	}
	id, isKey := strings.CutPrefix(parsed.Resource, "key/")
	ok = isKey && idForm.MatchString(id) && strings.HasPrefix(keyARN, r.prefix) && (r.id == "" || r.id == id)
	return id, ok
}

// maxVersions bounds the counting of a key's versions, whatever the service
// answers.
const maxVersions = 1000

// lookUp returns the versions that the key has at the moment, oldest first,
// without those that are disabled while a later one is not.
func (c *client) lookUp(ctx context.Context, op string) ([]version, error) {
	var found []version
	var unusable error // why the last version so far cannot be used
	for n := 1; n == 1 || c.ref.alias != "" && n <= maxVersions; n++ {
		v, err := c.fetch(ctx, op, c.ref.version(n))
		switch {
		case n > 1 && errors.Is(err, capsign.KeyUnknown):
			return found, unusable
		case errors.Is(err, capsign.KeyDisabled):
			c.log.WarnContext(ctx, "key version cannot be used", "version", n, "code", string(capsign.KeyDisabled))
		case err != nil:
			return nil, err
		default:
			found = append(found, v)
		}
		unusable = err
	}
	return found, unusable
}

// fetch returns the version that the reference names now.
func (c *client) fetch(ctx context.Context, op string, ref reference) (version, error) {
	var v version
	err := c.call(ctx, retry.Default, op, func(ctx context.Context) error {
		out, err := c.kms.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: aws.String(ref.keyID())})
		if err != nil {
			return err
		}
		v, err = newVersion(ref, out, c.cfg)
		return err
	})
	return v, err
}
