package config

import (
	"net/url"
	"regexp"
	"strings"
)

// uriComponent is one half of a PKCS#11 URI (RFC 7512, section 2.3).
type uriComponent struct {
	separator string
	// value is the form of an attribute's value.
	value *regexp.Regexp
	// attributes are the RFC's, each with the reason why it is refused, or with
	// "" where it is not. Vendor attributes are refused.
	attributes map[string]string
}

// notChosenBy refuses the attributes that describe a token rather than name it.
// To leave them unread would be to take a token that the URI does not mean.
const notChosenBy = " is not something a token is chosen by here; remove it, and keep token or serial"

// uriPath and uriQuery are the two halves.
var (
	uriPath = uriComponent{";",
		regexp.MustCompile(`^(?:[A-Za-z0-9._~:\[\]@!$'()*+,=&-]|%[0-9A-Fa-f]{2})*$`),
		map[string]string{
			"token": "", "serial": "", "slot-id": "", "object": "", "id": "", "type": "",
			"manufacturer":         notChosenBy,
			"model":                notChosenBy,
			"slot-description":     notChosenBy,
			"slot-manufacturer":    notChosenBy,
			"library-description":  notChosenBy,
			"library-manufacturer": notChosenBy,
			"library-version":      notChosenBy,
		}}
	uriQuery = uriComponent{"&",
		regexp.MustCompile(`^(?:[A-Za-z0-9._~:\[\]@!$'()*+,=/?|-]|%[0-9A-Fa-f]{2})*$`),
		map[string]string{
			"module-path": "", "pin-source": "",
			"module-name": " depends on where libraries are looked for; give the whole path in module-path",
			"pin-value":   ": a PIN does not belong in the file; name a file in pin-source, or a variable in pin_env",
		}}
)

// uriAttributes are a URI's attributes, percent-decoded: some are bytes rather
// than text.
type uriAttributes map[string]string

// parseURI returns the attributes of a PKCS#11 URI and all that is wrong with
// it. No problem repeats a value.
func parseURI(text string) (found uriAttributes, problems []string) {
	const scheme = "pkcs11:"
	if len(text) < len(scheme) || !strings.EqualFold(text[:len(scheme)], scheme) {
		return nil, []string{"must be a PKCS#11 URI such as pkcs11:token=cap;object=cap-signing"}
	}
	path, query, _ := strings.Cut(text[len(scheme):], "?")
	found = uriAttributes{}
	problems = found.parse(uriPath, path)
	return found, append(problems, found.parse(uriQuery, query)...)
}

// parse adds the attributes of one component.
func (a uriAttributes) parse(c uriComponent, text string) (problems []string) {
	if text == "" {
		return nil
	}
	for part := range strings.SplitSeq(text, c.separator) {
		if problem := a.add(c, part); problem != "" {
			problems = append(problems, problem)
		}
	}
	return problems
}

// add adds one attribute, or says what is wrong with it.
func (a uriAttributes) add(c uriComponent, part string) (problem string) {
	name, value, ok := strings.Cut(part, "=")
	refusal, known := c.attributes[name]
	_, again := a[name]
	switch {
	case !ok:
		return `must be made of attributes such as token=cap, with ";" between them and "?" before module-path and pin-source`
	case !known:
		return "has an attribute that is not known in its place; vendors' own are not supported"
	case refusal != "":
		return name + refusal
	case again:
		return name + " is given twice"
	case value == "":
		return name + " has no value; give it one or remove it"
	case !c.value.MatchString(value):
		a[name] = ""
		return name + " holds a character that must be percent-encoded, such as %20 for a space"
	}
	a[name], _ = url.PathUnescape(value) // the form admits whole escapes only
	return ""
}
