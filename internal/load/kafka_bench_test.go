package load

import (
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"triad/internal/record"
	"triad/internal/scenario"
	"triad/internal/source"
)

const (
	benchStreams    = 16
	benchPartitions = 12
	// benchRecords is how many records a turn has: several times what a client buffers, so that both sides reuse what they have.
	benchRecords = 400_000
	// benchLinger and benchBatch make the batches of both sides alike: a batch goes when it is full. Without them the side
	// that is slower sends smaller ones and pays for them in system calls, and the ratio would be of batches.
	benchLinger = time.Second
	benchBatch  = 64 << 10
)

// batches counts what was written, to show that both sides had the same.
type batches struct{ n, records, bytes atomic.Int64 }

func (b *batches) OnProduceBatchWritten(_ kgo.BrokerMetadata, _ string, _ int32, m kgo.ProduceBatchMetrics) {
	b.n.Add(1)
	b.records.Add(int64(m.NumRecords))
	b.bytes.Add(int64(m.UncompressedBytes))
}

// benchOptions are those of a client as the embedded runtime makes it for a source that enters at Kafka, but for its batches.
func benchOptions(c *kfake.Cluster, w *batches) []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(c.ListenAddrs()...), kgo.ProducerLinger(benchLinger), kgo.ProducerBatchMaxBytes(benchBatch),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.WithHooks(w),
	}
}

func benchScene(b *testing.B, rate float64, length time.Duration, size int) *scenario.Scenario {
	b.Helper()
	s, err := scenario.Parse("t.yaml", fmt.Appendf(nil, "apiVersion: triad/v1\nname: t\ntitle: t\nphases: {warm-up: 1ms, before: %dms}\nload: [{source: service, enter: kafka, rate: %.0f/s, streams: %d, size: %dB}]\n", max(length.Milliseconds(), 1), rate, benchStreams, size))
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// turn is what one side did: the records that were acknowledged, and what they took.
type turn struct {
	records      uint64
	elapsed, cpu time.Duration
}

func (t *turn) add(u turn) {
	t.records += u.records
	t.elapsed += u.elapsed
	t.cpu += u.cpu
}

func (t turn) rate() float64    { return float64(t.records) / t.elapsed.Seconds() }
func (t turn) perCPU() float64  { return float64(t.records) / t.cpu.Seconds() }
func (t turn) cpuNano() float64 { return float64(t.cpu.Nanoseconds()) / float64(t.records) }

func median(x []float64) float64 {
	slices.Sort(x)
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

// bareLoop produces records as fast as the client takes them: the same documents, made before the clock starts, a
// thousand of them again and again.
func bareLoop(b *testing.B, c *kfake.Cluster, w *batches, size int) turn {
	b.Helper()
	cl, err := kgo.NewClient(benchOptions(c, w)...)
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	if err := cl.Ping(b.Context()); err != nil {
		b.Fatal(err)
	}
	s := benchScene(b, 1000, time.Second, size)
	const lines = 1024
	var keys, values [lines][]byte
	for i := range lines {
		st := uint32(i % benchStreams)
		tag := record.Tag{Run: 1, Stream: st, Seq: uint64(1_000_000 + i), Scheduled: time.Now().UnixNano()}
		keys[i] = strconv.AppendUint([]byte("stream-"), uint64(st), 10)
		head := append([]byte(documentHead), time.Now().UTC().Format("2006-01-02T15:04:05.000Z")+`","host":"node`+documentLog...)
		values[i] = append(source.AppendEscaped(head, source.Append(nil, source.Service, s.Seed, tag, size)), documentTail...)
	}
	topic := s.Streams()[0].Topic
	var failed atomic.Uint64
	ctx := b.Context()
	runtime.GC() // each side begins with a heap that owes nothing
	from, cpu := time.Now(), ProcessorTime()
	for i := range benchRecords {
		cl.Produce(ctx, &kgo.Record{Topic: topic, Key: keys[i%lines], Value: values[i%lines]}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Add(1)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		b.Fatal(err)
	}
	t := turn{benchRecords, time.Since(from), ProcessorTime() - cpu}
	if failed.Load() > 0 {
		b.Fatalf("%d records failed", failed.Load())
	}
	return t
}

// enterKafka drives the generator, with tags, checksums, ledger, histograms and pulses, on a schedule of the rate given that has about
// benchRecords records.
func enterKafka(b *testing.B, c *kfake.Cluster, w *batches, size int, rate float64) (t turn, dropped uint64) {
	b.Helper()
	s := benchScene(b, rate, time.Duration(benchRecords/rate*float64(time.Second)), size)
	ev, closeAt := openEvidence(b, b.TempDir())
	start := time.Now()
	sink, err := NewKafkaSink("node", start, benchOptions(c, w)...)
	if err != nil {
		b.Fatal(err)
	}
	if err := sink.client.Ping(b.Context()); err != nil {
		b.Fatal(err)
	}
	g, err := New(Config{
		Scenario: s, Run: 1, Start: start, Streams: s.Streams(), Sink: sink, Logger: slog.New(slog.DiscardHandler), Evidence: ev,
	})
	if err != nil {
		b.Fatal(err)
	}
	runtime.GC()
	from, cpu := time.Now(), ProcessorTime()
	if err := g.Run(b.Context()); err != nil {
		b.Fatal(err)
	}
	p := g.Progress()
	t = turn{p.Acked, time.Since(from), ProcessorTime() - cpu}
	if err := closeAt(0); err != nil {
		b.Fatal(err)
	}
	if p.Unknown > 0 || p.Acked+p.Dropped != p.Planned {
		b.Fatalf("of %d records: %+v", p.Planned, p)
	}
	return t, p.Dropped
}

// BenchmarkEnterKafka is the driver of a source that enters at Kafka beside a bare produce loop with the same client, the
// same documents and the same number of streams. The two take turns, so that both meet the same neighbours; ratio is of
// records/s, cpu-ratio of processor time for each record of the whole process, client and cluster included, each the median of all pairs of turns.
func BenchmarkEnterKafka(b *testing.B) {
	for _, size := range []int{256, 1024} {
		b.Run(strconv.Itoa(size)+"B", func(b *testing.B) {
			c, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SeedTopics(benchPartitions, "service-topic"), kfake.BlackholeProduce())
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			// The cluster draws the leaders. Where most are on one broker, both sides have one connection's worth of parallel work, and a
			// figure of the draw.
			for p := range int32(benchPartitions) {
				if err := c.MoveTopicPartition("service-topic", p, p%3); err != nil {
					b.Fatal(err)
				}
			}
			var bare, driven turn
			var bareBatches, drivenBatches batches
			var dropped uint64
			// A schedule just above what it can do: far above, it would be busy dropping. The first turn of each finds out.
			warm, _ := enterKafka(b, c, &batches{}, size, bareLoop(b, c, &batches{}, size).rate()/2)
			rate := 2 * warm.rate()
			var ratios, cpuRatios []float64
			for b.Loop() {
				t := bareLoop(b, c, &bareBatches, size)
				u, drop := enterKafka(b, c, &drivenBatches, size, rate)
				bare.add(t)
				driven.add(u)
				ratios, cpuRatios = append(ratios, u.rate()/t.rate()), append(cpuRatios, u.perCPU()/t.perCPU())
				dropped += drop
				rate = 1.25 * u.rate()
			}
			b.ReportMetric(driven.rate(), "records/s")
			b.ReportMetric(bare.rate(), "bare-records/s")
			b.ReportMetric(median(ratios), "ratio")
			b.ReportMetric(driven.cpuNano(), "cpu-ns/record")
			b.ReportMetric(bare.cpuNano(), "bare-cpu-ns/record")
			b.ReportMetric(median(cpuRatios), "cpu-ratio")
			b.ReportMetric(float64(dropped)/float64(driven.records), "dropped/record")
			b.ReportMetric(float64(drivenBatches.bytes.Load())/float64(drivenBatches.n.Load()), "bytes/batch")
			b.ReportMetric(float64(bareBatches.bytes.Load())/float64(bareBatches.n.Load()), "bare-bytes/batch")
			b.ReportMetric(float64(drivenBatches.bytes.Load())/float64(drivenBatches.records.Load()), "bytes/record")
			b.ReportMetric(float64(bareBatches.bytes.Load())/float64(bareBatches.records.Load()), "bare-bytes/record")
			b.ReportMetric(float64(runtime.GOMAXPROCS(0)), "cores")
			b.ReportMetric(0, "ns/op")
		})
	}
}
