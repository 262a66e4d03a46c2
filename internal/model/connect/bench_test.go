package connect

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"triad/internal/esfake"
)

// BenchmarkPath measures records/s from brokers to store through the model, everything in one process: what the embedded
// runtime can carry at its end, not what Kafka Connect can.
func BenchmarkPath(b *testing.B) {
	const records = 100_000
	for b.Loop() {
		k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(parts, "a-topic", "B-topic"))
		if err != nil {
			b.Fatal(err)
		}
		prod, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...), kgo.MaxBufferedRecords(records))
		if err != nil {
			b.Fatal(err)
		}
		for i := range records {
			prod.Produce(b.Context(), &kgo.Record{
				Topic: "a-topic", Key: fmt.Appendf(nil, "k%d", i%32),
				Value: fmt.Appendf(nil, `{"log":"tq_1_%d_%d tt_1_0000000 %0180d","file":"/var/log/x"}`, i%32, i, i),
			}, nil)
		}
		if err := prod.Flush(b.Context()); err != nil {
			b.Fatal(err)
		}
		prod.Close()
		es := esfake.New(esfake.Options{})
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		served := make(chan error, 1)
		go func() { served <- es.Serve(ctx, ln) }()
		cfg, _, err := ParseStrimzi(fmt.Appendf(nil, resources, "false", "    batch.size: 1000\n    max.buffered.records: 10000"))
		if err != nil {
			b.Fatal(err)
		}
		cfg.Connectors[0].Consumer.MaxPollRecords = 2000
		cfg.Connectors[0].Consumer.SessionTimeout = 10 * time.Second
		m, err := New(cfg, Options{
			Brokers: k.ListenAddrs(), ElasticURL: "http://" + ln.Addr().String(),
			Listen: func(n, _ string) (net.Listener, error) { return net.Listen(n, "127.0.0.1:0") },
		})
		if err != nil {
			b.Fatal(err)
		}
		ran := make(chan error, 1)
		start := time.Now()
		go func() { ran <- m.Run(ctx) }()
		for sent := int64(0); sent < records; time.Sleep(time.Millisecond) {
			sent = 0
			for _, t := range m.connectors["logs"].list() {
				sent += t.m.sent.Load()
			}
			if time.Since(start) > time.Minute {
				b.Fatal("too slow")
			}
		}
		b.ReportMetric(records/time.Since(start).Seconds(), "records/s")
		b.ReportMetric(float64(runtime.NumCPU()), "cores")
		cancel()
		<-ran    //nolint:errcheck // it says that it has ended
		<-served //nolint:errcheck // as above
		k.Close()
	}
}
