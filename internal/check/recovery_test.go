package check

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// An observer of Kafka that is late does not make records wait in front of it that are in the store already.
func TestLateObserverHoldsNothingBack(t *testing.T) {
	of := func(bins ...float64) *line { return &line{step: 100 * time.Millisecond, bins: bins} }
	for name, c := range map[string]struct{ kafka, search, want *line }{
		"in time":       {of(10, 10, 10, 10), of(0, 10, 10, 10), of(10, 10, 10, 10)},
		"late":          {of(10, 0, 0, 30), of(0, 5, 15, 5, 15), of(10, 0, 10, 20, 0)},
		"found twice":   {of(10, 0, 10), of(0, 25, 5), of(10, 10, 0)},
		"nobody looked": {of(10, 10), nil, of(10, 10)},
	} {
		if d := cmp.Diff(c.want.bins, lifted(c.kafka, c.search).bins); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
	}
	if lifted(nil, of(1)) != nil {
		t.Error("a point that nobody watched")
	}
}
