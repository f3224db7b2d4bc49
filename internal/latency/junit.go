package latency

import (
	"encoding/xml"
	"strings"

	"github.com/capsign/cap/capsign"
)

// junitSuites, junitSuite, junitCase and junitResult are the JUnit XML that CI
// servers read.
type junitSuites struct {
	XMLName xml.Name     `xml:"testsuites"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
	Output   string      `xml:"system-out"`
}

type junitCase struct {
	Class   string       `xml:"classname,attr"`
	Name    string       `xml:"name,attr"`
	Failure *junitResult `xml:"failure"`
	Error   *junitResult `xml:"error"`
	Skipped *junitResult `xml:"skipped"`
}

type junitResult struct {
	Type    string `xml:"type,attr,omitempty"`
	Message string `xml:"message,attr"`
}

// JUnit returns the report as JUnit XML: a test for each line of the budgets,
// which fails where the line is exceeded, has an error where it is inconclusive
// and is skipped where nothing of the kind was seen.
func (r Report) JUnit() ([]byte, error) {
	suite := junitSuite{Name: "cap latency budgets", Output: xmlText(r.Text())}
	for _, l := range r.Lines {
		suite.add(l.Name(), l.Verdict, l.Why)
	}
	if r.Code() == capsign.BudgetInconclusive && suite.Errors == 0 { // nothing at all was seen
		suite.add("anything", Inconclusive, "no request was seen")
	}
	data, err := xml.MarshalIndent(junitSuites{Suites: []junitSuite{suite}}, "", "  ")
	if err != nil {
		return nil, capsign.Internal
	}
	return append([]byte(xml.Header), append(data, '\n')...), nil
}

// add adds the test of one line.
func (s *junitSuite) add(name string, verdict Verdict, why string) {
	test := junitCase{Class: "cap.latency", Name: xmlText(name)}
	result := &junitResult{Type: string(verdict), Message: xmlText(why)}
	s.Tests++
	switch verdict {
	case Exceeded:
		test.Failure = result
		s.Failures++
	case Inconclusive:
		test.Error = result
		s.Errors++
	case Unseen:
		test.Skipped = &junitResult{Message: "nothing of the kind was seen"}
		s.Skipped++
	}
	s.Cases = append(s.Cases, test)
}

// xmlText returns text without what XML cannot hold.
func xmlText(text string) string { return strings.ToValidUTF8(text, "\ufffd") }
