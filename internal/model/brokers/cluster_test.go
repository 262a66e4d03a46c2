package brokers

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"triad/internal/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quick is a cluster whose failover takes about a second.
func quick() Config {
	return Config{
		Nodes: 3, MinISR: 2,
		SessionTimeout: time.Second, HeartbeatInterval: 200 * time.Millisecond, StartTime: 300 * time.Millisecond,
		FetchTimeout: 400 * time.Millisecond, ElectionTimeout: 200 * time.Millisecond, ImbalanceInterval: time.Hour,
		Topics: []Topic{{Name: "t", Partitions: 6}},
	}
}

// log collects a cluster's events.
type eventLog struct {
	mu sync.Mutex
	ev []Event
}

func (l *eventLog) add(e Event) { l.mu.Lock(); l.ev = append(l.ev, e); l.mu.Unlock() }

// first returns the time of the first event of a kind at or after a time.
func (l *eventLog) first(t *testing.T, what What, broker int, after time.Time) time.Time {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.ev {
		if e.What == what && (broker < 0 || e.Broker == broker) && !e.Time.Before(after) {
			return e.Time
		}
	}
	t.Fatalf("no event %q of broker %d in %v", what, broker, l.ev)
	return time.Time{}
}

func startCluster(t *testing.T, cfg Config, opts Options) (*Cluster, *eventLog) {
	t.Helper()
	l := &eventLog{}
	opts.OnEvent = l.add
	opts.Seed = 7
	c, err := New(cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, l
}

func client(t *testing.T, c *Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(c.Addrs()...), kgo.MetadataMinAge(50 * time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		// A broker that stops in order may close a connection before its first answer, which the client otherwise takes for
		// a refused login and does not retry.
		kgo.AlwaysRetryEOF(),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func ctxFor(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), d, errors.New("test deadline"))
	t.Cleanup(cancel)
	return ctx
}

// load produces one record every 5 ms, in turn to each partition of topic t, until stop.
type load struct {
	cl   *kgo.Client
	stop chan struct{}
	wg   sync.WaitGroup

	mu     sync.Mutex
	sent   int
	acked  map[string]time.Time
	failed map[string]error
	acks   map[int32][]time.Time
	late   time.Duration // the longest delay of the generator itself: how starved the machine is
}

// slack is how much later than the model a client may notice, on this machine at this time.
func (l *load) slack() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Second + 10*l.late
}

func startLoad(t *testing.T, c *Cluster, opts ...kgo.Opt) *load {
	t.Helper()
	l := &load{cl: client(t, c, append([]kgo.Opt{kgo.ProducerLinger(0)}, opts...)...), stop: make(chan struct{}), acked: map[string]time.Time{}, failed: map[string]error{}, acks: map[int32][]time.Time{}}
	l.wg.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		last := time.Now()
		for n := 0; ; n++ {
			select {
			case <-l.stop:
				return
			case <-tick.C:
			}
			l.mu.Lock()
			l.late = max(l.late, time.Since(last)-5*time.Millisecond)
			last = time.Now()
			l.sent++
			l.mu.Unlock()
			l.cl.Produce(context.WithoutCancel(t.Context()), &kgo.Record{Topic: "t", Partition: int32(n % 6), Value: fmt.Appendf(nil, "r%d", n)}, func(r *kgo.Record, err error) {
				l.mu.Lock()
				defer l.mu.Unlock()
				now := time.Now()
				if err != nil {
					l.failed[string(r.Value)] = err
					return
				}
				l.acked[string(r.Value)] = now
				l.acks[r.Partition] = append(l.acks[r.Partition], now)
			})
		}
	})
	return l
}

// finish stops producing and waits for every outcome.
func (l *load) finish(t *testing.T) {
	t.Helper()
	close(l.stop)
	l.wg.Wait()
	if err := l.cl.Flush(ctxFor(t, 20*time.Second)); err != nil {
		t.Fatalf("flush: %v", err)
	}
}

// gap is the longest time without an acknowledgement of a partition.
func (l *load) gap(part int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	var longest time.Duration
	times := l.acks[int32(part)]
	for i := 1; i < len(times); i++ {
		longest = max(longest, times[i].Sub(times[i-1]))
	}
	return longest
}

// verify consumes everything and fails on a lost, duplicated, misordered or unknown record.
func (l *load) verify(t *testing.T, c *Cluster) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.failed) > 0 {
		t.Errorf("%d records with an error: %v", len(l.failed), l.failed)
	}
	if len(l.acked) != l.sent {
		t.Errorf("%d of %d records acknowledged", len(l.acked), l.sent)
	}
	cl := client(t, c, kgo.ConsumeTopics("t"), kgo.FetchMaxWait(100*time.Millisecond))
	ctx := ctxFor(t, 20*time.Second)
	seen := map[string]int{}
	last := map[int32]int{}
	for len(seen) < len(l.acked) {
		fs := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("%d of %d acknowledged records seen: %v", len(seen), len(l.acked), context.Cause(ctx))
		}
		fs.EachRecord(func(r *kgo.Record) {
			seen[string(r.Value)]++
			var n int
			if _, err := fmt.Sscanf(string(r.Value), "r%d", &n); err != nil {
				t.Errorf("foreign record %q", r.Value)
			}
			if prev, ok := last[r.Partition]; ok && n <= prev {
				t.Errorf("partition %d: %d after %d", r.Partition, n, prev)
			}
			last[r.Partition] = n
		})
	}
	for v, n := range seen {
		if n != 1 {
			t.Errorf("record %s seen %d times", v, n)
		}
	}
}

// ledBy returns a partition of topic t that the broker leads.
func ledBy(t *testing.T, c *Cluster, id int) int {
	t.Helper()
	for p := range 6 {
		if c.Leader("t", p) == id {
			return p
		}
	}
	t.Fatalf("broker %d leads nothing", id)
	return 0
}

// notController returns a broker that is not the active controller.
func notController(c *Cluster) int { return (c.Controller() + 1) % 3 }

func TestKillLeader(t *testing.T) {
	t.Parallel()
	c, ev := startCluster(t, quick(), Options{})
	l := startLoad(t, c)
	time.Sleep(500 * time.Millisecond)
	victim := notController(c)
	part, killed := ledBy(t, c, victim), time.Now()
	other := ledBy(t, c, (victim+1)%3)
	if err := c.Kill(victim); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp", c.Addrs()[victim]); err == nil {
		conn.Close()
		t.Error("a killed broker accepts connections")
	} else if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connect to a killed broker: %v, want refused", err)
	}
	if got := c.Leader("t", part); got != victim {
		t.Errorf("leader just after the kill is %d, want the dead %d", got, victim)
	}
	time.Sleep(2 * time.Second)
	if got := c.Leader("t", part); got == victim {
		t.Error("leadership did not move")
	}
	l.finish(t)
	fenced := ev.first(t, FencedEvent, victim, killed).Sub(killed)
	if fenced < 750*time.Millisecond || fenced > 1175*time.Millisecond {
		t.Errorf("fenced %s after the kill, want session 1s minus at most 200ms, plus at most 125ms", fenced)
	}
	// Partitions of other leaders stop as well: the dead follower is still in their in-sync sets.
	for _, p := range []int{part, other} {
		if gap := l.gap(p); gap < fenced-100*time.Millisecond || gap > fenced+l.slack() {
			t.Errorf("partition %d: gap %s, fenced after %s, slack %s", p, gap, fenced, l.slack())
		}
	}
	h := c.Hits(victim)
	if h.ConnsReset == 0 || h.LeadershipsLost != 2 {
		t.Errorf("hits of the victim: %+v", h)
	}
	if h := c.Hits((victim + 1) % 3); h.ProducesHeld == 0 {
		t.Errorf("no produce was held by a surviving leader: %+v", h)
	}
	if err := c.Start(victim); err != nil {
		t.Fatal(err)
	}
	addrs := c.Addrs()
	if err := c.WaitHealthy(ctxFor(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	if got := c.Leader("t", part); got == victim {
		t.Error("leadership came back without an election")
	}
	if moved := c.ElectPreferred(); moved == 0 || c.Leader("t", part) != victim {
		t.Errorf("preferred election moved %d, leader is %d", moved, c.Leader("t", part))
	}
	if !slices.Equal(addrs, c.Addrs()) {
		t.Error("addresses changed")
	}
	conn, err := net.Dial("tcp", addrs[victim])
	if err != nil {
		t.Fatalf("restarted broker: %v", err)
	}
	conn.Close()
	l.verify(t, c)
}

// TestKillResets: clients of a killed broker get a reset, and no more than that, also through a link; clients of a broker
// that stops in order see the end of the stream.
func TestKillResets(t *testing.T) {
	t.Parallel()
	l := link.New("clients")
	t.Cleanup(l.Close)
	c, _ := startCluster(t, quick(), Options{Listen: func(network, addr string) (net.Listener, error) {
		ln, err := net.Listen(network, addr)
		if err != nil {
			return nil, err
		}
		return l.Listener(ln), nil
	}})
	end := func(id int, stop func()) error {
		conn, err := net.Dial("tcp", c.Addrs()[id])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		// An answered request shows that the broker has accepted the connection: ApiVersions v0, no client id.
		if _, err := conn.Write([]byte{0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff}); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		size := make([]byte, 4)
		if _, err := io.ReadFull(conn, size); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(size))); err != nil {
			t.Fatal(err)
		}
		stop()
		_, err = conn.Read(size)
		return err
	}
	if err := end(0, func() { kill(t, c, 0) }); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read from a killed broker: %v, want a reset", err)
	}
	if err := end(1, func() {
		if err := c.Shutdown(ctxFor(t, 5*time.Second), 1); err != nil {
			t.Fatal(err)
		}
	}); !errors.Is(err, io.EOF) {
		t.Errorf("read from a broker that stopped in order: %v, want the end", err)
	}
	if h := c.Hits(0); h.ConnsReset != 1 {
		t.Errorf("hits %+v", h)
	}
}

func TestConsumersDoNotSeeUnreplicated(t *testing.T) {
	t.Parallel()
	cfg := quick()
	cfg.SessionTimeout = 2 * time.Second
	c, _ := startCluster(t, cfg, Options{})
	victim := notController(c)
	part := int32(ledBy(t, c, (victim+1)%3))
	produce := client(t, c, kgo.ProducerLinger(0))
	ctx := ctxFor(t, 20*time.Second)
	if err := produce.ProduceSync(ctx, &kgo.Record{Topic: "t", Partition: part, Value: []byte("r0")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := c.Kill(victim); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	acked := make(chan time.Duration, 1)
	produce.Produce(ctx, &kgo.Record{Topic: "t", Partition: part, Value: []byte("r1")}, func(_ *kgo.Record, err error) {
		if err != nil {
			t.Errorf("produce: %v", err)
		}
		acked <- time.Since(killed)
	})
	time.Sleep(300 * time.Millisecond)
	adm := kadm.NewClient(client(t, c))
	ends, _ := adm.ListEndOffsets(ctx, "t") // the dead broker's share fails
	if o, ok := ends.Lookup("t", part); !ok || o.Err != nil || o.Offset != 1 {
		t.Errorf("end offset while a dead follower is in sync is %+v, want 1", o)
	}
	if info := c.fake.PartitionInfo("t", part); info.HighWatermark != 2 {
		t.Errorf("appended %d records, want 2", info.HighWatermark)
	}
	cons := client(t, c, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"t": {part: kgo.NewOffset().AtStart()}}), kgo.FetchMaxWait(100*time.Millisecond))
	var seen []string
	var second time.Duration
	for len(seen) < 2 && ctx.Err() == nil {
		cons.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			seen = append(seen, string(r.Value))
			second = time.Since(killed)
		})
	}
	if !slices.Equal(seen, []string{"r0", "r1"}) {
		t.Fatalf("seen %v", seen)
	}
	ack := <-acked
	if ack < 1500*time.Millisecond || second < 1500*time.Millisecond {
		t.Errorf("acknowledged after %s, visible after %s: before the follower left the in-sync set", ack, second)
	}
	if c.Hits((victim+1)%3).FetchesCut == 0 {
		t.Error("no fetch was cut")
	}
}

func TestTwoOfThreeDead(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds of real time")
	}
	t.Parallel()
	t.Run("dedicated controllers refuse", func(t *testing.T) {
		t.Parallel()
		cfg := quick()
		cfg.Controllers = 3
		c, _ := startCluster(t, cfg, Options{})
		ctx := ctxFor(t, 30*time.Second)
		l := startLoad(t, c)
		time.Sleep(200 * time.Millisecond)
		kill(t, c, 0)
		time.Sleep(1200 * time.Millisecond)
		kill(t, c, 1)
		time.Sleep(1200 * time.Millisecond)
		if c.Hits(2).ProducesRefused == 0 {
			t.Error("no refusal is counted while it is in force")
		}
		if k := c.Counts(); k.UnderMinISR == 0 || k.Offline != 0 {
			t.Errorf("counts %+v", k)
		}
		part := int32(ledBy(t, c, 2))
		strict := client(t, c, kgo.RecordRetries(0), kgo.DisableIdempotentWrite())
		if err := strict.ProduceSync(ctx, &kgo.Record{Topic: "t", Partition: part, Value: []byte("refused")}).FirstErr(); !errors.Is(err, kerr.NotEnoughReplicas) {
			t.Errorf("acks=all with one in sync: %v, want NOT_ENOUGH_REPLICAS", err)
		}
		start(t, c, 0)
		start(t, c, 1)
		if err := c.WaitHealthy(ctx); err != nil {
			t.Fatal(err)
		}
		l.finish(t)
		l.verify(t, c)
		if c.Hits(2).ProducesRefused == 0 {
			t.Error("no refusal was counted")
		}
	})
	t.Run("acks=1 is accepted", func(t *testing.T) {
		t.Parallel()
		cfg := quick()
		cfg.Controllers = 3
		c, _ := startCluster(t, cfg, Options{})
		kill(t, c, 0)
		kill(t, c, 1)
		time.Sleep(1200 * time.Millisecond)
		one := client(t, c, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
		if err := one.ProduceSync(ctxFor(t, 5*time.Second), &kgo.Record{Topic: "t", Partition: int32(ledBy(t, c, 2)), Value: []byte("x")}).FirstErr(); err != nil {
			t.Errorf("acks=1: %v", err)
		}
	})
	t.Run("a combined quorum waits", func(t *testing.T) {
		t.Parallel()
		c, _ := startCluster(t, quick(), Options{})
		ctx := ctxFor(t, 30*time.Second)
		l := startLoad(t, c, kgo.ProduceRequestTimeout(500*time.Millisecond))
		time.Sleep(200 * time.Millisecond)
		kill(t, c, 0)
		kill(t, c, 1)
		time.Sleep(2500 * time.Millisecond)
		if c.Controller() != -1 {
			t.Errorf("controller %d without a majority", c.Controller())
		}
		if h := c.Hits(2); h.ProducesTimedOut == 0 || h.ProducesRefused != 0 {
			t.Errorf("hits of the survivor: %+v, want time-outs and no refusals", h)
		}
		start(t, c, 0)
		start(t, c, 1)
		if err := c.WaitHealthy(ctx); err != nil {
			t.Fatal(err)
		}
		l.finish(t)
		l.verify(t, c)
	})
}

func kill(t *testing.T, c *Cluster, id int) {
	t.Helper()
	if err := c.Kill(id); err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, c *Cluster, id int) {
	t.Helper()
	if err := c.Start(id); err != nil {
		t.Fatal(err)
	}
}

func TestControllerKillDelaysFailover(t *testing.T) {
	t.Parallel()
	c, ev := startCluster(t, quick(), Options{})
	l := startLoad(t, c)
	time.Sleep(300 * time.Millisecond)
	victim, killed := c.Controller(), time.Now()
	part := ledBy(t, c, victim)
	kill(t, c, victim)
	time.Sleep(3 * time.Second)
	l.finish(t)
	elected := ev.first(t, ControllerElected, -1, killed).Sub(killed)
	fenced := ev.first(t, FencedEvent, victim, killed).Sub(killed)
	if elected < 400*time.Millisecond || elected > 1100*time.Millisecond {
		t.Errorf("new controller after %s", elected)
	}
	if d := fenced - elected; d < 950*time.Millisecond || d > 1225*time.Millisecond {
		t.Errorf("fenced %s after the election, want a whole session and at most an eighth", d)
	}
	if gap := l.gap(part); gap < fenced-100*time.Millisecond || gap > fenced+l.slack() {
		t.Errorf("gap %s, fenced after %s, slack %s", gap, fenced, l.slack())
	}
	l.verify(t, c)
}

func TestRoll(t *testing.T) {
	t.Parallel()
	cfg := quick()
	cfg.SessionTimeout = 6 * time.Second // so that a wait for a session cannot be taken for a slow machine
	c, ev := startCluster(t, cfg, Options{})
	l := startLoad(t, c)
	time.Sleep(200 * time.Millisecond)
	began, last := time.Now(), c.Controller()
	if err := c.Roll(ctxFor(t, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	l.finish(t)
	for id := range 3 {
		stopped := ev.first(t, Stopped, id, began)
		if id != last && stopped.After(ev.first(t, Stopped, last, began)) {
			t.Errorf("broker %d was rolled after the controller %d", id, last)
		}
	}
	for p := range 6 {
		gap := l.gap(p)
		t.Logf("partition %d: gap %s", p, gap) // about 0.1 to 0.3 s on an idle machine
		if gap > 3*time.Second {
			t.Errorf("partition %d: gap %s in a rolling restart", p, gap)
		}
	}
	l.verify(t, c)
}

func TestFreeze(t *testing.T) {
	t.Parallel()
	c, ev := startCluster(t, quick(), Options{})
	l := startLoad(t, c, kgo.ProduceRequestTimeout(time.Second), kgo.RequestTimeoutOverhead(time.Second))
	time.Sleep(300 * time.Millisecond)
	victim, frozenAt := notController(c), time.Now()
	part := ledBy(t, c, victim)
	if err := c.Freeze(victim); err != nil {
		t.Fatal(err)
	}
	// The kernel of a frozen process still accepts; nothing answers.
	conn, err := net.Dial("tcp", c.Addrs()[victim])
	if err != nil {
		t.Fatalf("connect to a frozen broker: %v", err)
	}
	defer conn.Close()
	// ApiVersions v0, correlation 1, no client id.
	if _, err := conn.Write([]byte{0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(1500 * time.Millisecond))
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("a frozen broker answered %d bytes", n)
	}
	ev.first(t, FencedEvent, victim, frozenAt)
	if got := c.Leader("t", part); got == victim {
		t.Error("leadership stays with a frozen broker")
	}
	if err := c.Unfreeze(victim); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Errorf("the answer did not come after the freeze: %v", err)
	}
	if err := c.WaitHealthy(ctxFor(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	l.finish(t)
	l.verify(t, c)
	if c.Hits(victim).Unanswered == 0 {
		t.Error("the freeze did not bite")
	}
}

func TestOfflinePartition(t *testing.T) {
	t.Parallel()
	cfg := quick()
	cfg.Topics = append(cfg.Topics, Topic{Name: "single", Partitions: 3, Replicas: 1, MinISR: 1})
	c, _ := startCluster(t, cfg, Options{})
	victim := notController(c)
	part := -1
	for p := range 3 {
		if c.Leader("single", p) == victim {
			part = p
		}
	}
	kill(t, c, victim)
	time.Sleep(1200 * time.Millisecond)
	if got := c.Leader("single", part); got != -1 {
		t.Errorf("leader %d, want none", got)
	}
	ctx := ctxFor(t, 20*time.Second)
	adm := kadm.NewClient(client(t, c))
	md, err := adm.Metadata(ctx, "single", "t")
	if err != nil {
		t.Fatal(err)
	}
	p := md.Topics["single"].Partitions[int32(part)]
	if p.Leader != -1 || !errors.Is(p.Err, kerr.LeaderNotAvailable) || !slices.Equal(p.OfflineReplicas, []int32{int32(victim)}) {
		t.Errorf("metadata of the offline partition: %+v", p)
	}
	for _, p := range md.Topics["t"].Partitions {
		if len(p.Replicas) != 3 || len(p.ISR) != 2 || slices.Contains(p.ISR, int32(victim)) || int(p.Leader) != c.Leader("t", int(p.Partition)) {
			t.Errorf("metadata of t: %+v", p)
		}
	}
	if ids := md.Brokers.NodeIDs(); len(ids) != 2 || slices.Contains(ids, int32(victim)) {
		t.Errorf("metadata names brokers %v", ids)
	}
	done := make(chan error, 1)
	client(t, c).Produce(ctx, &kgo.Record{Topic: "single", Partition: int32(part), Value: []byte("late")}, func(_ *kgo.Record, err error) { done <- err })
	time.Sleep(100 * time.Millisecond)
	start(t, c, victim)
	if err := <-done; err != nil {
		t.Errorf("produce to a partition that came back: %v", err)
	}
}
