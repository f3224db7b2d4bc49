package azurekms

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"slices"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/capsign/cap/capsign"
)

// Coordinates without their leading zeros, or with one more, are the same key;
// others are none.
func TestPublicKeysOfVaults(t *testing.T) {
	kty, crv := azkeys.KeyTypeEC, azkeys.CurveNameP256
	private, x, y := shortKey(t)
	whole, err := capsign.MarshalPublicKey(private.Public())
	must(t, err)
	for name, coordinates := range map[string][2][]byte{
		"as they are":    {x, y},
		"without a zero": {x[1:], y},
		"with one more":  {append([]byte{0}, x...), y},
	} {
		spki, alg, err := publicKey(&azkeys.JSONWebKey{Kty: &kty, Crv: &crv, X: coordinates[0], Y: coordinates[1]}, "")
		if err != nil || alg != capsign.ES256 || !slices.Equal(spki, whole) {
			t.Errorf("%s: %s, %v", name, alg, err)
		}
	}
	off := slices.Clone(y)
	off[31] ^= 1
	for name, jwk := range map[string]azkeys.JSONWebKey{
		"off the curve":  {X: x, Y: off},
		"without y":      {X: x},
		"swapped":        {X: y, Y: x},
		"far too long":   {X: append([]byte{1}, x...), Y: y},
		"zero":           {X: make([]byte, 32), Y: make([]byte, 32)},
		"nothing at all": {},
	} {
		jwk.Kty, jwk.Crv = &kty, &crv
		spki, _, err := publicKey(&jwk, "")
		mustFail(t, name, err, capsign.Integrity)
		if spki != nil {
			t.Errorf("%s: gave a key", name)
		}
	}
}

// shortKey returns a key whose x begins with a zero, and its coordinates.
func shortKey(t *testing.T) (private *ecdsa.PrivateKey, x, y []byte) {
	t.Helper()
	for range 20_000 {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(t, err)
		point, err := private.PublicKey.Bytes()
		must(t, err)
		if point[1] == 0 {
			return private, point[1:33], point[33:]
		}
	}
	t.Fatal("no such key came up")
	return nil, nil, nil
}

func TestRSAKeysOfVaults(t *testing.T) {
	kty := azkeys.KeyTypeRSA
	n := make([]byte, 384)
	n[0], n[383] = 0x80, 1
	for name, jwk := range map[string]struct {
		n, e []byte
		want capsign.Code
	}{
		"3072 bits":        {n, []byte{1, 0, 1}, ""},
		"2048 bits":        {append([]byte{0x80}, append(make([]byte, 254), 1)...), []byte{1, 0, 1}, capsign.UnsupportedAlg},
		"even modulus":     {append(slices.Clone(n[:383]), 2), []byte{1, 0, 1}, capsign.Integrity},
		"exponent of one":  {n, []byte{1}, capsign.Integrity},
		"even exponent":    {n, []byte{1, 0, 0}, capsign.Integrity},
		"exponent too big": {n, []byte{1, 0, 0, 0, 1}, capsign.Integrity},
		"nothing":          {nil, nil, capsign.Integrity},
	} {
		_, alg, err := publicKey(&azkeys.JSONWebKey{Kty: &kty, N: jwk.n, E: jwk.e}, capsign.ES256)
		if jwk.want == "" && (err != nil || alg != capsign.PS256) {
			t.Errorf("%s: %s, %v", name, alg, err)
		} else if jwk.want != "" {
			mustFail(t, name, err, jwk.want)
		}
	}
}
