package queue_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
)

// memoryJournal is a run's journal as a test keeps it. dies, unless 0, is the
// number of the entry that is the process's last act.
type memoryJournal struct {
	entries []capsign.Entry
	dies    int
}

// errDied is what a process meets that ends.
var errDied = fmt.Errorf("the process ends here: %w", capsign.Internal)

// Append keeps an entry.
func (j *memoryJournal) Append(entry capsign.Entry) error {
	j.entries = append(j.entries, entry)
	if len(j.entries) == j.dies {
		return errDied
	}
	return nil
}

// Entries yields what was kept.
func (j *memoryJournal) Entries() iter.Seq2[capsign.Entry, error] {
	return func(yield func(capsign.Entry, error) bool) {
		for _, entry := range j.entries {
			if !yield(entry, nil) {
				return
			}
		}
	}
}

// artifacts are a run's messages, which may change between its parts.
type artifacts [][]byte

// newArtifacts returns n different messages.
func newArtifacts(n int) artifacts {
	all := make(artifacts, n)
	for i := range all {
		all[i] = fmt.Appendf(nil, "artifact %d", i)
	}
	return all
}

// from yields the items from an index on.
func (a artifacts) from(first int) iter.Seq[capsign.Item] {
	return func(yield func(capsign.Item) bool) {
		for i, msg := range a[first:] {
			if !yield(capsign.Item{Ref: fmt.Sprint(first + i), Message: msg}) {
				return
			}
		}
	}
}

// ledger is what a run's publisher keeps.
type ledger struct {
	id      string
	journal memoryJournal
	signed  []capsign.Signed
	errs    []error
}

// sign has the artifacts signed by a process of its own, which takes up the run
// where it was and ends after so many outcomes. It returns what Err says.
func (l *ledger) sign(t testing.TB, p *pool, cfg capsign.ClientConfig, all artifacts, outcomes int) error {
	t.Helper()
	run, err := p.client(t, cfg).NewRun(l.id, &l.journal)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	for signed, err := range run.Sign(t.Context(), len(l.signed), all.from) {
		if want := fmt.Sprint(len(l.signed)); signed.Ref != want {
			t.Fatalf("outcome %s is of item %s", want, signed.Ref)
		}
		l.signed, l.errs = append(l.signed, signed), append(l.errs, err)
		if outcomes--; outcomes == 0 {
			return nil
		}
	}
	return run.Err()
}

// check holds the outcomes against the artifacts.
func (l *ledger) check(t testing.TB, p *pool, all artifacts) {
	t.Helper()
	if len(l.signed) != len(all) {
		t.Fatalf("%d outcomes of %d artifacts", len(l.signed), len(all))
	}
	for i, msg := range all {
		if l.errs[i] != nil || p.signer.key.Verify(msg, l.signed[i].Bytes) != nil {
			t.Errorf("artifact %d: %v", i, l.errs[i])
		}
	}
}

// mustHave says how many signatures were made and results stored.
func (p *pool) mustHave(t testing.TB, signatures, results int) {
	t.Helper()
	if n := p.signer.signed.Load(); n != int64(signatures) {
		t.Errorf("%d signatures were made, want %d", n, signatures)
	}
	if n := p.messages(t, capsign.ResultsStream); n != uint64(results) {
		t.Errorf("%d results are stored, want %d", n, results)
	}
}

func TestRunIsTakenUpWithoutASecondSignature(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newPool(t)
		all := newArtifacts(3000)
		l := ledger{id: capsign.NewClientID()}
		for _, outcomes := range []int{1, 250, 1000, 0} {
			if err := l.sign(t, p, capsign.ClientConfig{Window: 4}, all, outcomes); err != nil {
				t.Fatal(err)
			}
			eventually(t, "what is in flight is signed", func() bool { return p.waiting(t) == 0 })
		}
		l.check(t, p, all)
		p.mustHave(t, len(all), len(l.journal.entries))
	})
}

func TestRunThatDiesBeforePublishingIsTakenUp(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newPool(t)
		all := newArtifacts(500)
		l := ledger{id: capsign.NewClientID(), journal: memoryJournal{dies: 3}}
		if err := l.sign(t, p, capsign.ClientConfig{Window: 1}, all, 0); !errors.Is(err, errDied) {
			t.Fatalf("ended with %v", err)
		}
		if err := l.sign(t, p, capsign.ClientConfig{}, all, 0); err != nil {
			t.Fatal(err)
		}
		l.check(t, p, all)
		p.mustHave(t, len(all), len(l.journal.entries))
	})
}

func TestRunWhoseOutcomesWereLostGivesTheSameBytes(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newPool(t)
		all := newArtifacts(300)
		first := ledger{id: capsign.NewClientID()}
		if err := first.sign(t, p, capsign.ClientConfig{}, all, 0); err != nil {
			t.Fatal(err)
		}
		second := ledger{id: first.id, journal: first.journal}
		if err := second.sign(t, p, capsign.ClientConfig{}, all, 0); err != nil {
			t.Fatal(err)
		}
		second.check(t, p, all)
		for i := range all {
			if first.signed[i].RequestID != second.signed[i].RequestID || !bytes.Equal(first.signed[i].Bytes, second.signed[i].Bytes) {
				t.Fatalf("artifact %d: another signature the second time", i)
			}
		}
		p.mustHave(t, len(all), len(first.journal.entries))
	})
}

func TestChangedArtifactIsSaidToBeSo(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newPool(t)
		all := newArtifacts(64)
		l := ledger{id: capsign.NewClientID()}
		if err := l.sign(t, p, capsign.ClientConfig{Pack: 32, Window: 2}, all, 10); err != nil {
			t.Fatal(err)
		}
		eventually(t, "what is in flight is signed", func() bool { return p.waiting(t) == 0 })
		all[20] = []byte("something else")
		if err := l.sign(t, p, capsign.ClientConfig{Pack: 32}, all, 0); err != nil {
			t.Fatal(err)
		}
		for i, err := range l.errs {
			switch {
			case i == 20 && (!errors.Is(err, capsign.ArtifactChanged) || l.signed[i].Bytes != nil):
				t.Errorf("the changed artifact: %v", err)
			case i != 20 && (err != nil || p.signer.key.Verify(all[i], l.signed[i].Bytes) != nil):
				t.Errorf("artifact %d: %v", i, err)
			}
		}
		p.mustHave(t, 64, 2)
	})
}

func TestChangedArtifactBeforePublishingIsNeverSigned(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newPool(t)
		all := newArtifacts(16)
		l := ledger{id: capsign.NewClientID(), journal: memoryJournal{dies: 1}}
		if err := l.sign(t, p, capsign.ClientConfig{}, all, 0); !errors.Is(err, errDied) {
			t.Fatalf("ended with %v", err)
		}
		all[3] = []byte("something else")
		began := time.Now()
		if err := l.sign(t, p, capsign.ClientConfig{}, all, 0); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited < 15*time.Minute {
			t.Errorf("asked anew after %v, when the first request might yet have been signed", waited)
		}
		if !errors.Is(l.errs[3], capsign.ArtifactChanged) {
			t.Errorf("the changed artifact: %v", l.errs[3])
		}
		p.mustHave(t, 15, 1)
	})
}

func TestExpiredRequestIsAskedAnewUnderAnotherNumber(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		stop(t, p.startWorker(t))
		all := newArtifacts(40)
		l := ledger{id: capsign.NewClientID()}
		cfg := capsign.ClientConfig{Timeout: 5 * time.Second}
		if err := l.sign(t, p, cfg, all, 0); !errors.Is(err, capsign.ResultTimeout) {
			t.Fatalf("ended with %v, want %s", err, capsign.ResultTimeout)
		}
		asked := len(l.journal.entries)
		if err := p.purgeJobs(t); err != nil { // so that nobody says that they have expired
			t.Fatal(err)
		}
		p.startWorker(t)
		began := time.Now()
		if err := l.sign(t, p, cfg, all, 0); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited < 5*time.Second {
			t.Errorf("asked anew %v after the expiry, which clocks may differ by", waited)
		}
		l.check(t, p, all)
		if entries := l.journal.entries; len(entries) != 2*asked || entries[asked].N != uint64(asked)+1 {
			t.Errorf("%d entries after %d", len(entries), asked)
		}
		p.mustHave(t, len(all), asked)
	})
}

func TestRefusedRequestIsAskedAnew(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		stop(t, p.startWorker(t))
		all := newArtifacts(40)
		l := ledger{id: capsign.NewClientID()}
		cfg := capsign.ClientConfig{Timeout: 5 * time.Second}
		if err := l.sign(t, p, cfg, all, 0); !errors.Is(err, capsign.ResultTimeout) {
			t.Fatalf("ended with %v, want %s", err, capsign.ResultTimeout)
		}
		p.startWorker(t) // answers that they have expired
		eventually(t, "the expired requests are answered", func() bool { return p.waiting(t) == 0 })
		if err := l.sign(t, p, cfg, all, 0); err != nil {
			t.Fatal(err)
		}
		l.check(t, p, all)
		p.mustHave(t, len(all), len(l.journal.entries))
	})
}

// purgeJobs empties the pool's queue.
func (p *pool) purgeJobs(t testing.TB) error {
	t.Helper()
	stream, err := p.js.Stream(t.Context(), capsign.JobsStream("default"))
	if err != nil {
		return err
	}
	return stream.Purge(t.Context())
}

func TestPausedPoolEndsARunAndNotItsItems(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newPool(t)
		all := newArtifacts(400)
		l := ledger{id: capsign.NewClientID()}
		cfg := capsign.ClientConfig{Pack: 10, Window: 2}
		p.signer.before = func(_ context.Context, n int64, _ []byte) error {
			if n == 100 {
				p.putPool(t, capsign.PoolPaused, capsign.PausedByOperator)
			}
			return nil
		}
		if err := l.sign(t, p, cfg, all, 0); !errors.Is(err, capsign.PausedByOperator) {
			t.Fatalf("ended with %v", err)
		}
		if n := len(l.signed); n == 0 || n >= len(all) || slices.ContainsFunc(l.errs, func(err error) bool { return err != nil }) {
			t.Errorf("%d outcomes: %v", n, l.errs)
		}
		p.putPool(t, capsign.PoolReady, "")
		if err := l.sign(t, p, cfg, all, 0); err != nil {
			t.Fatal(err)
		}
		l.check(t, p, all)
	})
}

func TestItemsWithAFaultOfTheirOwn(t *testing.T) {
	p := newPool(t)
	all := artifacts{[]byte("one"), make([]byte, capsign.MaxMessageSize+1), nil, []byte("three")}
	items := func(from int) iter.Seq[capsign.Item] {
		return func(yield func(capsign.Item) bool) {
			i := from
			for item := range all.from(from) {
				if all[i] == nil {
					item.Err = fmt.Errorf("unreadable: %w", capsign.BadRequest)
				}
				if i++; !yield(item) {
					return
				}
			}
		}
	}
	client := p.client(t, capsign.ClientConfig{})
	run, err := client.NewRun(capsign.NewClientID(), new(memoryJournal))
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	for name, outcomes := range map[string]iter.Seq2[capsign.Signed, error]{
		"a run": run.Sign(t.Context(), 0, items), "all": client.SignAll(t.Context(), items(0)),
	} {
		var codes []capsign.Code
		for _, err := range outcomes {
			code, _ := errors.AsType[capsign.Code](err)
			codes = append(codes, code)
		}
		if want := []capsign.Code{"", capsign.TooLarge, capsign.BadRequest, ""}; !slices.Equal(codes, want) {
			t.Errorf("%s: codes %q, want %q", name, codes, want)
		}
	}
	if run.Err() != nil {
		t.Error(run.Err())
	}
}

func TestJournalThatIsNoRunsIsRefused(t *testing.T) {
	p := newPool(t)
	client := p.client(t, capsign.ClientConfig{})
	all := newArtifacts(100)
	l := ledger{id: capsign.NewClientID()}
	if err := l.sign(t, p, capsign.ClientConfig{Pack: 20}, all, 0); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*capsign.Entry){
		"no number":   func(e *capsign.Entry) { e.N = 0 },
		"no items":    func(e *capsign.Entry) { e.Digests = make([][]byte, 20) },
		"no digest":   func(e *capsign.Entry) { e.Digests[1] = []byte("short") },
		"before all":  func(e *capsign.Entry) { e.First = -1 },
		"overlapping": func(e *capsign.Entry) { e.First = 10 },
		"longer":      func(e *capsign.Entry) { e.First = 0; e.Digests = e.Digests[:19] },
		"no hash":     func(e *capsign.Entry) { e.BodySHA256 = "00" },
		"another kid": func(e *capsign.Entry) { e.KID = p.signer.key.KID },
	} {
		t.Run(name, func(t *testing.T) {
			journal := memoryJournal{entries: slices.Clone(l.journal.entries)}
			// Several are under way at once, and enter in any order.
			slices.SortFunc(journal.entries, func(a, b capsign.Entry) int { return a.First - b.First })
			journal.entries[1].Digests = slices.Clone(journal.entries[1].Digests)
			spoil(&journal.entries[1])
			run, err := client.NewRun(l.id, &journal)
			if err != nil {
				t.Fatal(err)
			}
			defer run.Close()
			for signed, err := range run.Sign(t.Context(), 0, all.from) {
				if err != nil {
					t.Errorf("item %s: %v", signed.Ref, err)
				}
			}
			if !errors.Is(run.Err(), capsign.BadRequest) {
				t.Errorf("error %v, want %s", run.Err(), capsign.BadRequest)
			}
		})
	}
	if _, err := client.NewRun("short", new(memoryJournal)); !errors.Is(err, capsign.BadRequest) {
		t.Errorf("an id that is none: %v", err)
	}
	p.mustHave(t, len(all), len(l.journal.entries))
}

// sizes notes how many items the requests have that are published.
func (p *pool) sizes(t testing.TB) func() []int {
	t.Helper()
	var mu sync.Mutex
	var seen []int
	sub, err := p.nc.Subscribe("cap.job.>", func(msg *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		if req, err := capsign.DecodeRequest(msg.Data); err == nil {
			seen = append(seen, len(req.Items))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	return func() []int {
		if err := p.nc.Flush(); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(seen)
	}
}

// signAll signs so many messages, which all must be signed.
func (p *pool) signAll(t testing.TB, cfg capsign.ClientConfig, n int) {
	t.Helper()
	for _, err := range p.client(t, cfg).SignAll(t.Context(), newArtifacts(n).from(0)) {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestRequestsGrowWithAFastPool(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newPool(t)
		sizes := p.sizes(t)
		p.signAll(t, capsign.ClientConfig{}, 20_000)
		if most := slices.Max(sizes()); most != capsign.MaxItems {
			t.Errorf("at most %d items in a request, want %d", most, capsign.MaxItems)
		}
	})
}

func TestRequestsFitASlowPool(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		p.config.Parallelism = 1
		p.signer.before = func(context.Context, int64, []byte) error { time.Sleep(2 * time.Millisecond); return nil }
		p.startWorker(t)
		sizes := p.sizes(t)
		began := time.Now()
		p.signAll(t, capsign.ClientConfig{}, 10_000)
		seen := sizes()
		if most := slices.Max(seen); most > 128 {
			t.Errorf("a request of %d items takes %v", most, time.Duration(most)*2*time.Millisecond)
		}
		if late := seen[len(seen)/2 : len(seen)-1]; slices.Min(late) < 8 || slices.Max(late) > 32 {
			t.Errorf("between %d and %d items in a request, want about 31: a second for sixteen", slices.Min(late), slices.Max(late))
		}
		if took := time.Since(began); took > 21*time.Second {
			t.Errorf("took %v, where the key alone takes 20 s", took)
		}
		p.mustHave(t, 10_000, len(seen))
	})
}

func TestPackStaysWhatItWasSetTo(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newPool(t)
		sizes := p.sizes(t)
		p.signAll(t, capsign.ClientConfig{Pack: 7}, 700)
		if seen := sizes(); slices.Min(seen) != 7 || slices.Max(seen) != 7 {
			t.Errorf("requests of %v items, want 7 each", seen)
		}
	})
}
