package main

import (
	"cmp"
	"fmt"
	"io"
	"text/tabwriter"
)

// line is one figure of a row in the table.
type line struct {
	id, what, sync  string
	figure, value   string
	target, verdict string
}

// lines returns the table's lines, one per figure.
func lines(results []*result) []line {
	var all []line
	for _, res := range results {
		head := line{id: res.row.id, what: res.row.what, sync: cmp.Or(string(res.row.sync), "nothing stored")}
		if res.skipped != "" {
			head.figure = res.skipped
			all = append(all, head)
			continue
		}
		middle := medians(res.samples)
		for _, f := range order {
			value, ok := middle[f]
			if !ok {
				continue
			}
			l := head
			l.figure, l.value = string(f), f.format(value)
			if bound, ok := res.row.goals[f]; ok {
				l.target, l.verdict = f.bound(bound), verdict(f.met(value, bound))
			}
			all = append(all, l)
			head = line{}
		}
	}
	return all
}

// verdict says whether a target was met.
func verdict(met bool) string {
	if met {
		return "met"
	}
	return "MISSED"
}

// missed returns the ids of the rows with a missed target, in order.
func missed(results []*result) []string {
	var ids []string
	for _, res := range results {
		middle := medians(res.samples)
		for f, bound := range res.row.goals {
			if value, ok := middle[f]; ok && !f.met(value, bound) && (len(ids) == 0 || ids[len(ids)-1] != res.row.id) {
				ids = append(ids, res.row.id)
			}
		}
	}
	return ids
}

// printTable prints the table for a terminal.
func printTable(w io.Writer, m machine, results []*result) error {
	fmt.Fprintf(w, "%s\nmedians of %d, messages of %d bytes\n\n", m, m.rounds, m.size)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "row\twhat\tsync\tfigure\ttoday\ttarget\t")
	for _, l := range lines(results) {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.id, l.what, l.sync, l.figure, l.value, l.target, l.verdict)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, remark := range remarks(results) {
		fmt.Fprintf(w, "\n%s\n", remark)
	}
	return nil
}

// remarks returns a sentence for each row whose rounds were not all steady.
func remarks(results []*result) []string {
	var said []string
	for _, res := range results {
		if res.discarded == 0 && res.unsteady == 0 {
			continue
		}
		said = append(said, fmt.Sprintf("%s, %s, %s: raw before and after differed by more than 20 %%; %d rounds measured again, %d kept all the same.",
			res.row.id, res.row.what, cmp.Or(string(res.row.sync), "nothing stored"), res.discarded, res.unsteady))
	}
	return said
}
