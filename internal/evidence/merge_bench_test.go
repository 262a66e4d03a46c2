package evidence

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"triad/internal/scenario"
	"triad/internal/stats"
)

// BenchmarkMerge brings what eight shards wrote in a minute at 10,000 records/s each into one run, which is what is left to do when they have
// handed it over. Ledgers are taken as they are; histograms and series are merged window by window, so that it is the length of the run that
// costs, and hardly its rate.
func BenchmarkMerge(b *testing.B) {
	const shards, length, rate = 8, time.Minute, 10_000
	s, err := scenario.Parse("t.yaml", fmt.Appendf(nil, "apiVersion: triad/v1\nname: t\ntitle: t\nphases: {before: %s}\nload: [{source: service, rate: %d/s, parallelism: %d}]\n", length, shards*rate, shards))
	if err != nil {
		b.Fatal(err)
	}
	h := Header{ID: "x", Scenario: "t", HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}
	from := b.TempDir()
	for k := range shards {
		if err := writeShard(filepath.Join(from, fmt.Sprintf("%s%d", PointSent, k)), uint32(k), h, length, rate); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		w, err := Create(filepath.Join(b.TempDir(), "run"), h, s)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		for k := range shards {
			if err := w.Import(from, fmt.Sprintf("%s%d", PointSent, k)); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Close(""); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(shards*length.Seconds()*float64(b.N)/b.Elapsed().Seconds(), "shard-s/s")
	b.ReportMetric(shards*rate*length.Seconds()*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// writeShard writes what a generator in a pod writes: every second, one stream, latencies that differ as much as those of a calm run.
func writeShard(name string, stream uint32, h Header, length time.Duration, rate int) error {
	led, err := CreateLedger(name + ledgerExt)
	if err != nil {
		return err
	}
	hists, err := CreateHists(name+".hist", h.HistWindow)
	if err != nil {
		return err
	}
	series, err := CreateSeries(name + ".tsf")
	if err != nil {
		return err
	}
	pulse := NewPulse(series, "ledger", h.PulseEvery)
	var keys []uint64
	for _, m := range []string{"generator_lag", "target_block", "send_corrected", "send_uncorrected"} {
		id, err := hists.Key(HistKey{Metric: m, Source: "service"})
		if err != nil {
			return err
		}
		keys = append(keys, id)
	}
	r := rand.New(rand.NewPCG(1, uint64(stream)))
	for sec := range int(length / time.Second) {
		now := time.Duration(sec) * time.Second
		if err := led.Intent(now + time.Second); err != nil {
			return err
		}
		led.MarkSpan(Acked, stream, stats.Span{Lo: uint64(sec * rate), Hi: uint64((sec + 1) * rate)})
		for k := range rate {
			due := now + time.Duration(k)*time.Second/time.Duration(rate)
			for _, key := range keys {
				hists.Record(key, due, time.Duration(60e3*math.Exp(0.15*r.NormFloat64())))
			}
			pulse.Add("service", due, 1)
		}
		for _, err := range []error{led.Flush(now), hists.Flush(), pulse.Flush(now, false)} {
			if err != nil {
				return err
			}
		}
	}
	if err := pulse.Flush(length, true); err != nil {
		return err
	}
	for _, err := range []error{led.Close(length), hists.Close(), series.Close()} {
		if err != nil {
			return err
		}
	}
	return nil
}
