package queue_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
)

// leave leaves artifacts to the workers and returns the run's id.
func leave(t testing.TB, p *pool, cfg capsign.ClientConfig, all artifacts) string {
	t.Helper()
	run, err := p.client(t, cfg).NewRun(capsign.NewClientID(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	for _, err := range run.Leave(t.Context(), "note", all.from(0)) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if run.Err() != nil {
		t.Fatal(run.Err())
	}
	return run.ID()
}

// becameOf returns what became of the items of a run that was left, by code.
func becameOf(t testing.TB, p *pool, id string) (map[capsign.Code]int, error) {
	t.Helper()
	left, err := capsign.FetchRun(t.Context(), p.nc, "", id)
	if err != nil {
		return nil, err
	}
	count := make(map[capsign.Code]int)
	for signed, err := range left.Outcomes(t.Context()) {
		code, _ := errors.AsType[capsign.Code](err)
		if count[code]++; (code == "") != (len(signed.Bytes) > 0) {
			t.Errorf("item %s: code %q and %d bytes", signed.Ref, code, len(signed.Bytes))
		}
	}
	return count, left.Err()
}

func TestRunIsLeftWhileNobodyWorks(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		stop(t, p.startWorker(t))
		id := leave(t, p, capsign.ClientConfig{Timeout: 12 * time.Hour}, newArtifacts(1000))
		time.Sleep(11 * time.Hour)
		p.startWorker(t)
		count, err := becameOf(t, p, id)
		if err != nil || count[""] != 1000 {
			t.Errorf("outcomes %v: %v", count, err)
		}
		p.mustHave(t, 1000, 4)
	})
}

func TestRunThatNobodySignsExpires(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		stop(t, p.startWorker(t))
		id := leave(t, p, capsign.ClientConfig{Timeout: time.Hour}, newArtifacts(300))
		count, err := becameOf(t, p, id)
		if err != nil || count[capsign.RequestExpired] != 300 {
			t.Errorf("outcomes %v: %v", count, err)
		}
	})
}

func TestFullQueueIsWaitedFor(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		p.config.JobsMaxBytes = 64 << 10
		stop(t, p.startWorker(t))
		time.AfterFunc(time.Minute, func() { p.startWorker(t) })
		id := leave(t, p, capsign.ClientConfig{Timeout: time.Hour}, newArtifacts(5000))
		count, err := becameOf(t, p, id)
		if err != nil || count[""] != 5000 {
			t.Errorf("outcomes %v: %v", count, err)
		}
	})
}

// TestListWaitsForItsStream takes the stream of the runs away for as long as its
// servers may need to elect a leader.
func TestListWaitsForItsStream(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newPool(t)
		js, err := jetstream.New(p.nc)
		if err != nil {
			t.Fatal(err)
		}
		runs, err := js.Stream(t.Context(), capsign.RunsStream)
		if err != nil {
			t.Fatal(err)
		}
		if err := js.DeleteStream(t.Context(), capsign.RunsStream); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(3*time.Second, func() {
			if _, err := js.CreateStream(t.Context(), runs.CachedInfo().Config); err != nil {
				t.Error(err)
			}
		})
		id := leave(t, p, capsign.ClientConfig{}, newArtifacts(10))
		count, err := becameOf(t, p, id)
		if err != nil || count[""] != 10 {
			t.Errorf("outcomes %v: %v", count, err)
		}
	})
}

func TestRunLeftInPartIsNotFound(t *testing.T) {
	p := newPool(t)
	run, err := p.client(t, capsign.ClientConfig{Pack: 10}).NewRun(capsign.NewClientID(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	for _, err := range run.Leave(t.Context(), "", newArtifacts(100).from(0)) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	if _, err := becameOf(t, p, run.ID()); !errors.Is(err, capsign.RunUnknown) {
		t.Errorf("error %v, want %s", err, capsign.RunUnknown)
	}
	for _, id := range []string{"", "*", ">", "a.b", capsign.NewClientID()} {
		if _, err := capsign.FetchRun(t.Context(), p.nc, "", id); !errors.Is(err, capsign.RunUnknown) {
			t.Errorf("%q: error %v, want %s", id, err, capsign.RunUnknown)
		}
	}
}

// TestListThatSomebodyElseWroteIsNotBelieved replaces what lies on the broker.
func TestListThatSomebodyElseWroteIsNotBelieved(t *testing.T) {
	p := newPool(t)
	id := leave(t, p, capsign.ClientConfig{}, newArtifacts(10))
	part := fmt.Sprintf(`{"v":1,"id":%q,"first":0,"n":1,"exp":"2100-01-01T00:00:00Z","body_sha256":%q,"items":[%s]}`,
		id, strings.Repeat("ab", 32), strings.TrimSuffix(strings.Repeat(`{"ref":"a"},`, 10), ","))
	for name, tc := range map[string]struct {
		subject, body string
		want          capsign.Code
	}{
		"another body":    {"0", part, capsign.IDConflict},
		"more items":      {"0", strings.Replace(part, `{"ref":"a"}`, `{"ref":"a"},{"ref":"b"}`, 1), capsign.RunUnknown},
		"another first":   {"0", strings.Replace(part, `"first":0`, `"first":1`, 1), capsign.RunUnknown},
		"another run":     {"0", strings.Replace(part, id, capsign.NewClientID(), 1), capsign.RunUnknown},
		"unknown code":    {"0", strings.Replace(part, `{"ref":"a"}`, `{"ref":"a","code":"evil"}`, 1), capsign.RunUnknown},
		"no request":      {"0", strings.Replace(part, `"n":1`, `"n":0`, 1), capsign.RunUnknown},
		"no JSON":         {"0", "{", capsign.RunUnknown},
		"endless":         {"about", aboutRun(id, 1<<60), capsign.RunUnknown},
		"another's about": {"about", aboutRun(capsign.NewClientID(), 10), capsign.RunUnknown},
		"empty about":     {"about", "", capsign.RunUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			subject := capsign.RunSubject(capsign.TenantLocal, id, tc.subject)
			genuine := p.exchange(t, subject, []byte(tc.body))
			defer p.exchange(t, subject, genuine)
			if count, err := becameOf(t, p, id); !errors.Is(err, tc.want) {
				t.Errorf("outcomes %v, error %v; want %s", count, err, tc.want)
			}
		})
	}
	if count, err := becameOf(t, p, id); err != nil || count[""] != 10 {
		t.Errorf("the genuine list gives %v, %v", count, err)
	}
}

// aboutRun returns what there is to say of a run.
func aboutRun(id string, items int) string {
	return fmt.Sprintf(`{"v":1,"id":%q,"tenant":"local","pool":"default","key":"cap-signing","items":%d,"created":"2026-01-01T00:00:00Z"}`, id, items)
}

// exchange puts a body on a subject of the runs' stream and returns the one that
// was there.
func (p *pool) exchange(t testing.TB, subject string, body []byte) []byte {
	t.Helper()
	before, err := p.nc.Request("$JS.API.DIRECT.GET."+capsign.RunsStream+"."+subject, nil, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.js.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Data: body}); err != nil {
		t.Fatal(err)
	}
	return before.Data
}

func TestRunsAreListed(t *testing.T) {
	p := newPool(t)
	want := map[string]bool{leave(t, p, capsign.ClientConfig{}, newArtifacts(3)): true, leave(t, p, capsign.ClientConfig{}, newArtifacts(5)): true}
	p.exchange(t, capsign.RunSubject(capsign.TenantLocal, leave(t, p, capsign.ClientConfig{}, newArtifacts(1)), "about"), []byte("{"))
	runs, err := capsign.FetchRuns(t.Context(), p.nc, "")
	if err != nil || len(runs) != len(want) {
		t.Fatalf("%d runs: %v", len(runs), err)
	}
	for _, run := range runs {
		if !want[run.ID] || run.Note != "note" || run.Pool != "default" || run.Items < 3 {
			t.Errorf("listed: %+v", run)
		}
	}
}

func FuzzDecodeRunPart(f *testing.F) {
	f.Add([]byte(`{"v":1,"id":"AAAAAAAAAAAAAAAAAAAAAA","first":0,"items":[{"ref":"a","code":"too_large"}]}`))
	f.Add([]byte(aboutRun("AAAAAAAAAAAAAAAAAAAAAA", 3)))
	f.Fuzz(func(t *testing.T, body []byte) {
		if info, err := capsign.DecodeRunInfo(body); err == nil {
			if again, err := json.Marshal(info); err != nil || len(again) == 0 {
				t.Fatal(err)
			}
		} else if !capsign.CodeOf(err).Known() || capsign.CodeOf(err) == capsign.Internal {
			t.Fatalf("error without a code: %v", err)
		}
		part, err := capsign.DecodeRunPart(body)
		if err != nil {
			return
		}
		if len(part.Items) == 0 || len(part.Items) > capsign.MaxItems {
			t.Fatalf("%d items", len(part.Items))
		}
	})
}
