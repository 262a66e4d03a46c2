package images

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// localEngine is an engine whose containers are shells of this machine; "gone" is one that is not there.
func localEngine(t *testing.T) Engine {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "docker")
	if err := os.WriteFile(bin, []byte("#!/bin/sh\n[ \"$3\" = gone ] && { echo 'No such container: gone' >&2; exit 1; }\nexec \"$4\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return Engine{Bin: bin}
}

func TestShellAnswersAgain(t *testing.T) {
	s, err := localEngine(t).Shell("node")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for script, want := range map[string]string{"echo one; echo two": "one\ntwo", "printf three": "three", "true": "", "(exit 3)": "", "cat /proc/nothing 2>/dev/null; echo four": "four"} {
		if got, err := s.Ask(t.Context(), script); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", script, got, err, want)
		}
	}
	pid := s.Pid()
	if got, err := s.Ask(t.Context(), "echo $$"); err != nil || got == "" || pid == 0 {
		t.Errorf("%q, %v, client %d", got, err, pid)
	}
}

func TestShellIsGone(t *testing.T) {
	e := localEngine(t)
	s, err := e.Shell("gone")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Ask(t.Context(), "echo one"); err == nil || !strings.Contains(err.Error(), "No such container") {
		t.Errorf("%q, %v of a container that is not there", got, err)
	}
	if s, err = e.Shell("node"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("too slow"))
	defer cancel()
	if got, err := s.Ask(ctx, "sleep 60"); err == nil || !strings.Contains(err.Error(), "too slow") {
		t.Errorf("%q, %v of one that does not answer", got, err)
	}
	if got, err := s.Ask(t.Context(), "echo one"); err == nil {
		t.Errorf("%q behind an error", got)
	}
	if _, err := (Engine{Bin: filepath.Join(t.TempDir(), "docker")}).Shell("node"); err == nil {
		t.Error("a shell of no engine")
	}
}
