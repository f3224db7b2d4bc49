// Package sigstoretest lets sigstore's own library judge a bundle in a test, as
// cosign does when it is given a public key and no transparency log.
package sigstoretest

import (
	"bytes"
	"testing"
	"time"

	sigstore "github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/capsign/cap/capsign"
)

// VerifyFile returns what sigstore has against a bundle of a file's content by
// the key that is exported as SPKI.
func VerifyFile(t testing.TB, data, content, spki []byte) error {
	t.Helper()
	return judge(t, data, spki, verify.WithArtifact(bytes.NewReader(content)))
}

// VerifyDigest returns what sigstore has against a bundle of the artifact with a
// SHA-256.
func VerifyDigest(t testing.TB, data, digest, spki []byte) error {
	t.Helper()
	return judge(t, data, spki, verify.WithArtifactDigest("sha256", digest))
}

// judge has sigstore verify a bundle under a policy.
func judge(t testing.TB, data, spki []byte, artifact verify.ArtifactPolicyOption) error {
	t.Helper()
	entity := new(sigstore.Bundle)
	if err := entity.UnmarshalJSON(data); err != nil {
		return err
	}
	verifier, err := verify.NewVerifier(trusting(t, spki), verify.WithNoObserverTimestamps())
	if err != nil {
		t.Fatal(err)
	}
	_, err = verifier.Verify(entity, verify.NewPolicy(artifact, verify.WithKey()))
	return err
}

// trusting returns the trust in one public key, whatever the bundle's hint is.
func trusting(t testing.TB, spki []byte) root.TrustedMaterial {
	t.Helper()
	public, err := capsign.ParsePublicKey(spki)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := signature.LoadDefaultVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		return root.NewExpiringKey(verifier, time.Time{}, time.Time{}), nil
	})
}
