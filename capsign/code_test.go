package capsign_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/capsign/cap/capsign"
)

// declaredCodes reads the Code constants out of the source.
func declaredCodes(t *testing.T) []capsign.Code {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "code.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var codes []capsign.Code
	for node := range ast.Preorder(file) {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || fmt.Sprint(spec.Type) != "Code" {
			continue
		}
		for _, value := range spec.Values {
			text, err := strconv.Unquote(value.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			codes = append(codes, capsign.Code(text))
		}
	}
	return codes
}

func TestEveryCodeHasOneRow(t *testing.T) {
	listed, declared := capsign.Codes(), declaredCodes(t)
	if !slices.Equal(listed, declared) {
		t.Errorf("Codes lists\n%v\nthe source declares\n%v", listed, declared)
	}
	if sorted := slices.Sorted(slices.Values(listed)); len(slices.Compact(sorted)) != len(listed) {
		t.Error("Codes lists a code twice")
	}
}

func TestRowsKeepTheRules(t *testing.T) {
	name := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	statuses := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 70}
	previous := 0
	for _, code := range capsign.Codes() {
		if !name.MatchString(string(code)) || code.Error() != string(code) || !code.Known() {
			t.Errorf("%q is no name for a code", code)
		}
		s := code.Sentence()
		if s == "" || !strings.HasSuffix(s, ".") || strings.Count(s, ". ") != 0 || strings.ToUpper(s[:1]) != s[:1] || strings.Contains(s, "|") {
			t.Errorf("%s: %q is no sentence", code, s)
		}
		if !slices.Contains(statuses, code.ExitStatus()) || code.ExitStatus() < previous {
			t.Errorf("%s: exit status %d, after %d", code, code.ExitStatus(), previous)
		}
		previous = code.ExitStatus()
		if redelivered := code.Fate() == capsign.FateRedelivered; redelivered && !code.Retryable() {
			t.Errorf("%s is redelivered but not retryable", code)
		}
		if temporary := slices.Contains([]int{6, 7, 9}, code.ExitStatus()); code.Retryable() && !temporary {
			t.Errorf("%s is retryable and exits with %d", code, code.ExitStatus())
		}
		if !slices.Contains([]capsign.Fate{capsign.FateAnswered, capsign.FateRedelivered, capsign.FateHeld, capsign.FateLatched, capsign.FateNone}, code.Fate()) {
			t.Errorf("%s: fate %q", code, code.Fate())
		}
	}
}

// What travels in a result may come from a newer worker, or from anybody.
func TestForeignCodeIsTreatedAsInternal(t *testing.T) {
	for _, foreign := range []capsign.Code{"", "no_such_code", "KID_UNKNOWN", "ok"} {
		if foreign.Known() {
			t.Errorf("%q is known", foreign)
		}
		if foreign.Retryable() != capsign.Internal.Retryable() || foreign.Fate() != capsign.Internal.Fate() ||
			foreign.ExitStatus() != 70 || foreign.Sentence() != capsign.Internal.Sentence() {
			t.Errorf("%q has a row of its own", foreign)
		}
	}
}

func TestCodesListCannotBeChanged(t *testing.T) {
	clear(capsign.Codes())
	if slices.Contains(capsign.Codes(), "") {
		t.Error("clearing the list that Codes returned changed the table")
	}
}

func TestCodeSurvivesWrapping(t *testing.T) {
	err := fmt.Errorf("queue: sign: %w", fmt.Errorf("software: sign: %w", capsign.KIDUnknown))
	if code, ok := errors.AsType[capsign.Code](err); !ok || code != capsign.KIDUnknown {
		t.Errorf("AsType = %q, %v", code, ok)
	}
	if !errors.Is(err, capsign.KIDUnknown) || errors.Is(err, capsign.KeyUnknown) {
		t.Error("Is does not tell the code from others")
	}
}
