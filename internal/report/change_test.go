package report

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"triad/internal/check"
)

func changed(t *testing.T) *check.Change {
	t.Helper()
	runs := func(factor int64, lost uint64) []*check.Result {
		var out []*check.Result
		for i := range int64(6) {
			r := &check.Result{
				Run: fmt.Sprintf("run %d", i), Scenario: "smoke", Runtime: "embedded", Verdict: check.Pass, Config: map[string]string{"runtime": "embedded"},
				Checks:  []check.Check{{Name: "loss", Verdict: check.Pass, Always: true}},
				Latency: []check.Latency{{Metric: "e2e_latency", Phase: "before", Source: check.PhaseAll, P50: factor*2e9 + i*1e7, P99: 4e9 + i%3*1e7, Max: 5e9}},
			}
			if r.Totals.Lost = lost; lost > 0 {
				r.Verdict, r.Checks[0].Verdict = check.Fail, check.Fail
				r.Segments = []check.Segment{{Name: "collect", Lost: lost}}
			}
			out = append(out, r)
		}
		return out
	}
	c, err := check.Weigh([]check.Pair{
		{Scenario: "smoke", Base: runs(1, 0), Head: runs(2, 0)},
		{Scenario: "overflow|1", Base: runs(1, 0), Head: runs(1, 3)},
	}, check.Effect)
	if err != nil {
		t.Fatal(err)
	}
	c.Base, c.Head = check.Revision{Name: "main", Commit: "0123456789abcdef0123456789abcdef01234567"}, check.Revision{Name: "."}
	c.Runtime, c.Rounds = "embedded", 6
	return c
}

func TestChange(t *testing.T) {
	c := changed(t)
	lines := []string{"datacenter/ConfigMap/fluentd data/fluentd.yaml", "  A  flush_interval: 1", "  B  flush_interval: 4 ~~~~"}
	golden(t, "change.txt", render(t, func(w io.Writer) error { return ChangeText(w, c, lines) }))
	golden(t, "change.md", render(t, func(w io.Writer) error { return ChangeMarkdown(w, c, lines) }))
}

// A comment that is too long is refused as a whole.
func TestChangeFitsIntoAComment(t *testing.T) {
	c := changed(t)
	long := strings.Split(strings.Repeat("a line of a manifest that differs\n", 5000), "\n")
	got := render(t, func(w io.Writer) error { return ChangeMarkdown(w, c, long) })
	if len(got) > 65_000 || !strings.Contains(got, "does not fit") || !strings.HasPrefix(got, ChangeMark) {
		t.Errorf("%d bytes, ends with %q", len(got), got[len(got)-100:])
	}
}
