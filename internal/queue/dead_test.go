package queue_test

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/deadletter"
)

// poison is a message that a signer refuses until it is mended.
var poison = []byte("poison")

// breakSigner has the signer fail on poison until the returned function is
// called; canaries are signed meanwhile.
func (p *pool) breakSigner() (mend func()) {
	var mended atomic.Bool
	p.signer.before = func(_ context.Context, _ int64, msg []byte) error {
		if bytes.HasPrefix(msg, poison) && !mended.Load() {
			return capsign.ProviderTimeout
		}
		return nil
	}
	return func() { mended.Store(true) }
}

// letters returns what is in the box, with the bodies.
func (p *pool) letters(t *testing.T) (letters []deadletter.Entry, bodies [][]byte) {
	t.Helper()
	box, err := deadletter.Open(t.Context(), p.js)
	if err != nil {
		t.Fatal(err)
	}
	for entry, err := range box.Letters(t.Context(), "default") {
		if err != nil {
			t.Fatal(err)
		}
		again, body, err := box.Get(t.Context(), entry.Seq)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(entry.Letter, again.Letter); diff != "" {
			t.Errorf("the listed letter is not the one that is kept: %s", diff)
		}
		letters, bodies = append(letters, entry), append(bodies, body)
	}
	return letters, bodies
}

// replay asks for a letter's items again.
func (p *pool) replay(t *testing.T, ctx context.Context, letter deadletter.Entry, body []byte) (capsign.Replayed, error) {
	t.Helper()
	return capsign.Replay(ctx, p.connect(t), letter.Letter.Lane(), body, 10*time.Second)
}

// giveUp has a request for these items run out of tries.
func (p *pool) giveUp(t *testing.T, items ...[]byte) capsign.Request {
	t.Helper()
	req := p.newRequest()
	req.Items = items
	p.publish(t, p.subject(capsign.Bulk), encode(t, req))
	if res := p.result(t, req.ID); res.Code != capsign.RetriesExhausted {
		t.Fatalf("code %q, want %q", res.Code, capsign.RetriesExhausted)
	}
	synctest.Wait()
	return req
}

func TestLetterSaysWhatBecameOfARequest(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		p.config.MaxDeliveries = 2
		p.breakSigner()
		p.startWorker(t)
		req := p.giveUp(t, poison, []byte("beside it"))
		letters, bodies := p.letters(t)
		if len(letters) != 1 || letters[0].Fault != nil || letters[0].Pool != "default" {
			t.Fatalf("%+v", letters)
		}
		body := encode(t, req)
		want := deadletter.Letter{
			V: capsign.Version, Subject: p.subject(capsign.Bulk), ID: req.ID, Code: capsign.RetriesExhausted, Deliveries: 3,
			At: letters[0].Letter.At, Items: 2, Size: len(body), SHA256: capsign.BodySHA256(body),
		}
		if diff := cmp.Diff(want, letters[0].Letter); diff != "" {
			t.Error(diff)
		}
		if !bytes.Equal(bodies[0], body) {
			t.Error("the body has become another")
		}
	})
}

func TestLargestRequestIsKeptToo(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		p.config.MaxDeliveries = 1
		p.breakSigner()
		p.startWorker(t)
		large := append(bytes.Clone(poison), make([]byte, capsign.MaxMessageSize-len(poison))...)
		p.giveUp(t, large)
		if letters, _ := p.letters(t); len(letters) != 1 {
			t.Errorf("%d dead letters, want 1", len(letters))
		}
		if n := p.waiting(t); n != 0 {
			t.Errorf("%d messages left in the queue", n)
		}
	})
}

func TestReplaySignsOnceHoweverOftenItIsInterrupted(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		p.config.MaxDeliveries = 1
		mend := p.breakSigner()
		p.startWorker(t)
		req := p.giveUp(t, poison)
		mend()
		letters, bodies := p.letters(t)
		first, err := p.replay(t, t.Context(), letters[0], bodies[0])
		if err != nil {
			t.Fatal(err)
		}
		if first.Earlier || first.Result.ID == req.ID {
			t.Errorf("not asked for anew: %+v", first)
		}
		if err := p.signer.key.Verify(poison, first.Result.Outcomes[0].Signature); err != nil {
			t.Error(err)
		}
		// The letter is still there, as if the process had ended before it was
		// dropped.
		signed, stored := p.signer.signed.Load(), p.messages(t, capsign.ResultsStream)
		second, err := p.replay(t, t.Context(), letters[0], bodies[0])
		if err != nil {
			t.Fatal(err)
		}
		if !second.Earlier {
			t.Error("nothing says that it was signed before")
		}
		if diff := cmp.Diff(first.Result, second.Result); diff != "" {
			t.Errorf("another result: %s", diff)
		}
		if p.signer.signed.Load() != signed || p.messages(t, capsign.ResultsStream) != stored {
			t.Error("it was signed again")
		}
	})
}

func TestReplayFindsWhatAnInterruptedOneLeftInTheQueue(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		p.config.MaxDeliveries = 1
		mend := p.breakSigner()
		worker := p.startWorker(t)
		p.giveUp(t, poison)
		mend()
		stop(t, worker)
		letters, bodies := p.letters(t)
		ctx, interrupt := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, interrupt)
		if _, err := p.replay(t, ctx, letters[0], bodies[0]); capsign.CodeOf(err) != capsign.ResultTimeout {
			t.Fatalf("error %v, want %s", err, capsign.ResultTimeout)
		}
		stored := p.messages(t, capsign.ResultsStream)
		p.startWorker(t)
		res, err := p.replay(t, t.Context(), letters[0], bodies[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := p.signer.key.Verify(poison, res.Result.Outcomes[0].Signature); err != nil {
			t.Error(err)
		}
		eventually(t, "the queue is empty", func() bool { return p.waiting(t) == 0 })
		if n := p.messages(t, capsign.ResultsStream) - stored; n != 1 {
			t.Errorf("%d results were released, want 1", n)
		}
	})
}

func TestReplayThatIsGivenUpSharesItsIDs(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		p.config.MaxDeliveries = 1
		mend := p.breakSigner()
		p.startWorker(t)
		p.giveUp(t, poison)
		letters, bodies := p.letters(t)
		if _, err := p.replay(t, t.Context(), letters[0], bodies[0]); capsign.CodeOf(err) != capsign.RetriesExhausted {
			t.Fatalf("error %v, want %s", err, capsign.RetriesExhausted)
		}
		synctest.Wait()
		mend()
		letters, bodies = p.letters(t)
		if len(letters) != 2 {
			t.Fatalf("%d letters, want that of the request and that of its replay", len(letters))
		}
		one, err := p.replay(t, t.Context(), letters[0], bodies[0])
		if err != nil {
			t.Fatal(err)
		}
		other, err := p.replay(t, t.Context(), letters[1], bodies[1])
		if err != nil {
			t.Fatal(err)
		}
		if one.Earlier || !other.Earlier || one.Result.ID != other.Result.ID {
			t.Errorf("two letters of one request were signed under %s and %s", one.Result.ID, other.Result.ID)
		}
	})
}

func TestReplayFindsASignatureOfTheOriginal(t *testing.T) {
	p := newPool(t)
	req := p.newRequest()
	body := encode(t, req)
	p.publish(t, p.subject(capsign.Express), body)
	before := p.result(t, req.ID)
	res, err := capsign.Replay(t.Context(), p.nc, capsign.Express, body, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, res.Result); diff != "" || !res.Earlier || p.signer.signed.Load() != 1 {
		t.Errorf("it was signed again: %s", diff)
	}
}

func TestReplayTakesNoResultOfOtherItems(t *testing.T) {
	p := newPool(t)
	req := p.newRequest()
	body := encode(t, req)
	first, err := capsign.Replay(t.Context(), p.nc, capsign.Express, body, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	// Somebody who has seen the replay's id asks for something else under it.
	forged := req
	forged.ID, forged.Items = first.Result.ID, [][]byte{[]byte("other")}
	res, err := capsign.Replay(t.Context(), p.nc, capsign.Express, encode(t, forged), 10*time.Second)
	if err == nil {
		t.Errorf("a signature of %q is passed off as one of %q: %+v", req.Items[0], forged.Items[0], res)
	}
}
