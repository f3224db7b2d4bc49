package capsign

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// Version is the wire format's version, the "v" of every document.
const Version = 1

// Limits of a request. They keep its body, and the result that answers it,
// under the 1 MiB that a NATS server accepts by default.
const (
	// MaxItems is the most messages that one request may hold.
	MaxItems = 1024
	// MaxRequestSize is the longest request body, in bytes.
	MaxRequestSize = 1<<20 - 8<<10
	// MaxMessageSize is the longest message that fits into a request as its only
	// item, in bytes.
	MaxMessageSize = 760 << 10
)

// SchemeRaw signs the bytes of each item as they are.
const SchemeRaw = "raw"

// Request asks the workers of a pool to sign 1..[MaxItems] messages with one
// key. Its JSON body is the content of a message on [JobSubject].
type Request struct {
	// V is the format's version, [Version].
	V int `json:"v"`
	// ID names the request: "<client>.<n>", see [RequestID].
	ID string `json:"id"`
	// Expires is the absolute instant after which nobody may sign it, in UTC.
	Expires time.Time `json:"exp"`
	// Tenant, Pool and Key repeat the tokens of the subject, so that a body that
	// was carried to another subject is refused.
	Tenant string `json:"tenant"`
	Pool   string `json:"pool"`
	Key    string `json:"key"`
	// KID asks for one key version; empty means the key's active one.
	KID string `json:"kid,omitzero"`
	// Scheme says how an item becomes the bytes that are signed; [SchemeRaw].
	Scheme string `json:"scheme"`
	// Items holds the messages, as base64 strings in JSON.
	Items [][]byte `json:"items"`
}

// Result answers one request. Its JSON body is stored once, and for good, on
// the request's [StoreSubject].
type Result struct {
	V  int    `json:"v"`
	ID string `json:"id"`
	// RequestSHA256 is the hex SHA-256 of the body this result answers. A
	// requester that sees the hash of another body reports [IDConflict].
	RequestSHA256 string `json:"request_sha256"`
	// Code, where it is set, refuses the request as a whole: KID, Alg and
	// Outcomes are then empty.
	Code Code `json:"code,omitzero"`
	// KID is the key version that made every signature below, and Alg its
	// algorithm.
	KID string `json:"kid,omitzero"`
	Alg Alg    `json:"alg,omitzero"`
	// Outcomes holds one outcome per item, in the order of the items.
	Outcomes []Outcome `json:"outcomes,omitzero"`
}

// Outcome is what became of one item: a signature, or the code that says why
// there is none.
type Outcome struct {
	Signature []byte `json:"signature,omitzero"`
	Code      Code   `json:"code,omitzero"`
}

// Encode returns the request's JSON body.
func (r *Request) Encode() ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("capsign: encode request: %w", BadRequest)
	}
	if len(body) > MaxRequestSize {
		return nil, fmt.Errorf("capsign: encode request: %w", TooLarge)
	}
	return body, nil
}

// DecodeRequest decodes and checks a request's body. Where the body is refused
// but names a well-formed id, the returned request has that ID alone, so that
// the refusal can be stored; it is otherwise the zero Request. Whether the
// request has expired, and whether its key exists, is for the worker to say.
func DecodeRequest(body []byte) (Request, error) {
	if len(body) > MaxRequestSize {
		return Request{}, fmt.Errorf("capsign: request: %w", TooLarge)
	}
	var req Request
	if err := unmarshalStrict(body, &req); err != nil {
		return salvage(body, err)
	}
	if err := req.check(); err != nil {
		return salvage(body, err)
	}
	return req, nil
}

// salvage looks in a refused body for the two members that outlive a version:
// the id to answer under, and the version that would explain the refusal.
func salvage(body []byte, err error) (Request, error) {
	var envelope struct {
		V  int    `json:"v"`
		ID string `json:"id"`
	}
	if json.Unmarshal(body, &envelope) != nil || CheckRequestID(envelope.ID) != nil {
		return Request{}, err
	}
	if envelope.V != 0 && envelope.V != Version {
		err = fmt.Errorf("capsign: request version %d: %w", envelope.V, UnsupportedVersion)
	}
	return Request{ID: envelope.ID}, err
}

// check holds a decoded request to the rules that need nothing but itself.
func (r *Request) check() error {
	switch {
	case r.V == 0:
		return fmt.Errorf("capsign: request without a version: %w", BadRequest)
	case r.V != Version:
		return fmt.Errorf("capsign: request version %d: %w", r.V, UnsupportedVersion)
	case CheckRequestID(r.ID) != nil:
		return CheckRequestID(r.ID)
	case r.Expires.IsZero() || r.Expires.Location() != time.UTC:
		return fmt.Errorf("capsign: request: exp is not an instant in UTC: %w", BadRequest)
	case CheckToken(r.Tenant) != nil || CheckToken(r.Pool) != nil:
		return fmt.Errorf("capsign: request: tenant or pool: %w", BadRequest)
	case CheckKeyName(r.Key) != nil:
		return CheckKeyName(r.Key)
	case r.KID != "" && !isKID(r.KID):
		return fmt.Errorf("capsign: request: kid: %w", BadRequest)
	case r.Scheme != SchemeRaw:
		return fmt.Errorf("capsign: request: %w", UnsupportedScheme)
	case len(r.Items) == 0 || len(r.Items) > MaxItems:
		return fmt.Errorf("capsign: request of %d items: %w", len(r.Items), BadRequest)
	}
	return nil
}

// Encode returns the result's JSON body.
func (r *Result) Encode() ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("capsign: encode result: %w", Internal)
	}
	return body, nil
}

// DecodeResult decodes and checks a result's body.
func DecodeResult(body []byte) (Result, error) {
	var res Result
	if err := unmarshalStrict(body, &res); err != nil {
		return Result{}, err
	}
	if err := res.check(); err != nil {
		return Result{}, fmt.Errorf("capsign: result: %w", err)
	}
	return res, nil
}

// errShape is what every malformed result wraps.
var errShape = fmt.Errorf("unexpected shape: %w", BadRequest)

// check holds a decoded result to its shape: refused as a whole, or one
// outcome for each item, each with either a signature or a known code.
func (r *Result) check() error {
	switch {
	case r.V != Version:
		return UnsupportedVersion
	case CheckRequestID(r.ID) != nil || len(r.RequestSHA256) != 2*sha256.Size:
		return errShape
	case r.Code != "":
		if !r.Code.Known() || r.KID != "" || len(r.Outcomes) != 0 {
			return errShape
		}
		return nil
	case !isKID(r.KID) || r.Alg == "" || len(r.Outcomes) == 0 || len(r.Outcomes) > MaxItems:
		return errShape
	}
	for _, o := range r.Outcomes {
		if (len(o.Signature) == 0) == (o.Code == "") || o.Code != "" && !o.Code.Known() {
			return errShape
		}
	}
	return nil
}

// BodySHA256 returns the hex SHA-256 of a request's body, the RequestSHA256 of
// its result.
func BodySHA256(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// clientIDLen is the length of a client id: 128 bits as base64url.
const clientIDLen = 22

// NewClientID returns a fresh client id: 128 random bits as 22 base64url
// characters, of which the first is no dash, since ids are arguments of commands.
// A process, or a resumable run, makes one and counts its requests under it.
func NewClientID() string {
	for {
		var bits [16]byte
		rand.Read(bits[:]) // never fails, see crypto/rand
		if id := base64.RawURLEncoding.EncodeToString(bits[:]); id[0] != '-' {
			return id
		}
	}
}

// RequestID returns the id of a client's n-th request, "<client>.<n>".
func RequestID(client string, n uint64) string {
	return client + "." + strconv.FormatUint(n, 10)
}

// CheckRequestID refuses an id that is not "<client>.<n>", with a client of 22
// base64url characters and n in decimal without leading zeros.
func CheckRequestID(id string) error {
	client, n, _ := strings.Cut(id, ".")
	if len(client) != clientIDLen || !isToken(client) {
		return fmt.Errorf("capsign: request id: %w", BadRequest)
	}
	count, err := strconv.ParseUint(n, 10, 64)
	if err != nil || strconv.FormatUint(count, 10) != n {
		return fmt.Errorf("capsign: request id: %w", BadRequest)
	}
	return nil
}
