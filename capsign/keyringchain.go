package capsign

import (
	"fmt"

	"github.com/go-json-experiment/json"
)

// MaxChainSize is the longest chain that is decoded, in bytes.
const MaxChainSize = 64 << 20

// chain is the JSON form of keyrings one after the other.
type chain struct {
	V        int        `json:"v"`
	Keyrings []envelope `json:"keyrings"`
}

// EncodeChain returns the exported form of keyrings that follow one another,
// oldest first: {"v":1,"keyrings":[envelope, …]}. It wraps [KeyringMissing]
// where there are none, [KeyringFork] where one does not continue the one
// before, or [TooLarge] beyond [MaxChainSize].
func EncodeChain(keyrings []*SignedKeyring) ([]byte, error) {
	if err := contiguous(keyrings); err != nil {
		return nil, err
	}
	doc := chain{V: Version}
	for _, s := range keyrings {
		doc.Keyrings = append(doc.Keyrings, s.envelope())
	}
	data, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("capsign: encode keyrings: %w", Internal)
	}
	if len(data) > MaxChainSize {
		return nil, fmt.Errorf("capsign: encode keyrings: %w", TooLarge)
	}
	return data, nil
}

// ParseChain decodes what [EncodeChain] made and wraps what that and
// [ParseSignedKeyring] wrap. Whether to believe the keyrings is for
// [Trust.FollowChain] to say.
func ParseChain(data []byte) ([]*SignedKeyring, error) {
	if len(data) > MaxChainSize {
		return nil, fmt.Errorf("capsign: keyrings: %w", TooLarge)
	}
	var doc chain
	if err := unmarshalStrict(data, &doc); err != nil {
		return nil, err
	}
	switch doc.V {
	case 0:
		return nil, malformed("no format version")
	case Version:
	default:
		return nil, fmt.Errorf("capsign: keyrings: %w", UnsupportedVersion)
	}
	var keyrings []*SignedKeyring
	for _, e := range doc.Keyrings {
		s, err := e.open()
		if err != nil {
			return nil, err
		}
		keyrings = append(keyrings, s)
	}
	if err := contiguous(keyrings); err != nil {
		return nil, err
	}
	return keyrings, nil
}

// contiguous checks that there are keyrings and that each names the one before.
func contiguous(keyrings []*SignedKeyring) error {
	if len(keyrings) == 0 {
		return fmt.Errorf("capsign: keyrings: %w", KeyringMissing)
	}
	for i, next := range keyrings[1:] {
		before := keyrings[i]
		if next.keyring.Version != before.keyring.Version+1 || next.keyring.Previous != before.Hash() {
			return fmt.Errorf("capsign: keyrings: %w", KeyringFork)
		}
	}
	return nil
}
