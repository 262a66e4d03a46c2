package evidence

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzReadEvents reads arbitrary bytes as an event log: what is not whole is damage, and what was read before it are events of a kind.
func FuzzReadEvents(f *testing.F) {
	dir := f.TempDir()
	log, err := CreateEvents(filepath.Join(dir, "events.jsonl"))
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range []Event{{At: 5, Kind: EventPhase, Name: "before"}, {At: 7, Kind: EventAlert, Name: "a", State: "firing", Attrs: map[string]string{"label_x": "\n\"}"}}} {
		if err := log.Add(e); err != nil {
			f.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, "events.jsonl"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add([]byte("{}\n"))
	f.Add([]byte("\n\n{\"at\":1e99}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "events.jsonl")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		events, damage, err := ReadEvents(path, "events.jsonl")
		if err != nil {
			t.Fatal(err)
		}
		if damage == nil && len(events) == 0 && len(b) > 0 {
			t.Fatalf("%q has no event and no damage", b)
		}
	})
}
