package embedded_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/progress"
	"triad/internal/run"
	"triad/internal/runtimes/embedded"
	"triad/internal/scenario"
)

// testWriter sends a log to the test's.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	if _, bench := w.t.(*testing.B); bench {
		return len(p), nil // its figures are what it says
	}
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func runText(t testing.TB, text string) (*check.Result, string) {
	t.Helper()
	s, err := scenario.Parse("case.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join("..", "..", "..")
	rt, err := embedded.New(embedded.Options{Manifests: filepath.Join(root, "manifests"), KindConfig: filepath.Join(root, "kind")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	dir, err := run.Run(ctx, run.Options{
		Scenario: s, Runtime: rt, Why: "test", Reports: t.TempDir(), Logger: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Progress: progress.NewPlain(testWriter{t}, time.Second), Now: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := evidence.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	res, err := check.Judge(r, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return res, dir
}

const head = "apiVersion: triad/v1\nname: case\ntitle: case\nruntimes: [embedded]\n"

// figuresAreNobodys: the node's own figures were in the topic that a load wrote to as well, and are in no class of the account.
func figuresAreNobodys(t *testing.T, res *check.Result, dir string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return // the node does not tell any
	}
	r, err := evidence.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	came := 0
	for _, e := range r.Events {
		if e.Kind == evidence.EventNodeMetrics && e.Attrs["topic"] == "system-metrics-topic" {
			fmt.Sscan(e.Attrs["count"], &came)
		}
	}
	if came < 4 {
		t.Errorf("%d records of the node's figures came in some five seconds", came)
	}
	n := res.Totals
	if n.Unreadable+n.Phantom+n.Lost+n.Corrupt+n.Foreign+n.ForeignRun+n.DeadLettered+n.BrokerDup+n.VisibleDup+n.SinkRewrite != 0 {
		t.Errorf("they are in the account: %+v", n)
	}
	for _, h := range res.Hops {
		if h.Lost == nil || *h.Lost != 0 || h.Certainty != check.ExactC {
			t.Errorf("hop %+v", h)
		}
	}
}

func TestSmallRunPasses(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	res, dir := runText(t, head+`phases: {warm-up: 1s, before: 4s, drain: 30s}
load:
  - {source: service, rate: 60/s, streams: 4, instances: 2}
  - {source: system-auth, rate: 10/s}
  - {source: system-kmsg, rate: 10/s}
  - {source: system-syslog, rate: 10/s}
  - {source: system-metrics, rate: 10/s}
  - {source: control, rate: 10/s}
settings: [{config: fluent-bit.yaml, replace: "interval_sec: 10", with: "interval_sec: 1"}]
thresholds: ["lost == 0"]
`)
	// On a machine that is busy with other tests the generator may be late, which makes figures of time invalid; what
	// does not rest on time must pass all the same.
	for _, c := range res.Checks {
		if c.Verdict != check.Pass && c.Verdict != check.Skipped && c.Name != "load" && c.Name != "saturation" {
			t.Errorf("check %s is %s: %s", c.Name, c.Verdict, c.Detail)
		}
	}
	if res.Verdict != check.Pass && res.Verdict != check.Invalid {
		t.Errorf("verdict %s: %v", res.Verdict, res.Reasons)
		for _, c := range res.Checks {
			t.Logf("%-24s %-12s %s", c.Name, c.Verdict, c.Detail)
		}
	}
	if res.Totals.Acknowledged != 550 || res.Totals.Seen != 550 || res.Totals.SeenKafka != 550 {
		t.Errorf("totals %+v", res.Totals)
	}
	figuresAreNobodys(t, res, dir)
	if _, err := os.Stat(filepath.Join(dir, evidence.SealFile)); err != nil {
		t.Error(err)
	}
}
