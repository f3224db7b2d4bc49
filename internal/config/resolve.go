package config

import (
	"encoding/hex"
	"strconv"
	"strings"
)

// Resolve returns p with what its URI says in the fields that say the same, and
// URI empty. Where the URI cannot be read or says what a field says already,
// the error is an [*Error].
func (p PKCS11) Resolve() (PKCS11, error) {
	resolved, _, problems := p.merged()
	var r rules
	for _, problem := range problems {
		r.that("key.pkcs11.uri", false, problem)
	}
	if err := asError(r.faults); err != nil {
		return PKCS11{}, err
	}
	return resolved, nil
}

// merged is Resolve that goes on after a problem. It also returns which keys
// the URI states.
func (p PKCS11) merged() (resolved PKCS11, s stated, problems []string) {
	if p.URI == "" {
		return p, nil, nil
	}
	attributes, problems := parseURI(p.URI)
	m := merger{attributes, stated{}, append(problems, attributes.convert()...)}
	m.text("token", "token_label", &p.TokenLabel)
	m.text("serial", "token_serial", &p.TokenSerial)
	m.slot(&p.Slot)
	m.text("object", "key_label", &p.KeyLabel)
	m.text("id", "key_id", &p.KeyID)
	m.text("module-path", "module", &p.Module)
	m.text("pin-source", "pin_file", &p.PINFile)
	p.URI = ""
	return p, m.stated, m.problems
}

// convert rewrites the attributes that fields write differently, and removes
// those that cannot be used.
func (a uriAttributes) convert() (problems []string) {
	if kind, ok := a["type"]; ok && kind != "private" {
		problems = append(problems, "type must be private, or left out: the key that signs is a private one")
	}
	if id, ok := a["id"]; ok {
		a["id"] = hex.EncodeToString([]byte(id))
	}
	if source, ok := a["pin-source"]; ok {
		path, isFile := strings.CutPrefix(source, "file:")
		a["pin-source"] = strings.TrimPrefix(path, "//")
		if !isFile || !strings.HasPrefix(a["pin-source"], "/") {
			delete(a, "pin-source")
			problems = append(problems, "pin-source must be file: and an absolute path")
		}
	}
	return problems
}

// merger puts what a URI says into fields that say nothing yet.
type merger struct {
	attributes uriAttributes
	stated     stated
	problems   []string
}

// text fills the field of key from attribute.
func (m *merger) text(attribute, key string, field *string) {
	if value := m.take(attribute, key, *field == ""); value != "" {
		*field = value
	}
}

// slot fills the slot, which is a number.
func (m *merger) slot(field **uint) {
	value := m.take("slot-id", "slot", *field == nil)
	if value == "" {
		return
	}
	id, err := strconv.ParseUint(value, 10, strconv.IntSize)
	if err != nil {
		m.problems = append(m.problems, "slot-id must be a decimal number")
		return
	}
	*field = new(uint(id))
}

// take returns an attribute's value, or "" where there is none or the field of
// its key is not free.
func (m *merger) take(attribute, key string, free bool) string {
	value, ok := m.attributes[attribute]
	if ok && !free {
		m.problems = append(m.problems, attribute+" says what "+key+" says; keep one")
		return ""
	}
	if ok {
		m.stated["key.pkcs11."+key] = attribute
	}
	return value
}

// stated maps the dotted keys that a URI states to its attributes.
type stated map[string]string

// blame lays a fault of a field that the URI states on the URI.
func (s stated) blame(f Fault) Fault {
	if attribute, ok := s[f.Key]; ok {
		return Fault{Key: "key.pkcs11.uri", Problem: attribute + " " + f.Problem}
	}
	return f
}
