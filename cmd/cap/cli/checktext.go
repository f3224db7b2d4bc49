package cli

import (
	"fmt"
	"strings"

	"github.com/capsign/cap/capsign"
)

// text lays a checkup out for a terminal of 80 columns.
func (c checkup) text(pool capsign.Pool) string {
	var page strings.Builder
	line(&page, "pool", c.Pool)
	if c.Fallback {
		page.WriteString(fallbackNote)
	}
	if pool.Code != "" {
		writePaused(&page, pool.Name, pool.Code, resumerOf(pool.Code))
		line(&page, "mend", forPool(mending[pool.Code], pool.Name))
	}
	for _, f := range c.Checks {
		page.WriteByte('\n')
		f.write(&page)
	}
	return page.String()
}

// write writes a finding's lines.
func (f finding) write(page *strings.Builder) {
	if f.KeyName == "" {
		line(page, "key", "not published as one of the pool's")
	} else {
		line(page, "key", fmt.Sprintf("%s, version %s (%s)", f.KeyName, f.Version, f.Class))
	}
	line(page, "  kid", f.KID)
	if f.OK {
		line(page, "  check", "ok in "+milliseconds(f.Seconds))
		return
	}
	line(page, "  check", string(f.Code))
	line(page, "", f.Message)
	if f.Hint != "" {
		line(page, "  mend", f.Hint)
	}
}

// milliseconds returns a time in ms, of short ones with a decimal.
func milliseconds(seconds float64) string {
	switch ms := seconds * 1000; {
	case ms < 0.1:
		return "less than 0.1 ms"
	case ms < 9.95:
		return fmt.Sprintf("%.1f ms", ms)
	default:
		return fmt.Sprintf("%.0f ms", ms)
	}
}
