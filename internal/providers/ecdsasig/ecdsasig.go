// Package ecdsasig turns the ECDSA signatures that backends return into the
// one encoding that cap releases: minimal DER with the lower s.
package ecdsasig

import (
	"crypto/elliptic"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/capsign/cap/capsign"
)

// FromDER returns the canonical encoding of a DER signature on curve. Anything
// but one minimal sequence of an r and an s from 1 to the order less one wraps
// [capsign.Integrity].
func FromDER(curve elliptic.Curve, der []byte) ([]byte, error) {
	var r, s big.Int
	input, rs := cryptobyte.String(der), cryptobyte.String(nil)
	if !input.ReadASN1(&rs, asn1.SEQUENCE) || !input.Empty() ||
		!rs.ReadASN1Integer(&r) || !rs.ReadASN1Integer(&s) || !rs.Empty() {
		return nil, fmt.Errorf("ecdsasig: signature is not DER: %w", capsign.Integrity)
	}
	return encode(curve, &r, &s)
}

// FromRaw returns the canonical encoding of r and s side by side, each as wide
// as curve's order: the form of PKCS#11, TPMs and Azure. Another width, and a
// number outside 1 to the order less one, wraps [capsign.Integrity].
func FromRaw(curve elliptic.Curve, raw []byte) ([]byte, error) {
	width := (curve.Params().N.BitLen() + 7) / 8
	if len(raw) != 2*width {
		return nil, fmt.Errorf("ecdsasig: signature of another width: %w", capsign.Integrity)
	}
	return encode(curve, new(big.Int).SetBytes(raw[:width]), new(big.Int).SetBytes(raw[width:]))
}

// encode returns r and the lower of s and n-s, which verify equally, as DER.
func encode(curve elliptic.Curve, r, s *big.Int) ([]byte, error) {
	order := curve.Params().N
	if r.Sign() <= 0 || s.Sign() <= 0 || r.Cmp(order) >= 0 || s.Cmp(order) >= 0 {
		return nil, fmt.Errorf("ecdsasig: r or s out of range: %w", capsign.Integrity)
	}
	if other := new(big.Int).Sub(order, s); other.Cmp(s) < 0 {
		s = other
	}
	var out cryptobyte.Builder
	out.AddASN1(asn1.SEQUENCE, func(out *cryptobyte.Builder) {
		out.AddASN1BigInt(r)
		out.AddASN1BigInt(s)
	})
	return out.BytesOrPanic(), nil
}
