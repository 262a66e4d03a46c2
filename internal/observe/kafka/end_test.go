package kafka

import (
	"context"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"triad/internal/evidence"
	"triad/internal/observe"
)

// An observer that is told to stop reads on to where the partitions end, and says which it could not read so far: what is there was seen by
// nobody, and is not lost.
func TestReadsToTheEnd(t *testing.T) {
	r := newResumeRig(t)
	w, err := evidence.Create(filepath.Join(t.TempDir(), "run"), evidence.Header{ID: "run", Run: 7, Scenario: "t", Streams: r.s.Streams(), HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}, r.s)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Begin(r.start); err != nil {
		t.Fatal(err)
	}
	for _, broken := range []bool{false, true} {
		o, err := r.open(w, nil, 1)
		if err != nil {
			t.Fatal(err)
		}
		var refuse atomic.Bool
		refuse.Store(broken)
		r.cluster.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
			r.cluster.KeepControl()
			if !refuse.Load() {
				return nil, nil, false
			}
			fetch := req.(*kmsg.FetchRequest)
			res := fetch.ResponseKind().(*kmsg.FetchResponse)
			res.ErrorCode = kerr.CorruptMessage.Code
			return res, nil, true
		})
		r.produce(0, 10)
		stopped, stop := context.WithCancel(t.Context())
		stop() // before it has read anything
		err = o.Run(stopped, observe.NewKnown(r.s, 7, r.start))
		refuse.Store(false)
		switch {
		case broken && (err == nil || !strings.Contains(err.Error(), "were not read to their end: service-topic/0 to ")):
			t.Errorf("partitions that could not be read: %v", err)
		case !broken && (err != nil || o.Seen() != 30 || o.SeenDue(time.Second) != 0 || o.SeenDue(1100*time.Millisecond) != 30):
			t.Errorf("%d records seen, %d of them due before 1 s, %d before 1.1 s: %v", o.Seen(), o.SeenDue(time.Second), o.SeenDue(1100*time.Millisecond), err)
		}
	}
	if err := w.Close(""); err != nil {
		t.Fatal(err)
	}
}
