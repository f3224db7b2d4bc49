package deadletter_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/deadletter"
)

const (
	someID  = "AAAAAAAAAAAAAAAAAAAAAA.1"
	subject = "cap.job.local.default.bulk.cap-signing"
)

// someBody returns the body of a request of two items.
func someBody(t testing.TB) []byte {
	t.Helper()
	req := capsign.Request{
		V: capsign.Version, ID: someID, Expires: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), Tenant: "local",
		Pool: "default", Key: "cap-signing", Scheme: capsign.SchemeRaw, Items: [][]byte{[]byte("one"), []byte("two")},
	}
	body, err := req.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// record returns the record of a letter as it is on the wire.
func record(t testing.TB) string {
	t.Helper()
	letter := deadletter.New(subject, someID, someBody(t), capsign.RetriesExhausted, 11)
	letter.At = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	msg, err := letter.Encode("default", someBody(t))
	if err != nil {
		t.Fatal(err)
	}
	return msg.Header.Get("Cap-Letter")
}

func TestLetterOnTheWire(t *testing.T) {
	const want = `{"v":1,"subject":"` + subject + `","id":"` + someID + `","code":"retries_exhausted","deliveries":11,` +
		`"at":"2026-11-23T12:00:00Z","items":2,"size":161,"sha256":"`
	if got := record(t); !strings.HasPrefix(got, want) || len(got) != len(want)+64+2 {
		t.Errorf("%s", got)
	}
	got, err := deadletter.Decode(nats.Header{"Cap-Letter": {record(t)}})
	if err != nil {
		t.Fatal(err)
	}
	if got.Lane() != capsign.Bulk || got.Key() != "cap-signing" {
		t.Errorf("lane %q, key %q", got.Lane(), got.Key())
	}
	req, err := got.Request(someBody(t))
	if err != nil || len(req.Items) != 2 {
		t.Errorf("%+v, %v", req, err)
	}
}

func TestRecordsThatNoWorkerWroteAreRefused(t *testing.T) {
	good := record(t)
	for name, edit := range map[string][2]string{
		"another version":  {`"v":1`, `"v":2`},
		"unknown member":   {`"v":1`, `"v":1,"x":1`},
		"duplicate member": {`"v":1`, `"v":1,"v":1`},
		"other subject":    {`"cap.job.`, `"cap.store.`},
		"no such id":       {someID, "../../x"},
		"unknown code":     {"retries_exhausted", "tired"},
		"no delivery":      {`"deliveries":11`, `"deliveries":0`},
		"no time":          {"2026-11-23T12:00:00Z", "0001-01-01T00:00:00Z"},
		"local time":       {"12:00:00Z", "12:00:00+01:00"},
		"too many items":   {`"items":2`, `"items":1025`},
		"fewer than none":  {`"items":2`, `"items":-1`},
		"negative size":    {`"size":161`, `"size":-1`},
		"no hash":          {`"sha256":"`, `"sha256":"zz`},
		"endless":          {subject, subject + strings.Repeat("x", 8<<10)},
	} {
		spoilt := strings.Replace(good, edit[0], edit[1], 1)
		if spoilt == good {
			t.Fatalf("%s: nothing was spoilt", name)
		}
		letter, err := deadletter.Decode(nats.Header{"Cap-Letter": {spoilt}})
		if diff := cmp.Diff(deadletter.Letter{}, letter); err == nil || diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
	for name, headers := range map[string]nats.Header{
		"no record": nil, "two records": {"Cap-Letter": {good, good}},
	} {
		if _, err := deadletter.Decode(headers); !errors.Is(err, capsign.BadRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBodyThatIsNotTheLettersIsNoRequest keeps an operator from asking for what
// the letter does not say.
func TestBodyThatIsNotTheLettersIsNoRequest(t *testing.T) {
	body := someBody(t)
	for name, tc := range map[string]struct {
		spoil func(l *deadletter.Letter, body []byte) []byte
		want  capsign.Code
	}{
		"another body": {func(_ *deadletter.Letter, body []byte) []byte {
			return bytes.Replace(body, []byte("b25l"), []byte("b25m"), 1)
		}, capsign.BadRequest},
		"part of the body": {func(_ *deadletter.Letter, body []byte) []byte { return body[:len(body)-1] }, capsign.BadRequest},
		"another key": {func(l *deadletter.Letter, body []byte) []byte {
			l.Subject = "cap.job.local.default.bulk.root"
			return body
		}, capsign.Denied},
		"another pool": {func(l *deadletter.Letter, body []byte) []byte {
			l.Subject = "cap.job.local.release.bulk.cap-signing"
			return body
		}, capsign.Denied},
		"no lane": {func(l *deadletter.Letter, body []byte) []byte {
			l.Subject = "cap.job.local.default.slow.cap-signing"
			return body
		}, capsign.Denied},
		"another id": {func(l *deadletter.Letter, body []byte) []byte {
			l.ID = "BAAAAAAAAAAAAAAAAAAAAA.1"
			return body
		}, capsign.Denied},
		"no request at all": {func(l *deadletter.Letter, _ []byte) []byte {
			*l = deadletter.New(subject, "", []byte("{"), capsign.BadRequest, 1)
			return []byte("{")
		}, capsign.BadRequest},
		"longer than any request": {func(l *deadletter.Letter, _ []byte) []byte {
			*l = deadletter.New(subject, "", make([]byte, 1<<20), capsign.TooLarge, 1)
			msg, err := l.Encode("default", make([]byte, 1<<20))
			if err != nil || len(msg.Data) != capsign.MaxRequestSize {
				t.Fatal(len(msg.Data), err)
			}
			return msg.Data
		}, capsign.TooLarge},
	} {
		letter := deadletter.New(subject, someID, body, capsign.RetriesExhausted, 11)
		req, err := letter.Request(tc.spoil(&letter, body))
		if diff := cmp.Diff(capsign.Request{}, req); !errors.Is(err, tc.want) || diff != "" {
			t.Errorf("%s: %v, want %s %s", name, err, tc.want, diff)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(record(f), someBody(f))
	f.Fuzz(func(t *testing.T, record string, body []byte) {
		letter, err := deadletter.Decode(nats.Header{"Cap-Letter": {record}})
		if err != nil {
			return
		}
		msg, err := letter.Encode("default", body)
		if err != nil {
			t.Fatal(err)
		}
		again, err := deadletter.Decode(msg.Header)
		if err != nil || again != letter {
			t.Fatalf("%+v becomes %+v, %v", letter, again, err)
		}
		if req, err := letter.Request(body); err == nil && req.ID != letter.ID {
			t.Errorf("a letter of %s asks for %s", letter.ID, req.ID)
		}
	})
}
