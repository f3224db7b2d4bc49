package awskms

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/kmstest/aws"
	"github.com/capsign/cap/internal/kmstest/fault"
)

// generate makes a key version.
func generate(t *testing.T, cfg Config) string {
	t.Helper()
	kid, err := Generate(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Generate: %v", err)
	}
	return kid
}

func TestGeneratedVersionsFollowOneAnother(t *testing.T) {
	for alg, spec := range map[capsign.Alg]string{
		"": aws.P256, capsign.Ed25519: aws.Ed25519, capsign.ES384: aws.P384,
	} {
		server := newServer(t, aws.Options{Lag: 1})
		cfg := configFor(server, testAlias)
		cfg.Alg, cfg.CallTimeout = alg, 30*time.Second
		kids := []string{generate(t, cfg), generate(t, cfg)}
		provider := open(t, cfg)
		third, err := provider.Generate(t.Context())
		must(t, err)
		listed, err := provider.ListKIDs(t.Context())
		if kids = append(kids, third); err != nil || !slices.Equal(listed, kids) {
			t.Errorf("%s: kids %v, %v; want %v", spec, listed, err, kids)
		}
		if current, _ := provider.CurrentKID(t.Context()); current != kids[1] {
			t.Errorf("%s: current is %s, want %s until the provider is opened again", spec, current, kids[1])
		}
		mustSign(t, provider, third, 5*time.Second)
		if current, _ := open(t, cfg).CurrentKID(t.Context()); current != third {
			t.Errorf("%s: current of another provider is %s, want %s", spec, current, third)
		}
	}
}

// An RSA key is made with the algorithm that it then signs with.
func TestGenerateRSA(t *testing.T) {
	cfg := configFor(newServer(t, aws.Options{}), testAlias)
	cfg.Alg, cfg.CallTimeout = capsign.RS256, 30*time.Second
	kid := generate(t, cfg)
	provider := open(t, cfg)
	mustSign(t, provider, kid, 5*time.Second)
	if key, err := provider.PublicKey(t.Context(), kid); err != nil || key.Alg != capsign.RS256 {
		t.Errorf("key %s, %v", key.Alg, err)
	}
}

func TestGeneratedKeysAreTagged(t *testing.T) {
	server := newServer(t, aws.Options{})
	arn := addKey(t, server, testAlias, aws.P256, nil)
	for _, name := range []struct{ key, tag string }{{"releases/2026", "releases/2026"}, {"a, b", "=YSwgYg"}} {
		cfg := configFor(server, testAlias)
		cfg.KeyName = name.key
		provider := open(t, cfg)
		kid, err := provider.Generate(t.Context())
		must(t, err)
		made := provider.held.Load().byKID[kid]
		out, err := provider.client.kms.ListResourceTags(t.Context(), &kms.ListResourceTagsInput{KeyId: sdk.String(made.arn)})
		must(t, err)
		tags := make(map[string]string)
		for _, tag := range out.Tags {
			tags[*tag.TagKey] = *tag.TagValue
		}
		if tags["cap:key"] != name.tag || tags["cap:version"] == "" || len(tags) != 2 {
			t.Errorf("key of %q has the tags %v", name.key, tags)
		}
		base, err := provider.client.fetch(t.Context(), "look", provider.client.ref)
		if err != nil || base.arn != arn {
			t.Errorf("the base alias moved: %v, %v", base.arn, err)
		}
	}
}

// Of several that generate at once, each makes a version of its own.
func TestGenerateAtOnce(t *testing.T) {
	server := newServer(t, aws.Options{})
	cfg := configFor(server, testAlias)
	cfg.CallTimeout = 20 * time.Second
	var mu sync.Mutex
	var kids []string
	var makers sync.WaitGroup
	for range 5 {
		makers.Go(func() {
			kid, err := Generate(t.Context(), cfg)
			if err != nil {
				t.Errorf("Generate: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			kids = append(kids, kid)
		})
	}
	makers.Wait()
	listed, err := open(t, cfg).ListKIDs(t.Context())
	must(t, err)
	slices.Sort(kids)
	slices.Sort(listed)
	if !slices.Equal(kids, listed) || len(kids) != 5 {
		t.Errorf("made %v, listed %v", kids, listed)
	}
}

// A lost answer must not leave a version twice, nor make a second key.
func TestGenerateWhenAnswersAreLost(t *testing.T) {
	server := newServer(t, aws.Options{})
	cfg := configFor(server, testAlias)
	server.Faults.Set(fault.Fault{Kind: fault.DropConnection, Method: "CreateAlias", Times: 1})
	kid := generate(t, cfg)
	if kids, err := open(t, cfg).ListKIDs(t.Context()); err != nil || !slices.Equal(kids, []string{kid}) {
		t.Errorf("kids %v, %v; want %s alone", kids, err, kid)
	}
	server.Faults.Set(fault.Fault{Kind: fault.DropConnection, Method: "CreateKey", Times: 1})
	before := server.Faults.Calls("CreateKey")
	_, err := Generate(t.Context(), cfg)
	mustWrap(t, "Generate", err, capsign.ProviderUnavailable)
	if calls := server.Faults.Calls("CreateKey") - before; calls != 1 {
		t.Errorf("CreateKey was sent %d times, want once", calls)
	}
}

func TestGenerateIsRefused(t *testing.T) {
	server := newServer(t, aws.Options{})
	arn := addKey(t, server, testAlias, aws.P256, nil)
	for _, key := range []string{arn, keyID(arn)} {
		_, err := Generate(t.Context(), configFor(server, key))
		mustWrap(t, "Generate of "+key, err, capsign.ConfigInvalid)
		_, err = open(t, configFor(server, key)).Generate(t.Context())
		mustWrap(t, "Provider.Generate of "+key, err, capsign.ConfigInvalid)
	}
	cfg := configFor(server, testAlias)
	cfg.Alg = "ES512"
	_, err := Generate(t.Context(), cfg)
	mustWrap(t, "Generate of ES512", err, capsign.UnsupportedAlg)
	for code, want := range map[fault.Code]capsign.Code{
		fault.PermissionDenied: capsign.ProviderDenied,
		fault.InvalidArgument:  capsign.UnsupportedAlg, // a region without the key spec
	} {
		server.Faults.Set(fault.Fault{Kind: fault.Error, Code: code, Method: "CreateKey"})
		_, err := Generate(t.Context(), configFor(server, testAlias))
		mustWrap(t, "Generate", err, want)
	}
	if calls := server.Faults.Calls("CreateAlias"); calls != 0 {
		t.Errorf("CreateAlias was called %d times", calls)
	}
}

// Other workers make versions too.
func TestReloadListsNewVersions(t *testing.T) {
	server := newServer(t, aws.Options{})
	cfg := configFor(server, testAlias)
	first := generate(t, cfg)
	provider := open(t, cfg)
	second := generate(t, cfg)
	if _, err := provider.PublicKey(t.Context(), second); err == nil {
		t.Error("a version is known before it is looked for")
	}
	for range 2 {
		must(t, provider.Reload(t.Context()))
		kids, err := provider.ListKIDs(t.Context())
		if err != nil || !slices.Equal(kids, []string{first, second}) {
			t.Errorf("kids %v, %v; want %s and %s", kids, err, first, second)
		}
	}
	mustSign(t, provider, second, 5*time.Second)
	if current, _ := provider.CurrentKID(t.Context()); current != first {
		t.Errorf("current became %s", current)
	}
	server.Faults.Set(fault.Fault{Kind: fault.Error, Code: fault.PermissionDenied})
	mustWrap(t, "Reload", provider.Reload(t.Context()), capsign.ProviderDenied)
	server.Faults.Clear()
	mustSign(t, provider, "", 5*time.Second)
	must(t, provider.Close())
	mustWrap(t, "Reload", provider.Reload(t.Context()), capsign.ProviderUnavailable)
	_, err := provider.Generate(t.Context())
	mustWrap(t, "Generate", err, capsign.ProviderUnavailable)
}

// A key that is never found, as while the service spreads the word, ends with
// the deadline.
func TestGenerateGivesUpInTime(t *testing.T) {
	server := newServer(t, aws.Options{Lag: 1000})
	ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
	defer cancel()
	_, err := Generate(ctx, configFor(server, testAlias))
	if err == nil || time.Since(deadlineOf(ctx)) > time.Second {
		t.Errorf("Generate = %v", err)
	}
}

// deadlineOf returns the deadline of a context that has one.
func deadlineOf(ctx context.Context) time.Time {
	deadline, _ := ctx.Deadline()
	return deadline
}
