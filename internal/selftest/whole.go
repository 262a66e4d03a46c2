package selftest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/runtimes"
)

// whole is a sabotage that concerns a whole run.
type whole struct {
	kind, truth, text string
	sab               func() *runtimes.Sabotage // nil: none
	spoilt            func(*check.Result) bool
	want              func(*check.Result) []string
}

// wholes are a fault that does nothing, a gate without data, and a generator that stands still.
func wholes() []whole {
	load := "load: [{source: service, rate: 50/s, streams: 2}]\n"
	never := func(*check.Result) bool { return false }
	return []whole{
		{
			"fault-that-does-nothing", "a fault is declared and does nothing",
			head1 + "phases: {warm-up: 1s, before: 2s, during: 2s, drain: 30s}\n" + load + "faults: [{kind: nothing, at: during, for: 1s}]\n", nil, never,
			func(r *check.Result) []string { return expect(r, check.Invalid, "faults", check.Invalid) },
		},
		{
			"gate-without-data", "a threshold is about a source that sends nothing",
			// A source that the file has, or nothing would be run: its first record is due after some hundred thousand years.
			head1 + "phases: {warm-up: 1s, before: 2s, drain: 30s}\n" +
				"load: [{source: service, rate: 50/s, streams: 2}, {source: control, rate: 1e-9/h, arrivals: poisson}]\n" +
				"thresholds: [\"e2e_latency{source=control} p(99) < 10s\"]\n", nil, late,
			func(r *check.Result) []string {
				return expect(r, check.Inconclusive, "e2e_latency{source=control} p(99) < 10s", check.Inconclusive)
			},
		},
		{
			"generator-stands-still", "the generator stands still for 1.6 s",
			head1 + "phases: {warm-up: 1s, before: 5s, drain: 30s}\n" + load + "thresholds: [\"kafka_latency p(99) < 10s\"]\n",
			func() *runtimes.Sabotage { return stall(100, 1600*time.Millisecond) }, never,
			func(r *check.Result) []string {
				return expect(r, check.Invalid, "kafka_latency p(99) < 10s", check.Invalid)
			},
		},
	}
}

func (rep *Report) whole(ctx context.Context, o Options, w whole) error {
	_, res, err := told(ctx, func() (string, error) {
		var sab *runtimes.Sabotage
		if w.sab != nil {
			sab = w.sab()
		}
		return o.run(ctx, w.text, sab, nil, o.Seed)
	}, w.spoilt)
	if err != nil {
		return err
	}
	c := Case{Kind: w.kind, Truth: w.truth, Reported: string(res.Verdict) + ": " + strings.Join(res.Reasons, "; "), Wrong: w.want(res)}
	c.Detected = len(c.Wrong) == 0
	rep.Cases = append(rep.Cases, c)
	return nil
}

func expect(r *check.Result, run check.Verdict, name string, v check.Verdict) []string {
	var wrong []string
	if r.Verdict != run {
		wrong = append(wrong, fmt.Sprintf("the run is %s, want %s", r.Verdict, run))
	}
	if got := verdictOf(r, name); got != v {
		wrong = append(wrong, fmt.Sprintf("check %s is %s, want %s", name, got, v))
	}
	return wrong
}

// evidence damages copies of the control run's evidence; none may pass.
func (rep *Report) evidence(control, dir string) error {
	for _, d := range []struct {
		kind   string
		damage func(dir string) error
	}{
		{"torn-ledger", func(dir string) error { return truncate(filepath.Join(dir, "ledger", "kafka.led"), 5) }},
		{"flipped-byte-in-ledger", func(dir string) error { return flip(filepath.Join(dir, "ledger", "search.led")) }},
		{"flipped-byte-in-histograms", func(dir string) error { return flip(filepath.Join(dir, evidence.HistsName)) }},
		{"flipped-byte-in-series", func(dir string) error { return flip(filepath.Join(dir, evidence.SeriesName)) }},
		{"flipped-byte-in-header", func(dir string) error { return flip(filepath.Join(dir, evidence.HeaderFile)) }},
		{"flipped-byte-in-seal", func(dir string) error { return flip(filepath.Join(dir, evidence.SealFile)) }},
		{"torn-events", func(dir string) error { return truncate(filepath.Join(dir, evidence.EventsFile), 9) }},
		{"flipped-byte-in-events", func(dir string) error { return flip(filepath.Join(dir, evidence.EventsFile)) }},
		{"ledger-removed", func(dir string) error { return os.Remove(filepath.Join(dir, "ledger", "kafka.led")) }},
		{"killed-before-closing", func(dir string) error { return os.Remove(filepath.Join(dir, evidence.SealFile)) }},
	} {
		at := filepath.Join(dir, "damaged-"+d.kind)
		if err := os.CopyFS(at, os.DirFS(control)); err != nil {
			return err
		}
		if err := d.damage(at); err != nil {
			return err
		}
		c := Case{Kind: d.kind, Truth: "the evidence is damaged"}
		res, err := judge(at)
		switch {
		case err != nil:
			c.Reported, c.Detected = err.Error(), true
		default:
			c.Reported = string(res.Verdict)
			c.Detected = res.Verdict == check.Inconclusive || res.Verdict == check.Invalid
			if !c.Detected {
				c.Wrong = []string{"damaged evidence was judged " + string(res.Verdict)}
			}
		}
		rep.Cases = append(rep.Cases, c)
	}
	return nil
}

func truncate(path string, n int64) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.Truncate(path, info.Size()-n)
}

func flip(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b[len(b)/2] ^= 0x20
	return os.WriteFile(path, b, 0o644)
}
