package selftest_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"triad/internal/manifests"
	"triad/internal/progress"
	"triad/internal/runtimes/embedded"
	"triad/internal/selftest"
	"triad/internal/view"
)

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// The self-test itself runs by its command in make test; here only when asked for the whole.
func TestSelftest(t *testing.T) {
	if testing.Short() {
		t.Skip("make test runs sim selftest")
	}
	root := filepath.Join("..", "..")
	rt, err := embedded.New(embedded.Options{Manifests: filepath.Join(root, "manifests"), KindConfig: filepath.Join(root, "kind")})
	if err != nil {
		t.Fatal(err)
	}
	set, err := manifests.Open(filepath.Join(root, "manifests"))
	if err != nil {
		t.Fatal(err)
	}
	shown, err := view.Shipped(set)
	if err != nil {
		t.Fatal(err)
	}
	rep, err := selftest.Run(context.Background(), selftest.Options{
		Runtime: rt, Shown: shown, Rounds: 1, Seed: 1, Dir: t.TempDir(),
		Logger: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn})), Progress: progress.NewPlain(testWriter{t}, 10*time.Second),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range rep.Cases {
		if !c.Detected {
			t.Errorf("%s: truth %q, reported %q: %v", c.Kind, c.Truth, c.Reported, c.Wrong)
		}
	}
	t.Logf("%d kinds, %d found", rep.Kinds, rep.Detected)
}
