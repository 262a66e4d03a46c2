package evidence

import (
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"triad/internal/scenario"
)

// writtenRun is what a run of the embedded runtime writes, for the size of its evidence: six sources with five
// histograms of the generator and the observers' three, the pulses of three points, and 360 series of components, of
// which 80 change each second (both counted in a run of smoke).
type writtenRun struct {
	rate    int // records/s of all sources
	length  time.Duration
	adverse bool // 0.1 % lost one by one, 1 % twice in chunks, 12 partitions up to 30 s apart, latencies ten times as wide
}

// BenchmarkEvidence writes whole runs and reports the bytes of what judging reads: bytes/record in which
// everything has its share, and of the ledgers alone.
func BenchmarkEvidence(b *testing.B) {
	for _, c := range []struct {
		name string
		writtenRun
	}{
		{"short-slow-good", writtenRun{200, time.Minute, false}},
		{"short-slow-adverse", writtenRun{200, time.Minute, true}},
		{"short-fast-good", writtenRun{10_000, time.Minute, false}},
		{"short-fast-adverse", writtenRun{10_000, time.Minute, true}},
		{"long-good", writtenRun{1000, 30 * time.Minute, false}},
		{"long-adverse", writtenRun{1000, 30 * time.Minute, true}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var size map[string]int64
			for b.Loop() {
				size = c.write(b)
			}
			n := float64(c.rate) * c.length.Seconds()
			total := int64(0)
			for _, s := range size {
				total += s
			}
			b.ReportMetric(float64(total)/n, "bytes/record")
			b.ReportMetric(float64(size["ledger"])/n, "ledger-bytes/record")
			b.ReportMetric(float64(size[HistsName])/n, "hist-bytes/record")
			b.ReportMetric(float64(size[SeriesName])/n, "series-bytes/record")
			b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

const (
	sizeSources    = 6
	sizePartitions = 12
	sizeSeries     = 360
	sizeChanging   = 80
)

func (c writtenRun) write(b *testing.B) map[string]int64 {
	b.Helper()
	y := fmt.Sprintf("apiVersion: triad/v1\nname: t\ntitle: t\nphases: {before: %s}\nload: [{source: service, rate: %d/s, streams: %d}]\n", c.length, c.rate, sizeSources)
	s, err := scenario.Parse("t.yaml", []byte(y))
	if err != nil {
		b.Fatal(err)
	}
	h := Header{ID: "x", Scenario: "t", HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}
	if c.length > 15*time.Minute { // as package run chooses
		h.HistWindow, h.PulseEvery = 10*time.Second, time.Second
	}
	dir := filepath.Join(b.TempDir(), "run")
	w, err := Create(dir, h, s)
	if err != nil {
		b.Fatal(err)
	}
	fail := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	var sent [sizeSources]*Ledger
	var hists [sizeSources][]uint64
	for i := range sizeSources {
		sent[i], err = w.Ledger(fmt.Sprintf("%s%d", PointSent, i))
		fail(err)
		src, topic := fmt.Sprintf("source-%d", i), fmt.Sprintf("source-%d-topic", i)
		for _, k := range []HistKey{
			{Metric: "generator_lag", Source: src},
			{Metric: "target_block", Source: src},
			{Metric: "send_corrected", Source: src},
			{Metric: "send_uncorrected", Source: src},
			{Metric: "kafka_latency", Source: src, Topic: topic},
			{"e2e_latency", src, topic, Lower},
			{"e2e_latency", src, topic, Upper},
		} {
			id, err := w.Hists.Key(k)
			fail(err)
			hists[i] = append(hists[i], id)
		}
	}
	kafka, err := w.Ledger(PointKafka)
	fail(err)
	search, err := w.Ledger(PointSearch)
	fail(err)
	var pulses []*Pulse
	for _, p := range []string{"ledger", "kafka", "search"} {
		pulses = append(pulses, NewPulse(w.Series, p, h.PulseEvery))
	}
	tr := NewTracker()
	width := 0.15
	if c.adverse {
		width = 1.5
	}
	each := c.rate / sizeSources
	var late [31][]func() // what is seen in so many seconds
	counters := make([]float64, sizeSeries)
	for sec := range int(c.length/time.Second) + len(late) {
		now := time.Duration(sec) * time.Second
		for i := range sizeSources {
			if now >= c.length {
				break
			}
			stream := uint32(i)
			fail(sent[i].Intent(now + time.Second))
			for k := range each {
				seq := uint64(sec*each + k)
				due := now + time.Duration(k)*time.Second/time.Duration(each)
				lag := time.Duration(60e3 * math.Exp(width*r.NormFloat64()))
				write := time.Duration(25e3 * math.Exp(width*r.NormFloat64()))
				arrival := time.Duration(width * float64(time.Second) * (1 + 0.3*r.NormFloat64()))
				hit := arrival + time.Duration(1e9*(1+r.Float64()))
				for f, v := range []time.Duration{lag, write, lag + write, write, arrival, hit - 200*time.Millisecond, hit} {
					if f < 5 || seq%4 == 0 {
						w.Hists.Record(hists[i][f], due, v)
					}
				}
				sent[i].Mark(Acked, stream, seq)
				pulses[0].Add("source", due, 1)
				if c.adverse && r.IntN(1000) == 0 {
					continue
				}
				chunk := seq / 25
				part := (chunk*0x9e3779b97f4a7c15>>32 + uint64(i)) % sizePartitions
				see := func() {
					seen := now + time.Duration(k)*time.Second/time.Duration(each)
					sight := tr.Observe(stream, int32(part), seq)
					class := Seen
					if !sight.New {
						class = Duplicate
					}
					kafka.Mark(class, stream, seq)
					if sight.Misordered {
						kafka.Mark(Misordered, stream, seq)
					}
					pulses[1].Add("source", seen, 1)
				}
				delay := 0
				if c.adverse {
					delay = int(part) * 30 / (sizePartitions - 1)
				}
				at := (sec + delay) % len(late)
				late[at] = append(late[at], see)
				if c.adverse && (chunk*0xbf58476d1ce4e5b9>>32)%100 == 0 {
					late[at] = append(late[at], see)
				}
				pulses[2].Add("source", due, 1)
			}
			fail(sent[i].Flush(now))
		}
		for _, see := range late[sec%len(late)] {
			see()
		}
		late[sec%len(late)] = late[sec%len(late)][:0]
		fail(kafka.Flush(now))
		fail(w.Hists.Flush())
		samples := make([]Sample, 0, sizeSeries)
		for k := range counters {
			if k < sizeChanging {
				counters[k] += float64(each) * 256 * (0.9 + 0.2*r.Float64())
				if k%4 > 0 {
					counters[k] = math.Round(counters[k])
				}
			}
			samples = append(samples, Sample{fmt.Sprintf("component_subsystem_%d_bytes_total", k%40), Labels{
				"cluster": "datacenter", "component": "fluentd", "instance": "127.0.0.1:24231", "plugin_id": fmt.Sprintf("object:%x", 0xabc0+k), "type": "kafka2",
			}, counters[k]})
		}
		fail(w.Series.Add(now+time.Duration(r.IntN(1e6)), samples...))
		for _, p := range pulses {
			fail(p.Flush(now, false))
		}
	}
	for i := range sizeSources {
		for sp := range tr.Seen(uint32(i)).All() {
			search.MarkSpan(Seen, uint32(i), sp)
		}
	}
	fail(w.Close(""))
	size := map[string]int64{}
	fail(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := os.Stat(path)
		name := filepath.Base(path)
		if filepath.Ext(path) == ledgerExt {
			name = "ledger"
		}
		size[name] += info.Size()
		return err
	}))
	return size
}
