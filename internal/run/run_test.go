package run

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"triad/internal/progress"
	"triad/internal/runtimes"
	"triad/internal/scenario"
)

// What is waited for after an interruption has one deadline, counted from the interruption; without one it has none.
func TestOutlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		after, stop := outlive(ctx)
		defer stop()
		time.Sleep(24 * time.Hour)
		if after.Err() != nil {
			t.Fatal("it ended although nothing was interrupted")
		}
		interrupt()
		time.Sleep(hurryTime - time.Millisecond)
		synctest.Wait()
		if after.Err() != nil {
			t.Error("it ended before its time")
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if !errors.Is(after.Err(), context.Canceled) {
			t.Errorf("it goes on: %v", after.Err())
		}
	})
}

// What a night has written has more time to come than what a minute has.
func TestCollectTime(t *testing.T) {
	if minute, night := collectTime(time.Minute), collectTime(6*time.Hour); minute > closeTime+time.Second || night < 4*time.Minute {
		t.Errorf("%v for a minute, %v for six hours", minute, night)
	}
}

func TestOutliveLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		_, stop := outlive(ctx)
		interrupt()
		synctest.Wait()
		stop() // the bubble fails if a goroutine stays
	})
}

// A run of fifteen seconds was inconclusive or skipped as the scrapes fell, and what it said was that a counter did not exist.
func TestGapsUntil(t *testing.T) {
	warm := time.Now()
	for after, short := range map[time.Duration]bool{17 * time.Second: true, 29 * time.Second: true, 30 * time.Second: false} {
		end, reason := gapsUntil(warm, warm.Add(after), 5*time.Second)
		if (reason != "") != short || end.Sub(warm) != after-15*time.Second {
			t.Errorf("%v behind the warm-up: until %v, %q", after, end.Sub(warm), reason)
		}
	}
}

func TestClockStep(t *testing.T) {
	from := time.Now()
	if by := clockStep(from, from.Add(time.Hour)); by != 0 {
		t.Errorf("an hour that both clocks count is a step of %v", by)
	}
	// A reading without its monotonic part stands for nothing but itself: no step can be told, and none is.
	if by := clockStep(from.Round(0), from.Add(time.Hour).Round(0)); by != 0 {
		t.Errorf("without monotonic readings: %v", by)
	}
}

func TestScratch(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	old := time.Now().Add(-time.Hour)
	make := func(name string, lock bool) string {
		dir := filepath.Join(os.TempDir(), name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if lock {
			if err := os.WriteFile(filepath.Join(dir, scratchLock), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	dead, young, stranger, other := make("triad-run-1", true), make("triad-run-2", true), make("triad-run-3", false), make("elsewhere", true)
	alive, release, err := newScratch()
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{dead, stranger, other, alive} {
		if err := os.Chtimes(dir, old, old); err != nil {
			t.Fatal(err)
		}
	}
	second, releaseSecond, err := newScratch()
	if err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{dead: false, young: true, stranger: true, other: true, alive: true, second: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s: there %v, want %v", filepath.Base(dir), err == nil, want)
		}
	}
	release()
	releaseSecond()
	for _, dir := range []string{alive, second} {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is left", dir)
		}
	}
}

func TestLogIsCapped(t *testing.T) {
	dir := t.TempDir()
	l, done, err := tee(slog.New(slog.DiscardHandler), dir)
	if err != nil {
		t.Fatal(err)
	}
	l.Debug("not this")
	long := strings.Repeat("x", 1<<20)
	for range 40 {
		l.Info("long", "text", long)
	}
	done()
	l.Info("after the end") // must not panic
	b, err := os.ReadFile(filepath.Join(dir, logDir, logFile))
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > logMost+200 || strings.Contains(string(b), "not this") || !strings.HasSuffix(string(b), "the rest is left out\"}\n") || strings.Count(string(b), "left out") != 1 {
		t.Errorf("%d bytes, ends %q", len(b), b[max(len(b)-120, 0):])
	}
}

// A system that does not come up leaves its logs in the run directory, and the error says where.
func TestFailedUpLeavesItsLogs(t *testing.T) {
	s, err := scenario.Parse("t.yaml", []byte("apiVersion: triad/v1\nname: t\ntitle: t\nphases: {before: 10s}\nload: [{source: service, rate: 10/s}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("no luck")
	dir, err := Run(t.Context(), Options{Scenario: s, Runtime: neverUp{broken}, Reports: t.TempDir(), Logger: slog.New(slog.DiscardHandler), Progress: silent{}, Now: time.Now()})
	var provision *ProvisionError
	logs := filepath.Join(dir, "logs")
	if !errors.Is(err, broken) || !errors.As(err, &provision) || !strings.HasSuffix(err.Error(), "logs: "+logs) {
		t.Errorf("error %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(logs, "why")); err != nil || string(b) != "no luck" {
		t.Errorf("collected: %q, %v", b, err)
	}
}

// neverUp is a runtime whose system does not come up.
type neverUp struct{ err error }

func (neverUp) Name() string                                 { return "embedded" }
func (n neverUp) Up(context.Context, runtimes.Session) error { return n.err }
func (neverUp) Down(context.Context) error                   { return nil }
func (n neverUp) CollectLogs(_ context.Context, dir string) error {
	return os.WriteFile(filepath.Join(dir, "why"), []byte(n.err.Error()), 0o644)
}

func (neverUp) Connect(context.Context, runtimes.Session) (runtimes.Env, error) {
	return nil, errors.New("not up")
}

type silent struct{}

func (silent) Step(string, string, string) {}
func (silent) Status(progress.Status)      {}
func (silent) Close()                      {}
