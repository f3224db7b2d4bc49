package main

import (
	"context"
	"crypto/ed25519"

	"github.com/capsign/cap/capsign"
)

// memorySigner signs with an Ed25519 key in memory.
type memorySigner struct {
	key     capsign.Key
	private ed25519.PrivateKey
}

// newMemorySigner returns a signer with a fresh key.
func newMemorySigner() (*memorySigner, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	spki, err := capsign.MarshalPublicKey(public)
	if err != nil {
		return nil, err
	}
	key, err := capsign.NewKey(capsign.Ed25519, spki, capsign.ProviderSoftware, "cap-signing")
	if err != nil {
		return nil, err
	}
	return &memorySigner{key: key, private: private}, nil
}

// CurrentKID returns the one kid.
func (s *memorySigner) CurrentKID(context.Context) (string, error) { return s.key.KID, nil }

// Sign signs msg.
func (s *memorySigner) Sign(_ context.Context, _ string, msg []byte) (capsign.Signature, error) {
	return capsign.Signature{KID: s.key.KID, Alg: s.key.Alg, Bytes: ed25519.Sign(s.private, msg)}, nil
}
