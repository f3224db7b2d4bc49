package latency

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/capsign/cap/capsign"
)

// busy is a report in which there is something of everything.
func busy() Report {
	jobs := repeat(2000, job{
		queued: 2 * time.Millisecond, slot: 300 * time.Microsecond, provider: 900 * time.Microsecond, verify: 100 * time.Microsecond,
		audit: 200 * time.Microsecond, store: 3 * time.Millisecond, publish: 9 * time.Millisecond,
	})
	for i := range jobs {
		jobs[i].provider += time.Duration(i%97) * 100 * time.Microsecond
		jobs[i].publish += time.Duration(i%97) * 100 * time.Microsecond
	}
	for i, ms := range []int{310, 280, 240, 190, 120} {
		jobs[i].provider = time.Duration(ms) * time.Millisecond
		jobs[i].publish = jobs[i].provider + 40*time.Millisecond
	}
	jobs[9].ahead = -40 * time.Millisecond
	jobs[11].code = capsign.ProviderTimeout
	tokens := repeat(1500, job{
		n: 5000, class: capsign.ClassToken, pool: "hsm", queued: 20 * time.Millisecond, session: 30 * time.Millisecond,
		provider: 45 * time.Millisecond, verify: 200 * time.Microsecond, audit: 200 * time.Microsecond, store: 3 * time.Millisecond, publish: 110 * time.Millisecond,
	})
	c := NewCheck(everything(), Options{})
	do(c, "w1", jobs...)
	do(c, "w2", tokens...)
	do(c, "w3", repeat(40, job{n: 9000, class: capsign.ClassCloud, provider: 80 * time.Millisecond, publish: 95 * time.Millisecond})...)
	c.Metrics(counted("w1", cumulative, capsign.ClassSoftware, 2000, 0, minute))
	c.Metrics(counted("w2", cumulative, capsign.ClassToken, 1900, 0, minute))
	c.Metrics(counted("w3", cumulative, capsign.ClassCloud, 40, 0, minute))
	return c.Report()
}

func TestTextFitsATerminal(t *testing.T) {
	text := busy().Text()
	for line := range strings.Lines(text) {
		if utf8.RuneCountInString(line) > 81 && !strings.Contains(line, ": ") {
			t.Errorf("%d columns: %s", utf8.RuneCountInString(line), line)
		}
	}
	for _, want := range []string{
		"sign software", "≤ 50.0 ms", "exceeded: p95 is 75.0 ms, and 50.0 ms is allowed", "SESSION", "provider_timeout",
		"note: clocks differ by 38.0 ms at least", "40 samples, and 1000 are needed", "not seen: sign chip, express chip", "79 %",
	} {
		if !strings.Contains(strings.ReplaceAll(text, "session wait", "SESSION"), want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}

func TestJSONHasItAll(t *testing.T) {
	data, err := json.Marshal(busy())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"verdict":"exceeded"`, `"trace_id":"`, `"p95_limit":0.05`, `"clock_skew":{`, `"coverage":0.789`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("no %s in %s", want, data)
		}
	}
}

func TestJUnitIsWellFormedAndCounts(t *testing.T) {
	data, err := busy().JUnit()
	if err != nil {
		t.Fatal(err)
	}
	var suites junitSuites
	if err := xml.Unmarshal(data, &suites); err != nil {
		t.Fatal(err)
	}
	s := suites.Suites[0]
	if s.Tests != 8 || s.Failures != 2 || s.Errors != 2 || s.Skipped != 2 || len(s.Cases) != 8 {
		t.Errorf("%+v", s)
	}
	if nothing, err := NewCheck(everything(), Options{}).Report().JUnit(); err != nil || !strings.Contains(string(nothing), `errors="1"`) {
		t.Errorf("of nothing: %v\n%s", err, nothing)
	}
}

// outside is what would make a browser ask for something.
var outside = regexp.MustCompile(`(?i)https?:|//[a-z]|<script|<link|<img|src=|url\(|@import`)

func TestThePageOpensOffline(t *testing.T) {
	data, err := busy().HTML()
	if err != nil {
		t.Fatal(err)
	}
	if found := outside.Find(data); found != nil {
		t.Errorf("it refers to %s", found)
	}
	decoder := xml.NewDecoder(strings.NewReader(string(data)))
	decoder.Strict, decoder.AutoClose, decoder.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	for {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"Latency budgets: exceeded", "session wait", "provider_timeout", "prefers-color-scheme: dark"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(string(data), "ZgotmplZ") {
		t.Error("the template refuses a value")
	}
	if dir := os.Getenv("CAP_TEST_REPORT"); dir != "" { // to look at it
		if err := os.WriteFile(filepath.Join(dir, "latency.html"), data, 0o600); err != nil {
			t.Error(err)
		}
	}
}

// A pool's name comes from whoever sends spans.
func TestNamesFromOutsideDoNoHarm(t *testing.T) {
	evil := "<script>alert(1)</script>\x1b[31m\x00\xff"
	r := judged(everything(), repeat(1000, job{pool: evil, provider: time.Second})...)
	page, err := r.HTML()
	if err != nil || strings.Contains(string(page), "<script") {
		t.Errorf("the page runs it: %v", err)
	}
	unit, err := r.JUnit()
	if err != nil || xml.Unmarshal(unit, new(junitSuites)) != nil {
		t.Errorf("the XML is broken: %v", err)
	}
	if text := r.Text(); strings.ContainsAny(text, "\x1b\x00") {
		t.Errorf("the terminal gets it: %q", text)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}
