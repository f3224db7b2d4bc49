package deadletter_test

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/broker/embedded"
	"github.com/capsign/cap/internal/deadletter"
)

// startBox starts a broker with an empty box.
func startBox(t *testing.T) (jetstream.JetStream, *deadletter.Box) {
	t.Helper()
	server, err := embedded.Start(embedded.Options{StoreDir: t.TempDir(), LazySync: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deadletter.Open(t.Context(), js); capsign.CodeOf(err) != capsign.PoolUnknown {
		t.Errorf("no box yet: %v, want %s", err, capsign.PoolUnknown)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: deadletter.Stream, Subjects: []string{deadletter.Subject(">")}}); err != nil {
		t.Fatal(err)
	}
	box, err := deadletter.Open(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	return js, box
}

func TestManyLettersAreListedInOrderAndOnce(t *testing.T) {
	js, box := startBox(t)
	const many = 1000 // several pages, and as many of another pool
	for i := range many {
		for _, pool := range []string{"default", "other"} {
			letter := deadletter.New(subject, someID, someBody(t), capsign.RetriesExhausted, i+1)
			if err := deadletter.Keep(t.Context(), js, pool, fmt.Sprint(pool, i), letter, someBody(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
	n := 0
	for entry, err := range box.Letters(t.Context(), "other") {
		if err != nil {
			t.Fatal(err)
		}
		n++
		if entry.Seq != uint64(2*n) || entry.Letter.Deliveries != n || entry.Pool != "other" || entry.Fault != nil {
			t.Fatalf("letter %d is %+v", n, entry)
		}
		// What comes later is another list's.
		letter := deadletter.New(subject, someID, someBody(t), capsign.RetriesExhausted, 1)
		if err := deadletter.Keep(t.Context(), js, "other", fmt.Sprint("late", n), letter, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n != many {
		t.Errorf("%d letters, want %d", n, many)
	}
	for range box.Letters(t.Context(), "default") { //nolint:errcheck // the first letter is none
		break // without reading the rest
	}
	consumers, err := js.Stream(t.Context(), deadletter.Stream)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := consumers.Info(t.Context()); err != nil || info.State.Consumers != 0 {
		t.Errorf("%d consumers are left behind, %v", info.State.Consumers, err)
	}
}

// TestLetterOfAPoolThatCannotBeIsNotBelieved has a subject that would write on the
// terminal of whoever lists it.
func TestLetterOfAPoolThatCannotBeIsNotBelieved(t *testing.T) {
	js, box := startBox(t)
	letter := deadletter.New(subject, someID, someBody(t), capsign.RetriesExhausted, 1)
	if err := deadletter.Keep(t.Context(), js, "\x1b[31m", "1", letter, someBody(t)); err != nil {
		t.Fatal(err)
	}
	entry, _, err := box.Get(t.Context(), 1)
	if err != nil || capsign.CodeOf(entry.Fault) != capsign.BadRequest || entry.Letter != (deadletter.Letter{}) {
		t.Errorf("%+v, %v", entry, err)
	}
}

func TestLetterIsKeptOnce(t *testing.T) {
	js, box := startBox(t)
	letter := deadletter.New(subject, someID, someBody(t), capsign.RetriesExhausted, 1)
	for range 2 {
		if err := deadletter.Keep(t.Context(), js, "default", "a message", letter, someBody(t)); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for range box.Letters(t.Context(), "") { //nolint:errcheck // only how many is asked
		n++
	}
	if n != 1 {
		t.Errorf("%d letters of one message", n)
	}
}

func TestDroppedLetterIsUnknown(t *testing.T) {
	js, box := startBox(t)
	if _, err := js.Publish(t.Context(), deadletter.Subject("default"), []byte("junk")); err != nil {
		t.Fatal(err)
	}
	entry, body, err := box.Get(t.Context(), 1)
	if err != nil || capsign.CodeOf(entry.Fault) != capsign.BadRequest || string(body) != "junk" || entry.Pool != "default" {
		t.Errorf("junk reads as %+v, %q, %v", entry, body, err)
	}
	if err := box.Drop(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := box.Get(t.Context(), 1); capsign.CodeOf(err) != capsign.LetterUnknown {
		t.Errorf("get: %v, want %s", err, capsign.LetterUnknown)
	}
	for _, seq := range []uint64{1, 99} {
		if err := box.Drop(t.Context(), seq); capsign.CodeOf(err) != capsign.LetterUnknown {
			t.Errorf("drop %d: %v, want %s", seq, err, capsign.LetterUnknown)
		}
	}
	for entry, err := range box.Letters(t.Context(), "") {
		t.Errorf("an empty box has %+v, %v", entry, err)
	}
}
