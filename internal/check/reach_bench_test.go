package check

import (
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"triad/internal/evidence"
	"triad/internal/load"
	"triad/internal/scenario"
	"triad/internal/stats"
)

// adverse is the history of the reach benchmark: 1,000 streams over 12 partitions that are read up to 30 s apart,
// chunks of 25 records that each go to a random partition, 1 % of them twice, and 0.1 % of the records missing.
type adverse struct {
	streams, perStream int
	rate               float64 // of one stream
	chunk              int
	partitions         int
	skew               time.Duration
	dupShare           float64
	lossShare          float64
}

// fullReach runs the adverse history with 1e8 records and the good one with 1e9 as well, which takes some minutes.
var fullReach = flag.Bool("reach-full", false, "run the adverse history of 1e8 records and the good one of 1e9")

func (a adverse) scene(b *testing.B) *scenario.Scenario {
	length := time.Duration(float64(a.perStream)/a.rate*float64(time.Second)) - 5*time.Second
	y := "apiVersion: triad/v1\nname: t\ntitle: t\nphases: {before: " + length.String() + ", drain: 60s}\nload: [{source: service, rate: " +
		scenario.Rate(a.rate*float64(a.streams)).String() + ", streams: " + strconv.Itoa(a.streams) + "}]\n"
	s, err := scenario.Parse("t.yaml", []byte(y))
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// visit calls see for every record in the order in which an observer of all partitions would read it: by tick of one
// second, each partition with its own delay. tick is called at the end of each.
func (a adverse) visit(see func(stream uint32, partition int32, seq uint64), tick func(time.Duration)) (records uint64) {
	delay := make([]int, a.partitions) // in ticks
	for p := range delay {
		delay[p] = int(a.skew/time.Second) * p / max(a.partitions-1, 1)
	}
	chunks := (a.perStream + a.chunk - 1) / a.chunk
	perTick := a.rate / float64(a.chunk) // chunks of a stream in a second
	ticks := int(float64(chunks)/perTick) + 1
	// The partition of a chunk and what happens to it are functions of stream and number, so nothing has to be kept.
	draw := func(s, c int) uint64 {
		x := uint64(s)*0x9e3779b97f4a7c15 + uint64(c)*0xbf58476d1ce4e5b9
		x ^= x >> 31
		x *= 0x94d049bb133111eb
		return x ^ x>>29
	}
	for t := range ticks + int(a.skew/time.Second) + 1 {
		for p := range a.partitions {
			from, to := int(float64(t-delay[p])*perTick), int(float64(t-delay[p]+1)*perTick)
			for s := range a.streams {
				for c := max(from, 0); c < min(to, chunks); c++ {
					d := draw(s, c)
					if int(d%uint64(a.partitions)) != p {
						continue
					}
					times := 1
					if float64(d>>20&0xffff)/0x10000 < a.dupShare {
						times = 2
					}
					for range times {
						for q := c * a.chunk; q < min((c+1)*a.chunk, a.perStream); q++ {
							if float64(draw(s, -q-1)>>11)/(1<<53) < a.lossShare {
								continue
							}
							see(uint32(s), int32(p), uint64(q))
							records++
						}
					}
				}
			}
		}
		tick(time.Duration(t) * time.Second)
	}
	return records
}

// BenchmarkReach observes, writes and judges 1e7 records, adverse and good: records/s of one core for all three steps
// together, evidence bytes per record, and the largest heap seen.
func BenchmarkReach(b *testing.B) {
	for _, c := range []struct {
		name string
		adverse
	}{
		{"adverse", adverse{1000, 10_000, 100, 25, 12, 30 * time.Second, 0.01, 0.001}},
		{"scattered", adverse{1000, 10_000, 100, 1, 12, 30 * time.Second, 0.01, 0.001}},
		{"good", adverse{1000, 10_000, 100, 25, 1, 0, 0, 0}},
		{"adverse-1e8", adverse{1000, 100_000, 100, 25, 12, 30 * time.Second, 0.01, 0.001}},
		{"good-1e9", adverse{1000, 1_000_000, 100, 25, 1, 0, 0, 0}},
	} {
		b.Run(c.name, func(b *testing.B) {
			if c.perStream > 10_000 && !*fullReach {
				b.Skip("only with -reach-full")
			}
			prev := runtime.GOMAXPROCS(1)
			defer runtime.GOMAXPROCS(prev)
			var records, bytes, heap uint64
			var busy, judging, cpu time.Duration
			for b.Loop() {
				began := load.ProcessorTime()
				n, size, h, d, j := c.once(b)
				cpu += load.ProcessorTime() - began
				records += n
				bytes, heap = size, max(heap, h)
				busy += d
				judging += j
			}
			n := float64(records) / float64(b.N)
			b.ReportMetric(float64(records)/busy.Seconds(), "records/s")
			b.ReportMetric(float64(records)/cpu.Seconds(), "records/cpu-s") // what a core does that is not shared with others
			b.ReportMetric(float64(bytes)/n, "bytes/record")
			b.ReportMetric(float64(heap)/1e6, "heap-MB")
			b.ReportMetric(float64(prev), "cores")
			b.ReportMetric(judging.Seconds()/float64(b.N), "judge-s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func (a adverse) once(b *testing.B) (records, size, heap uint64, busy, judging time.Duration) {
	scene := a.scene(b)
	dir := filepath.Join(b.TempDir(), "run")
	w, err := evidence.Create(dir, evidence.Header{
		ID: "reach", Run: 1, Scenario: "t", HistWindow: time.Second, PulseEvery: 100 * time.Millisecond,
		Streams: scene.Streams(), Start: time.Unix(1e9, 0),
	}, scene)
	if err != nil {
		b.Fatal(err)
	}
	sent, _ := w.Ledger(evidence.PointSent + "0")
	seen, _ := w.Ledger(evidence.PointKafka)
	store, _ := w.Ledger(evidence.PointSearch)
	fail := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	fail(sent.Intent(time.Hour * 1000))
	sample := func() {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		heap = max(heap, m.HeapAlloc)
	}
	for s := range a.streams {
		sent.MarkSpan(evidence.Acked, uint32(s), stats.Span{Lo: 0, Hi: uint64(a.perStream)})
	}
	tr := evidence.NewTracker()
	began := time.Now()
	records = a.visit(func(stream uint32, partition int32, seq uint64) {
		s := tr.Observe(stream, partition, seq)
		if !s.New {
			seen.Mark(evidence.Duplicate, stream, seq)
			return
		}
		seen.Mark(evidence.Seen, stream, seq)
		if s.Misordered {
			seen.Mark(evidence.Misordered, stream, seq)
		}
	}, func(t time.Duration) {
		fail(seen.Flush(t))
		if t%(10*time.Second) == 0 {
			sample()
		}
	})
	for s := range a.streams { // the store is read once, in order
		if set := tr.Seen(uint32(s)); set != nil {
			for sp := range set.All() {
				store.MarkSpan(evidence.Seen, uint32(s), sp)
			}
		}
	}
	fail(w.Events.Add(evidence.Event{Kind: evidence.EventRecon, Name: evidence.PointSearch, State: "done"}))
	fail(w.Events.Add(evidence.Event{Kind: evidence.EventObserver, Name: evidence.PointKafka, State: "ready"}))
	fail(w.Events.Add(evidence.Event{Kind: evidence.EventDrain, State: "deadline"}))
	tr = nil
	fail(w.Close(""))
	from := time.Now()
	r, err := evidence.Open(dir)
	fail(err)
	res, err := Judge(r, time.Unix(0, 0))
	fail(err)
	busy, judging = time.Since(began), time.Since(from)
	sample()
	if a.lossShare > 0 && (res.Totals.Lost == 0 || res.Totals.BrokerDup == 0) || a.lossShare == 0 && res.Totals.Lost != 0 {
		b.Fatalf("judged wrong: %+v", res.Totals)
	}
	info, err := os.Stat(filepath.Join(dir, "ledger", evidence.PointKafka+".led"))
	fail(err)
	return records, uint64(info.Size()), heap, busy, judging
}
