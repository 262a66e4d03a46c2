//go:build !embedded_only

package images

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What the engine lacks is pulled once and for the nodes' platform, what it has is not, and what is known by its digest alone gets a tag, because an archive
// has no other names.
func TestMissingImagesArePulled(t *testing.T) {
	e := newFakeEngine(t)
	e.put(t, "here/a:1", []byte("a"))
	const digest = "far/c@sha256:0123456789abcdef"
	var mu sync.Mutex
	var said []string
	progress := func(step, state, detail string) {
		mu.Lock()
		defer mu.Unlock()
		said = append(said, step+" "+state+" "+detail)
	}
	sources, err := Resolve(t.Context(), e.Engine, "arm64", []string{"here/a:1", digest}, progress)
	if err != nil {
		t.Fatal(err)
	}
	var refs [][2]string
	for _, s := range sources {
		if s.ID == "" || s.Archive != "" {
			t.Errorf("source %+v: want an id and no archive", s)
		}
		refs = append(refs, [2]string{s.Ref, s.NodeRef})
	}
	tagged := "far/c:sha256-0123456789ab"
	if diff := cmp.Diff([][2]string{{"here/a:1", "here/a:1"}, {tagged, tagged}}, refs); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"pull --quiet --platform linux/arm64 " + digest, "tag " + digest + " " + tagged}, e.calls(t)); diff != "" {
		t.Errorf("what the engine was asked (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"images info pulling " + digest}, said); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	if _, err := Resolve(t.Context(), e.Engine, "arm64", []string{"here/a:1", digest}, nil); err != nil {
		t.Fatal(err)
	}
	pulls := 0
	for _, c := range e.calls(t) {
		if strings.HasPrefix(c, "pull") {
			pulls++
		}
	}
	if pulls != 1 {
		t.Errorf("pulled %d times, want once: it is there", pulls)
	}
}

func TestFailedPullSaysWhatToDo(t *testing.T) {
	e := newFakeEngine(t)
	_, err := Resolve(t.Context(), e.Engine, "amd64", []string{"nowhere/a:1"}, nil)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"nowhere/a:1", "manifest unknown", "TRIAD_IMAGES"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
}
