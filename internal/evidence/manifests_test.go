package evidence

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The manifests of a run come back as they were, are under the seal, and a change of them is found.
func TestManifestsAreKeptAndSealed(t *testing.T) {
	w, err := Create(filepath.Join(t.TempDir(), "run"), Header{ID: "x", Scenario: "t", HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}, scene(t))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{"kafka": []byte("---\nkind: Kafka\n"), "monitoring": []byte("---\nkind: StatefulSet\n")}
	if err := w.Manifests(want); err != nil {
		t.Fatal(err)
	}
	if err := w.Begin(time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(""); err != nil {
		t.Fatal(err)
	}
	got, err := ReadManifests(w.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("manifests (-want +got):\n%s", d)
	}
	r, err := Open(w.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := r.Seal.Files["manifests/kafka.yaml.gz"]; !ok || len(r.Damage) > 0 {
		t.Errorf("seal %v, damage %v", r.Seal.Files, r.Damage)
	}
	if err := os.WriteFile(filepath.Join(w.Dir, "manifests", "kafka.yaml.gz"), []byte("no archive"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadManifests(w.Dir); err == nil {
		t.Error("a file that is no archive is read")
	}
	if r, err = Open(w.Dir); err != nil || len(r.Damage) != 1 {
		t.Errorf("after a change: damage %v, %v", r.Damage, err)
	}
	if none, err := ReadManifests(t.TempDir()); err != nil || len(none) > 0 {
		t.Errorf("a run without manifests: %v, %v", none, err)
	}
}
