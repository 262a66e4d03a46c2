package brokers

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Logs in a folder are files there; what is held in memory for them is an entry for each batch, and is counted.
func TestHeld(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	c, _ := startCluster(t, quick(), Options{Dir: dir})
	cl := client(t, c, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	const batches = 40
	for i := range batches {
		if err := cl.ProduceSync(ctxFor(t, 30*time.Second), &kgo.Record{Topic: "t", Partition: int32(i % 6), Value: []byte("a record, alone in its batch")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.Held(); got != batches*heldEntry {
		t.Errorf("%d bytes are held for %d batches, want %d: has kfake's index changed?", got, batches, batches*heldEntry)
	}
	if logs, err := filepath.Glob(filepath.Join(dir, "partitions", "t-*", "*.dat")); err != nil || len(logs) != 6 {
		t.Errorf("logs of six partitions: %v, %v", logs, err)
	}
	inMemory, _ := startCluster(t, quick(), Options{})
	if got := inMemory.Held(); got != 0 {
		t.Errorf("logs in memory are not counted, and are said to hold %d bytes", got)
	}
}
