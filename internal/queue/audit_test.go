package queue_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/audit"
)

// auditor hands each record to a func.
type auditor func(record audit.Record) error

// Append calls the func.
func (a auditor) Append(_ context.Context, record audit.Record) error { return a(record) }

func TestDecisionIsRecordedBeforeItIsReleased(t *testing.T) {
	p := newServer(t)
	var records []audit.Record
	p.config.Audit = auditor(func(record audit.Record) error {
		if n := p.messages(t, capsign.ResultsStream); n != uint64(len(records)) {
			t.Errorf("record %d comes after %d results", len(records), n)
		}
		records = append(records, record)
		return nil
	})
	worker := p.startWorker(t)
	signed, refused := p.newRequest(), p.newRequest()
	signed.Items = append(signed.Items, []byte("world"))
	refused.KID = newMemorySigner(t, "other").key.KID
	for _, req := range []capsign.Request{signed, refused} {
		p.publish(t, p.subject(capsign.Express), encode(t, req))
		p.result(t, req.ID)
	}
	stop(t, worker)
	if len(records) != 2 {
		t.Fatalf("%d records, want 2", len(records))
	}
	for i, req := range []capsign.Request{signed, refused} {
		record := records[i]
		if record.RequestID != req.ID || record.RequestSHA256 != capsign.BodySHA256(encode(t, req)) || record.Items != len(req.Items) {
			t.Errorf("record %+v is not of request %s", record, req.ID)
		}
	}
	if records[0].KID != p.signer.key.KID || records[0].Code != "" || records[1].KID != "" || records[1].Code != capsign.KIDUnknown {
		t.Errorf("decisions %+v", records)
	}
}

func TestNothingIsReleasedWithoutItsRecord(t *testing.T) {
	p := newServer(t)
	p.config.Audit = auditor(func(audit.Record) error { return capsign.AuditUnavailable })
	worker := p.startWorker(t)
	_, err := p.client(t, capsign.ClientConfig{}).Sign(t.Context(), []byte("hello"))
	if !errors.Is(err, capsign.AuditUnavailable) {
		t.Errorf("error %v, want %s", err, capsign.AuditUnavailable)
	}
	select {
	case err := <-worker.Failed():
		if !errors.Is(err, capsign.AuditUnavailable) {
			t.Errorf("the worker failed with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the worker goes on without its log")
	}
	if n := p.messages(t, capsign.ResultsStream); n != 0 {
		t.Errorf("%d results released", n)
	}
	if n := p.waiting(t); n != 1 {
		t.Errorf("%d requests in the queue, want the one", n)
	}
}
