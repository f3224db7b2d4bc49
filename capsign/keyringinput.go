package capsign

import (
	"bytes"
	"fmt"
)

// IsKeyringInput reports whether msg is what a root signs of a keyring, as
// [SignedKeyring.SigningInput] makes it, or could be taken for that.
func IsKeyringInput(msg []byte) bool {
	return bytes.HasPrefix(msg, fmt.Appendf(nil, "DSSEv1 %d %s ", len(KeyringPayloadType), KeyringPayloadType))
}
