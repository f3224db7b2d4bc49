package cli

import (
	"strings"

	"github.com/capsign/cap/capsign"
)

// providerNotes say what a provider id stands for.
var providerNotes = map[string]string{
	capsign.ProviderSoftware: "a key file on the worker's machine",
	capsign.ProviderPKCS11:   "an HSM, TPM or token behind PKCS#11",
	capsign.ProviderCloudKMS: "a cloud's key management service",
}

// budgetNotes say which latency budget a class of keys has.
var budgetNotes = map[capsign.Class]string{
	capsign.ClassSoftware: " (95 of 100 signatures within 50 ms)",
	capsign.ClassToken:    " (95 of 100 signatures within 50 ms)",
	capsign.ClassChip:     " (95 of 100 signatures within 1 s)",
	capsign.ClassCloud:    " (95 of 100 signatures within 150 ms)",
}

// text lays an overview out for a terminal of 80 columns, on which a kid takes
// 64: one value per line.
func (o overview) text() string {
	var page strings.Builder
	var others []string
	for _, pool := range o.Pools {
		if o.Pool != "" && o.Pool != pool.Pool {
			others = append(others, pool.Pool)
			continue
		}
		if page.Len() > 0 {
			page.WriteString("\n\n")
		}
		pool.write(&page)
		for _, key := range o.Keys {
			if key.Pool == pool.Pool {
				page.WriteByte('\n')
				key.write(&page)
			}
		}
	}
	if len(others) > 0 {
		page.WriteByte('\n')
		line(&page, "other pools", strings.Join(others, ", "))
	}
	return page.String()
}

// write writes a pool's lines.
func (p poolSummary) write(page *strings.Builder) {
	p.writeState(page)
	if p.CurrentKID != "" {
		line(page, "current kid", p.CurrentKID)
	}
}

// write writes a key version's lines.
func (k keySummary) write(page *strings.Builder) {
	line(page, "key", k.KeyName)
	line(page, "  version", k.Version)
	line(page, "  alg", string(k.Alg))
	line(page, "  class", string(k.Class)+budgetNotes[k.Class])
	if k.Backend != "" {
		line(page, "  backend", k.Backend)
	}
	line(page, "  state", string(k.State))
	line(page, "  kid", k.KID)
	line(page, "  spki sha256", k.SPKISHA256)
	line(page, "  jwk", k.Thumbprint)
}
