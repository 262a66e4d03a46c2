//go:build !embedded_only && unix

package kind

import (
	"strings"
	"testing"
)

// A second run is told to wait, and let in when the first is over.
func TestOneRunAtATime(t *testing.T) {
	r, other := &Runtime{opts: Options{StateDir: t.TempDir()}}, &Runtime{}
	other.opts = r.opts
	unlock, err := r.LockRun(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.LockRun(t.Context()); err == nil || !strings.Contains(err.Error(), "another run is under way") {
		t.Errorf("a second run: %v", err)
	}
	// Taking down is not kept away.
	free, err := other.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	free()
	unlock()
	again, err := other.LockRun(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again()
}
