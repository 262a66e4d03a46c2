package brokers

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"triad/internal/model/jmx"
)

// Cluster is a running model. Its methods may be called from several goroutines.
type Cluster struct {
	cfg      Config
	opts     Options
	log      *slog.Logger
	listenOn func(network, addr string) (net.Listener, error)
	tls      *tls.Config
	ca       []byte
	epoch    time.Time // machine time 0
	fake     *kfake.Cluster
	fronts   []*front
	secret   string // of internalUser

	mu      sync.Mutex // over everything below, and over the order of calls into kfake
	m       *machine
	applied map[tp]*applied
	atDown  map[int]int64 // bytes of its partitions when a broker fell silent
	coord   coordinators
	changed chan struct{} // closed and replaced at every change
	closed  bool

	view atomic.Pointer[view]

	joins    joins
	counters *counters
	rules    jmx.Rules
	exports  []*exporter

	kick chan struct{}
	done chan struct{}
	wg   sync.WaitGroup
}

// New starts the brokers. The caller closes the cluster.
func New(cfg Config, opts Options) (*Cluster, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("broker configuration: %w", err)
	}
	if len(opts.Ports) > 0 && len(opts.Ports) != cfg.Nodes {
		return nil, fmt.Errorf("broker ports: %d for %d brokers", len(opts.Ports), cfg.Nodes)
	}
	c := &Cluster{
		cfg: cfg, opts: opts, log: opts.Logger, listenOn: opts.Listen, epoch: time.Now(),
		applied: map[tp]*applied{}, atDown: map[int]int64{}, coord: coordinators{keys: map[coordKey]tp{}},
		changed: make(chan struct{}), counters: newCounters(cfg.Nodes),
		kick: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.listenOn == nil {
		c.listenOn = net.Listen
	}
	if c.rules = cfg.Exporter; len(c.rules.Rules) == 0 {
		var err error
		if c.rules, _, err = jmx.ParseRules([]byte(usualRules)); err != nil {
			return nil, err
		}
	}
	c.m = newMachine(cfg, rand.New(rand.NewPCG(opts.Seed, 0x62726f6b))) //nolint:gosec // a reproducible stream, not a secret
	c.m.backlog = c.backlog
	c.view.Store(&view{})
	if err := c.boot(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// boot brings everything up in the order in which it is taken down by Close.
func (c *Cluster) boot() error {
	c.fillPasswords()
	if c.cfg.Encrypt {
		if c.tls = c.opts.TLS; c.tls == nil {
			var err error
			if c.tls, c.ca, err = selfSigned(); err != nil {
				return fmt.Errorf("certificate: %w", err)
			}
		}
	}
	for id := range c.cfg.Nodes {
		f := &front{c: c, id: id, conns: map[*conn]struct{}{}, gate: closedChan()}
		num := 0
		if len(c.opts.Ports) > 0 {
			num = c.opts.Ports[id]
		}
		if err := f.reserve(num); err != nil {
			return err
		}
		c.fronts = append(c.fronts, f)
	}
	fake, err := kfake.NewCluster(c.fakeOptions()...)
	if err != nil {
		return fmt.Errorf("fake brokers: %w", err)
	}
	c.fake = fake
	if err := c.createTopics(); err != nil {
		return err
	}
	c.mu.Lock()
	for _, t := range c.cfg.Topics {
		c.m.addTopic(t.Name, 0, t.Partitions, t.Replicas, t.MinISR)
	}
	c.apply()
	c.mu.Unlock()
	for id := range c.cfg.Nodes {
		x, err := newExporter(c, id)
		if err != nil {
			return err
		}
		c.exports = append(c.exports, x)
	}
	for _, f := range c.fronts {
		if err := f.open(); err != nil {
			return err
		}
	}
	c.wg.Go(c.run)
	c.wg.Go(c.retain)
	c.wg.Go(c.keepSessions)
	return nil
}

// fakeOptions configures kfake: it never sees the machine's failures, only where leaders and coordinators are.
func (c *Cluster) fakeOptions() []kfake.Opt {
	next := 0
	opts := []kfake.Opt{
		kfake.NumBrokers(c.cfg.Nodes),
		kfake.ClusterID("triad"),
		kfake.DefaultNumPartitions(c.cfg.DefaultPartitions),
		kfake.WithLogger(fakeLogger{c.log}),
		kfake.ListenFn(func(string, string) (net.Listener, error) {
			next++
			return c.fronts[next-1].port, nil
		}),
	}
	if c.opts.Dir != "" {
		opts = append(opts, kfake.DataDir(c.opts.Dir))
	}
	if c.cfg.AutoCreate {
		opts = append(opts, kfake.AllowAutoTopicCreation())
	}
	configs := map[string]string{}
	for k, v := range c.cfg.BrokerConfig {
		switch k {
		case "group.min.session.timeout.ms", "group.max.session.timeout.ms":
			d, err := time.ParseDuration(v + "ms")
			if err != nil {
				c.log.Warn("group session limit ignored", "key", k, "value", v)
			} else if k == "group.min.session.timeout.ms" {
				opts = append(opts, kfake.GroupMinSessionTimeout(d))
			} else {
				opts = append(opts, kfake.GroupMaxSessionTimeout(d))
			}
		}
		configs[k] = v
	}
	opts = append(opts, kfake.BrokerConfigs(configs))
	return append(opts, c.securityOptions()...)
}

// Close ends the cluster and waits for its goroutines. It may be called twice.
func (c *Cluster) Close() {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	close(c.done)
	c.mu.Unlock()
	c.joins.close()
	c.wg.Wait() // before the exporters and sockets, which run would open again
	for _, x := range c.exports {
		x.close()
	}
	// From here nobody asks kfake anything, which would block for ever once it has stopped.
	for _, f := range c.fronts {
		f.shut(false)
		f.answer(true)
		_ = f.port.Close()
	}
	if c.fake != nil {
		c.fake.Close()
	}
	for _, f := range c.fronts {
		f.wg.Wait()
		f.free()
	}
}

// run moves the machine along its time line.
func (c *Cluster) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-c.kick:
		case <-timer.C:
		}
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return
		}
		c.m.advance(c.now())
		c.apply()
		at, ok := c.m.next()
		c.mu.Unlock()
		wait := time.Hour
		if ok {
			wait = max(0, at-c.now())
		}
		timer.Reset(wait)
	}
}

// retain applies retention, which kfake would do once an hour.
func (c *Cluster) retain() {
	tick := time.NewTicker(c.cfg.RetentionCheck)
	defer tick.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
			c.mu.Lock()
			if !c.closed {
				c.account()
				c.fake.ApplyRetention()
				c.account() // the smaller logs are where the next count starts
			}
			c.mu.Unlock()
		}
	}
}

func (c *Cluster) now() time.Duration { return time.Since(c.epoch) }

// errClosed is returned by every method after Close.
var errClosed = errors.New("cluster closed")

// act does one thing to the machine and makes it so.
func (c *Cluster) act(id int, doing string, fn func(now time.Duration) bool) error {
	if id < 0 || id >= c.cfg.Nodes {
		return fmt.Errorf("%s of broker %d: there are brokers 0 to %d", doing, id, c.cfg.Nodes-1)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errClosed
	}
	now := c.now()
	c.m.advance(now)
	was := c.m.status(c.m.nodes[id])
	ok := fn(now)
	c.apply()
	select {
	case c.kick <- struct{}{}:
	default:
	}
	if !ok {
		return fmt.Errorf("%s of broker %d: it is %s", doing, id, was)
	}
	return nil
}

// Kill ends a broker as kill -9 does: its connections are reset and its port is closed when Kill returns. It fails when
// there is no process to kill.
func (c *Cluster) Kill(id int) error {
	return c.act(id, "kill", func(now time.Duration) bool { return c.m.kill(now, id) })
}

// Start starts the process of a broker that is down. It returns at once; the broker serves after Config.StartTime and
// what registration and the session of its earlier life add.
func (c *Cluster) Start(id int) error {
	return c.act(id, "start", func(now time.Duration) bool { return c.m.start(now, id) })
}

// Freeze stops a broker as SIGSTOP does: connections stay open, new ones are accepted by the kernel, nothing is answered.
func (c *Cluster) Freeze(id int) error {
	return c.act(id, "freeze", func(now time.Duration) bool { return c.m.freeze(now, id) })
}

// Unfreeze continues a frozen broker.
func (c *Cluster) Unfreeze(id int) error {
	return c.act(id, "unfreeze", func(now time.Duration) bool { return c.m.unfreeze(now, id) })
}

// Shutdown stops a broker in order, as SIGTERM does, and waits until its process has ended or ctx is done.
func (c *Cluster) Shutdown(ctx context.Context, id int) error {
	if err := c.act(id, "shutdown", func(now time.Duration) bool { return c.m.shutdown(now, id) }); err != nil {
		return err
	}
	return c.wait(ctx, fmt.Sprintf("shutdown of broker %d", id), func() bool { return c.m.nodes[id].proc == down })
}

// Roll restarts every broker in order, one at a time, the active controller last as Strimzi does. It goes on to the next
// one when every replica is in sync again.
func (c *Cluster) Roll(ctx context.Context) error {
	order := make([]int, c.cfg.Nodes)
	for id := range order {
		order[id] = id
	}
	if last := c.Controller(); last >= 0 && last < c.cfg.Nodes {
		order = append(slices.Delete(order, last, last+1), last)
	}
	for _, id := range order {
		if err := c.Shutdown(ctx, id); err != nil {
			return fmt.Errorf("roll: %w", err)
		}
		if err := c.Start(id); err != nil {
			return fmt.Errorf("roll: %w", err)
		}
		if err := c.WaitHealthy(ctx); err != nil {
			return fmt.Errorf("roll: %w", err)
		}
	}
	return nil
}

// WaitHealthy waits until every broker runs and every replica is in sync.
func (c *Cluster) WaitHealthy(ctx context.Context) error {
	return c.wait(ctx, "wait for a healthy cluster", func() bool {
		for _, n := range c.m.nodes {
			if c.m.status(n) != Running || !c.m.memberEverywhere(n) {
				return false
			}
		}
		return c.m.controller >= 0
	})
}

// wait blocks until cond, which runs with the cluster locked.
func (c *Cluster) wait(ctx context.Context, what string, cond func() bool) error {
	for {
		c.mu.Lock()
		ok, changed := cond(), c.changed
		c.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-c.done:
			return fmt.Errorf("%s: %w", what, errClosed)
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		}
	}
}

// ElectPreferred gives every partition its preferred leader back, where that one is in sync, without waiting for the
// periodic check. It returns how many partitions moved.
func (c *Cluster) ElectPreferred() int {
	moved := 0
	_ = c.act(0, "election", func(now time.Duration) bool { moved = c.m.electPreferred(now); return true })
	return moved
}

// fakeLogger turns kfake's lines into records.
type fakeLogger struct{ log *slog.Logger }

// Logf implements kfake.Logger.
func (l fakeLogger) Logf(level kfake.LogLevel, format string, args ...any) {
	lv := slog.LevelDebug
	switch level {
	case kfake.LogLevelError:
		lv = slog.LevelError
	case kfake.LogLevelWarn:
		lv = slog.LevelWarn
	default: // kfake's "info" is one line a request
	}
	if l.log.Enabled(context.Background(), lv) {
		l.log.Log(context.Background(), lv, "fake broker", "line", strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}
