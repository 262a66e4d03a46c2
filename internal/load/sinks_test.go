package load

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"triad/internal/scenario"
)

// What comes out of the JSON form is what went in, wherever in the eight bytes the special one stands.
func TestDocumentAgainstEncodingJSON(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	alphabet := []rune("ab \"\\\n\t\x00\x1f \x7f/<é漢🙂")
	for n := range 5000 {
		var b strings.Builder
		for range n % 40 {
			b.WriteRune(alphabet[r.IntN(len(alphabet))])
		}
		doc := AppendDocument([]byte("kept"), []byte(b.String()), "h\"1", "")[4:]
		var got struct{ Log, Host string }
		if err := json.Unmarshal(doc, &got); err != nil || got.Log != b.String() || got.Host != "h\"1" {
			t.Fatalf("%q became %s: %v", b.String(), doc, err)
		}
	}
}

// Records are used again: each must still arrive with its own key and document, though the line's buffer changes at once.
func TestKafkaSinkKeepsRecordsApart(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "t"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ProducerLinger(time.Millisecond), kgo.MaxBufferedRecords(50))
	if err != nil {
		t.Fatal(err)
	}
	sink := &KafkaSink{Client: p, Host: "n"}
	const n = 3000
	var mu sync.Mutex
	acked := 0
	line := make([]byte, 0, 64)
	for i := range n {
		line = fmt.Appendf(line[:0], "line \"%d\" %s", i, strings.Repeat("x", i%17))
		sink.Send(t.Context(), Record{Stream: &scenario.Stream{ID: uint32(i % 5), Topic: "t"}, Seq: uint64(i), Line: line}, func(err error) {
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				acked++
			}
		})
		copy(line, "overwritten")
	}
	if err := sink.Close(t.Context()); err != nil || acked != n {
		t.Fatalf("%d acknowledged, %v", acked, err)
	}
	r, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	seen := map[int]bool{}
	for len(seen) < n {
		f := r.PollFetches(ctx)
		if err := f.Err0(); err != nil {
			t.Fatal(err)
		}
		f.EachRecord(func(rec *kgo.Record) {
			var doc struct{ Log string }
			var i int
			if err := json.Unmarshal(rec.Value, &doc); err != nil {
				t.Fatal(err)
			}
			if _, err := fmt.Sscanf(doc.Log, "line \"%d\"", &i); err != nil || doc.Log != fmt.Sprintf("line \"%d\" %s", i, strings.Repeat("x", i%17)) ||
				string(rec.Key) != fmt.Sprintf("stream-%d", i%5) || seen[i] {
				t.Fatalf("key %s, %q, again %v: %v", rec.Key, doc.Log, seen[i], err)
			}
			seen[i] = true
		})
	}
}
