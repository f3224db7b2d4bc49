package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/latency"
	"github.com/capsign/cap/internal/latency/otlp"
)

// readTraces gives files to a check.
func (a *app) readTraces(ctx context.Context, files []string, check *latency.Check) error {
	for _, path := range files {
		_, err := await(ctx, func() (struct{}, error) { return struct{}{}, a.readTrace(path, check) })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if wrong, ok := errors.AsType[*otlp.LineError](err); ok {
			return &fault{
				code:     capsign.BadRequest,
				sentence: fmt.Sprintf("%q, line %d: %s.", path, wrong.Line, wrong.Problem),
				hint:     "it is to be what the collector's file exporter writes in its format json.",
			}
		}
		if err != nil {
			return &fault{code: capsign.BadRequest, sentence: fmt.Sprintf("%q cannot be read: %s.", path, reason(err))}
		}
	}
	return nil
}

// readTrace gives one file, or stdin, to a check.
func (a *app) readTrace(path string, check *latency.Check) error {
	from := a.stdin
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		from = file
	}
	if err := otlp.Read(from, check); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// receiveTraces listens and gives what arrives to a check, until it is time. An
// interrupt is one way to say so, not a failure.
func (a *app) receiveTraces(ctx context.Context, t tracing, check *latency.Check) error {
	if t.grpc == "" && t.http == "" {
		t.grpc, t.http = defaultGRPC, defaultHTTP
	}
	feed := arrivals{Check: check, spans: make(chan struct{}, 1)}
	receiver, err := otlp.Listen(ctx, t.grpc, t.http, feed)
	if err != nil {
		text, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "otlp: "), ": "+string(capsign.BadRequest))
		return &fault{code: capsign.BadRequest, sentence: "Cannot " + text + "."}
	}
	defer receiver.Stop() //nolint:contextcheck // it stops whatever ctx says
	for _, at := range []struct{ protocol, address string }{{"grpc", receiver.GRPC()}, {"http", receiver.HTTP()}} {
		if at.address != "" {
			fmt.Fprintf(a.stderr, "listening for OTLP over %s at %s\n", at.protocol, at.address)
		}
	}
	feed.wait(ctx, t.lasts, t.idle)
	return nil
}

// arrivals is a check that tells when spans arrive.
type arrivals struct {
	*latency.Check
	spans chan struct{}
}

// Spans takes spans.
func (a arrivals) Spans(export []*tracepb.ResourceSpans) {
	a.Check.Spans(export)
	select {
	case a.spans <- struct{}{}:
	default: // it is known already
	}
}

// wait returns after lasts, or when spans had arrived and for idle none did, or
// when ctx ends; zero means that it is not for that.
func (a arrivals) wait(ctx context.Context, lasts, idle time.Duration) {
	var over, quiet <-chan time.Time
	if lasts > 0 {
		over = time.After(lasts)
	}
	for {
		select {
		case <-a.spans:
			if idle > 0 {
				quiet = time.After(idle)
			}
		case <-over:
			return
		case <-quiet:
			return
		case <-ctx.Done():
			return
		}
	}
}

// write writes the report to the files that were asked for.
func (t tracing) write(report latency.Report) error {
	for _, file := range []struct {
		flag, path string
		make       func() ([]byte, error)
	}{
		{"--json-file", t.jsonFile, func() ([]byte, error) {
			return json.Marshal(report, json.Deterministic(true), jsontext.WithIndent("  "))
		}},
		{"--junit", t.junit, report.JUnit},
		{"--html", t.web, report.HTML},
	} {
		if file.path == "" {
			continue
		}
		data, err := file.make()
		if err != nil {
			return err
		}
		if err := writeFile(file.path, data); err != nil {
			return &fault{code: capsign.BadRequest, sentence: fmt.Sprintf("%s %q cannot be written: %s.", file.flag, file.path, reason(err))}
		}
	}
	return nil
}
