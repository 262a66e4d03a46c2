//go:build !embedded_only

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"triad/internal/evidence"
	"triad/internal/scenario"
)

// What cannot go on is refused before anybody is asked anything, and what may is asked for its clusters.
func TestResumeIsRefusedBeforeItAsks(t *testing.T) {
	s, err := scenario.Load(filepath.Join("..", "..", "scenarios", "prod-canary.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "run")
	w, err := evidence.Create(dir, evidence.Header{ID: "run", Run: 7, Scenario: s.Name, Runtime: "eks", Streams: s.Streams(), HistWindow: time.Second, PulseEvery: time.Second}, s)
	if err != nil {
		t.Fatal(err)
	}
	says := func(want string, more ...string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		a := &app{stdout: &stdout, stderr: &stderr, getenv: os.Getenv}
		code := a.main(t.Context(), append([]string{"--root", root(t), "run", "--resume", dir}, more...))
		if code != exitUsage || !strings.Contains(stderr.String(), want) {
			t.Errorf("exit %d, %s\nwant %s", code, stderr.String(), want)
		}
	}
	says("it was killed before its load began")
	if err := w.Begin(time.Now()); err != nil {
		t.Fatal(err)
	}
	says("the eks runtime needs --contexts FILE")
	says("leave --shards away", "--shards", "2")
	says("leave --runtime away", "--runtime", "eks")
	if err := w.Close(""); err != nil {
		t.Fatal(err)
	}
	says("it has ended and its evidence is closed")
}
