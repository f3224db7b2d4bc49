package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/deadletter"
)

// deadShowCommand returns "cap dead show".
func (a *app) deadShowCommand() *cobra.Command {
	var p pick
	var out string
	cmd := &cobra.Command{
		Use:   "show SEQ",
		Short: "Show a dead letter",
		Long: "show shows what was asked for, without the messages themselves: of each item its\n" +
			"size and SHA-256. --out writes the request's body, messages included.",
		Example: "  cap dead show 17\n  cap dead show 17 --out request.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return misuse("Unexpected argument %q.", args[1])
			}
			return p.command(a, func(ctx context.Context) error { return a.deadShow(ctx, &p, out) })(cmd, args)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write the body to `FILE`; - is stdout")
	return cmd
}

// shownLetter is what "cap dead show --json" prints.
type shownLetter struct {
	letterSummary
	// Subject and SHA256 are those of the message as it was queued.
	Subject string `json:"subject,omitzero"`
	SHA256  string `json:"sha256,omitzero"`
	// BodyCode says why the body cannot be asked for again; what follows is then
	// missing.
	BodyCode capsign.Code   `json:"body_code,omitzero"`
	Expired  time.Time      `json:"exp,omitzero"`
	KID      string         `json:"kid,omitzero"`
	Messages []shownMessage `json:"messages,omitzero"`
}

// shownMessage is an item without its content.
type shownMessage struct {
	Size   int    `json:"size"`
	SHA256 string `json:"sha256"`
}

// deadShow shows a letter, or writes its body.
func (a *app) deadShow(ctx context.Context, p *pick, out string) error {
	if err := a.checkOutput(out); err != nil {
		return err
	}
	return a.withBox(ctx, func(_ *nats.Conn, box *deadletter.Box) error {
		entry, body, err := p.get(ctx, a, box, p.seqs[0])
		if err != nil {
			return err
		}
		if out != "" {
			if err := a.write(ctx, out, body); err != nil || !a.flags.json {
				return err
			}
		}
		shown := describeLetter(entry, body)
		if a.flags.json {
			return a.printJSON(shown)
		}
		return a.print([]byte(shown.text()))
	})
}

// describeLetter returns what there is to show of a letter.
func describeLetter(e deadletter.Entry, body []byte) shownLetter {
	shown := shownLetter{letterSummary: summarizeLetter(e)}
	if e.Fault != nil {
		return shown
	}
	shown.Subject, shown.SHA256 = printable(e.Letter.Subject), e.Letter.SHA256
	req, err := e.Letter.Request(body)
	if err != nil {
		shown.BodyCode = capsign.CodeOf(err)
		return shown
	}
	shown.Expired, shown.KID = req.Expires, req.KID
	for _, item := range req.Items {
		shown.Messages = append(shown.Messages, shownMessage{len(item), capsign.BodySHA256(item)})
	}
	return shown
}

// text lays the letter out for a terminal of 80 columns.
func (s shownLetter) text() string {
	var page strings.Builder
	line(&page, "letter", fmt.Sprint(s.Seq))
	line(&page, "pool", s.Pool)
	line(&page, "given up", s.At.Format(time.RFC3339))
	if s.Unreadable != "" {
		line(&page, "unreadable", string(s.Unreadable)+": no worker wrote it")
		return page.String()
	}
	line(&page, "code", string(s.Code))
	line(&page, "", s.Code.Sentence())
	line(&page, "deliveries", fmt.Sprint(s.Deliveries))
	line(&page, "subject", s.Subject)
	if s.RequestID != "" {
		line(&page, "request id", s.RequestID)
	}
	line(&page, "body", counted(s.Size, "byte", "bytes"))
	line(&page, "sha-256", s.SHA256)
	if s.BodyCode != "" {
		line(&page, "no request", string(s.BodyCode))
		return page.String()
	}
	line(&page, "expired", s.Expired.Format(time.RFC3339))
	if s.KID != "" {
		line(&page, "kid", s.KID)
	}
	for i, m := range s.Messages {
		line(&page, fmt.Sprintf("item %d", i), counted(m.Size, "byte", "bytes"))
		line(&page, "", m.SHA256)
	}
	return page.String()
}
