package queue_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
)

// newRequest returns a well-formed request to the pool's key.
func (p *pool) newRequest() capsign.Request {
	return capsign.Request{
		V: capsign.Version, ID: capsign.RequestID(capsign.NewClientID(), 1),
		Expires: time.Now().Add(30 * time.Second).UTC(),
		Tenant:  capsign.TenantLocal, Pool: p.config.Pool, Key: p.signer.key.Name,
		Scheme: capsign.SchemeRaw, Items: [][]byte{[]byte("hello")},
	}
}

// subject is where a request to the pool's key belongs on lane.
func (p *pool) subject(lane capsign.Lane) string {
	return capsign.JobSubject(capsign.TenantLocal, p.config.Pool, lane, p.signer.key.Name)
}

// encode returns a request's body.
func encode(t testing.TB, req capsign.Request) []byte {
	t.Helper()
	body, err := req.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// publish puts a body on the queue and waits until the broker has it.
func (p *pool) publish(t testing.TB, subject string, body []byte) {
	t.Helper()
	if _, err := p.js.Publish(t.Context(), subject, body); err != nil {
		t.Fatal(err)
	}
}

// result waits for the stored result of a request.
func (p *pool) result(t testing.TB, id string) capsign.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	consumer, err := p.js.OrderedConsumer(ctx, capsign.ResultsStream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{capsign.StoreSubject(capsign.TenantLocal, id)},
	})
	if err != nil {
		t.Fatal(err)
	}
	msg, err := consumer.Next(jetstream.FetchContext(ctx))
	if err != nil {
		t.Fatalf("no result for %s: %v", id, err)
	}
	res, err := capsign.DecodeResult(msg.Data())
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// waiting returns how many messages the pool's queue still holds.
func (p *pool) waiting(t testing.TB) uint64 {
	t.Helper()
	return p.messages(t, capsign.JobsStream(p.config.Pool))
}

// messages returns how many messages a stream holds.
func (p *pool) messages(t testing.TB, stream string) uint64 {
	t.Helper()
	s, err := p.js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// eventually fails the test unless holds becomes true within ten seconds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within ten seconds", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestRefusals(t *testing.T) {
	p := newPool(t)
	other := newMemorySigner(t, "other").key.KID
	for name, tc := range map[string]struct {
		change func(*capsign.Request)
		want   capsign.Code
	}{
		"expired":         {func(r *capsign.Request) { r.Expires = time.Now().Add(-time.Second).UTC() }, capsign.RequestExpired},
		"expires too far": {func(r *capsign.Request) { r.Expires = time.Now().Add(25 * time.Hour).UTC() }, capsign.ExpiryTooFar},
		"year 9999":       {func(r *capsign.Request) { r.Expires = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC) }, capsign.ExpiryTooFar},
		"other tenant":    {func(r *capsign.Request) { r.Tenant = "victim" }, capsign.Denied},
		"other pool":      {func(r *capsign.Request) { r.Pool = "hsm" }, capsign.Denied},
		"other key":       {func(r *capsign.Request) { r.Key = "release" }, capsign.Denied},
		"unknown kid":     {func(r *capsign.Request) { r.KID = other }, capsign.KIDUnknown},
		"malformed kid":   {func(r *capsign.Request) { r.KID = "k1" }, capsign.BadRequest},
		"scheme":          {func(r *capsign.Request) { r.Scheme = "ssh" }, capsign.UnsupportedScheme},
		"no items":        {func(r *capsign.Request) { r.Items = nil }, capsign.BadRequest},
		"too many items":  {func(r *capsign.Request) { r.Items = make([][]byte, capsign.MaxItems+1) }, capsign.BadRequest},
		"version":         {func(r *capsign.Request) { r.V = 2 }, capsign.UnsupportedVersion},
	} {
		t.Run(name, func(t *testing.T) {
			req := p.newRequest()
			tc.change(&req)
			p.publish(t, p.subject(capsign.Express), encode(t, req))
			if res := p.result(t, req.ID); res.Code != tc.want || len(res.Outcomes) != 0 || res.KID != "" {
				t.Errorf("result %+v, want the code %s and nothing else", res, tc.want)
			}
		})
	}
	if n := p.signer.signed.Load(); n != 0 {
		t.Errorf("%d signatures were made", n)
	}
	eventually(t, "the queue is empty", func() bool { return p.waiting(t) == 0 })
}

func TestKeyThatThePoolDoesNotHaveIsRefused(t *testing.T) {
	p := newPool(t)
	req := p.newRequest()
	req.Key = "release"
	p.publish(t, capsign.JobSubject(capsign.TenantLocal, "default", capsign.Express, "release"), encode(t, req))
	if res := p.result(t, req.ID); res.Code != capsign.KeyUnknown {
		t.Errorf("code %q, want %q", res.Code, capsign.KeyUnknown)
	}
}

func TestMalformedBodyIsAnsweredWhereItNamesAnID(t *testing.T) {
	p := newPool(t)
	id := capsign.RequestID(capsign.NewClientID(), 7)
	p.publish(t, p.subject(capsign.Bulk), []byte(`{"v":1,"id":"`+id+`","surprise":true}`))
	if res := p.result(t, id); res.Code != capsign.BadRequest {
		t.Errorf("code %q, want %q", res.Code, capsign.BadRequest)
	}
}

func TestMalformedBodyWithoutAnIDBecomesADeadLetter(t *testing.T) {
	p := newPool(t)
	for _, body := range []string{"", "null", "{", `{"v":1}`, `[[[[[[`, `{"id":"../../x.1"}`, "\xff\xfe"} {
		p.publish(t, p.subject(capsign.Express), []byte(body))
	}
	eventually(t, "seven dead letters", func() bool { return p.messages(t, "CAP_DEAD") == 7 })
	eventually(t, "the queue is empty", func() bool { return p.waiting(t) == 0 })
	if n := p.messages(t, capsign.ResultsStream); n != 0 {
		t.Errorf("%d results stored", n)
	}
}

func TestRepeatedRequestGetsTheSameBytes(t *testing.T) {
	p := newPool(t)
	req := p.newRequest()
	body := encode(t, req)
	released := p.listen(t, req.ID)
	p.publish(t, p.subject(capsign.Express), body)
	first := p.result(t, req.ID)
	p.publish(t, p.subject(capsign.Express), body)
	eventually(t, "the repeated request is gone", func() bool { return p.waiting(t) == 0 })
	if again := p.result(t, req.ID); string(again.Outcomes[0].Signature) != string(first.Outcomes[0].Signature) {
		t.Error("the stored signature changed")
	}
	if n := len(released); n != 1 {
		t.Errorf("%d results released, want 1", n)
	}
}

// A requester that cannot know whether its request was taken says so, and spares
// the key a signature that nobody would see.
func TestRequestThatIsSaidToComeAgainIsNotSignedAgain(t *testing.T) {
	p := newPool(t)
	req := p.newRequest()
	p.publish(t, p.subject(capsign.Express), encode(t, req))
	p.result(t, req.ID)
	again := &nats.Msg{
		Subject: p.subject(capsign.Express), Data: encode(t, req), Header: nats.Header{capsign.HeaderAgain: {"1"}},
	}
	if _, err := p.js.PublishMsg(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the repeated request is gone", func() bool { return p.waiting(t) == 0 })
	if n := p.signer.signed.Load(); n != 1 {
		t.Errorf("%d signatures were made, want 1", n)
	}
}

func TestOneIDAThousandTimesReleasesOneSignature(t *testing.T) {
	p := newServer(t)
	p.config.Signer = unrepeatable{p.signer}
	p.startWorker(t)
	p.startWorker(t)
	req := p.newRequest()
	body := encode(t, req)
	released := p.listen(t, req.ID)
	for range 1000 {
		if _, err := p.js.PublishAsync(p.subject(capsign.Bulk), body); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the queue is empty", func() bool { return p.waiting(t) == 0 })
	if n := len(released); n != 1 {
		t.Errorf("%d results released, want 1", n)
	}
}

// unrepeatable is a signer whose signatures all differ, like ECDSA's.
type unrepeatable struct{ *memorySigner }

// Sign returns a signature that no other call returns.
func (u unrepeatable) Sign(ctx context.Context, kid string, msg []byte) (capsign.Signature, error) {
	sig, err := u.memorySigner.Sign(ctx, kid, msg)
	sig.Bytes = append(sig.Bytes, capsign.NewClientID()...)
	return sig, err
}

// listen collects the results released under a request's id.
func (p *pool) listen(t testing.TB, id string) chan *nats.Msg {
	t.Helper()
	released := make(chan *nats.Msg, 2000)
	if _, err := p.nc.ChanSubscribe(capsign.ResultSubject(capsign.TenantLocal, id), released); err != nil {
		t.Fatal(err)
	}
	return released
}

func TestSameIDWithOtherContentIsRefused(t *testing.T) {
	p := newPool(t)
	first := p.newRequest()
	p.publish(t, p.subject(capsign.Express), encode(t, first))
	before := p.result(t, first.ID)

	second := first
	second.Items = [][]byte{[]byte("something else")}
	body := encode(t, second)
	p.publish(t, p.subject(capsign.Express), body)
	eventually(t, "the second request is gone", func() bool { return p.waiting(t) == 0 })
	after := p.result(t, first.ID)
	if after.RequestSHA256 != before.RequestSHA256 || after.RequestSHA256 == capsign.BodySHA256(body) {
		t.Error("the stored result no longer belongs to the first request")
	}
}

func TestEveryItemHasItsOutcome(t *testing.T) {
	p := newServer(t)
	p.signer.before = func(_ context.Context, _ int64, msg []byte) error {
		if string(msg) == "refused" {
			return capsign.TooLarge
		}
		return nil
	}
	p.startWorker(t)
	req := p.newRequest()
	req.Items = [][]byte{[]byte("a"), []byte("refused"), {}, []byte("b")}
	p.publish(t, p.subject(capsign.Bulk), encode(t, req))
	res := p.result(t, req.ID)
	for i, item := range req.Items {
		outcome := res.Outcomes[i]
		if string(item) == "refused" {
			if outcome.Code != capsign.TooLarge || outcome.Signature != nil {
				t.Errorf("item %d: %+v, want too_large", i, outcome)
			}
			continue
		}
		if err := p.signer.key.Verify(item, outcome.Signature); err != nil {
			t.Errorf("item %d: %v", i, err)
		}
	}
}

func TestWrongSignatureIsNeverReleased(t *testing.T) {
	p := newServer(t)
	p.config.VerifySignatures = true
	p.config.Signer = unrepeatable{p.signer}
	p.startWorker(t)
	_, err := p.client(t, capsign.ClientConfig{}).Sign(t.Context(), []byte("hello"))
	if !errors.Is(err, capsign.Integrity) {
		t.Errorf("error %v, want %s", err, capsign.Integrity)
	}
	if n := p.messages(t, capsign.ResultsStream); n != 0 {
		t.Errorf("%d results released", n)
	}
	if pool := p.record(t); pool.State != capsign.PoolPaused || pool.Code != capsign.Integrity {
		t.Errorf("the pool says %s, %s", pool.State, pool.Code)
	}
}

func TestPanickingProviderIsOneRefusal(t *testing.T) {
	p := newServer(t)
	p.signer.before = func(_ context.Context, n int64, _ []byte) error {
		if n == 1 {
			panic("a bug in a provider")
		}
		return nil
	}
	p.startWorker(t)
	req := p.newRequest()
	p.publish(t, p.subject(capsign.Express), encode(t, req))
	if outcome := p.result(t, req.ID).Outcomes[0]; outcome.Code != capsign.Internal {
		t.Errorf("outcome %+v, want %s", outcome, capsign.Internal)
	}
	if _, err := p.client(t, capsign.ClientConfig{}).Sign(t.Context(), []byte("next")); err != nil {
		t.Errorf("the worker no longer signs: %v", err)
	}
}

func TestClientSeesTheCode(t *testing.T) {
	p := newServer(t)
	p.signer.before = func(context.Context, int64, []byte) error { return capsign.UnsupportedAlg }
	p.startWorker(t)
	signed, err := p.client(t, capsign.ClientConfig{}).Sign(t.Context(), []byte("hello"))
	if code, _ := errors.AsType[capsign.Code](err); code != capsign.UnsupportedAlg {
		t.Errorf("error %v, want %s", err, capsign.UnsupportedAlg)
	}
	if len(signed.Bytes) != 0 || signed.KID != "" {
		t.Errorf("a refusal came with %+v", signed)
	}
}
