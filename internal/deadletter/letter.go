// Package deadletter keeps what was taken out of a pool's queue without an
// answer, lists it, and takes it out again.
//
// A dead letter is a message on cap.dead.<pool> in the stream CAP_DEAD: the
// body is the request's own, and one header says in JSON what became of it, so
// that letters can be listed without their bodies. Workers write letters; whoever
// else may publish there can have an operator sign what they like.
package deadletter

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
)

// Stream is the stream that keeps the letters of all pools.
const Stream = "CAP_DEAD"

const (
	// prefix begins the subjects; the pool's name ends them.
	prefix = "cap.dead."
	// header is the one that holds the record.
	header = "Cap-Letter"
	// maxBody is how much of a message is kept: all of what can be a request.
	maxBody = capsign.MaxRequestSize
	// maxRecord bounds the record, whose longest part is the subject.
	maxRecord = 6 << 10
)

// Subject returns the subject of a pool's letters, "*" for every pool's.
func Subject(pool string) string { return prefix + pool }

// Letter says of a message what it was and why it was taken out of the queue.
type Letter struct {
	// V is the format's version, capsign.Version.
	V int `json:"v"`
	// Subject is the job subject that it was published on.
	Subject string `json:"subject"`
	// ID is the request's id; empty where the body names none.
	ID string `json:"id,omitzero"`
	// Code says why it was taken out.
	Code capsign.Code `json:"code"`
	// Deliveries is how often it was delivered.
	Deliveries int `json:"deliveries"`
	// At is when it was taken out, in UTC.
	At time.Time `json:"at"`
	// Items is how many messages were to be signed; 0 where the body is no
	// request.
	Items int `json:"items,omitzero"`
	// Size is how long the body was, in bytes, and SHA256 its hash in hex. What
	// is longer than any request was cut to the length of the longest.
	Size   int    `json:"size"`
	SHA256 string `json:"sha256"`
}

// New returns the letter of a request, whose id may be empty, that came on a job
// subject and was delivered so often.
func New(subject, id string, body []byte, code capsign.Code, deliveries int) Letter {
	req, err := capsign.DecodeRequest(body)
	letter := Letter{
		V: capsign.Version, Subject: subject, ID: id, Code: code, Deliveries: deliveries,
		At: time.Now().UTC(), Size: len(body), SHA256: capsign.BodySHA256(body),
	}
	if err == nil {
		letter.Items = len(req.Items)
	}
	return letter
}

// Encode returns the message that keeps a letter of a pool's with its body.
func (l Letter) Encode(pool string, body []byte) (*nats.Msg, error) {
	record, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("dead letter: encode: %w", capsign.Internal)
	}
	msg := nats.NewMsg(Subject(pool))
	msg.Header.Set(header, string(record))
	msg.Data = body[:min(len(body), maxBody)]
	return msg, nil
}

// Decode reads the letter in a message's headers. It wraps
// capsign.UnsupportedVersion, or capsign.BadRequest where no worker has written
// it.
func Decode(headers nats.Header) (Letter, error) {
	values := headers[header]
	if len(values) != 1 || len(values[0]) > maxRecord {
		return Letter{}, fmt.Errorf("dead letter: record: %w", capsign.BadRequest)
	}
	var l Letter
	if err := json.Unmarshal([]byte(values[0]), &l, json.RejectUnknownMembers(true)); err != nil {
		return Letter{}, fmt.Errorf("dead letter: record: %w", capsign.BadRequest)
	}
	if l.V != capsign.Version {
		return Letter{}, fmt.Errorf("dead letter: record: %w", capsign.UnsupportedVersion)
	}
	sum, err := hex.DecodeString(l.SHA256)
	switch {
	case err != nil, len(sum) != sha256.Size, hex.EncodeToString(sum) != l.SHA256,
		!strings.HasPrefix(l.Subject, "cap.job."), !l.Code.Known(), l.ID != "" && capsign.CheckRequestID(l.ID) != nil,
		l.Deliveries < 1, l.At.IsZero(), l.At.Location() != time.UTC, l.Items < 0, l.Items > capsign.MaxItems, l.Size < 0:
		return Letter{}, fmt.Errorf("dead letter: record: %w", capsign.BadRequest)
	}
	return l, nil
}

// Lane returns the lane that the message was on, "" where its subject is none of
// a job's.
func (l Letter) Lane() capsign.Lane {
	job, _ := capsign.ParseJobSubject(l.Subject)
	return job.Lane
}

// Key returns the name of the key that was asked for, "" where the subject is
// none of a job's.
func (l Letter) Key() string {
	job, _ := capsign.ParseJobSubject(l.Subject)
	return job.Key
}

// Request decodes a letter's body and refuses one that is not what the letter
// says: of another hash, or for another subject. It wraps the code of what is
// wrong with it.
func (l Letter) Request(body []byte) (capsign.Request, error) {
	if l.Size != len(body) || l.SHA256 != capsign.BodySHA256(body) {
		if l.Size > maxBody {
			return capsign.Request{}, fmt.Errorf("dead letter: body: %w", capsign.TooLarge)
		}
		return capsign.Request{}, fmt.Errorf("dead letter: body: %w", capsign.BadRequest)
	}
	job, err := capsign.ParseJobSubject(l.Subject)
	if err != nil {
		return capsign.Request{}, fmt.Errorf("dead letter: %w", err)
	}
	req, err := capsign.DecodeRequest(body)
	switch {
	case err != nil:
		return capsign.Request{}, fmt.Errorf("dead letter: %w", err)
	case req.ID != l.ID, req.Tenant != job.Tenant, req.Pool != job.Pool, req.Key != job.Key,
		job.Lane != capsign.Express && job.Lane != capsign.Bulk:
		return capsign.Request{}, fmt.Errorf("dead letter: body and record differ: %w", capsign.Denied)
	}
	return req, nil
}
