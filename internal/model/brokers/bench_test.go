package brokers

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// BenchmarkProduce measures one idempotent producer of 300-byte records, uncompressed, acks=all, through the model and, to compare,
// through kfake alone on the same number of brokers.
func BenchmarkProduce(b *testing.B) {
	topics := []Topic{{Name: "t", Partitions: 6}}
	b.Run("model", func(b *testing.B) {
		c, err := New(Config{Nodes: 3, MinISR: 2, Topics: topics}, Options{Seed: 1})
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		benchProduce(b, c.Addrs())
	})
	b.Run("kfake", func(b *testing.B) {
		c, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SeedTopics(6, "t"))
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		benchProduce(b, c.ListenAddrs())
	})
}

func benchProduce(b *testing.B, addrs []string) {
	b.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.DefaultProduceTopic("t"), kgo.ProducerLinger(5*time.Millisecond), kgo.MaxBufferedRecords(100_000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	value := make([]byte, 300)
	for i := range value {
		value[i] = byte('a' + i%26)
	}
	ctx := context.Background()
	var failed error
	b.SetBytes(int64(len(value)))
	b.ResetTimer()
	for i := range b.N {
		cl.Produce(ctx, &kgo.Record{Key: fmt.Appendf(nil, "k%d", i%1000), Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed = err
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	if failed != nil {
		b.Fatal(failed)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
