package capsign_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
)

// keyringVector is keyring_v1.json: keyrings 1 to 3 of one history, signed by
// an Ed25519 and a P-256 root, both of whom must.
type keyringVector struct {
	Roots []struct {
		Alg         capsign.Alg `json:"alg"`
		SPKI        string      `json:"spki"`
		Fingerprint string      `json:"fingerprint"`
	} `json:"roots"`
	Keyrings []struct {
		Hash     string          `json:"hash"`
		Envelope json.RawMessage `json:"envelope"`
	} `json:"keyrings"`
}

// TestKeyringVectors holds the format to a file that is frozen: a keyring that
// no longer decodes is a history that is lost. The file was verified once by a
// Python program that shares nothing with cap:
//
//	pae = b"DSSEv1 %d %s %d %s" % (len(type), type, len(payload), payload)
//
// with payload the base64-decoded "payload" and type "payloadType"; each
// signature over pae by cryptography's Ed25519 verify, or its verify with
// ECDSA(SHA256()), under the root whose SPKI hashes to "keyid", and not over
// pae with one byte more; hash = sha256(payload); "previous" against the hash
// before; and each kid as kid_vectors.py computes it.
func TestKeyringVectors(t *testing.T) {
	var v keyringVector
	readVectors(t, "keyring_v1.json", &v)
	trust := capsign.Trust{Threshold: len(v.Roots)}
	for _, r := range v.Roots {
		root := capsign.RootKey{Alg: r.Alg, SPKI: unhex(t, r.SPKI)}
		if root.Fingerprint() != r.Fingerprint {
			t.Errorf("fingerprint %s, want %s", root.Fingerprint(), r.Fingerprint)
		}
		trust.Roots = append(trust.Roots, r.Fingerprint)
	}
	var chain []*capsign.SignedKeyring
	for i, k := range v.Keyrings {
		s, err := capsign.ParseSignedKeyring(k.Envelope)
		if err != nil {
			t.Fatal(err)
		}
		again, err := capsign.NewSignedKeyring(*s.Keyring())
		if err != nil || s.Hash() != k.Hash || again.Hash() != k.Hash {
			t.Errorf("version %d: hash %s, made again %s, want %s: %v", i+1, s.Hash(), again.Hash(), k.Hash, err)
		}
		if err := trust.First(s); err != nil {
			t.Errorf("version %d: %v", i+1, err)
		}
		chain = append(chain, s)
	}
	newest, err := trust.FollowChain(chain[0], chain)
	if err != nil {
		t.Fatal(err)
	}
	r := newest.Keyring().Keys[0]
	at := time.Date(2026, 12, 23, 13, 0, 0, 7, time.UTC) // T1
	if k := kids(r); r.Name != "cap-signing" || r.Active() != k[1] || r.Stage(at.Add(-1)) != 2 || r.Stage(at) != 3 ||
		r.Accepted(at.Add(-1))[0] != k[0] || r.Revoked[0] != k[2] || r.Overlap.String() != "720h0m0s" {
		t.Errorf("another meaning: %+v", r)
	}
}
