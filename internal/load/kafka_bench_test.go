package load

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"triad/internal/evidence"
	"triad/internal/record"
	"triad/internal/scenario"
	"triad/internal/source"
)

const (
	benchStreams = 16
	// benchLinger and benchBatch make the batches of both sides alike: a batch goes when it is full. Without them the side
	// that is slower sends smaller ones and pays for them in system calls, and the ratio would be of batches.
	benchLinger = time.Second
	benchBatch  = 64 << 10
)

// benchClient is a client as the runtimes make it for a source that enters at Kafka, but for its batches.
func benchClient(b *testing.B, c *kfake.Cluster) *kgo.Client {
	b.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ProducerLinger(benchLinger), kgo.ProducerBatchMaxBytes(benchBatch),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	if err != nil {
		b.Fatal(err)
	}
	if err := cl.Ping(b.Context()); err != nil {
		b.Fatal(err)
	}
	return cl
}

func benchScene(b *testing.B, rate float64, length time.Duration, size int) *scenario.Scenario {
	b.Helper()
	s, err := scenario.Parse("t.yaml", fmt.Appendf(nil, "apiVersion: triad/v1\nname: t\ntitle: t\nphases: {warm-up: 1ms, before: %dms}\nload: [{source: service, enter: kafka, rate: %.0f/s, streams: %d, size: %dB}]\n", length.Milliseconds(), rate, benchStreams, size))
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// bareLoop produces n records as fast as the client takes them: the same documents, made before the clock starts.
func bareLoop(b *testing.B, c *kfake.Cluster, n, size int) (elapsed time.Duration) {
	b.Helper()
	cl := benchClient(b, c)
	defer cl.Close()
	s := benchScene(b, 1000, time.Second, size)
	const lines = 1024
	var keys, values [lines][]byte
	for i := range lines {
		st := uint32(i % benchStreams)
		tag := record.Tag{Run: 1, Stream: st, Seq: uint64(1_000_000 + i), Scheduled: time.Now().UnixNano()}
		keys[i] = strconv.AppendUint([]byte("stream-"), uint64(st), 10)
		values[i] = AppendDocument(nil, source.Append(nil, source.Service, s.Seed, tag, size), "node", "")
	}
	topic := s.Streams()[0].Topic
	var failed atomic.Uint64
	ctx := b.Context()
	from := time.Now()
	for i := range n {
		cl.Produce(ctx, &kgo.Record{Topic: topic, Key: keys[i%lines], Value: values[i%lines]}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Add(1)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		b.Fatal(err)
	}
	elapsed = time.Since(from)
	if failed.Load() > 0 {
		b.Fatalf("%d records failed", failed.Load())
	}
	return elapsed
}

// enterKafka drives n records through the generator, with tags, checksums, ledger, histograms and pulses, on a schedule
// of the rate given.
func enterKafka(b *testing.B, c *kfake.Cluster, n, size int, rate float64) (dropped uint64, elapsed, cpu time.Duration) {
	b.Helper()
	s := benchScene(b, rate, time.Duration(5*float64(n)/rate*float64(time.Second)), size)
	dir := b.TempDir()
	l, err := evidence.CreateLedger(filepath.Join(dir, "l.led"))
	if err != nil {
		b.Fatal(err)
	}
	h, err := evidence.CreateHists(filepath.Join(dir, "h.hist"), time.Second)
	if err != nil {
		b.Fatal(err)
	}
	sr, err := evidence.CreateSeries(filepath.Join(dir, "s.tsf"))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	sink := &countingSink{Sink: &KafkaSink{Client: benchClient(b, c), Host: "node"}, left: n, cancel: cancel}
	g, err := New(Config{
		Scenario: s, Run: 1, Start: time.Now(), Streams: s.Streams(), Sink: sink, Logger: slog.New(slog.DiscardHandler),
		Evidence: Evidence{Ledger: l, Hists: h, Series: sr, Pulse: evidence.NewPulse(sr, "ledger", 100*time.Millisecond)},
	})
	if err != nil {
		b.Fatal(err)
	}
	g.cfg.Start = time.Now()
	from := time.Now()
	cpu = ProcessorTime()
	if err := g.Run(ctx); err != nil {
		b.Fatal(err)
	}
	elapsed, cpu = time.Since(from), ProcessorTime()-cpu
	if err := errors.Join(l.Close(0), h.Close(), sr.Close()); err != nil {
		b.Fatal(err)
	}
	p := g.Progress()
	if p.Unknown > 0 || p.Acked != uint64(n) {
		b.Fatalf("of %d records: %+v", n, p)
	}
	return p.Dropped, elapsed, cpu
}

// countingSink ends the load after a number of records.
type countingSink struct {
	Sink
	left   int
	cancel context.CancelFunc
}

func (c *countingSink) Send(ctx context.Context, r Record, done func(error)) {
	c.left--
	if c.left < 0 {
		panic("one record too many")
	}
	// The client must not see the end of the load.
	c.Sink.Send(context.WithoutCancel(ctx), r, done)
	if c.left == 0 {
		c.cancel()
	}
}

// BenchmarkEnterKafka is the driver of a source that enters at Kafka beside a bare produce loop with the same client, the
// same documents and the same number of streams. The two take turns, so that both meet the same neighbours; ratio is of
// records/s, cpu-ratio of processor time for each record of the whole process, client and cluster included.
func BenchmarkEnterKafka(b *testing.B) {
	for _, size := range []int{256, 1024} {
		b.Run(strconv.Itoa(size)+"B", func(b *testing.B) {
			c, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SeedTopics(12, "service-topic"), kfake.BlackholeProduce())
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			const n = 50_000
			d := bareLoop(b, c, n, size) // connections, pools, the heap
			var bare, driven, bareCPU, drivenCPU time.Duration
			var dropped uint64
			rounds := 0
			rate := n / d.Seconds() / 2
			for b.Loop() {
				cpu := ProcessorTime()
				d = bareLoop(b, c, n, size)
				bare += d
				bareCPU += ProcessorTime() - cpu
				drop, e, u := enterKafka(b, c, n, size, rate)
				dropped += drop
				driven += e
				drivenCPU += u
				// A schedule just above what it can do: far above, it would be busy dropping.
				rate = 1.2 * n / e.Seconds()
				rounds++
			}
			total := float64(rounds * n)
			b.ReportMetric(total/driven.Seconds(), "records/s")
			b.ReportMetric(total/bare.Seconds(), "bare-records/s")
			b.ReportMetric(bare.Seconds()/driven.Seconds(), "ratio")
			b.ReportMetric(float64(drivenCPU.Nanoseconds())/total, "cpu-ns/record")
			b.ReportMetric(float64(bareCPU.Nanoseconds())/total, "bare-cpu-ns/record")
			b.ReportMetric(bareCPU.Seconds()/drivenCPU.Seconds(), "cpu-ratio")
			b.ReportMetric(float64(dropped)/total, "dropped/record")
			b.ReportMetric(float64(runtime.GOMAXPROCS(0)), "cores")
			b.ReportMetric(0, "ns/op")
		})
	}
}
