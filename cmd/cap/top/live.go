package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/fleet"
)

// Live is a view that goes on.
type Live struct {
	// In and Out are the terminal.
	In  io.Reader
	Out io.Writer
	// Look looks at the fleet. Its errors wrap one capsign.Code and are shown.
	Look func(context.Context) (fleet.Sight, error)
	// Interval is the time from one look to the next.
	Interval time.Duration
	// Broker and Resume are those of each Frame.
	Broker string
	Resume func(fleet.Pool) string
}

// Run shows the fleet until the person has enough or ctx ends, and leaves the
// terminal as it was.
func (l Live) Run(ctx context.Context) error {
	program := tea.NewProgram(l.screen(ctx), tea.WithContext(ctx), tea.WithInput(l.In), tea.WithOutput(l.Out), tea.WithoutSignalHandler())
	_, err := program.Run()
	if err != nil && !errors.Is(err, tea.ErrProgramKilled) && !errors.Is(err, tea.ErrInterrupted) || errors.Is(err, tea.ErrProgramPanic) {
		return fmt.Errorf("top: %w", capsign.Internal)
	}
	return nil
}

// screen is what the terminal shows now; it is a tea.Model.
type screen struct {
	frame         Frame
	interval      time.Duration
	look          func() (fleet.Sight, error)
	glyphs        glyphs
	colour        bool
	width, height int
	top           int // the first line of the body that is shown
}

// screen returns the screen before anything was seen. What it looks at, it looks
// at until ctx ends.
func (l Live) screen(ctx context.Context) screen {
	return screen{
		frame: Frame{Broker: l.Broker, Resume: l.Resume, Now: time.Now()}, interval: l.Interval,
		look:   func() (fleet.Sight, error) { return l.Look(ctx) },
		glyphs: localGlyphs(), colour: os.Getenv("NO_COLOR") == "",
	}
}

// Messages of the screen to itself.
type (
	// seen is the outcome of a look.
	seen struct {
		sight fleet.Sight
		err   error
		began time.Time
	}
	// due says that it is time to look again.
	due struct{}
)

// Init begins to look.
func (s screen) Init() tea.Cmd { return s.lookNow }

// lookNow looks once.
func (s screen) lookNow() tea.Msg {
	began := time.Now()
	sight, err := s.look()
	return seen{sight, err, began}
}

// Update takes what happened into the screen.
func (s screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		s.width, s.height = msg.Width, msg.Height
		return s.scroll(0), nil
	case tea.KeyPressMsg:
		return s.press(msg.String())
	case due:
		return s, s.lookNow
	case seen:
		s.frame.Now, s.frame.Fault = time.Now(), ""
		if msg.err != nil {
			s.frame.Fault = capsign.CodeOf(msg.err)
		} else {
			s.frame.Sight = msg.sight
		}
		wait := max(s.interval-time.Since(msg.began), 0)
		return s.scroll(0), tea.Tick(wait, func(time.Time) tea.Msg { return due{} })
	}
	return s, nil
}

// press obeys a key.
func (s screen) press(key string) (tea.Model, tea.Cmd) {
	page := max(s.room()-1, 1)
	switch key {
	case "q", "esc", "ctrl+c":
		return s, tea.Quit
	case "up", "k":
		return s.scroll(-1), nil
	case "down", "j":
		return s.scroll(1), nil
	case "pgup", "b":
		return s.scroll(-page), nil
	case "pgdown", "space":
		return s.scroll(page), nil
	case "home", "g":
		return s.scroll(-s.top), nil
	case "end", "G":
		return s.scroll(len(s.body())), nil
	}
	return s, nil
}

// body returns the lines that are scrolled.
func (s screen) body() []line { return s.frame.body(s.width, s.glyphs) }

// room returns how many of them there is room for.
func (s screen) room() int { return max(s.height-len(s.frame.head(s.glyphs))-1, 0) }

// scroll moves by so many lines, as far as there are some.
func (s screen) scroll(by int) screen {
	s.top = max(min(s.top+by, len(s.body())-s.room()), 0)
	return s
}

// View draws the screen.
func (s screen) View() tea.View {
	view := tea.NewView(s.text())
	view.AltScreen = true
	return view
}

// text is the whole screen.
func (s screen) text() string {
	if s.width == 0 || s.height == 0 {
		return ""
	}
	body := s.body()
	shown := body[s.top:min(s.top+s.room(), len(body))]
	lines := append(s.frame.head(s.glyphs), shown...)
	for len(lines) < s.height-1 {
		lines = append(lines, nil)
	}
	lines = append(lines, s.foot(len(body)))
	lines = lines[:min(len(lines), s.height)]
	rows := make([]string, len(lines))
	for i, l := range lines {
		rows[i] = l.render(s.width, s.colour, s.glyphs)
	}
	return strings.Join(rows, "\n")
}

// foot is the last line, which says what the keys do.
func (s screen) foot(lines int) line {
	l := line{}.say(faint, "q quits")
	if lines > s.room() {
		l = l.say(faint, s.glyphs.dot+s.glyphs.keys+" scroll").
			say(plain, fmt.Sprintf("%s%d-%d of %d lines", s.glyphs.dot, s.top+1, min(s.top+s.room(), lines), lines))
	}
	return l
}
