package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"triad/internal/evidence"
	"triad/internal/observe"
)

// fetchWait is how long a broker may hold back an answer that has no records in it. Records end the wait; what is short costs brokers and
// harness an exchange each time, thirty a second with 100 ms and three brokers, and slows down what is measured.
const fetchWait = 500 * time.Millisecond

// Config of an observer.
type Config struct {
	Brokers    []string
	Opts       []kgo.Opt // dialer, TLS, SASL
	Topics     []string  // topics of the run's streams
	Only       []string  // topics that may be read at all; nil: all
	DeadLetter string    // topic of dead letters; empty: none
	Group      string    // consumer group of the sink, whose lag is written; empty: none
	Evidence   *evidence.Writer
	Pulse      time.Duration
	Logger     *slog.Logger
	Resume     *evidence.Left // of a run that goes on; nil: it begins
	// Of several observers, this one reads the partitions whose numbers are Shard modulo Shards; 0 of 0 or 1: it reads all.
	Shard, Shards int
	pulsed        *pulsed // of a run that goes on, for all observers that write one pulse; nil: it has its own
}

// owns reports whether a partition is this observer's.
func (c Config) owns(partition int32) bool {
	return c.Shards < 2 || int(partition)%c.Shards == c.Shard
}

// point is the name of this observer's ledger of a point.
func (c Config) point(name string) string {
	if c.Shards < 2 {
		return name
	}
	return evidence.ShardOf(name, c.Shard)
}

// Observer reads the topics. Open it before the load starts, Run it, and ask it for counts at any time.
type Observer struct {
	cfg     Config
	client  *kgo.Client
	admin   *kadm.Client
	known   *observe.Known
	tracker *evidence.Tracker
	ledger  *evidence.Ledger
	dead    *evidence.Ledger
	deadTr  *evidence.Tracker
	pulse   *evidence.Pulse
	deadPl  *evidence.Pulse
	keys    map[string]uint64
	seen    atomic.Uint64
	deadN   atomic.Uint64
	copies  atomic.Int64
	other   map[string]uint64 // by kind/topic
	at      map[partition]position
	flushes uint64     // of the ledgers; one goroutine flushes at a time
	flushMu sync.Mutex // guards other
	// mu is held while records are marked and positions move, so that the mark in the ledger is of the moment of what is written there.
	mu    sync.Mutex
	begun time.Duration // of a run that goes on: what was due before is not timed
	bySec []uint32      // records seen, by the second in which they were due
	early uint64        // of a run that goes on: records seen before
}

// Open connects, looks up where every partition ends now, and is ready to read from there. A topic that does not exist
// is an error.
func Open(ctx context.Context, cfg Config) (*Observer, error) {
	o := &Observer{cfg: cfg, tracker: evidence.NewTracker(), deadTr: evidence.NewTracker(), keys: map[string]uint64{}, other: map[string]uint64{}, at: map[partition]position{}}
	topics := cfg.Topics
	if cfg.DeadLetter != "" {
		topics = append(append([]string(nil), topics...), cfg.DeadLetter)
	}
	for _, t := range topics {
		if cfg.Only != nil && !slices.Contains(cfg.Only, t) {
			return nil, fmt.Errorf("kafka observer: topic %s may not be read here, only %s", t, strings.Join(cfg.Only, ", "))
		}
	}
	boot, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(cfg.Brokers...)}, cfg.Opts...)...)
	if err != nil {
		return nil, fmt.Errorf("kafka observer: %w", err)
	}
	o.admin = kadm.NewClient(boot)
	ends, err := o.admin.ListEndOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		boot.Close()
		return nil, fmt.Errorf("kafka observer: end offsets of %v: %w", topics, err)
	}
	if cfg.Resume != nil {
		err := o.restore()
		if err == nil {
			err = o.still(ctx, topics)
		}
		if err != nil {
			boot.Close()
			return nil, err
		}
	}
	from := map[string]map[int32]kgo.Offset{}
	ends.Each(func(l kadm.ListedOffset) {
		if !cfg.owns(l.Partition) {
			return
		}
		if from[l.Topic] == nil {
			from[l.Topic] = map[int32]kgo.Offset{}
		}
		at, known := o.at[partition{l.Topic, l.Partition}]
		if !known {
			at = position{l.Offset, -1}
			o.at[partition{l.Topic, l.Partition}] = at
		}
		from[l.Topic][l.Partition] = kgo.NewOffset().At(at.next)
	})
	o.client, err = kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(cfg.Brokers...), kgo.ConsumePartitions(from), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxWait(fetchWait), kgo.MetadataMinAge(500 * time.Millisecond),
	}, cfg.Opts...)...)
	if err != nil {
		boot.Close()
		return nil, fmt.Errorf("kafka observer: %w", err)
	}
	if o.ledger, err = cfg.Evidence.Ledger(cfg.point(evidence.PointKafka)); err != nil {
		return nil, err
	}
	if o.dead, err = cfg.Evidence.Ledger(cfg.point(evidence.PointDeadLetter)); err != nil {
		return nil, err
	}
	o.pulse = evidence.NewPulse(cfg.Evidence.Series, evidence.PointKafka, cfg.Pulse)
	o.deadPl = evidence.NewPulse(cfg.Evidence.Series, evidence.PointDeadLetter, cfg.Pulse)
	return o, nil
}

// Seen is the number of different records of the run seen so far in their topics.
func (o *Observer) Seen() uint64 { return o.seen.Load() }

// maxDue bounds the seconds that are counted: twelve hours are more than any run may last in which somebody asks.
const maxDue = 12 * 3600

// countDue counts a record by the second in which it was due; mu is held.
func (o *Observer) countDue(due time.Duration) {
	i := min(int(max(due, 0)/time.Second), maxDue)
	for len(o.bySec) <= i {
		o.bySec = append(o.bySec, 0)
	}
	o.bySec[i]++
}

// SeenDue is Seen of the records that were due before a place on the time line, or in the rest of its second.
func (o *Observer) SeenDue(before time.Duration) uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.early
	seconds := (max(before, 0) + time.Second - 1) / time.Second
	for _, c := range o.bySec[:min(int(seconds), len(o.bySec))] {
		n += uint64(c)
	}
	return n
}

// DeadLettered is the number of different records seen in the dead-letter topic.
func (o *Observer) DeadLettered() uint64 { return o.deadN.Load() }

// Copies is how many records were seen in their topics once more, less those in the dead-letter topic: each has an offset of its own, and by that
// becomes a document of its own.
func (o *Observer) Copies() int64 { return o.copies.Load() }

// Run reads until ctx ends. Read errors are not the observer's end: brokers are expected to die.
func (o *Observer) Run(ctx context.Context, known *observe.Known) error {
	o.known = known
	var wg sync.WaitGroup
	tick, stop := context.WithCancel(ctx)
	wg.Go(func() { o.lagLoop(tick) })
	wg.Go(func() { o.flushLoop(tick) })
	for ctx.Err() == nil {
		fetches := o.client.PollRecords(ctx, 5000)
		if fetches.IsClientClosed() {
			break
		}
		o.take(fetches)
	}
	behind := o.readOn(context.WithoutCancel(ctx))
	stop()
	wg.Wait()
	o.client.Close()
	o.admin.Close()
	return errors.Join(behind, o.flush(true))
}

// endTime is for reading what was in the partitions when the observer was told to stop.
const endTime = 5 * time.Second

// readOn reads every partition to where it ends now, and returns which could not be read so far: what is behind there was seen by nobody. Where
// the brokers do not say where partitions end nothing is known of that; that they were away is known otherwise.
func (o *Observer) readOn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	topics := map[string]bool{}
	for p := range o.at {
		topics[p.topic] = true
	}
	ends, err := o.admin.ListEndOffsets(ctx, slices.Collect(maps.Keys(topics))...)
	if err != nil {
		return nil
	}
	why := map[partition]error{}
	for {
		var behind []string
		ends.Each(func(l kadm.ListedOffset) {
			p := partition{l.Topic, l.Partition}
			if at, ours := o.at[p]; ours && l.Err == nil && at.next < l.Offset {
				text := fmt.Sprintf("%s/%d to %d of %d", p.topic, p.id, at.next, l.Offset)
				if why[p] != nil {
					text += fmt.Sprintf(" (%v)", why[p])
				}
				behind = append(behind, text)
			}
		})
		if len(behind) == 0 {
			return nil
		}
		if ctx.Err() != nil {
			slices.Sort(behind)
			return fmt.Errorf("partitions were not read to their end: %s", strings.Join(behind, ", "))
		}
		fetches := o.client.PollRecords(ctx, 5000)
		fetches.EachError(func(topic string, id int32, err error) {
			if ctx.Err() == nil {
				why[partition{topic, id}] = err
			}
		})
		o.take(fetches)
	}
}

// take sees every record of what was fetched, now.
func (o *Observer) take(fetches kgo.Fetches) {
	now := o.cfg.Evidence.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	fetches.EachRecord(func(r *kgo.Record) { o.see(r, now) })
}

type partition struct {
	topic string
	id    int32
}

// position is how far a partition was read: the offset that comes next, and the leader epoch of the last record.
type position struct {
	next  int64
	epoch int32
}

// again reports whether a record was read before. A client whose leader moved may start over at an earlier offset; what
// it reads then is the same record and no duplicate. A record that took an offset anew, after a truncation, carries a
// later leader epoch.
func (o *Observer) again(r *kgo.Record) bool {
	key := partition{r.Topic, r.Partition}
	p, known := o.at[key]
	if known && r.Offset < p.next && r.LeaderEpoch <= p.epoch {
		return true
	}
	o.at[key] = position{r.Offset + 1, max(p.epoch, r.LeaderEpoch)}
	return false
}

func (o *Observer) see(r *kgo.Record, now time.Duration) {
	if o.again(r) {
		return
	}
	line, ok := observe.Line(r.Value)
	if !ok {
		kind := evidence.EventUnreadable
		if observe.NodeMetrics(r.Value, r.Topic) {
			kind = evidence.EventNodeMetrics
		}
		o.count(kind, r.Topic)
		return
	}
	if o.cfg.DeadLetter != "" && r.Topic == o.cfg.DeadLetter {
		o.seeDead(line, r.Partition, now)
		return
	}
	f := o.known.Identify(line, r.Topic)
	switch f.Kind {
	case observe.OtherRun:
		o.count(evidence.EventForeignRun, r.Topic)
	case observe.Unreadable:
		o.count(evidence.EventUnreadable, r.Topic)
	case observe.Spurious:
		if f.Stream == nil {
			o.count(evidence.EventUnreadable, r.Topic)
			return
		}
		o.ledger.Mark(evidence.Phantom, f.Stream.ID, f.Seq)
	case observe.Astray:
		o.ledger.Mark(evidence.Foreign, f.Stream.ID, f.Seq)
	default:
		o.own(f, r, now)
	}
}

func (o *Observer) own(f observe.Finding, r *kgo.Record, now time.Duration) {
	s := o.tracker.Observe(f.Stream.ID, r.Partition, f.Seq)
	if !s.New {
		o.copies.Add(1)
		o.ledger.Mark(evidence.Duplicate, f.Stream.ID, f.Seq)
		return
	}
	o.seen.Add(1)
	o.countDue(f.Due)
	o.ledger.Mark(evidence.Seen, f.Stream.ID, f.Seq)
	if s.Misordered {
		o.ledger.Mark(evidence.Misordered, f.Stream.ID, f.Seq)
	}
	if f.Kind == observe.Damaged {
		o.ledger.Mark(evidence.Corrupt, f.Stream.ID, f.Seq)
	}
	if !o.cfg.pulsed.has(f.Stream.Source) {
		o.pulse.Add(f.Stream.Source, now, 1)
	}
	if f.Due < o.begun {
		return // how late it was seen says how long nobody looked
	}
	if key, ok := o.key(f.Stream.Source, r.Topic); ok {
		o.cfg.Evidence.Hists.Record(key, f.Due, now-f.Due)
	}
}

func (o *Observer) seeDead(line []byte, partition int32, now time.Duration) {
	f := o.known.Identify(line, "")
	if f.Stream == nil || f.Kind == observe.Spurious {
		o.count(evidence.EventUnreadable, o.cfg.DeadLetter)
		return
	}
	if !o.deadTr.Observe(f.Stream.ID, partition, f.Seq).New {
		o.copies.Add(-1)
		return
	}
	o.deadN.Add(1)
	o.dead.Mark(evidence.Seen, f.Stream.ID, f.Seq)
	o.deadPl.Add(f.Stream.Source, now, 1)
}

func (o *Observer) key(source, topic string) (uint64, bool) {
	id, ok := o.keys[source+"\x00"+topic]
	if !ok {
		var err error
		if id, err = o.cfg.Evidence.Hists.Key(evidence.HistKey{Metric: "kafka_latency", Source: source, Topic: topic}); err != nil {
			o.cfg.Logger.Error("histogram", "error", err)
			return 0, false
		}
		o.keys[source+"\x00"+topic] = id
	}
	return id, true
}

func (o *Observer) count(kind, topic string) {
	o.flushMu.Lock()
	o.other[kind+"\x00"+topic]++
	o.flushMu.Unlock()
}

func (o *Observer) flushLoop(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if err := o.flush(false); err != nil {
				o.cfg.Logger.Error("kafka evidence", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (o *Observer) flush(last bool) error {
	now := o.cfg.Evidence.Now()
	errs := []error{o.flushLedgers(now), o.pulse.Flush(now, last), o.deadPl.Flush(now, last), o.cfg.Evidence.Hists.FlushDue(last)}
	if last {
		o.flushMu.Lock()
		defer o.flushMu.Unlock()
		for k, n := range o.other {
			kind, topic := k[:indexZero(k)], k[indexZero(k)+1:]
			errs = append(errs, o.cfg.Evidence.Events.Add(evidence.Event{At: now, Kind: kind, Attrs: map[string]string{
				"point": evidence.PointKafka, "observer": o.cfg.point(evidence.PointKafka), "topic": topic, "count": strconv.FormatUint(n, 10),
			}}))
		}
		clear(o.other)
	}
	return errors.Join(errs...)
}

// flushLedgers writes the ledgers, and a mark behind them once in a window of the histograms: with many streams and partitions it is the larger
// part, and what lies behind the last one is only read again. Dead letters are taken out in the same moment: a mark is behind all that it stands for.
func (o *Observer) flushLedgers(now time.Duration) error {
	every := max(o.cfg.Evidence.Header().HistWindow/time.Second, 1)
	o.flushes++
	if (o.flushes-1)%uint64(every) == 0 {
		return o.ledger.FlushTo(now, &o.mu, o.mark, o.dead)
	}
	// What of the dead letters is read again is known by its number.
	return errors.Join(o.dead.Flush(now), o.ledger.Flush(now))
}

func indexZero(s string) int {
	for i := range s {
		if s[i] == 0 {
			return i
		}
	}
	return len(s)
}

// lagLoop writes, once a second, how far the sink's group is behind the ends of the topics.
func (o *Observer) lagLoop(ctx context.Context) {
	if o.cfg.Group == "" || o.cfg.Shard > 0 {
		return // one of several tells the lag of all
	}
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		ask, cancel := context.WithTimeout(ctx, 900*time.Millisecond)
		lags, err := o.lag(ask)
		cancel()
		if err != nil {
			continue // brokers away: the hole in the series says so
		}
		var samples []evidence.Sample
		for topic, lag := range lags {
			samples = append(samples, evidence.Sample{Name: evidence.LagSeries, Labels: evidence.Labels{"topic": topic, "group": o.cfg.Group}, Value: float64(lag)})
		}
		if err := o.cfg.Evidence.Series.Add(o.cfg.Evidence.Now(), samples...); err != nil {
			o.cfg.Logger.Error("lag evidence", "error", err)
		}
	}
}

func (o *Observer) lag(ctx context.Context) (map[string]int64, error) {
	ends, err := o.admin.ListEndOffsets(ctx, o.cfg.Topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, err
	}
	committed, err := o.admin.FetchOffsets(ctx, o.cfg.Group)
	if err == nil {
		err = committed.Error()
	}
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	ends.Each(func(e kadm.ListedOffset) {
		at := int64(0)
		if c, ok := committed.Lookup(e.Topic, e.Partition); ok {
			at = c.At
		}
		out[e.Topic] += max(e.Offset-at, 0)
	})
	return out, nil
}
