package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"text/template"
)

// notes are written by hand, one file per row: what holds a missed target, and
// what would mend it.
//
//go:embed notes
var notes embed.FS

//go:embed report.md.tmpl
var reportText string

// note returns the hand-written note of a row, or "".
func note(id string) (string, error) {
	text, err := notes.ReadFile(path.Join("notes", id+".md"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(text)), err
}

// noted is a row's section below the report's table.
type noted struct {
	ID, Note string
	Missed   bool
}

// notedRows returns a section for each row that misses a target or has a note.
func notedRows(results []*result) ([]noted, error) {
	losing := missed(results)
	var sections []noted
	for _, res := range results {
		id := res.row.id
		if slices.ContainsFunc(sections, func(s noted) bool { return s.ID == id }) {
			continue
		}
		text, err := note(id)
		if err != nil {
			return nil, err
		}
		if lost := slices.Contains(losing, id); lost || text != "" {
			sections = append(sections, noted{id, text, lost})
		}
	}
	return sections, nil
}

// writeReport writes the report in Markdown.
func writeReport(file string, m machine, results []*result) error {
	sections, err := notedRows(results)
	if err != nil {
		return err
	}
	report, err := template.New("report").Parse(reportText)
	if err != nil {
		return err
	}
	var text strings.Builder
	err = report.Execute(&text, map[string]any{
		"Machine": m.String(), "Rounds": m.rounds, "Size": m.size, "Table": markdown(results),
		"Missed": missed(results), "Remarks": remarks(results), "Sections": sections,
	})
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(text.String()), 0o644)
}

// markdown returns the table in Markdown.
func markdown(results []*result) string {
	var b strings.Builder
	b.WriteString("| row | what | sync | figure | today | target | |\n|---|---|---|---|---:|---:|---|\n")
	for _, l := range lines(results) {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", l.id, l.what, l.sync, l.figure, l.value, l.target, l.verdict)
	}
	return b.String()
}
