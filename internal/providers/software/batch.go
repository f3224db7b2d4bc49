package software

import (
	"context"
	"crypto/ed25519"
	"crypto/subtle"
	"fmt"

	"github.com/capsign/cap/capsign"
)

// Below sharedLeast messages the signature that vouches for a batch costs more
// than sharing saves; beyond sharedMost there is nothing left to gain.
const (
	sharedLeast = 8
	sharedMost  = 64
)

// SignBatch signs each of msgs with the version that kid names, or the current
// one where kid is empty. The signatures are those of Sign, byte for byte where
// the algorithm is deterministic; many Ed25519 signatures together cost less
// than one by one. It returns as many signatures as there are messages, or none
// and an error: those of Sign, and [capsign.Integrity] where the batch fails
// its check.
func (p *Provider) SignBatch(ctx context.Context, kid string, msgs [][]byte) ([]capsign.Signature, error) {
	kid, v, err := p.signer(ctx, kid)
	if err != nil {
		return nil, err
	}
	sigs := make([]capsign.Signature, 0, len(msgs))
	for done := 0; done < len(msgs); {
		share := msgs[done:min(done+sharedMost, len(msgs))]
		made, err := v.signBatch(share)
		if err != nil {
			return nil, err
		}
		for _, sig := range made {
			sigs = append(sigs, capsign.Signature{KID: kid, Alg: v.key.Alg, Bytes: sig})
		}
		done += len(share)
	}
	return sigs, nil
}

// signBatch signs at most sharedMost messages.
func (v version) signBatch(msgs [][]byte) ([][]byte, error) {
	private, ok := v.private.(ed25519.PrivateKey)
	if ok && v.shared != nil && len(msgs) >= sharedLeast {
		return signChecked(v.shared, private, msgs)
	}
	sigs := make([][]byte, len(msgs))
	for i, msg := range msgs {
		sig, err := v.sign(msg)
		if err != nil {
			return nil, err
		}
		sigs[i] = sig
	}
	return sigs, nil
}

// signChecked signs messages with an inversion that they share and lets them go
// only if one of them, which nothing outside can foresee, comes out of
// crypto/ed25519 the same (docs/adr/0012). A wrong signature is worse than none:
// beside the right one of the same message it gives the key away.
func signChecked(shared *sharedKey, private ed25519.PrivateKey, msgs [][]byte) ([][]byte, error) {
	sigs, ok := shared.sign(msgs)
	if ok {
		i := sample(len(msgs))
		ok = subtle.ConstantTimeCompare(sigs[i], ed25519.Sign(private, msgs[i])) == 1
	}
	if !ok {
		return nil, fmt.Errorf("software: sign batch: %w", capsign.Integrity)
	}
	return sigs, nil
}
