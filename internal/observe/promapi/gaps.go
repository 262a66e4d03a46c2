package promapi

import (
	"maps"
	"math"
	"slices"
	"time"
)

// Window is what a series should cover: one sample every Step from Start to End.
type Window struct {
	Start time.Time
	End   time.Time
	Step  time.Duration // scrape interval, or step of the range query; > 0
	// Lookback is the server's look-back when the samples came from a range query, 0 for raw samples. It is how much
	// earlier than its first missing step a hole may have begun.
	Lookback time.Duration
}

// Gap is one hole in a series: samples are missing between two that are there, or at an end of the window.
type Gap struct {
	From    time.Time     `json:"from"`    // last sample before the hole, or the start of the window
	To      time.Time     `json:"to"`      // first sample after it, or the end of the window
	Missing int           `json:"missing"` // samples that should have been there
	Head    bool          `json:"head"`    // reaches to the start of the window
	Tail    bool          `json:"tail"`    // reaches to the end of the window
	Reset   bool          `json:"reset"`   // the counter had restarted when it came back
	Earlier time.Duration `json:"earlier"` // how much earlier than From the hole may have begun (look-back); 0 for raw samples
}

// Length is the time from the last sample before the hole to the first one after it.
func (g Gap) Length() time.Duration { return g.To.Sub(g.From) }

// Coverage is what a series tells of a counter that rises by exactly 1 each second.
type Coverage struct {
	Samples  int   `json:"samples"`  // in the window
	Expected int   `json:"expected"` // window / step
	Missing  int   `json:"missing"`  // sum over the gaps
	Gaps     []Gap `json:"gaps"`
	// LongestGap is the longest time between two samples, or from a sample to an end of the window, that has missing samples.
	LongestGap time.Duration `json:"longest_gap"`
	Resets     int           `json:"resets"`
	// Stalled is how many seconds the counter did not rise though the process lived: time passed less increments, over
	// pairs of samples without reset. Jitter of the scrape cancels out; below StallResolution it is 0.
	Stalled float64 `json:"stalled"`
	// LostUpper is the highest number of increments that the process can have made and that no sample ever shows; the
	// lowest is always 0. A hole alone loses none: the next sample carries them. A restart loses what was counted since
	// the last sample, unless the process did not live in between.
	LostUpper float64 `json:"lost_upper"`
	// TimeResolution is the resolution of gap edges: the step.
	TimeResolution time.Duration `json:"time_resolution"`
	// StallResolution is the resolution of Stalled and LostUpper in increments: one second of counting at each
	// end of each stretch.
	StallResolution float64 `json:"stall_resolution"`
}

// Delivered makes one counter for each cluster of what was delivered from it, whatever it was: it rises by 1 each second and has a sample wherever a
// series of that cluster has one. A target that is replaced leaves no hole in it, a scraper that does not deliver does. The result is in the order of the
// clusters' names.
func Delivered(series []Series) []Series {
	at := map[string][]time.Time{}
	for _, s := range series {
		c := s.Labels["cluster"]
		for _, x := range s.Samples {
			at[c] = append(at[c], x.Time)
		}
	}
	var out []Series
	for _, c := range slices.Sorted(maps.Keys(at)) {
		times := at[c]
		slices.SortFunc(times, time.Time.Compare)
		s := Series{Labels: map[string]string{"cluster": c}}
		for _, t := range slices.CompactFunc(times, time.Time.Equal) {
			s.Samples = append(s.Samples, Sample{Time: t, Value: t.Sub(times[0]).Seconds()})
		}
		out = append(out, s)
	}
	return out
}

// Gaps measures a synthetic counter (SyntheticCounter) over a window. A hole begins where two neighbours are more than one and
// a half steps apart: less is scrape jitter. Samples outside the window are ignored. A window without any sample is one gap that
// is head and tail.
func Gaps(s Series, w Window) Coverage {
	c := Coverage{TimeResolution: w.Step, StallResolution: 2}
	if w.Step <= 0 || !w.End.After(w.Start) {
		return c
	}
	c.Expected = int(w.End.Sub(w.Start) / w.Step)
	var in []Sample
	for _, x := range s.Samples {
		if !x.Time.Before(w.Start) && !x.Time.After(w.End) && !math.IsNaN(x.Value) {
			in = append(in, x)
		}
	}
	c.Samples = len(in)
	if len(in) == 0 {
		c.add(Gap{From: w.Start, To: w.End, Missing: c.Expected, Head: true, Tail: true})
		return c
	}
	// The phase of the scrape within the step is not known, so an end of the window may be up to a step from a sample
	// without anything missing.
	if d := in[0].Time.Sub(w.Start); d > w.Step+w.Step/2 {
		c.add(Gap{From: w.Start, To: in[0].Time, Missing: rounded(d, w.Step) - 1, Head: true})
	}
	var stretch stretch
	stretch.begin(in[0])
	for i := 1; i < len(in); i++ {
		a, b := in[i-1], in[i]
		reset := b.Value < a.Value
		if d := b.Time.Sub(a.Time); d > w.Step+w.Step/2 {
			c.add(Gap{From: a.Time, To: b.Time, Missing: rounded(d, w.Step) - 1, Reset: reset, Earlier: w.Lookback})
		}
		if !reset {
			continue
		}
		c.Resets++
		c.Stalled += stretch.stalled(a, c.StallResolution)
		// Between a and the restart the old process may have lived up to the time that the new one did not need for its
		// count; it may as well have died at once.
		c.LostUpper += math.Max(0, b.Time.Sub(a.Time).Seconds()-b.Value)
		stretch.begin(b)
	}
	last := in[len(in)-1]
	c.Stalled += stretch.stalled(last, c.StallResolution)
	if d := w.End.Sub(last.Time); d > w.Step+w.Step/2 {
		c.add(Gap{From: last.Time, To: w.End, Missing: rounded(d, w.Step) - 1, Tail: true, Earlier: w.Lookback})
	}
	return c
}

func (c *Coverage) add(g Gap) {
	c.Gaps = append(c.Gaps, g)
	c.Missing += g.Missing
	c.LongestGap = max(c.LongestGap, g.Length())
}

func rounded(d, step time.Duration) int { return int(math.Round(float64(d) / float64(step))) }

// stretch is a run of samples of one life of the counter.
type stretch struct{ first Sample }

func (s *stretch) begin(x Sample) { s.first = x }

func (s *stretch) stalled(last Sample, resolution float64) float64 {
	d := last.Time.Sub(s.first.Time).Seconds() - (last.Value - s.first.Value)
	if d < resolution {
		return 0
	}
	return d
}
