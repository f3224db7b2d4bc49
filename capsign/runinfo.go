package capsign

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
)

// maxRunItems bounds how many items a run's list may claim to have.
const maxRunItems = 100_000_000

// RunInfo is what there is to say of a run that was left to the workers as a
// whole. It is published last, and lies on the broker, where others may have
// written it: whoever reads it believes nothing of it but what a signature says.
type RunInfo struct {
	V int `json:"v"`
	// ID is the run's client id.
	ID string `json:"id"`
	// Tenant, Pool and Key are those of its requests.
	Tenant string `json:"tenant"`
	Pool   string `json:"pool"`
	Key    string `json:"key"`
	// Note says what the items' digests mean, in the publisher's own words.
	Note string `json:"note,omitzero"`
	// Items is how many there are.
	Items int `json:"items"`
	// Created is when the run was begun, by its publisher's clock.
	Created time.Time `json:"created"`
}

// RunPart lists the items of one request of such a run.
type RunPart struct {
	V  int    `json:"v"`
	ID string `json:"id"`
	// First is the index of the first item among all of the run.
	First int `json:"first"`
	// N is the request's number; 0 means that none of the items was sent.
	N uint64 `json:"n,omitzero"`
	// Expires is the instant after which nobody signs the request.
	Expires time.Time `json:"exp,omitzero"`
	// BodySHA256 is the hex SHA-256 of the request's body.
	BodySHA256 string `json:"body_sha256,omitzero"`
	// Items are in the order of the run. Those without a Code are the request's.
	Items []RunItem `json:"items"`
}

// RunItem is one item of a run's list.
type RunItem struct {
	// Ref and SHA256 are the Ref and the Digest of the [Item].
	Ref    string `json:"ref"`
	SHA256 string `json:"sha256,omitzero"`
	// Code says why the item was not sent.
	Code Code `json:"code,omitzero"`
}

// encodeDocument returns a document's JSON.
func encodeDocument(document any) ([]byte, error) {
	body, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("capsign: encode run: %w", BadRequest)
	}
	return body, nil
}

// errRun is what a document about a run wraps that makes no sense.
var errRun = fmt.Errorf("capsign: run: unexpected shape: %w", BadRequest)

// DecodeRunInfo decodes and checks what there is to say of a run.
func DecodeRunInfo(body []byte) (RunInfo, error) {
	var info RunInfo
	if err := unmarshalStrict(body, &info); err != nil {
		return RunInfo{}, err
	}
	switch {
	case info.V != Version:
		return RunInfo{}, fmt.Errorf("capsign: run: %w", UnsupportedVersion)
	case CheckRequestID(info.ID+".1") != nil || info.Items < 0 || info.Items > maxRunItems,
		CheckToken(info.Tenant) != nil || CheckToken(info.Pool) != nil || CheckKeyName(info.Key) != nil:
		return RunInfo{}, errRun
	}
	return info, nil
}

// DecodeRunPart decodes and checks a part of a run's list.
func DecodeRunPart(body []byte) (RunPart, error) {
	var part RunPart
	if err := unmarshalStrict(body, &part); err != nil {
		return RunPart{}, err
	}
	sent := part.sent()
	sum, err := hex.DecodeString(part.BodySHA256)
	switch {
	case part.V != Version:
		return RunPart{}, fmt.Errorf("capsign: run: %w", UnsupportedVersion)
	case CheckRequestID(part.ID+".1") != nil || part.First < 0,
		len(part.Items) == 0 || len(part.Items) > MaxItems,
		(part.N == 0) != (sent == 0),
		part.N != 0 && (err != nil || len(sum) != sha256.Size || part.Expires.IsZero()):
		return RunPart{}, errRun
	}
	for _, item := range part.Items {
		if item.Code != "" && !item.Code.Known() || item.SHA256 != "" && !isKID(item.SHA256) {
			return RunPart{}, errRun
		}
	}
	return part, nil
}

// sent returns how many of the items are the request's.
func (p *RunPart) sent() int {
	n := 0
	for _, item := range p.Items {
		if item.Code == "" {
			n++
		}
	}
	return n
}
