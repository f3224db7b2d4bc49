package capsign_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/capsign/cap/capsign"
)

func TestChainsSurviveTheirExport(t *testing.T) {
	chain := chainOf(t, 4, edRoot(t, "a"), ecRoot(t))
	for _, part := range [][]*capsign.SignedKeyring{chain, chain[1:], chain[3:]} {
		data, err := capsign.EncodeChain(part)
		if err != nil {
			t.Fatal(err)
		}
		again, err := capsign.ParseChain(data)
		if err != nil || len(again) != len(part) {
			t.Fatalf("%d keyrings, %v", len(again), err)
		}
		for i, s := range again {
			if !bytes.Equal(mustEncode(t, s), mustEncode(t, part[i])) {
				t.Errorf("keyring %d is another one", i)
			}
		}
	}
}

func TestBrokenChainsAreRefused(t *testing.T) {
	a := edRoot(t, "a")
	chain := chainOf(t, 4, a)
	other, later := next(chain[0]), next(chain[0])
	other.Reason = "other"
	later.Version++
	for name, tc := range map[string]struct {
		chain []*capsign.SignedKeyring
		want  capsign.Code
	}{
		"empty":        {nil, capsign.KeyringMissing},
		"hole":         {slices.Delete(slices.Clone(chain), 1, 2), capsign.KeyringFork},
		"other branch": {[]*capsign.SignedKeyring{chain[0], signedBy(t, other, a), chain[2]}, capsign.KeyringFork},
		"left out":     {[]*capsign.SignedKeyring{chain[0], signedBy(t, later, a)}, capsign.KeyringFork},
		"newest first": {[]*capsign.SignedKeyring{chain[1], chain[0]}, capsign.KeyringFork},
		"twice":        {[]*capsign.SignedKeyring{chain[0], chain[0]}, capsign.KeyringFork},
	} {
		_, err := capsign.EncodeChain(tc.chain)
		wantCode(t, "EncodeChain: "+name, err, tc.want)
		var envelopes []string
		for _, s := range tc.chain {
			envelopes = append(envelopes, string(mustEncode(t, s)))
		}
		keyrings, err := capsign.ParseChain(fmt.Appendf(nil, `{"v":1,"keyrings":[%s]}`, strings.Join(envelopes, ",")))
		wantCode(t, "ParseChain: "+name, err, tc.want)
		if keyrings != nil {
			t.Errorf("%s: keyrings of a chain that was refused", name)
		}
	}
}

func TestMalformedChainsAreRefused(t *testing.T) {
	whole, err := capsign.EncodeChain(chainOf(t, 1, edRoot(t, "a")))
	if err != nil {
		t.Fatal(err)
	}
	change := func(old, with string) []byte { return bytes.Replace(whole, []byte(old), []byte(with), 1) }
	for name, tc := range map[string]struct {
		data []byte
		want capsign.Code
	}{
		"nothing":              {nil, capsign.BadRequest},
		"an envelope":          {mustEncode(t, chainOf(t, 1, edRoot(t, "a"))[0]), capsign.BadRequest},
		"no format version":    {change(`"v":1,`, ""), capsign.BadRequest},
		"later format version": {change(`"v":1`, `"v":2`), capsign.UnsupportedVersion},
		"unknown member":       {change(`"v":1`, `"v":1,"x":1`), capsign.BadRequest},
		"null":                 {change(`"keyrings":[`, `"keyrings":[null,`), capsign.BadRequest},
		"trailing data":        {append(bytes.Clone(whole), '1'), capsign.BadRequest},
		"one byte over":        {append(bytes.Clone(whole), bytes.Repeat([]byte(" "), capsign.MaxChainSize-len(whole)+1)...), capsign.TooLarge},
		"largest":              {append(bytes.Clone(whole), bytes.Repeat([]byte(" "), capsign.MaxChainSize-len(whole))...), ""},
	} {
		_, err := capsign.ParseChain(tc.data)
		wantCode(t, name, err, tc.want)
	}
}

// FuzzParseSignedKeyring holds that what is accepted is encoded again to the
// same keyring, and that nobody's signature makes it believed.
func FuzzParseSignedKeyring(f *testing.F) {
	a := edRoot(f, "a")
	for _, s := range chainOf(f, 2, a) {
		f.Add(mustEncode(f, s))
	}
	known := chainOf(f, 2, a)
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := capsign.ParseSignedKeyring(data)
		if err != nil {
			if capsign.CodeOf(err) == capsign.Internal {
				t.Errorf("error without a code: %v", err)
			}
			return
		}
		again, err := capsign.ParseSignedKeyring(mustEncode(t, s))
		if err != nil || again.Hash() != s.Hash() {
			t.Errorf("another keyring after encoding: %v", err)
		}
		for _, key := range s.Keyring().Keys {
			if key.Active() == "" || len(key.Retired(issued)) >= len(key.Versions) {
				t.Error("a key that nobody signs with")
			}
		}
		believed := capsign.Trust{Roots: []string{a.Fingerprint()}}.First(s) == nil
		if believed && !slices.ContainsFunc(known, func(k *capsign.SignedKeyring) bool { return k.Hash() == s.Hash() }) {
			t.Error("a keyring is believed that the root did not sign")
		}
	})
}

// FuzzParseChain holds that what is accepted is encoded again to the same.
func FuzzParseChain(f *testing.F) {
	data, err := capsign.EncodeChain(chainOf(f, 3, edRoot(f, "a")))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		keyrings, err := capsign.ParseChain(data)
		if err != nil {
			return
		}
		again, err := capsign.EncodeChain(keyrings)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := capsign.ParseChain(again); err != nil {
			t.Error(err)
		}
	})
}
