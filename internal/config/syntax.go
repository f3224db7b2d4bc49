package config

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// syntaxHints turn the parser's words into ours. Its text is not passed on: it
// may quote the file.
var syntaxHints = []struct{ said, means string }{
	{"max depth", "nested too deeply"},
	{"mapping values are not allowed", `a second ":" in one line; quote the value if it holds one`},
	{"unknown anchor", "anchors and aliases are not supported; write the value out"},
	{"unexpected end of stream", "a quote that opens here is never closed"},
	{"cannot start any token", "a value cannot start with this character; quote it"},
	{"did not find expected key", "the indentation does not match the lines above, or a value is not quoted"},
	{"expected ',' or", "a bracket that opens here is never closed"},
}

// syntaxFault says where data is not YAML.
func syntaxFault(err error, data []byte) Fault {
	fault := Fault{Problem: "not valid YAML"}
	loadErr, ok := errors.AsType[*yaml.LoadError](err)
	if !ok {
		return fault
	}
	mark := loadErr.Mark
	for _, hint := range syntaxHints {
		if strings.Contains(loadErr.Message, hint.said) {
			fault.Problem = hint.means
			if strings.Contains(hint.means, "opens here") {
				mark = loadErr.ContextMark
			}
			break
		}
	}
	fault.Line, fault.Column = mark.Line, mark.Column
	if tabIndents(data, mark.Line) {
		fault.Problem = "a tab cannot indent; use spaces"
	}
	return fault
}

// tabIndents reports whether the line, counted from 1, has a tab before its
// first character.
func tabIndents(data []byte, line int) bool {
	for range line - 1 {
		_, data, _ = bytes.Cut(data, []byte("\n"))
	}
	indent := data[:len(data)-len(bytes.TrimLeft(data, " \t"))]
	return line > 0 && bytes.ContainsRune(indent, '\t')
}

// notText says where data stops being UTF-8 text, if it does.
func notText(data []byte) (Fault, bool) {
	fault := Fault{Line: 1, Column: 1}
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && size == 1:
			fault.Problem = "the file is not UTF-8 text"
			return fault, true
		case r == '\n':
			fault.Line, fault.Column = fault.Line+1, 1
		case r < ' ' && r != '\t' && r != '\r', r == 0x7f:
			fault.Problem = "control characters are not allowed"
			return fault, true
		default:
			fault.Column++
		}
		data = data[size:]
	}
	return Fault{}, false
}
