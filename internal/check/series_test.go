package check

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triad/internal/evidence"
	"triad/internal/scenario"
)

// A load of more than three days is kept in bins of two seconds, none of which lies inside of one.
func TestRatesOfLongBins(t *testing.T) {
	const s = time.Second
	of := func(step time.Duration, bins ...float64) *line { return &line{step: step, bins: bins} }
	for name, c := range map[string]struct {
		l        *line
		from, to time.Duration
		want     []float64
	}{
		"tenths":                    {of(s/2, 1, 2, 3, 4, 5, 6), 0, 3 * s, []float64{3, 7, 11}},
		"seconds":                   {of(s, 1, 2, 3, 4), s, 3 * s, []float64{2, 3}},
		"two seconds":               {of(2*s, 20, 40, 60, 80), 0, 8 * s, []float64{10, 20, 30, 40}},
		"from within a bin":         {of(2*s, 20, 40, 60, 80), s, 7 * s, []float64{20, 30}},
		"from within a second":      {of(s, 1, 2, 3, 4), s / 2, 3*s + s/2, []float64{2, 3}},
		"bins that do not add up":   {of(400*s/1000, 4, 4, 4, 8, 8, 8), 0, 3 * s, []float64{10, 20}},
		"shorter than a bin":        {of(4*s, 8, 8), 0, 3 * s, nil},
		"where nothing was counted": {nil, 0, 8 * s, nil},
	} {
		if d := cmp.Diff(c.want, c.l.perSecond(c.from, c.to)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
	}
}

// The same for the rate of a threshold, and for the moment at which a fault was noticed.
func TestLongBinsAreJudged(t *testing.T) {
	const s = time.Second
	l := &line{step: 2 * s}
	for i := range 50 {
		l.bins = append(l.bins, 40)
		if i >= 20 && i < 25 {
			l.bins[i] = 0
		}
	}
	before := scenario.Window{Name: scenario.Before, From: 3 * s, To: 39 * s}
	j := &judge{
		s:   &scenario.Scenario{Phases: scenario.Phases{WarmUp: scenario.Duration(3 * s), Before: scenario.Duration(36 * s), During: scenario.Duration(61 * s)}},
		ser: &series{step: l.step, pulses: map[string]map[string]*line{evidence.PointKafka: {"service": l}}},
		lat: &latencies{phases: []scenario.Window{before}},
	}
	th, err := scenario.ParseThreshold("throughput mean > 15/s")
	if err != nil {
		t.Fatal(err)
	}
	if m := j.rate(th); !m.ok || m.lo != 20 || m.hi != 20 {
		t.Errorf("throughput %+v, want 20/s", m)
	}
	from, to := 39*s, 50*s
	x := &faultRecovery{f: &faultState{injected: &from, gone: &to}, from: from}
	(&recovery{}).noticed(j, x, before, l)
	if x.res.Noticed == nil || *x.res.Noticed != int64(s) {
		t.Errorf("noticed %v, want a second after the injection", x.res.Noticed)
	}
}
