package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"triad/internal/check"
)

type junitSuites struct {
	XMLName  xml.Name   `xml:"testsuites"`
	Name     string     `xml:"name,attr"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Errors   int        `xml:"errors,attr"`
	Skipped  int        `xml:"skipped,attr"`
	Suite    junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name       string          `xml:"name,attr"`
	Tests      int             `xml:"tests,attr"`
	Failures   int             `xml:"failures,attr"`
	Errors     int             `xml:"errors,attr"`
	Skipped    int             `xml:"skipped,attr"`
	Timestamp  string          `xml:"timestamp,attr"`
	Properties []junitProperty `xml:"properties>property"`
	Cases      []junitCase     `xml:"testcase"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Failure *junitOutcome `xml:"failure"`
	Error   *junitOutcome `xml:"error"`
	Skipped *junitOutcome `xml:"skipped"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitOutcome struct {
	Type    string `xml:"type,attr,omitempty"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// JUnit writes the checks as test cases: a failed check is a failure, an invalid or inconclusive one an error, because
// only pass is pass. The last case is the run itself; it carries what no single check says, such as a required check
// that was skipped. Characters that XML cannot hold are replaced.
func JUnit(w io.Writer, res *check.Result) error {
	class := "triad." + res.Runtime + "." + res.Scenario
	s := junitSuite{Name: class, Timestamp: res.Judged.UTC().Format("2006-01-02T15:04:05Z"), Properties: []junitProperty{
		{"run", res.Run}, {"scenario", res.Scenario}, {"runtime", res.Runtime}, {"seed", fmt.Sprint(res.Seed)}, {"verdict", string(res.Verdict)}, {"expected", res.Expected},
	}}
	for _, c := range res.Checks {
		s.add(junitCase{Class: class, Name: c.Name}, c.Verdict, c.Detail, c.Rests)
	}
	s.add(junitCase{Class: class, Name: "verdict of the run"}, res.Verdict, noteIf(len(res.Reasons) > 0, strings.Join(res.Reasons, "\n"), res.Summary), nil)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(junitSuites{Name: "triad", Tests: s.Tests, Failures: s.Failures, Errors: s.Errors, Skipped: s.Skipped, Suite: s}); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (s *junitSuite) add(c junitCase, v check.Verdict, detail string, rests []string) {
	first, _, _ := strings.Cut(detail, "\n")
	out := &junitOutcome{Type: string(v), Message: first, Text: detail}
	s.Tests++
	switch v {
	case check.Pass:
		c.Out = detail
	case check.Fail:
		s.Failures++
		c.Failure = out
	case check.Skipped:
		s.Skipped++
		c.Skipped = &junitOutcome{Message: detail}
	default:
		s.Errors++
		c.Error = out
	}
	if len(rests) > 0 {
		c.Out = strings.TrimSpace(c.Out + "\nrests on " + strings.Join(rests, ", "))
	}
	s.Cases = append(s.Cases, c)
}
