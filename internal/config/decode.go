package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"
)

// decoder fills a struct from a YAML tree and goes on after a fault. It works
// on the tree rather than leave it to the yaml package, which stops at some
// faults and quotes values in others.
type decoder struct {
	faults []Fault
	// schema is the type of the whole file.
	schema reflect.Type
	// at holds the place of every key that was given.
	at map[string]*yaml.Node
	// unread holds the keys whose value could not be read.
	unread map[string]bool
}

// decode fills what into, a pointer to a struct, leads to from root.
func (d *decoder) decode(root *yaml.Node, into any) {
	file := reflect.ValueOf(into).Elem()
	d.at, d.unread, d.schema = map[string]*yaml.Node{"": root}, map[string]bool{}, file.Type()
	d.value("", root, file)
}

// given reports whether the file has key.
func (d *decoder) given(key string) bool { return d.at[key] != nil }

// fail notes that the value of key cannot be read.
func (d *decoder) fail(key, problem string) {
	d.unread[key] = true
	d.faults = append(d.faults, d.locate(Fault{Key: key, Problem: problem}))
}

// locate gives a fault the place of its key, or of the section it misses in.
func (d *decoder) locate(f Fault) Fault {
	node, key := d.at[f.Key], f.Key
	for node == nil {
		key = parent(key)
		node = d.at[key]
	}
	f.Line, f.Column = node.Line, node.Column
	return f
}

// with returns all faults: those of the tree and, of those that checks of the
// values found, the ones of values that could be read.
func (d *decoder) with(checks []Fault) []Fault {
	for _, f := range checks {
		if !d.isUnread(f.Key) {
			d.faults = append(d.faults, d.locate(f))
		}
	}
	return d.faults
}

// isUnread reports whether the value of key, or a section it is in, could not
// be read.
func (d *decoder) isUnread(key string) bool {
	for ; key != ""; key = parent(key) {
		if d.unread[key] {
			return true
		}
	}
	return d.unread[""]
}

// value fills one field from node.
func (d *decoder) value(key string, node *yaml.Node, into reflect.Value) {
	switch {
	case node.Kind == yaml.AliasNode, node.Anchor != "":
		d.fail(key, "anchors and aliases are not supported; write the value out")
	case node.Style&yaml.TaggedStyle != 0:
		d.fail(key, "tags are not supported")
	case node.Tag == "!!null":
		d.fail(key, "has no value; give it one or remove it")
	case into.Kind() == reflect.Struct:
		d.section(key, node, into)
	case into.Kind() == reflect.Slice:
		d.list(key, node, into)
	case into.Kind() == reflect.Map:
		d.table(key, node, into)
	case node.Kind != yaml.ScalarNode:
		d.fail(key, "must be "+expects(into))
	default:
		if problem := setScalar(node, into); problem != "" {
			d.fail(key, problem)
		}
	}
}

// list fills a slice of texts from a sequence.
func (d *decoder) list(key string, node *yaml.Node, into reflect.Value) {
	if node.Kind != yaml.SequenceNode {
		d.fail(key, "must be a list, such as [a, b]")
		return
	}
	if len(node.Content) == 0 {
		return
	}
	list := reflect.MakeSlice(into.Type(), len(node.Content), len(node.Content))
	for i, item := range node.Content {
		d.value(key, item, list.Index(i))
	}
	into.Set(list)
}

// nameForm is what the name of a table's entry must look like.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// table fills a map from names of the file's own to sections.
func (d *decoder) table(key string, node *yaml.Node, into reflect.Value) {
	if node.Kind != yaml.MappingNode {
		d.fail(key, "must be a section of names and what each has")
		return
	}
	into.Set(reflect.MakeMap(into.Type()))
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i], reflect.New(into.Type().Elem()).Elem()
		if name.Kind != yaml.ScalarNode || !nameForm.MatchString(name.Value) {
			d.faults = append(d.faults, Fault{name.Line, name.Column, key, `a name must be 1 to 32 characters out of A-Z, a-z, 0-9, "_" and "-"`})
			continue
		}
		d.entry(join(key, name.Value), name, node.Content[i+1], value)
		into.SetMapIndex(reflect.ValueOf(name.Value), value)
	}
}

// section fills a struct from a mapping.
func (d *decoder) section(key string, node *yaml.Node, into reflect.Value) {
	if node.Kind != yaml.MappingNode {
		d.fail(key, "must be a section of keys and values")
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		if field, known := fieldOf(into, name); known {
			d.entry(join(key, name.Value), name, value, field)
			continue
		}
		fault := d.unknownKey(key, name, value, into.Type())
		fault.Line, fault.Column = name.Line, name.Column
		d.faults = append(d.faults, fault)
	}
}

// entry fills the field of one key, unless it has been filled already.
func (d *decoder) entry(key string, name, value *yaml.Node, field reflect.Value) {
	if d.given(key) {
		problem := fmt.Sprintf("given twice; first on line %d", d.at[key].Line)
		d.faults = append(d.faults, Fault{name.Line, name.Column, key, problem})
		return
	}
	d.at[key] = name
	d.value(key, value, field)
}

// fieldOf returns the field of section that a key names.
func fieldOf(section reflect.Value, name *yaml.Node) (reflect.Value, bool) {
	if name.Kind != yaml.ScalarNode || name.Anchor != "" || name.Style&yaml.TaggedStyle != 0 {
		return reflect.Value{}, false
	}
	for i, known := range keysOf(section.Type()) {
		if known == name.Value {
			return section.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// keysOf returns the keys of a section's fields, in order.
func keysOf(section reflect.Type) []string {
	keys := make([]string, section.NumField())
	for i := range keys {
		keys[i] = section.Field(i).Tag.Get("yaml")
	}
	return keys
}

// join returns the dotted key of name in section.
func join(section, name string) string {
	if section == "" {
		return name
	}
	return section + "." + name
}

// parent returns the section of a dotted key, "" for the file's.
func parent(key string) string {
	return key[:max(strings.LastIndexByte(key, '.'), 0)]
}
