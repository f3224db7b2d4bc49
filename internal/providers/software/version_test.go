package software

import (
	"bytes"
	"encoding/asn1"
	"math/big"
	"testing"
)

// The s of random signatures comes nowhere near the edges, so they are set here.
func TestLowS(t *testing.T) {
	n := new(big.Int).Add(new(big.Int).Lsh(halfOrder, 1), big.NewInt(1)) // the order is odd
	sum := func(a *big.Int, b int64) *big.Int { return new(big.Int).Add(a, big.NewInt(b)) }
	for name, s := range map[string]struct{ given, want *big.Int }{
		"one":                   {big.NewInt(1), big.NewInt(1)},
		"highest bit of a byte": {big.NewInt(0x80), big.NewInt(0x80)},
		"half":                  {halfOrder, halfOrder},
		"half and one":          {sum(halfOrder, 1), halfOrder},
		"the highest":           {sum(n, -1), big.NewInt(1)},
		"long to short":         {sum(n, -0x80), big.NewInt(0x80)},
	} {
		for _, r := range []*big.Int{big.NewInt(1), big.NewInt(0x80), sum(n, -1)} {
			got, err := lowS(signatureOf(t, r, s.given))
			if want := signatureOf(t, r, s.want); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %x, %v; want %x", name, got, err, want)
			}
		}
	}
}

// signatureOf encodes r and s with another encoder than the one under test.
func signatureOf(t *testing.T, r, s *big.Int) []byte {
	t.Helper()
	der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	must(t, err)
	return der
}
