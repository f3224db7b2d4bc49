package cli

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/deadletter"
)

// deadCommand returns "cap dead".
func (a *app) deadCommand() *cobra.Command {
	dead := a.group("dead", "List, show, replay and drop what was given up")
	dead.AddCommand(a.deadListCommand(), a.deadShowCommand(), a.deadReplayCommand(), a.deadDropCommand())
	return dead
}

// deadListCommand returns "cap dead list".
func (a *app) deadListCommand() *cobra.Command {
	var code string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the dead letters",
		Long: "list shows the messages that were taken out of the queue without a signature:\n" +
			"requests that ran out of tries, and what is no request. The newest comes last.",
		Example: "  cap dead list --pool release --code retries_exhausted",
		Args:    noArgs,
		RunE:    a.steps(func(ctx context.Context) error { return a.deadList(ctx, capsign.Code(code)) }),
	}
	cmd.Flags().StringVar(&code, "code", "", "list those that have `CODE` only")
	return cmd
}

// letterSummary is a dead letter as the commands show it.
type letterSummary struct {
	Seq  uint64 `json:"seq"`
	Pool string `json:"pool"`
	// At is when it was taken out of the queue.
	At time.Time `json:"at"`
	// Unreadable says what is wrong with a letter that no worker has written; all
	// that follows is then missing.
	Unreadable capsign.Code `json:"unreadable,omitzero"`
	Lane       capsign.Lane `json:"lane,omitzero"`
	Key        string       `json:"key,omitzero"`
	Code       capsign.Code `json:"code,omitzero"`
	Deliveries int          `json:"deliveries,omitzero"`
	Items      int          `json:"items,omitzero"`
	Size       int          `json:"size,omitzero"`
	RequestID  string       `json:"request_id,omitzero"`
}

// summarizeLetter returns a letter as the commands show it.
func summarizeLetter(e deadletter.Entry) letterSummary {
	s := letterSummary{Seq: e.Seq, Pool: cut(printable(e.Pool), maxShown), At: e.Stored}
	if e.Fault != nil {
		s.Unreadable = capsign.CodeOf(e.Fault)
		return s
	}
	l := e.Letter
	s.At, s.Lane, s.Key = l.At, l.Lane(), printable(l.Key())
	s.Code, s.Deliveries, s.Items, s.Size, s.RequestID = l.Code, l.Deliveries, l.Items, l.Size, l.ID
	return s
}

// write writes a letter's two lines.
func (s letterSummary) write(page *strings.Builder) {
	where := s.Pool
	if s.Lane != "" {
		where += "/" + string(s.Lane) + "/" + s.Key
	}
	fmt.Fprintf(page, "%-8d %s  %s\n", s.Seq, s.At.Format(time.RFC3339), cut(where, 48))
	if s.Unreadable != "" {
		fmt.Fprintf(page, "         unreadable (%s): no worker wrote it\n", s.Unreadable)
		return
	}
	what := fmt.Sprintf("%s, %s, %s%s", s.Code, counted(s.Deliveries, "delivery", "deliveries"), s.content(), s.named())
	fmt.Fprintf(page, "         %s\n", cut(what, 71))
}

// content says what the letter holds.
func (s letterSummary) content() string {
	if s.Items == 0 {
		return "no request"
	}
	return counted(s.Items, "item", "items")
}

// named returns the request's id, where it has one.
func (s letterSummary) named() string {
	if s.RequestID == "" {
		return ""
	}
	return ", " + cut(s.RequestID, 25)
}

// counted returns a number of things.
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// deadList lists letters, as they come.
func (a *app) deadList(ctx context.Context, code capsign.Code) error {
	if err := checkCode(code); err != nil {
		return err
	}
	return a.withBox(ctx, func(_ *nats.Conn, box *deadletter.Box) error {
		out := a.newListing("letters")
		for entry, err := range chosen(box.Letters(ctx, a.flags.pool), code) {
			if err != nil {
				return out.fail(err)
			}
			if err := out.letter(summarizeLetter(entry)); err != nil {
				return err
			}
		}
		return out.end()
	})
}

// chosen yields the letters that have a code; all, where it is "".
func chosen(letters iter.Seq2[deadletter.Entry, error], code capsign.Code) iter.Seq2[deadletter.Entry, error] {
	return func(yield func(deadletter.Entry, error) bool) {
		for entry, err := range letters {
			if (err != nil || code == "" || entry.Letter.Code == code) && !yield(entry, err) {
				return
			}
		}
	}
}

// checkCode refuses a code that no letter can have.
func checkCode(code capsign.Code) error {
	if code != "" && !code.Known() {
		return &fault{
			code: capsign.BadRequest, sentence: fmt.Sprintf("There is no code %q.", string(code)),
			hint: "'cap dead list' shows which the letters have; 'cap help exit-status' lists all.",
		}
	}
	return nil
}

// withBox calls do with the broker's dead letters. A pool that is named must be
// one.
func (a *app) withBox(ctx context.Context, do func(nc *nats.Conn, box *deadletter.Box) error) error {
	nc, box, err := a.openBox(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	return do(nc, box)
}

// openBox connects and finds the box.
func (a *app) openBox(ctx context.Context) (*nats.Conn, *deadletter.Box, error) {
	ctx, cancel := context.WithTimeout(ctx, a.flags.timeout)
	defer cancel()
	nc, err := a.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	if a.flags.pool != "" {
		if err = a.knowsPool(ctx, nc); err != nil {
			nc.Close()
			return nil, nil, err
		}
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, nil, capsign.Internal
	}
	box, err := deadletter.Open(ctx, js)
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return nc, box, nil
}

// knowsPool refuses a --pool that the broker does not know.
func (a *app) knowsPool(ctx context.Context, nc *nats.Conn) error {
	pools, err := capsign.FetchPools(ctx, nc)
	if err != nil {
		return err
	}
	if _, known := pools[a.flags.pool]; !known {
		return capsign.PoolUnknown
	}
	return nil
}

// steps returns a RunE like bounded, whose run bounds each of its steps with
// --timeout: how many there are is not known.
func (a *app) steps(run func(ctx context.Context) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		if a.flags.timeout <= 0 {
			return misuse("--timeout must be positive, as in --timeout %s.", defaultTimeout)
		}
		stop, err := startTelemetry(cmd.Context())
		if err != nil {
			return err
		}
		defer stop()
		return a.deny.explain(coded(run(cmd.Context())))
	}
}
