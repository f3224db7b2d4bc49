package capsign

import (
	"fmt"

	"github.com/go-json-experiment/json"
)

// unmarshalStrict decodes one JSON value into v and refuses whatever a lenient
// reader would let through: unknown, duplicate or differently cased members,
// invalid UTF-8, and data after the value. It names no part of the input in its
// error, which wraps [BadRequest].
func unmarshalStrict(data []byte, v any) error {
	if err := json.Unmarshal(data, v, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("capsign: decode: %w", BadRequest)
	}
	return nil
}
