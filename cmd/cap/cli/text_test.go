package cli

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
)

func TestEveryFaultOfAProviderHasItsRemedy(t *testing.T) {
	for _, code := range capsign.Codes() {
		fate := code.Fate()
		if (fate == capsign.FateHeld || fate == capsign.FateLatched) && (mending[code] == "" || hints[code] == "") {
			t.Errorf("%s: operators are told %q, publishers %q", code, mending[code], hints[code])
		}
	}
}

func TestEveryClassHasItsBudget(t *testing.T) {
	for _, class := range []capsign.Class{capsign.ClassSoftware, capsign.ClassToken, capsign.ClassChip, capsign.ClassCloud} {
		if budgetNotes[class] == "" {
			t.Errorf("%s: no budget", class)
		}
	}
}

func TestTheWorstCodeIsTheOneThatNeedsAPersonMost(t *testing.T) {
	tests := map[capsign.Code][]capsign.Code{
		"":                      {"", ""},
		capsign.KIDUnknown:      {"", capsign.KIDUnknown, capsign.Internal},
		capsign.Throttled:       {capsign.Internal, capsign.Throttled, capsign.ProviderTimeout},
		capsign.KeyDisabled:     {capsign.Throttled, capsign.KeyDisabled, capsign.PINIncorrect},
		capsign.Integrity:       {capsign.PINIncorrect, "", capsign.Integrity, capsign.Throttled},
		capsign.ProviderTimeout: {capsign.ProviderTimeout, capsign.KIDUnknown},
	}
	for want, codes := range tests {
		if got := worst(codes); got != want {
			t.Errorf("worst of %v is %q, want %q", codes, got, want)
		}
	}
}

func TestWhoStartsAPoolAgain(t *testing.T) {
	for code, want := range map[capsign.Code]resumer{
		"": "", capsign.PINIncorrect: byOperator, capsign.PausedByOperator: byOperator, capsign.Integrity: byOperator,
		capsign.TokenAbsent: byItself, capsign.KeyDisabled: byItself, capsign.PassphraseIncorrect: byWorker,
	} {
		if got := resumerOf(code); got != want {
			t.Errorf("%s: %q, want %q", code, got, want)
		}
	}
}

func TestLinesKeepTo80Columns(t *testing.T) {
	for _, value := range []string{
		"", "short", strings.Repeat("x", 65), strings.Repeat("x", 66), strings.Repeat("x", 1000), strings.Repeat("word ", 40),
		strings.Repeat(" ", 300), strings.Repeat("漢", 500), "a " + strings.Repeat("漢", 60), strings.Repeat("\u0301", 200),
		strings.Repeat("x", 64) + " y", strings.Repeat("x", 65) + " y", "\x1b[2J" + strings.Repeat("\n", 100), "\xff\xfe",
	} {
		var page strings.Builder
		line(&page, "current kid", value)
		lines := strings.Split(strings.TrimSuffix(page.String(), "\n"), "\n")
		if len(lines) > 2*maxShown/valueColumns+2 {
			t.Errorf("%q: %d lines", value, len(lines))
		}
		for _, l := range lines {
			if width(l) > 80 || strings.ContainsAny(l, "\x1b\r") {
				t.Errorf("%q: %d columns: %q", value, width(l), l)
			}
		}
	}
}

func TestWrappingLosesNothing(t *testing.T) {
	text := strings.Repeat("some words and averylongonethatfitsnoline ", 5)
	if got := strings.ReplaceAll(strings.Join(wrap(text, 10), ""), " ", ""); got != strings.ReplaceAll(text, " ", "") {
		t.Errorf("%q", got)
	}
	if got, want := wrap("one two three", 7), []string{"one two", "three"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := wrap("漢字漢字漢字", 8), []string{"漢字漢字", "漢字"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q: these are two columns wide", got, want)
	}
}

func TestHowLongAgo(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "in the future", -time.Second: "now", 0: "now", time.Second: "1 s ago", 59 * time.Second: "59 s ago",
		time.Minute: "1 min ago", 59 * time.Minute: "59 min ago", time.Hour: "1 h ago", 47 * time.Hour: "47 h ago",
		48 * time.Hour: "2 days ago", 1<<63 - 1: "106751 days ago", -1 << 63: "in the future",
	} {
		if got := ago(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

func TestMillisecondsOfACanary(t *testing.T) {
	for seconds, want := range map[float64]string{
		0: "less than 0.1 ms", 0.00009: "less than 0.1 ms", 0.00012: "0.1 ms", 0.0099: "9.9 ms", 0.00996: "10 ms",
		0.15: "150 ms", maxSeconds: "9999000 ms",
	} {
		if got := milliseconds(seconds); got != want {
			t.Errorf("%g: %q, want %q", seconds, got, want)
		}
	}
}
