package awskms

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/retry"
)

// settling is how long to wait before asking again for a key that was just
// made: the service may take seconds to know it everywhere.
const settling = 250 * time.Millisecond

// tagForm is what the service takes as the value of a tag of at most maxTag
// characters. (A counted repetition of classes this large would cost every
// worker ten milliseconds and as many megabytes at its start.)
var tagForm = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+@-]+$`)

const maxTag = 256

// Generate makes a new key and gives it the key's first free alias, which makes
// it the next version; it returns the version's kid. It never moves an alias: of
// two processes that generate at once, each makes a version of its own. The key
// is tagged cap:key with its name and cap:version with the number that was free
// before, and the service never gives its private half away.
//
// After an error there is no new version, but there can be a key without an
// alias, which nothing uses and the tags identify; an alias that was made
// without an answer being seen, though, is a version. Give ctx a deadline of
// some seconds: the service takes its time to know a new key everywhere.
//
// It wraps [capsign.ConfigInvalid] where the key is configured by other than an
// alias, [capsign.UnsupportedAlg] for an algorithm that the service or the
// region does not offer, and what else calls fail with.
func Generate(ctx context.Context, cfg Config) (kid string, err error) {
	c, err := newClient(ctx, cfg)
	if err != nil {
		return "", err
	}
	defer c.close()
	made, err := c.generate(ctx)
	if err != nil {
		return "", err
	}
	return made.key.KID, nil
}

// generate makes the key's next version.
func (c *client) generate(ctx context.Context) (version, error) {
	if c.ref.alias == "" {
		return version{}, fmt.Errorf("awskms: generate: the key is not named by an alias: %w", capsign.ConfigInvalid)
	}
	alg, ok := algorithms[cmp.Or(c.cfg.Alg, capsign.ES256)]
	if !ok {
		return version{}, fmt.Errorf("awskms: generate: %w", capsign.UnsupportedAlg)
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	n, err := c.firstFree(ctx)
	if err != nil {
		return version{}, err
	}
	key, err := c.createKey(ctx, alg.spec, n)
	if err != nil {
		return version{}, err
	}
	made, err := c.settle(ctx, func() (version, error) { return c.fetch(ctx, "generate", key) })
	if err != nil {
		return version{}, err
	}
	return made, c.nameIt(ctx, key, n)
}

// firstFree returns the number of the first version that does not exist.
func (c *client) firstFree(ctx context.Context) (int, error) {
	for n := 1; n <= maxVersions; n++ {
		_, err := c.fetch(ctx, "generate", c.ref.version(n))
		switch {
		case errors.Is(err, capsign.KeyUnknown):
			return n, nil
		case err != nil && !errors.Is(err, capsign.KeyDisabled):
			return 0, err
		}
	}
	return 0, fmt.Errorf("awskms: generate: too many versions: %w", capsign.KeyAmbiguous)
}

// createKey makes a key, tagged as version n, and returns its reference.
func (c *client) createKey(ctx context.Context, spec types.KeySpec, n int) (reference, error) {
	name := c.cfg.KeyName
	if !tagForm.MatchString(name) || utf8.RuneCountInString(name) > maxTag {
		name = capsign.KeyToken(name)
	}
	var key reference
	once := retry.Policy{Tries: 1} // what was lost is the answer, perhaps, and not the key
	err := c.call(ctx, once, "generate", func(ctx context.Context) error {
		out, err := c.kms.CreateKey(ctx, &kms.CreateKeyInput{
			KeySpec:  spec,
			KeyUsage: types.KeyUsageTypeSignVerify,
			Tags: []types.Tag{
				{TagKey: aws.String("cap:key"), TagValue: aws.String(name)},
				{TagKey: aws.String("cap:version"), TagValue: aws.String(strconv.Itoa(n))},
			},
		})
		if err != nil {
			return err
		}
		key, err = c.madeKey(out)
		return err
	})
	return key, err
}

// madeKey returns the reference of a key that was made, by its ARN.
func (c *client) madeKey(out *kms.CreateKeyOutput) (reference, error) {
	if out.KeyMetadata == nil {
		return reference{}, fmt.Errorf("awskms: generate: answer without a key: %w", capsign.Integrity)
	}
	arn := aws.ToString(out.KeyMetadata.Arn)
	if _, ok := (reference{prefix: c.ref.prefix}).accepts(arn); !ok {
		return reference{}, fmt.Errorf("awskms: generate: answer by another key: %w", capsign.Integrity)
	}
	return parseReference(arn)
}

// nameIt gives the key the first free alias from version n on.
func (c *client) nameIt(ctx context.Context, key reference, n int) error {
	for ; ; n++ {
		alias := c.ref.version(n)
		_, err := c.settle(ctx, func() (version, error) { return version{}, c.createAlias(ctx, alias, key) })
		if !errors.Is(err, errAliasTaken) {
			return err
		}
		// Perhaps an answer was lost, and it is ours already.
		target, err := c.settle(ctx, func() (version, error) { return c.fetch(ctx, "generate", alias) })
		if err != nil && !errors.Is(err, capsign.KeyDisabled) {
			return err
		}
		if target.arn == key.keyID() {
			return nil
		}
	}
}

// createAlias points a new alias at the key.
func (c *client) createAlias(ctx context.Context, alias, key reference) error {
	return c.call(ctx, retry.Default, "generate", func(ctx context.Context) error {
		_, err := c.kms.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String(alias.alias), TargetKeyId: aws.String(key.id)})
		return err
	})
}

// settle asks again while the service does not know a new key yet.
func (c *client) settle(ctx context.Context, ask func() (version, error)) (version, error) {
	for {
		v, err := ask()
		if !errors.Is(err, capsign.KeyUnknown) {
			return v, err
		}
		select {
		case <-time.After(settling):
		case <-ctx.Done():
			return version{}, err
		}
	}
}
