package cli

import (
	"context"
	"encoding/pem"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
)

// formats are those of "cap keys export".
var formats = []string{"pem", "der", "jwk", "jwks"}

// exportCommand returns "cap keys export".
func (a *app) exportCommand() *cobra.Command {
	var kid, format, out string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write public keys to a file",
		Long: "export writes a public key as PEM or DER (SubjectPublicKeyInfo), or as JWK. The\n" +
			"format jwks takes all keys that --pool, --key and --kid leave; it is what\n" +
			"'cap verify-signature --keyring' reads.",
		Example: "  cap keys export --format jwks --out keyring.json",
		Args:    noArgs,
		RunE:    a.bounded(func(ctx context.Context) error { return a.export(ctx, kid, format, out) }),
	}
	cmd.Flags().StringVar(&kid, "kid", "", "export key version `KID`; not needed where there is only one")
	cmd.Flags().StringVar(&format, "format", "pem", "write `FORMAT`: pem, der, jwk or jwks")
	cmd.Flags().StringVar(&out, "out", "", "write to `FILE`; - is stdout")
	return cmd
}

// exported is what "cap keys export --json" prints: the member that is called
// like the format is set.
type exported struct {
	Format string         `json:"format"`
	KID    string         `json:"kid,omitzero"`
	Alg    capsign.Alg    `json:"alg,omitzero"`
	PEM    string         `json:"pem,omitzero"`
	DER    []byte         `json:"der,omitzero"`
	JWK    jsontext.Value `json:"jwk,omitzero"`
	JWKS   jsontext.Value `json:"jwks,omitzero"`
}

// export writes public keys.
func (a *app) export(ctx context.Context, kid, format, out string) error {
	if !slices.Contains(formats, format) {
		return misuse("There is no format %q; there are pem, der, jwk and jwks.", format)
	}
	if err := a.checkOutput(out); err != nil {
		return err
	}
	ring, err := a.fetchKeys(ctx)
	if err != nil {
		return err
	}
	keys, err := a.flags.choose(ring.Keys(), kid, format == "jwks")
	if err != nil {
		return err
	}
	result, data, err := encodeKeys(keys, format)
	switch {
	case err != nil:
		return err
	case !a.flags.json && format == "der":
		return a.writeRaw(ctx, out, data)
	case !a.flags.json:
		return a.write(ctx, out, data)
	case !isStdout(out):
		if err := a.write(ctx, out, data); err != nil {
			return err
		}
	}
	return a.printJSON(result)
}

// choose returns the keys to export: the one that kid names, all that --pool
// and --key leave, or the only one of those.
func (f *flags) choose(keys []capsign.Key, kid string, all bool) ([]capsign.Key, error) {
	left := f.narrow(keys)
	if kid != "" {
		key, err := capsign.NewKeySet(left...).Key(kid)
		return []capsign.Key{key}, err
	}
	switch {
	case len(left) == 0 && !slices.ContainsFunc(keys, func(k capsign.Key) bool { return f.pool == "" || k.Pool == f.pool }):
		return nil, capsign.PoolUnknown
	case len(left) == 0:
		return nil, capsign.KeyUnknown
	case len(left) > 1 && !all:
		return nil, ambiguity(left)
	}
	return left, nil
}

// ambiguity asks for what tells the keys apart: pool, key or key version.
func ambiguity(keys []capsign.Key) error {
	for _, by := range []struct {
		what string
		of   func(capsign.Key) string
	}{
		{"pool", func(k capsign.Key) string { return k.Pool }},
		{"key", func(k capsign.Key) string { return k.Name }},
	} {
		var choices []string
		for _, key := range keys {
			choices = append(choices, by.of(key))
		}
		slices.Sort(choices)
		if choices = slices.Compact(choices); len(choices) > 1 {
			return &capsign.AmbiguousError{What: by.what, Choices: choices}
		}
	}
	var kids []string
	for _, key := range keys {
		kids = append(kids, key.KID)
	}
	return &capsign.AmbiguousError{What: "kid", Choices: kids}
}

// encodeKeys returns keys in a format, as --json prints it and as a file.
func encodeKeys(keys []capsign.Key, format string) (exported, []byte, error) {
	if format == "jwks" {
		set, err := capsign.NewKeySet(keys...).JWKS()
		return exported{Format: format, JWKS: set}, set, err
	}
	key := keys[0]
	result := exported{Format: format, KID: key.KID, Alg: key.Alg}
	switch format {
	case "der":
		result.DER = key.SPKI
		return result, key.SPKI, nil
	case "jwk":
		jwk, err := key.JWK()
		result.JWK = jwk
		return result, jwk, err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: key.SPKI})
	result.PEM = string(block)
	return result, block, nil
}
