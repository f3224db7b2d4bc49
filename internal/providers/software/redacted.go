package software

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted is what everything that holds a private key or a passphrase prints
// as, whichever way it is printed.
const redacted = "REDACTED"

// Format prints REDACTED for every verb.
func (Config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String returns REDACTED.
func (Config) String() string { return redacted }

// GoString returns REDACTED.
func (Config) GoString() string { return redacted }

// LogValue returns REDACTED.
func (Config) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns REDACTED, to encoding/json among others.
func (Config) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format prints REDACTED for every verb.
func (*Provider) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String returns REDACTED.
func (*Provider) String() string { return redacted }

// GoString returns REDACTED.
func (*Provider) GoString() string { return redacted }

// LogValue returns REDACTED.
func (*Provider) LogValue() slog.Value { return slog.StringValue(redacted) }

func (version) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }
func (version) String() string             { return redacted }
func (version) GoString() string           { return redacted }
func (version) LogValue() slog.Value       { return slog.StringValue(redacted) }

// Format prints REDACTED for every verb.
func (*sharedKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }
func (*sharedKey) String() string             { return redacted }
func (*sharedKey) GoString() string           { return redacted }
func (*sharedKey) LogValue() slog.Value       { return slog.StringValue(redacted) }
