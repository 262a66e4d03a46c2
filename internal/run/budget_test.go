package run

import (
	"math"
	"strings"
	"testing"
	"time"

	"triad/internal/evidence"
)

func TestBudget(t *testing.T) {
	stages := []evidence.StageCost{{Name: "generate", PerRecord: 20 * time.Microsecond, Peak: 10_000}, {Name: "store", PerRecord: 80 * time.Microsecond, Peak: 10_000}, {Name: "collect", PerRecord: 40 * time.Microsecond, Peak: 5_000}}
	b := newBudget(4, 0.1, stages)
	if math.Abs(b.Need-1.3) > 1e-9 || b.Peak != 10_000 || b.Warn != "" {
		t.Errorf("%+v", b)
	}
	if text := budgetText(b); !strings.Contains(text, "about 1.30 of 4 processors at 10000 records/s") || !strings.Contains(text, "store 80.0 us, collect 40.0 us, generate 20.0 us") || strings.Contains(text, "WARNING") {
		t.Error(text)
	}
	b = newBudget(1, 0.1, stages)
	// 0.8 of a processor, less 0.1, at 0.00012 of one for each record/s.
	if b.Warn == "" || math.Abs(roomFor(b)-0.7/0.00012) > 1e-6 || !strings.Contains(budgetText(b), "WARNING: the load will probably saturate") || !strings.Contains(b.Warn, "5833 records/s") {
		t.Errorf("%+v: %s", b, budgetText(b))
	}
	if b := newBudget(2, 1.9, nil); b.Warn == "" || roomFor(b) != 0 {
		t.Errorf("a machine that is full already: %+v", b)
	}
}
