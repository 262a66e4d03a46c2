package load

import (
	"slices"
	"testing"
	"time"
)

// BenchmarkWait waits as a generator of 150 lines a second does, with a timer and a nap, and with an alarm: what a wait costs in processor time,
// the runtime's own threads among it, and how late it ends.
func BenchmarkWait(b *testing.B) {
	const gap = time.Second / 150
	a, err := newAlarm()
	if err != nil {
		b.Skip(err)
	}
	defer a.close()
	timer := time.NewTimer(time.Hour)
	for _, way := range []struct {
		name string
		wait func(time.Duration)
	}{
		{"timer and nap", func(d time.Duration) {
			if until := time.Now().Add(d); sleep(b.Context(), timer, d-coarse) {
				nap(max(time.Until(until), shortest))
			}
		}},
		{"alarm", func(d time.Duration) { a.wait(b.Context(), d) }},
	} {
		b.Run(way.name, func(b *testing.B) {
			late := make([]time.Duration, 0, b.N)
			start, used := time.Now(), ProcessorTime()
			for i := range b.N {
				due := start.Add(time.Duration(i+1) * gap)
				for left := time.Until(due); left > 0; left = time.Until(due) {
					way.wait(left)
				}
				late = append(late, time.Since(due))
			}
			slices.Sort(late)
			b.ReportMetric(float64((ProcessorTime()-used).Microseconds())/float64(b.N), "cpu-us/wait")
			b.ReportMetric(float64(late[len(late)*99/100].Microseconds()), "p99-us-late")
		})
	}
}
