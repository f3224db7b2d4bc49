package queue_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
)

// TestClientBelievesNoResultButItsOwn answers a client's request with results
// that somebody else made up.
func TestClientBelievesNoResultButItsOwn(t *testing.T) {
	other := newMemorySigner(t, "other")
	for name, tc := range map[string]struct {
		forge func(p *pool, res *capsign.Result)
		want  capsign.Code
	}{
		"for another body": {func(_ *pool, res *capsign.Result) {
			res.RequestSHA256 = capsign.BodySHA256([]byte("another"))
		}, capsign.IDConflict},
		"wrong signature": {func(_ *pool, res *capsign.Result) {
			res.Outcomes[0].Signature[7] ^= 1
		}, capsign.Integrity},
		"another algorithm": {func(_ *pool, res *capsign.Result) {
			res.Alg = capsign.ES256
		}, capsign.Integrity},
		"unknown key": {func(_ *pool, res *capsign.Result) {
			res.KID = other.key.KID
		}, capsign.KIDUnknown},
		"more outcomes": {func(_ *pool, res *capsign.Result) {
			res.Outcomes = append(res.Outcomes, res.Outcomes[0])
		}, capsign.Integrity},
		"genuine": {func(*pool, *capsign.Result) {}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := newServer(t)
			stop(t, p.startWorker(t))
			answered := make(chan error, 1)
			go func() { answered <- p.answer(t, tc.forge) }()
			_, err := p.client(t, capsign.ClientConfig{Timeout: 10 * time.Second}).Sign(t.Context(), []byte("hello"))
			if code, _ := errors.AsType[capsign.Code](err); code != tc.want {
				t.Errorf("error %v, want %q", err, tc.want)
			}
			if err := <-answered; err != nil {
				t.Error(err)
			}
		})
	}
}

// answer takes one request as a worker would and stores a result that forge
// has changed.
func (p *pool) answer(t *testing.T, forge func(*pool, *capsign.Result)) error {
	consumer, err := p.js.Consumer(t.Context(), capsign.JobsStream(p.config.Pool), string(capsign.Express))
	if err != nil {
		return err
	}
	msg, err := consumer.Next(jetstream.FetchMaxWait(5 * time.Second))
	if err != nil {
		return err
	}
	req, err := capsign.DecodeRequest(msg.Data())
	if err != nil {
		return err
	}
	sig, err := p.signer.Sign(t.Context(), "", req.Items[0])
	if err != nil {
		return err
	}
	res := capsign.Result{
		V: capsign.Version, ID: req.ID, RequestSHA256: capsign.BodySHA256(msg.Data()), KID: sig.KID, Alg: sig.Alg,
		Outcomes: []capsign.Outcome{{Signature: sig.Bytes}},
	}
	forge(p, &res)
	body, err := res.Encode()
	if err != nil {
		return err
	}
	_, err = p.js.Publish(t.Context(), capsign.StoreSubject(capsign.TenantLocal, req.ID), body)
	return err
}
