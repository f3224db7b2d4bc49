package capsign_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capsign/cap/capsign"
)

// TestPAEOfTheSpecification is the example of DSSE's protocol.md.
func TestPAEOfTheSpecification(t *testing.T) {
	got := capsign.DSSEPAE("http://example.com/HelloWorld", []byte("hello world"))
	if want := "DSSEv1 29 http://example.com/HelloWorld 11 hello world"; string(got) != want {
		t.Errorf("PAE %q, want %q", got, want)
	}
}

func TestKeyringsSurviveTheirEnvelope(t *testing.T) {
	for _, s := range chainOf(t, 2, edRoot(t, "a"), ecRoot(t)) {
		again, err := capsign.ParseSignedKeyring(mustEncode(t, s))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s.Keyring(), again.Keyring()); diff != "" {
			t.Error(diff)
		}
		if s.Hash() != again.Hash() || !bytes.Equal(mustEncode(t, s), mustEncode(t, again)) {
			t.Error("another envelope after decoding")
		}
		if got := again.SignedBy(s.Keyring().Roots); !slices.Equal(got, s.Keyring().Roots.Fingerprints()) {
			t.Errorf("signed by %v", got)
		}
	}
}

// envelopeOf returns an envelope with one signature, put together by hand.
func envelopeOf(payload string) string {
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf(`{"payload":"%s","payloadType":"%s","signatures":[{"keyid":"k","sig":"%s"}]}`,
		b64([]byte(payload)), capsign.KeyringPayloadType, b64([]byte("signature")))
}

func TestMalformedEnvelopesAreRefused(t *testing.T) {
	s := chainOf(t, 1, edRoot(t, "a"))[0]
	payload, _ := bytes.CutPrefix(s.SigningInput(), capsign.DSSEPAE(capsign.KeyringPayloadType, nil))
	payload = payload[bytes.IndexByte(payload, '{'):]
	whole := envelopeOf(string(payload))
	if _, err := capsign.ParseSignedKeyring([]byte(whole)); err != nil {
		t.Fatal(err)
	}
	change := func(old, with string) string {
		if !strings.Contains(whole, old) {
			t.Fatalf("no %q in the envelope", old)
		}
		return strings.Replace(whole, old, with, 1)
	}
	inside := func(old, with string) string {
		if !bytes.Contains(payload, []byte(old)) {
			t.Fatalf("no %q in the payload", old)
		}
		return envelopeOf(strings.Replace(string(payload), old, with, 1))
	}
	signature := `{"keyid":"k","sig":"c2lnbmF0dXJl"}`
	for name, tc := range map[string]struct {
		data string
		want capsign.Code
	}{
		"nothing":                       {"", capsign.BadRequest},
		"null":                          {"null", capsign.BadRequest},
		"truncated":                     {whole[:len(whole)-1], capsign.BadRequest},
		"trailing data":                 {whole + "{}", capsign.BadRequest},
		"unknown member":                {change(`{"payload"`, `{"x":1,"payload"`), capsign.BadRequest},
		"duplicate member":              {change(`{"payload"`, `{"payload":"","payload"`), capsign.BadRequest},
		"member in other case":          {change(`"payloadType"`, `"payloadtype"`), capsign.BadRequest},
		"another type":                  {change("keyring.v1", "keyring.v2"), capsign.BadRequest},
		"no type":                       {change(`"payloadType":"`+capsign.KeyringPayloadType+`",`, ""), capsign.BadRequest},
		"no payload":                    {envelopeOf(""), capsign.BadRequest},
		"no signatures":                 {change("["+signature+"]", "[]"), capsign.BadRequest},
		"null signatures":               {change("["+signature+"]", "null"), capsign.BadRequest},
		"most signatures":               {change(signature, strings.Repeat(signature+",", 63)+signature), ""},
		"too many signatures":           {change(signature, strings.Repeat(signature+",", 64)+signature), capsign.TooLarge},
		"signature cut short":           {change("c2lnbmF0dXJl", "c2lnbmF0dXJ"), capsign.BadRequest},
		"signature without its padding": {change("c2lnbmF0dXJl", "c2lnbg"), capsign.BadRequest},
		"signature with unused bits":    {change("c2lnbmF0dXJl", "c2lnbh=="), capsign.BadRequest},
		"signature with a line end":     {change("c2lnbmF0dXJl", `c2lnbmF0\ndXJl`), capsign.BadRequest},
		"signature as base64url":        {change("c2lnbmF0dXJl", "__8="), capsign.BadRequest},
		"signature as a number":         {change(`"c2lnbmF0dXJl"`, "1"), capsign.BadRequest},
		"payload: null":                 {envelopeOf("null"), capsign.BadRequest},
		"payload: trailing data":        {envelopeOf(string(payload) + " 1"), capsign.BadRequest},
		"payload: unknown member":       {inside(`{"v"`, `{"x":1,"v"`), capsign.BadRequest},
		"payload: duplicate member":     {inside(`{"v":1`, `{"v":1,"v":1`), capsign.BadRequest},
		"payload: member in other case": {inside(`"issued"`, `"Issued"`), capsign.BadRequest},
		"payload: version too large":    {inside(`"version":1`, `"version":18446744073709551616`), capsign.BadRequest},
		"payload: version below 0":      {inside(`"version":1`, `"version":-1`), capsign.BadRequest},
		"payload: other format":         {inside(`"v":1`, `"v":2`), capsign.UnsupportedVersion},
		"payload: time in another zone": {inside(`.000000001Z"`, `.000000001+00:00"`), capsign.BadRequest},
		"payload: overlap in days":      {inside(`720h0m0s`, `30d`), capsign.BadRequest},
		"payload: invalid UTF-8":        {inside(`first`, "\xff"), capsign.BadRequest},
		"payload: kid of another key":   {inside(kids(s.Keyring().Keys[0])[0], someKID), capsign.Integrity},
		"payload: deep":                 {envelopeOf(strings.Repeat("[", 20000)), capsign.BadRequest},
		"largest":                       {whole + strings.Repeat(" ", capsign.MaxKeyringSize-len(whole)), ""},
		"one byte over":                 {whole + strings.Repeat(" ", capsign.MaxKeyringSize-len(whole)+1), capsign.TooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := capsign.ParseSignedKeyring([]byte(tc.data))
			wantCode(t, "ParseSignedKeyring", err, tc.want)
			if (s == nil) != (err != nil) {
				t.Errorf("a keyring with the error %v", err)
			}
		})
	}
}

// TestEachFlippedByteOfAnEnvelopeIsRefused changes every byte in several ways:
// nothing that differs from what the roots signed is believed.
func TestEachFlippedByteOfAnEnvelopeIsRefused(t *testing.T) {
	a, b := edRoot(t, "a"), ecRoot(t)
	chain := chainOf(t, 2, a, b)
	trust := capsign.Trust{Roots: []string{a.Fingerprint(), b.Fingerprint()}, Threshold: 2}
	data := mustEncode(t, chain[1])
	for i := range data {
		for _, flip := range []byte{0x01, 0x02, 0x20, 0x80} {
			changed := bytes.Clone(data)
			changed[i] ^= flip
			s, err := capsign.ParseSignedKeyring(changed)
			if err == nil && trust.First(s) == nil {
				t.Fatalf("believed with byte %d changed by %#x", i, flip)
			}
			if err == nil && capsign.Succeeds(chain[0], s) == nil {
				t.Fatalf("a successor with byte %d changed by %#x", i, flip)
			}
		}
	}
}

func TestKeyringsThatDoNotFitAreRefused(t *testing.T) {
	a := edRoot(t, "a")
	var names []capsign.KeyRotation
	for i := range 4000 {
		r := rotation(t, "1")
		r.Name = fmt.Sprintf("k%05d", i)
		r.Versions[0] = capsign.VersionOf(keyOf(t, r.Name, "1"))
		names = append(names, r)
	}
	_, err := capsign.NewSignedKeyring(ring(rootsOf(1, a), names...))
	wantCode(t, "NewSignedKeyring", err, capsign.TooLarge)
}

func TestWithSignature(t *testing.T) {
	a, b := edRoot(t, "a"), ecRoot(t)
	roots := rootsOf(2, a, b)
	unsigned := signedBy(t, ring(roots, rotation(t, "1")))
	_, err := unsigned.WithSignature(a.RootKey, b.sign(unsigned.SigningInput()))
	wantCode(t, "another root's signature", err, capsign.SignatureInvalid)
	_, err = unsigned.WithSignature(capsign.RootKey{}, nil)
	wantCode(t, "no root", err, capsign.BadRequest)

	one := signedBy(t, *unsigned.Keyring(), a)
	twice, err := one.WithSignature(a.RootKey, a.sign(one.SigningInput()))
	if err != nil || !bytes.Equal(mustEncode(t, one), mustEncode(t, twice)) {
		t.Errorf("signing twice: %v", err)
	}
	both, err := one.WithSignature(b.RootKey, b.sign(one.SigningInput()))
	if err != nil {
		t.Fatal(err)
	}
	for s, missing := range map[*capsign.SignedKeyring]int{unsigned: 2, one: 1, twice: 1, both: 0} {
		if got := s.Missing(roots); got != missing {
			t.Errorf("%d signatures missing, want %d", got, missing)
		}
	}
	if got := both.Missing(rootsOf(1, a, b)); got != 0 {
		t.Errorf("%d signatures missing of 1 with 2 there", got)
	}
}
