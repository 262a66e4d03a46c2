package fluentd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"triad/internal/model/forward"
)

// errUnrecoverable says that a chunk can never be flushed and is put aside.
var errUnrecoverable = errors.New("unrecoverable")

// maxQueued is queue.buffering.max.messages of librdkafka.
const maxQueued = 100000

// output is one match: its buffer, its producer, its threads and its counters.
type output struct {
	cfg    Output
	buf    *buffer
	client *kgo.Client
	log    *slog.Logger
	host   string
	hook   func(*kgo.Record) []*kgo.Record

	mu    sync.Mutex // guards retry and rng
	rng   *rand.Rand
	retry *retryState

	emitCount, emitRecords, writeCount, numErrors, rollbacks, flushMillis, slowFlushes, skipped atomic.Int64
}

// clientOptions translates the configuration of the producer.
func clientOptions(cfg Output, o Options) ([]kgo.Opt, error) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.ClientID("fluentd"),
		kgo.MaxBufferedRecords(maxQueued),
		kgo.ProducerLinger(cfg.Linger),
		kgo.RecordDeliveryTimeout(cfg.DeliveryTimeout),
		kgo.RecordRetries(max(cfg.Retries, 1)),
		// A record that is given up is gone, as in librdkafka. Without it one that was sent once would stay, and come beside the chunk's next try.
		kgo.AllowIdempotentProduceCancellation(),
		kgo.ProduceRequestTimeout(min(cfg.RequestTimeout, cfg.DeliveryTimeout)),
		kgo.RequestTimeoutOverhead(5 * time.Second),
		kgo.ProducerBatchMaxBytes(int32(min(cfg.MaxMessageBytes, 1000000))),
		kgo.MetadataMinAge(250 * time.Millisecond), // a leader change is looked up at once, as librdkafka does
	}
	switch cfg.Acks {
	case 0:
		opts = append(opts, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	case 1:
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	default:
		opts = append(opts, kgo.RequiredAcks(kgo.AllISRAcks()))
		if !cfg.Idempotent {
			opts = append(opts, kgo.DisableIdempotentWrite())
		}
	}
	codec := map[string]kgo.CompressionCodec{
		"gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "zstd": kgo.ZstdCompression(),
	}
	switch c, ok := codec[cfg.Compression]; {
	case cfg.Compression == "lz4":
		opts = append(opts, kgo.WithCompressor(newSmallBlocks()))
	case ok:
		opts = append(opts, kgo.ProducerBatchCompression(c))
	default:
		opts = append(opts, kgo.ProducerBatchCompression(kgo.NoCompression()))
	}
	if cfg.Partitioner == "murmur2" {
		opts = append(opts, kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	} else {
		opts = append(opts, kgo.RecordPartitioner(kgo.StickyKeyPartitioner(func(key []byte, n int) int {
			return int(crc32.ChecksumIEEE(key) % uint32(n))
		})))
	}
	if len(o.Brokers) > 0 {
		// The caller says where the brokers are, and by KafkaOpts how to speak to them.
		opts = append(opts, kgo.SeedBrokers(o.Brokers...))
		if o.Dial != nil {
			opts = append(opts, kgo.Dialer(o.Dial))
		}
		return append(opts, o.KafkaOpts...), nil
	}
	dial := o.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	}
	if cfg.TLS {
		tc, err := tlsConfig(cfg, o.Root)
		if err != nil {
			return nil, err
		}
		dial = tlsDialer(dial, tc)
	}
	opts = append(opts, kgo.Dialer(dial))
	var mech sasl.Mechanism
	switch cfg.Mechanism {
	case "PLAIN":
		mech = plain.Auth{User: cfg.Username, Pass: cfg.Password}.AsMechanism()
	case "SCRAM-SHA-256":
		mech = scram.Auth{User: cfg.Username, Pass: cfg.Password}.AsSha256Mechanism()
	case "SCRAM-SHA-512":
		mech = scram.Auth{User: cfg.Username, Pass: cfg.Password}.AsSha512Mechanism()
	}
	if mech != nil {
		opts = append(opts, kgo.SASL(mech))
	}
	return append(opts, o.KafkaOpts...), nil
}

func tlsConfig(cfg Output, root string) (*tls.Config, error) {
	tc := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: !cfg.VerifyHostname}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(filepath.Join(root, cfg.CAFile))
		if err != nil {
			return nil, fmt.Errorf("ca of %s: %w", cfg.ID, err)
		}
		tc.RootCAs = x509.NewCertPool()
		if !tc.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca of %s: no certificate in %s", cfg.ID, cfg.CAFile)
		}
	}
	if cfg.ClientCertFile != "" {
		c, err := tls.LoadX509KeyPair(filepath.Join(root, cfg.ClientCertFile), filepath.Join(root, cfg.ClientKeyFile))
		if err != nil {
			return nil, fmt.Errorf("client certificate of %s: %w", cfg.ID, err)
		}
		tc.Certificates = []tls.Certificate{c}
	}
	return tc, nil
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

func tlsDialer(dial dialFunc, tc *tls.Config) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			conn.Close()
			return nil, err
		}
		c := tc.Clone()
		c.ServerName = host
		tconn := tls.Client(conn, c)
		if err := tconn.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		return tconn, nil
	}
}

// emit takes the entries of one message.
func (o *output) emit(ctx context.Context, tag string, entries []byte, n int) error {
	o.emitCount.Add(1)
	if err := o.buf.emit(ctx, tag, entries, n); err != nil {
		o.numErrors.Add(1)
		return err
	}
	o.emitRecords.Add(int64(n))
	return nil
}

// enqueueLoop queues staged chunks by age until ctx ends.
func (o *output) enqueueLoop(ctx context.Context) {
	if o.cfg.Buffer.FlushMode != "interval" {
		return
	}
	// The check runs eleven times per interval, but not more often than flush_thread_interval.
	every := max(o.cfg.Buffer.FlushInterval/11, o.cfg.Buffer.FlushThreadInterval, time.Millisecond)
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			if err := o.buf.enqueueOlder(now); err != nil {
				o.log.Error("unexpected error while checking flushed chunks", "plugin_id", o.cfg.ID, "error", err)
			}
		}
	}
}

// flushLoop is one flush thread. It takes no new chunk after stop is closed, and leaves a write alone when ctx ends.
func (o *output) flushLoop(ctx context.Context, stop <-chan struct{}) {
	wait := o.cfg.Buffer.FlushThreadInterval
	for {
		kick := o.buf.full
		if d := time.Until(o.nextRetry()); d > 0 {
			wait, kick = max(wait, d), nil // while retrying, new chunks wake nobody
		}
		t := time.NewTimer(wait)
		select {
		case <-stop:
			t.Stop()
			return
		case <-t.C:
		case <-kick:
			t.Stop()
		}
		o.tryFlush(ctx)
		wait = o.cfg.Buffer.FlushThreadInterval
		if o.buf.queued() {
			wait = o.cfg.Buffer.FlushBurstInterval
		}
	}
}

// drain flushes what is queued until nothing is left or a flush fails, for flush_at_shutdown.
func (o *output) drain(ctx context.Context) {
	if err := o.buf.enqueueAll(); err != nil {
		o.log.Error("enqueue at shutdown", "plugin_id", o.cfg.ID, "error", err)
	}
	for ctx.Err() == nil && o.buf.queued() && o.nextRetry().IsZero() {
		o.tryFlush(ctx)
	}
}

func (o *output) nextRetry() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.retry == nil {
		return time.Time{}
	}
	return o.retry.next
}

func (o *output) tryFlush(ctx context.Context) {
	c := o.buf.take()
	if c == nil {
		return
	}
	o.writeCount.Add(1)
	start := time.Now()
	err := o.write(ctx, c)
	switch {
	case err == nil:
		took := time.Since(start)
		o.flushMillis.Add(took.Milliseconds())
		if took > o.cfg.Buffer.SlowFlush {
			o.slowFlushes.Add(1)
		}
		o.commit(c)
	case ctx.Err() != nil:
		o.buf.giveBack(c)
	case errors.Is(err, errUnrecoverable):
		o.log.Warn("got unrecoverable error in primary and no secondary", "plugin_id", o.cfg.ID, "chunk", c.id, "error", err)
		o.buf.putAside(c)
		o.commit(c)
	default:
		o.buf.giveBack(c)
		o.rollbacks.Add(1)
		o.failed(c, err)
	}
}

func (o *output) commit(c *chunk) {
	o.buf.done(c)
	o.mu.Lock()
	o.retry = nil
	o.mu.Unlock()
}

func (o *output) failed(c *chunk, err error) {
	o.numErrors.Add(1)
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.retry == nil:
		o.retry = newRetry(o.cfg.Buffer.Retry, now)
	case now.Before(o.retry.next):
		o.retry.next = o.retry.calc(now, o.rng) // another thread failed in the same attempt
	default:
		o.retry.step(now, o.rng)
	}
	if o.retry.exhausted() {
		o.log.Error("hit limit for retries, dropping all chunks in the buffer queue", "plugin_id", o.cfg.ID, "retry_times", o.retry.steps, "error", err)
		o.buf.clearQueue()
		o.retry = nil
		return
	}
	o.log.Warn("failed to flush the buffer", "plugin_id", o.cfg.ID, "retry_times", o.retry.steps, "chunk", c.id, "error", err)
}

// write produces all records of a chunk and returns when they are acknowledged. After an error the whole chunk is
// written again later, with the records that were acknowledged: that is where duplicates come from.
func (o *output) write(ctx context.Context, c *chunk) error {
	// What is not delivered when the chunk is given back stays on its way until its time is over.
	sending, cancel := context.WithTimeout(ctx, o.cfg.DeliveryTimeout)
	context.AfterFunc(sending, cancel)
	data, err := c.read()
	if err != nil {
		return err
	}
	topic := o.cfg.Topic
	if topic == "" {
		topic = o.cfg.DefaultTopic
	}
	if topic == "" {
		topic = c.tag
	}
	var (
		pending sync.WaitGroup
		first   = make(chan error, 1)
		values  = make([]byte, 0, len(data)+len(data)/4)
	)
	fail := func(err error) {
		select {
		case first <- err:
		default:
		}
	}
	_, err = forward.Entries(data, func(e forward.Entry) error {
		start := len(values)
		var key []byte
		var rerr error
		values, key, rerr = o.format(values, c.tag, e)
		if rerr != nil {
			o.skipped.Add(1)
			o.log.Warn("unexpected error during format record, skip broken event", "plugin_id", o.cfg.ID, "error", rerr)
			values = values[:start]
			return nil
		}
		value := values[start:len(values):len(values)]
		if len(key)+len(value) > o.cfg.MaxMessageBytes {
			if o.cfg.TooLargeIsFatal {
				return fmt.Errorf("%w: message of %d bytes", errUnrecoverable, len(value))
			}
			return fmt.Errorf("message of %d bytes is too large", len(value))
		}
		rec := &kgo.Record{Topic: topic, Key: key, Value: value}
		send := []*kgo.Record{rec}
		if o.hook != nil {
			send = o.hook(rec)
		}
		pending.Add(len(send))
		for _, rec := range send {
			o.client.Produce(sending, rec, func(_ *kgo.Record, err error) {
				if err != nil {
					fail(err)
				}
				pending.Done()
			})
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	if o.cfg.PollTimeout == 0 {
		return nil
	}
	return o.await(ctx, &pending, first)
}

func (o *output) await(ctx context.Context, pending *sync.WaitGroup, first <-chan error) error {
	all := make(chan struct{})
	go func() { pending.Wait(); close(all) }() // ends with the client at the latest: Close fails what is left
	t := time.NewTimer(o.cfg.PollTimeout)
	defer t.Stop()
	select {
	case <-all:
		select {
		case err := <-first:
			return err
		default:
			return nil
		}
	case err := <-first:
		return err
	case <-t.C:
		return fmt.Errorf("no delivery report within %v", o.cfg.PollTimeout)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// format appends the JSON of one record and returns its key.
func (o *output) format(dst []byte, tag string, e forward.Entry) (out, key []byte, err error) {
	cfg := &o.cfg
	if v := lookup(e.Record, cfg.MessageKey); v != nil && v[0] != 0xc0 {
		key = appendText(nil, v)
	} else if cfg.DefaultMessageKey != "" {
		key = []byte(cfg.DefaultMessageKey)
	}
	in := &cfg.Inject
	dst, n, err := appendRecord(dst, e.Record, func(k []byte) bool {
		s := string(k)
		return cfg.ExcludeMessageKey && s == cfg.MessageKey || cfg.ExcludeTopicKey && s == cfg.TopicKey ||
			s != "" && (s == in.TimeKey || s == in.TagKey || s == in.HostKey)
	})
	if err != nil {
		return dst, nil, err
	}
	field := func(k string, value func([]byte) []byte) {
		if k == "" {
			return
		}
		if n > 0 {
			dst = append(dst, ',')
		}
		n++
		dst = value(append(appendQuoted(dst, []byte(k)), ':'))
	}
	field(in.HostKey, func(d []byte) []byte { return appendQuoted(d, []byte(o.host)) })
	field(in.TagKey, func(d []byte) []byte { return appendQuoted(d, []byte(tag)) })
	field(in.TimeKey, func(d []byte) []byte { return in.appendTime(d, e.Time) })
	return append(dst, '}'), key, nil
}
