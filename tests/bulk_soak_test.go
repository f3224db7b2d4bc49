//go:build soak && cgo

package tests

import (
	"testing"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/pkcs11/p11test"
)

// TestHundredThousandFiles is the bulk test at full length, with a key in
// software.
func TestHundredThousandFiles(t *testing.T) {
	s := newSite(t)
	s.startServer()
	newBulk(s, 100_000, func() { s.startWorker("a"); s.awaitWorkers(1) }).outlive()
}

// TestTenThousandFilesThroughAToken is the bulk test at full length, through a
// token that signs as fast as it can.
func TestTenThousandFilesThroughAToken(t *testing.T) {
	token := p11test.SoftHSM(t)
	token.Generate(t, capsign.ES256, "cap-signing", "01")
	newBulkToken(t, token, token.Env(), 10_000).outlive()
}
