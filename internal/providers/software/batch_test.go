package software

import (
	"bytes"
	"crypto/ed25519"
	"crypto/fips140"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/capsign/cap/capsign"
)

// mustEqualCrypto says that each signature is crypto/ed25519's.
func mustEqualCrypto(t fataler, private ed25519.PrivateKey, msgs, sigs [][]byte) {
	t.Helper()
	if len(sigs) != len(msgs) {
		t.Fatalf("%d signatures for %d messages", len(sigs), len(msgs))
	}
	for i, msg := range msgs {
		if want := ed25519.Sign(private, msg); !bytes.Equal(sigs[i], want) {
			t.Fatalf("message %d of %d, %d bytes: signature %x, want %x", i, len(msgs), len(msg), sigs[i], want)
		}
	}
}

// fataler is what *testing.T and *rapid.T share.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func TestSharedSignaturesAreThoseOfTheStandardLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		private := ed25519.NewKeyFromSeed(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "seed"))
		msgs := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 300), 0, sharedMost).Draw(t, "messages")
		sigs, ok := newSharedKey(private).sign(msgs)
		if !ok {
			t.Fatalf("no signatures")
		}
		mustEqualCrypto(t, private, msgs, sigs)
	})
}

func TestSharedSignaturesOfRFC8032(t *testing.T) {
	for line := range strings.Lines(string(testdata(t, "rfc8032.txt"))) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		var raw [4][]byte
		for i, field := range fields {
			var err error
			raw[i], err = hex.DecodeString(strings.Trim(field, "-")) // "-" is the empty message
			must(t, err)
		}
		private := ed25519.NewKeyFromSeed(raw[0])
		if !bytes.Equal(private[ed25519.SeedSize:], raw[1]) {
			t.Fatalf("%s: another public key", fields[0])
		}
		sigs, ok := newSharedKey(private).sign([][]byte{raw[2], []byte("another"), raw[2]})
		if !ok || !bytes.Equal(sigs[0], raw[3]) || !bytes.Equal(sigs[2], raw[3]) {
			t.Errorf("%s: signatures %x, want %s", fields[0], sigs, fields[3])
		}
	}
}

func TestBatchesOfEverySizeAndLength(t *testing.T) {
	cfg := newConfig(t, "")
	generate(t, cfg)
	provider := open(t, cfg)
	held := provider.held.Load()
	private := held.byKID[held.current].private.(ed25519.PrivateKey)
	long := make([]byte, 1<<20)
	for _, n := range []int{0, 1, 2, sharedLeast - 1, sharedLeast, sharedMost - 1, sharedMost, sharedMost + 1, 2*sharedMost + sharedLeast, 1024} {
		msgs := make([][]byte, n)
		for i := range msgs {
			msgs[i] = long[i : i+(i*i)%1000]
		}
		for i, length := range []int{0, 1, 127, 128, 4096, 1<<20 - 1, 1 << 20} {
			if i < n {
				msgs[i] = long[:length]
			}
		}
		batch, err := provider.SignBatch(t.Context(), "", msgs)
		must(t, err)
		sigs := make([][]byte, len(batch))
		for i, sig := range batch {
			if sig.KID != held.current || sig.Alg != capsign.Ed25519 {
				t.Fatalf("signature %d of %d is of %s by %s", i, n, sig.Alg, sig.KID)
			}
			sigs[i] = sig.Bytes
		}
		mustEqualCrypto(t, private, msgs, sigs)
	}
}

func TestSharedInversionThatIsWrongFailsClosed(t *testing.T) {
	_, private, err := ed25519.GenerateKey(nil)
	must(t, err)
	shared := newSharedKey(private)
	shared.one.Add(&shared.one, &shared.one) // everything that begins with one is now wrong
	if sigs, ok := shared.sign(messages(sharedLeast)); ok || sigs != nil {
		t.Errorf("%d signatures, %v", len(sigs), ok)
	}
}

// TestBatchThatTheStandardLibraryDisagreesWithFailsClosed spoils what only the
// comparison with crypto/ed25519 can notice: a point, a nonce, a key.
func TestBatchThatTheStandardLibraryDisagreesWithFailsClosed(t *testing.T) {
	for name, spoil := range map[string]func(*sharedKey){
		"scalar": func(k *sharedKey) { k.scalar.Add(&k.scalar, &k.scalar) },
		"prefix": func(k *sharedKey) { k.prefix[31] ^= 1 },
		"public": func(k *sharedKey) { k.public[0] ^= 1 },
	} {
		cfg := newConfig(t, "")
		generate(t, cfg)
		provider := open(t, cfg)
		held := provider.held.Load()
		spoil(held.byKID[held.current].shared)
		sigs, err := provider.SignBatch(t.Context(), "", messages(2*sharedMost))
		if sigs != nil || !errors.Is(err, capsign.Integrity) {
			t.Errorf("%s: %d signatures, %v; want %s", name, len(sigs), err, capsign.Integrity)
		}
	}
}

// messages returns n different messages.
func messages(n int) [][]byte {
	msgs := make([][]byte, n)
	for i := range msgs {
		msgs[i] = fmt.Appendf(nil, "message %d", i)
	}
	return msgs
}

func TestClosedProviderSignsNoBatch(t *testing.T) {
	cfg := newConfig(t, "")
	generate(t, cfg)
	provider, err := Open(t.Context(), cfg)
	must(t, err)
	shared := provider.held.Load().byKID[provider.held.Load().current].shared
	must(t, provider.Close())
	if sigs, err := provider.SignBatch(t.Context(), "", messages(sharedLeast)); sigs != nil || !errors.Is(err, capsign.ProviderUnavailable) {
		t.Errorf("%d signatures, %v; want %s", len(sigs), err, capsign.ProviderUnavailable)
	}
	if *shared != (sharedKey{}) {
		t.Error("the expanded key is still there")
	}
}

// TestFIPSModeSignsWithTheValidatedModule runs itself once more in FIPS 140
// mode, which is chosen when a process starts.
func TestFIPSModeSignsWithTheValidatedModule(t *testing.T) {
	if !fips140.Enabled() {
		again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		again.Env = append(os.Environ(), "GODEBUG=fips140=on")
		out, err := again.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
			t.Fatalf("in FIPS 140 mode: %v\n%s", err, out)
		}
		return
	}
	cfg := newConfig(t, "")
	generate(t, cfg)
	provider := open(t, cfg)
	held := provider.held.Load()
	v := held.byKID[held.current]
	if v.shared != nil {
		t.Error("the key is expanded outside the module")
	}
	sigs, err := v.signBatch(messages(sharedMost))
	must(t, err)
	mustEqualCrypto(t, v.private.(ed25519.PrivateKey), messages(sharedMost), sigs)
}

// BenchmarkSignBatch says what a signature costs in batches of several sizes,
// beside crypto/ed25519 alone.
func BenchmarkSignBatch(b *testing.B) {
	cfg := newConfig(b, "")
	generate(b, cfg)
	provider := open(b, cfg)
	held := provider.held.Load()
	private := held.byKID[held.current].private.(ed25519.PrivateKey)
	msgs := make([][]byte, 256)
	for i := range msgs {
		msgs[i] = bytes.Repeat([]byte{byte(i)}, 256)
	}
	b.Run("standard", func(b *testing.B) {
		for b.Loop() {
			ed25519.Sign(private, msgs[0])
		}
	})
	for _, n := range []int{8, 16, 32, 64, 256} {
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := provider.SignBatch(b.Context(), "", msgs[:n]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/signature")
		})
	}
}
