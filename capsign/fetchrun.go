package capsign

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// LeftRun is a run that was left to the workers, as it is found on the broker.
type LeftRun struct {
	RunInfo

	nc  *nats.Conn
	err error
}

// FetchRun finds a run that [Run.Leave] has left, by its id and tenant; an empty
// tenant means [TenantLocal]. It wraps [RunUnknown] where the broker has none of
// that id, or no whole one, or [BrokerUnreachable].
func FetchRun(ctx context.Context, nc *nats.Conn, tenant, id string) (*LeftRun, error) {
	tenant = cmp.Or(tenant, TenantLocal)
	if CheckToken(tenant) != nil || CheckRequestID(id+".1") != nil {
		return nil, fmt.Errorf("capsign: fetch run: %w", RunUnknown)
	}
	body, err := readDirect(ctx, nc, RunsStream, RunSubject(tenant, id, runAbout))
	if err != nil {
		return nil, fmt.Errorf("capsign: fetch run: %w", err)
	}
	info, err := DecodeRunInfo(body)
	if body == nil || err != nil || info.ID != id || info.Tenant != tenant {
		return nil, fmt.Errorf("capsign: fetch run: %w", RunUnknown)
	}
	return &LeftRun{RunInfo: info, nc: nc}, nil
}

// Outcomes yields what became of each item, in their order: a signature, or the
// code that says why there is none. It waits for results that are not there yet,
// until their requests have expired or ctx ends; Err says then why not all were
// yielded.
//
// No signature has been held against a message, which nobody here has: a
// signature whose message the caller can make, as out of Ref and Digest, is to
// be verified before it is used, and one whose message it cannot is to be
// verified where the message is.
func (l *LeftRun) Outcomes(ctx context.Context) iter.Seq2[Signed, error] {
	return func(yield func(Signed, error) bool) {
		l.err = nil
		news := make(chan *nats.Msg, 64)
		sub, err := l.nc.ChanSubscribe(ResultSubject(l.Tenant, l.ID+".*"), news)
		if err != nil {
			l.err = fmt.Errorf("capsign: run: %w", BrokerUnreachable)
			return
		}
		defer sub.Unsubscribe() //nolint:errcheck // the connection may be closed
		for first := 0; first < l.Items; {
			part, res, err := l.part(ctx, first, news)
			if err != nil {
				l.err = err
				return
			}
			nth := 0
			for _, item := range part.Items {
				signed, err := outcomeOf(part, item, res, &nth)
				if !yield(signed, err) {
					return
				}
			}
			first += len(part.Items)
		}
	}
}

// Err returns why the last Outcomes ended before the items did, or nil.
func (l *LeftRun) Err() error { return l.err }

// outcomeOf returns what became of one item, given its part's result, of whose
// outcomes so many belong to the items before it.
func outcomeOf(part RunPart, item RunItem, res Result, nth *int) (Signed, error) {
	signed := Signed{Ref: item.Ref, Digest: item.SHA256}
	code := item.Code
	if code == "" {
		signed.RequestID = res.ID
		if code = res.Code; code == "" {
			outcome := res.Outcomes[*nth]
			code, signed.Signature = outcome.Code, Signature{KID: res.KID, Alg: res.Alg, Bytes: outcome.Signature}
		}
		*nth++
	}
	if code != "" {
		signed.Signature = Signature{}
		return signed, fmt.Errorf("capsign: request %d: %w", part.N, code)
	}
	return signed, nil
}

// part returns the part of the list that begins with an item, and its result.
func (l *LeftRun) part(ctx context.Context, first int, news <-chan *nats.Msg) (RunPart, Result, error) {
	body, err := readDirect(ctx, l.nc, RunsStream, RunSubject(l.Tenant, l.ID, strconv.Itoa(first)))
	if err != nil {
		return RunPart{}, Result{}, fmt.Errorf("capsign: run: %w", err)
	}
	part, err := DecodeRunPart(body)
	if body == nil || err != nil || part.ID != l.ID || part.First != first || first+len(part.Items) > l.Items {
		return RunPart{}, Result{}, fmt.Errorf("capsign: run: list: %w", RunUnknown)
	}
	if part.N == 0 {
		return part, Result{}, nil
	}
	res, err := l.result(ctx, part, news)
	return part, res, err
}

// result waits for the result of a part. One that does not come before the
// request has expired is a refusal.
func (l *LeftRun) result(ctx context.Context, part RunPart, news <-chan *nats.Msg) (Result, error) {
	cl := &call{id: RequestID(l.ID, part.N), items: part.sent(), sum: part.BodySHA256}
	beat := time.NewTicker(recheck)
	defer beat.Stop()
	for {
		late := time.Now().After(part.Expires.Add(clockMargin))
		body, err := readDirect(ctx, l.nc, ResultsStream, StoreSubject(l.Tenant, cl.id))
		switch {
		case err != nil && ctx.Err() == nil:
			return Result{}, cl.fail(CodeOf(err))
		case body != nil:
			return cl.accept(body)
		case late:
			return Result{ID: cl.id, Code: RequestExpired}, nil
		}
		select {
		case <-ctx.Done():
			return Result{}, fmt.Errorf("%w (%w)", cl.fail(ResultTimeout), context.Cause(ctx))
		case <-news:
		case <-beat.C:
		}
	}
}

// readDirect returns the last message on a subject of a stream, or nil where
// there is none.
func readDirect(ctx context.Context, nc *nats.Conn, stream, subject string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*lastLook)
	defer cancel()
	msg, err := nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+stream+"."+subject, nil)
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, nil // no such stream
	}
	if err != nil {
		return nil, BrokerUnreachable
	}
	switch status := msg.Header.Get("Status"); cmp.Or(status, "200") {
	case "200":
		return msg.Data, nil
	case "404":
		return nil, nil
	}
	return nil, QueueUnavailable
}

// maxRuns is the most runs that FetchRuns returns.
const maxRuns = 1000

// FetchRuns returns the runs of a tenant that were left to the workers and that
// the broker still knows, a thousand of them at most, in no order. An empty
// tenant means [TenantLocal].
func FetchRuns(ctx context.Context, nc *nats.Conn, tenant string) ([]RunInfo, error) {
	tenant = cmp.Or(tenant, TenantLocal)
	js, err := jetstream.New(nc)
	if err != nil || CheckToken(tenant) != nil {
		return nil, fmt.Errorf("capsign: fetch runs: %w", BadRequest)
	}
	stream, err := js.Stream(ctx, RunsStream)
	if err != nil {
		return nil, fmt.Errorf("capsign: fetch runs: %w", brokerFault(err))
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(RunSubject(tenant, "*", runAbout)))
	if err != nil {
		return nil, fmt.Errorf("capsign: fetch runs: %w", BrokerUnreachable)
	}
	var runs []RunInfo
	for subject := range info.State.Subjects {
		if len(runs) == maxRuns {
			break
		}
		tokens := strings.Split(subject, ".")
		run, err := FetchRun(ctx, nc, tenant, tokens[len(tokens)-2])
		switch {
		case err == nil:
			runs = append(runs, run.RunInfo)
		case CodeOf(err) != RunUnknown:
			return nil, err
		}
	}
	return runs, nil
}
