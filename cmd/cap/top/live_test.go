package top

import (
	"context"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/fleet"
)

// aScreen is a screen of 80 columns and so many lines on which a frame was seen.
func aScreen(t *testing.T, height int) screen {
	t.Helper()
	inLocale(t, "C.UTF-8")
	t.Setenv("NO_COLOR", "1")
	f := aFrame()
	s := Live{Interval: time.Second, Resume: f.Resume, Broker: f.Broker, Look: func(context.Context) (fleet.Sight, error) {
		return f.Sight, nil
	}}.screen(t.Context())
	s = after(t, s, tea.WindowSizeMsg{Width: 80, Height: height})
	return after(t, s, s.Init()())
}

// after is the screen that a message leaves.
func after(t *testing.T, s screen, msg tea.Msg) screen {
	t.Helper()
	model, _ := s.Update(msg)
	return model.(screen)
}

// press is the screen that a key leaves.
func press(t *testing.T, s screen, code rune) screen {
	t.Helper()
	return after(t, s, tea.KeyPressMsg{Code: code, Text: string(code)})
}

func TestScreenFitsTheTerminalHoweverItIsResized(t *testing.T) {
	s := aScreen(t, 24)
	for width := 1; width <= 160; width += 13 {
		for height := 1; height <= 60; height++ {
			s = after(t, s, tea.WindowSizeMsg{Width: width, Height: height})
			lines := strings.Split(s.text(), "\n")
			if len(lines) != min(height, max(height, 1)) && len(lines) > height {
				t.Fatalf("%dx%d: %d lines", width, height, len(lines))
			}
			for _, l := range lines {
				if utf8.RuneCountInString(l) > width {
					t.Fatalf("%dx%d: %q", width, height, l)
				}
			}
			s = press(t, s, 'G') // wherever it was scrolled to
		}
	}
}

func TestManyPoolsAreScrolled(t *testing.T) {
	s := aScreen(t, 10)
	if text := s.text(); !strings.Contains(text, "default  ready") || !strings.Contains(text, "1-7 of 18 lines") {
		t.Errorf("at the top:\n%s", text)
	}
	s = press(t, s, 'G')
	if text := s.text(); !strings.Contains(text, "signs with one") || !strings.Contains(text, "12-18 of 18 lines") {
		t.Errorf("at the end:\n%s", text)
	}
	if text := press(t, press(t, s, 'j'), 'k').text(); !strings.Contains(text, "11-17 of 18 lines") {
		t.Errorf("one up from the end:\n%s", text)
	}
	if s = press(t, s, 'g'); s.top != 0 {
		t.Errorf("line %d after g", s.top)
	}
}

func TestKeysThatQuit(t *testing.T) {
	for _, key := range []string{"q", "esc", "ctrl+c"} {
		_, cmd := aScreen(t, 24).press(key)
		if cmd == nil || cmd() != tea.Quit() {
			t.Errorf("%s does not quit", key)
		}
	}
	if _, cmd := aScreen(t, 24).press("x"); cmd != nil {
		t.Error("x does something")
	}
}

// TestBrokerThatGoesAwayIsShownAndComesBack keeps what was seen while nothing
// newer is.
func TestBrokerThatGoesAwayIsShownAndComesBack(t *testing.T) {
	s := aScreen(t, 24)
	gone := after(t, s, seen{err: capsign.BrokerUnreachable, began: time.Now()})
	if text := gone.text(); !strings.Contains(text, "NO ANSWER (broker_unreachable)") || !strings.Contains(text, "default  ready") {
		t.Errorf("while it is gone:\n%s", text)
	}
	back := after(t, gone, gone.lookNow())
	if text := back.text(); strings.Contains(text, "NO ANSWER") {
		t.Errorf("once it is back:\n%s", text)
	}
}

func TestColourAddsNothingButColour(t *testing.T) {
	s := aScreen(t, 24)
	bare := s.text()
	s.colour = true
	coloured := s.text()
	if !strings.Contains(coloured, "\x1b[32mready\x1b[0m") {
		t.Errorf("no colour in\n%q", coloured)
	}
	for _, tone := range []string{"0", "1", "2", "32", "33", "1;31"} {
		coloured = strings.ReplaceAll(coloured, "\x1b["+tone+"m", "")
	}
	for i, l := range strings.Split(coloured, "\n") {
		if strings.TrimRight(l, " ") != strings.Split(bare, "\n")[i] {
			t.Errorf("%q without its colour is %q", strings.Split(bare, "\n")[i], l)
		}
	}
}

// TestRunEndsWithItsContext draws on a pipe instead of a terminal.
func TestRunEndsWithItsContext(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	f := aFrame()
	err := Live{
		In: strings.NewReader(""), Out: new(strings.Builder), Interval: time.Hour, Resume: f.Resume,
		Look: func(context.Context) (fleet.Sight, error) { end(); return f.Sight, nil },
	}.Run(ctx)
	if err != nil {
		t.Error(err)
	}
}
