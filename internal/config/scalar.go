package config

import (
	"log/slog"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// levels are the log levels a file can name.
var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// setScalar fills a field from a scalar, or says what it must be. How a value
// is written follows from the field's type alone; an int64 is a size in bytes.
func setScalar(node *yaml.Node, into reflect.Value) (problem string) {
	value, ok := parseScalar(node, into.Type())
	if !ok {
		return "must be " + expects(into)
	}
	into.Set(reflect.ValueOf(value).Convert(into.Type()))
	return ""
}

// parseScalar returns a scalar's value, of a type that converts to want.
func parseScalar(node *yaml.Node, want reflect.Type) (value any, ok bool) {
	text := node.Value
	var err error
	switch want {
	case reflect.TypeFor[time.Duration]():
		value, err = time.ParseDuration(text)
		return value, err == nil && node.Tag == "!!str"
	case reflect.TypeFor[slog.Level]():
		value, ok = levels[text]
		return value, ok
	case reflect.TypeFor[int64]():
		return parseSize(text)
	case reflect.TypeFor[int]():
		value, ok = parseWhole(text, strconv.IntSize-1)
		return value, ok && node.Tag == "!!int"
	case reflect.TypeFor[*uint]():
		whole, ok := parseWhole(text, strconv.IntSize)
		slot := uint(whole)
		return &slot, ok && node.Tag == "!!int"
	case reflect.TypeFor[float64]():
		value, err = strconv.ParseFloat(text, 64)
		return value, err == nil && decimalForm.MatchString(text)
	case reflect.TypeFor[bool]():
		return text == "true", isBool(node)
	case reflect.TypeFor[*bool]():
		return new(text == "true"), isBool(node)
	}
	return text, node.Tag == "!!str"
}

// decimalForm is how a number with a fraction is written.
var decimalForm = regexp.MustCompile(`^[0-9]{1,9}(\.[0-9]{1,9})?$`)

// isBool reports whether a scalar is a truth value in its one spelling.
func isBool(node *yaml.Node) bool {
	return node.Tag == "!!bool" && (node.Value == "true" || node.Value == "false")
}

// parseWhole parses a decimal number of at most bits bits, written without
// sign, leading zeros or separators.
func parseWhole(text string, bits int) (uint64, bool) {
	n, err := strconv.ParseUint(text, 10, bits)
	return n, err == nil && (text == "0" || text[0] != '0')
}

// sizeUnits are the units a size can have.
var sizeUnits = []struct {
	suffix string
	shift  int
}{{"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}}

// parseSize parses a number of bytes, such as "1048576", "512MiB" or "1 GiB".
func parseSize(text string) (int64, bool) {
	shift := 0
	for _, unit := range sizeUnits {
		if number, ok := strings.CutSuffix(text, unit.suffix); ok {
			text, shift = strings.TrimSuffix(number, " "), unit.shift
			break
		}
	}
	n, ok := parseWhole(text, 63-shift)
	return int64(n) << shift, ok //nolint:gosec // it has at most 63-shift bits
}

// expects says how a field's value is written.
func expects(field reflect.Value) string {
	switch field.Type() {
	case reflect.TypeFor[time.Duration]():
		return "a duration such as 500ms, 30s or 24h"
	case reflect.TypeFor[slog.Level]():
		return "one of debug, info, warn, error"
	case reflect.TypeFor[int64]():
		return "a number of bytes, or of KiB, MiB, GiB or TiB, such as 512MiB"
	case reflect.TypeFor[int](), reflect.TypeFor[*uint]():
		return "a whole decimal number, not negative"
	case reflect.TypeFor[float64]():
		return "a decimal number such as 0.25"
	case reflect.TypeFor[bool](), reflect.TypeFor[*bool]():
		return "true or false"
	}
	return "text; quote it if it looks like something else"
}
