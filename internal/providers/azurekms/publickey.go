package azurekms

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"math/big"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/capsign/cap/capsign"
)

// publicKey returns the canonical SPKI of a JSON Web Key (RFC 7517) and the
// algorithm it signs with: an RSA key's is rsaAlg, or PS256 where that is no
// RSA algorithm. Errors are bare codes: UnsupportedAlg for a type that cap does
// not have, Integrity for a key that cannot be one.
func publicKey(jwk *azkeys.JSONWebKey, rsaAlg capsign.Alg) ([]byte, capsign.Alg, error) {
	switch *jwk.Kty {
	case azkeys.KeyTypeEC, azkeys.KeyTypeECHSM:
		of, ok := curves[valueOf(jwk.Crv)]
		if !ok {
			return nil, "", capsign.UnsupportedAlg
		}
		point, err := uncompressed(jwk.X, jwk.Y, (of.curve.Params().BitSize+7)/8)
		if err != nil {
			return nil, "", err
		}
		key, err := ecdsa.ParseUncompressedPublicKey(of.curve, point)
		if err != nil { // not on the curve
			return nil, "", capsign.Integrity
		}
		return spkiOf(key, of.alg)
	case azkeys.KeyTypeRSA, azkeys.KeyTypeRSAHSM:
		key, err := rsaKey(jwk.N, jwk.E)
		if err != nil {
			return nil, "", err
		}
		if rsaAlg == capsign.RS256 {
			return spkiOf(key, capsign.RS256)
		}
		return spkiOf(key, capsign.PS256)
	}
	return nil, "", capsign.UnsupportedAlg
}

// spkiOf returns the key's canonical SPKI beside its algorithm.
func spkiOf(key crypto.PublicKey, alg capsign.Alg) ([]byte, capsign.Alg, error) {
	spki, err := capsign.MarshalPublicKey(key)
	if err != nil { // an RSA key that is too short
		return nil, "", capsign.UnsupportedAlg
	}
	return spki, alg, nil
}

// uncompressed returns 0x04 || x || y with coordinates of width bytes each.
// Some vaults leave out leading zeros, or add one.
func uncompressed(x, y []byte, width int) ([]byte, error) {
	point := make([]byte, 1+2*width)
	point[0] = 4
	for i, coordinate := range [][]byte{x, y} {
		coordinate = bytes.TrimLeft(coordinate, "\x00")
		if len(coordinate) > width {
			return nil, capsign.Integrity
		}
		end := 1 + (i+1)*width
		copy(point[end-len(coordinate):end], coordinate)
	}
	return point, nil
}

// rsaKey returns the RSA key of a big-endian modulus and exponent.
func rsaKey(modulus, exponent []byte) (*rsa.PublicKey, error) {
	n, e := new(big.Int).SetBytes(modulus), new(big.Int).SetBytes(exponent)
	if n.Bit(0) == 0 || e.Bit(0) == 0 || e.BitLen() < 2 || e.BitLen() > 31 {
		return nil, capsign.Integrity
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
}
