//go:build !embedded_only

package kind

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A node is looked up and its shell opened once, and again when it did not answer.
func TestMetersStayOpen(t *testing.T) {
	dir := t.TempDir()
	engine := caseEngine(t, `exec\ -i*) [ -e '`+dir+`/gone' ] && exit 1; echo open >> '`+dir+`/opened'; exec "$4";;`)
	var m meters
	defer m.end()
	looked := 0
	ask := func() (map[string]string, error) {
		return m.of(Kafka).ask(t.Context(), func(context.Context) ([]Node, error) { looked++; return []Node{{Name: "a"}, {Name: "b"}}, nil }, engine.Shell)
	}
	for range 3 {
		got, err := ask()
		if err != nil || len(got) != 2 || !strings.Contains(got["b"], "generator ") {
			t.Fatalf("%v, %v", got, err)
		}
	}
	if opened, err := os.ReadFile(filepath.Join(dir, "opened")); err != nil || looked != 1 || len(opened) != len("open\n")*2 {
		t.Errorf("looked up %d times, opened:\n%s%v", looked, opened, err)
	}
	if used, ok := m.clients(); !ok || used < 0 {
		t.Errorf("clients: %v, %v", used, ok)
	}
	// A node that is gone: its shell ends, and no other opens.
	if err := os.WriteFile(filepath.Join(dir, "gone"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m.of(Kafka).shells[1].Close()
	for range 2 {
		if got, err := ask(); err == nil {
			t.Errorf("%v of a node that is gone", got)
		}
	}
	if err := os.Remove(filepath.Join(dir, "gone")); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(); err != nil || looked != 3 {
		t.Errorf("looked up %d times, %v", looked, err)
	}
	if _, err := m.of(Monitoring).ask(t.Context(), func(context.Context) ([]Node, error) { return nil, errors.New("stopped") }, engine.Shell); err == nil {
		t.Error("readings of a cluster that does not run")
	}
	if _, ok := processTime(-1); ok {
		t.Error("the time of no process")
	}
}
