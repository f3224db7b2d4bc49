package batch

import (
	"encoding/hex"
	"strings"
)

// hexSHA256 is how long a SHA-256 is in hex.
const hexSHA256 = 64

// Escapes that sha256sum uses in file names, in a line that begins with a
// backslash then.
var (
	escapeName   = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`)
	unescapeName = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\r`, "\r")
)

// ChecksumLine returns the line that "sha256sum PATH" prints of a file with
// that SHA-256, in hex, its line end included.
func ChecksumLine(sha256, path string) string {
	if strings.ContainsAny(path, "\\\n\r") {
		return `\` + sha256 + "  " + escapeName.Replace(path) + "\n"
	}
	return sha256 + "  " + path + "\n"
}

// ParseChecksum reads a line of sha256sum's, without its line end: binary mode
// and CRLF are accepted too.
func ParseChecksum(line string) (Artifact, error) {
	line = strings.TrimSuffix(line, "\r")
	rest, escaped := strings.CutPrefix(line, `\`)
	if len(rest) < hexSHA256+3 || rest[hexSHA256] != ' ' || rest[hexSHA256+1] != ' ' && rest[hexSHA256+1] != '*' {
		return Artifact{}, errChecksum
	}
	sum, path := strings.ToLower(rest[:hexSHA256]), rest[hexSHA256+2:]
	if _, err := hex.DecodeString(sum); err != nil || strings.Contains(path, "\x00") {
		return Artifact{}, errChecksum
	}
	if escaped {
		path = unescapeName.Replace(path)
	}
	return Artifact{Path: path, SHA256: sum}, nil
}
