package registry_test

import (
	"encoding/hex"
	"testing"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/bundle/sigstoretest"
	"github.com/capsign/cap/internal/registry"
)

func TestSigstoreVerifiesWhatIsAttached(t *testing.T) {
	for kind, referrers := range kinds {
		for _, alg := range []capsign.Alg{capsign.Ed25519, capsign.ES256} {
			rig, client := newRig(t, referrers), newClient(t, registry.Config{})
			signer, key := newQueue(t, alg)
			ref, sum := rig.image("app", "v1", "one")
			data := rig.bundle(sign(t, client, ref, signer).Referrer)
			digest, err := hex.DecodeString(sum.Encoded())
			if err != nil {
				t.Fatal(err)
			}
			if err := sigstoretest.VerifyDigest(t, data, digest, key.SPKI); err != nil {
				t.Errorf("%s, %s: %v", kind, alg, err)
			}
			digest[0] ^= 1
			if sigstoretest.VerifyDigest(t, data, digest, key.SPKI) == nil {
				t.Errorf("%s, %s: another digest is accepted", kind, alg)
			}
		}
	}
}
