package embedded

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"triad/internal/esfake"
	"triad/internal/fault"
	"triad/internal/model/brokers"
	prom "triad/internal/model/prometheus"
	"triad/internal/observe/connect"
	"triad/internal/scenario"
)

// The capabilities of the embedded runtime.
var (
	_ fault.BrokerKiller    = (*system)(nil)
	_ fault.BrokerFreezer   = (*system)(nil)
	_ fault.BrokerRoller    = (*system)(nil)
	_ fault.ClusterFreezer  = (*system)(nil)
	_ fault.LinkCutter      = (*system)(nil)
	_ fault.LinkShaper      = (*system)(nil)
	_ fault.StoreThrottler  = (*system)(nil)
	_ fault.StoreBlocker    = (*system)(nil)
	_ fault.StoreStopper    = (*system)(nil)
	_ fault.TaskFailer      = (*system)(nil)
	_ fault.ConnectKiller   = (*system)(nil)
	_ fault.ForwarderKiller = (*system)(nil)
	_ fault.ReceiverStopper = (*system)(nil)
)

// active is a fault made of functions; a nil one does nothing or says what its absence means.
type active struct {
	target string
	hits   func() (uint64, string)
	heal   func() error
	gone   func() bool
	healed bool
}

func (a *active) Target() string { return a.target }

func (a *active) Hits(context.Context) (uint64, string, error) {
	n, seen := a.hits()
	return n, seen, nil
}

func (a *active) Heal(context.Context) error {
	if a.healed || a.heal == nil {
		return nil
	}
	a.healed = true
	return a.heal()
}

func (a *active) Gone(context.Context) (bool, error) { return a.gone == nil || a.gone(), nil }

// kubeletRestart is how long a killed broker's container takes to start again: the kubelet restarts it at once.
const kubeletRestart = time.Second

// findBroker resolves a target: leader, leader:TOPIC/PARTITION, controller or an id.
func (s *system) findBroker(target string) (int, error) {
	switch {
	case target == "controller":
		return s.brokers.Controller(), nil
	case target == "leader":
		return s.brokers.Leader("service-topic", 0), nil
	case strings.HasPrefix(target, "leader:"):
		topic, part, _ := strings.Cut(strings.TrimPrefix(target, "leader:"), "/")
		n, err := strconv.Atoi(part)
		if err != nil {
			return 0, fmt.Errorf("broker %q: want leader:TOPIC/PARTITION", target)
		}
		return s.brokers.Leader(topic, n), nil
	}
	id, err := strconv.Atoi(target)
	if err != nil {
		return 0, fmt.Errorf("broker %q: want leader, controller, leader:TOPIC/PARTITION or an id", target)
	}
	return id, nil
}

// brokerFault fills in what faults of one broker share.
func (s *system) brokerFault(id int, what string) *active {
	before := s.brokers.Hits(id).Total()
	return &active{
		target: "broker " + strconv.Itoa(id),
		hits: func() (uint64, string) {
			n := s.brokers.Hits(id).Total() - before
			return n, fmt.Sprintf("%s: %d connections, requests and leaderships struck", what, n)
		},
		gone: func() bool { return s.brokersWhole() },
	}
}

// brokersWhole reports whether every broker runs and every partition has all its replicas in sync and a leader. Just
// after a kill the in-sync sets still look whole, so the processes are looked at too.
func (s *system) brokersWhole() bool {
	for _, b := range s.brokers.State() {
		if b.Status != brokers.Running || b.Fenced {
			return false
		}
	}
	c := s.brokers.Counts()
	return c.UnderReplicated == 0 && c.Offline == 0 && c.Stalled == 0
}

// KillBroker kills one broker; without hold the kubelet restarts it at once.
func (s *system) KillBroker(_ context.Context, target string, hold time.Duration) (fault.Active, error) {
	id, err := s.findBroker(target)
	if err != nil {
		return nil, err
	}
	if id < 0 {
		return nil, fmt.Errorf("broker %q: there is none now", target)
	}
	a := s.brokerFault(id, "killed")
	if err := s.brokers.Kill(id); err != nil {
		return nil, err
	}
	if hold > 0 {
		a.heal = func() error { return s.brokers.Start(id) }
		return a, nil
	}
	time.AfterFunc(kubeletRestart, func() {
		if err := s.brokers.Start(id); err != nil {
			s.logger.Error("restart", "broker", id, "error", err)
		}
	})
	return a, nil
}

// FreezeBroker stops one broker's process.
func (s *system) FreezeBroker(_ context.Context, target string, _ time.Duration) (fault.Active, error) {
	id, err := s.findBroker(target)
	if err != nil {
		return nil, err
	}
	a := s.brokerFault(id, "stopped")
	if err := s.brokers.Freeze(id); err != nil {
		return nil, err
	}
	a.heal = func() error { return s.brokers.Unfreeze(id) }
	return a, nil
}

// RollBrokers restarts every broker gracefully.
func (s *system) RollBrokers(ctx context.Context) (fault.Active, error) {
	var before uint64
	for _, b := range s.brokers.State() {
		before += b.Hits.Total()
	}
	done := make(chan error, 1)
	s.wg.Go(func() { done <- s.brokers.Roll(context.WithoutCancel(ctx)) })
	over := false
	return &active{target: "every broker", hits: func() (uint64, string) {
		var n uint64
		for _, b := range s.brokers.State() {
			n += b.Hits.Total()
		}
		return n - before, fmt.Sprintf("%d connections and leaderships moved", n-before)
	}, gone: func() bool {
		select {
		case err := <-done:
			over = true
			if err != nil {
				s.logger.Error("roll", "error", err)
			}
		default:
		}
		return over
	}}, nil
}

// storeFault counts one kind of the store's own hits.
func (s *system) storeFault(what string, count func(esfake.Hits) int64, heal func()) *active {
	before := count(s.store.Hits())
	return &active{target: "elasticsearch", heal: func() error { heal(); return nil }, hits: func() (uint64, string) {
		n := uint64(max(count(s.store.Hits())-before, 0))
		return n, fmt.Sprintf("%d %s", n, what)
	}}
}

// ThrottleStore answers 429 to a share of bulk items.
func (s *system) ThrottleStore(_ context.Context, ratio float64, _ time.Duration) (fault.Active, error) {
	a := s.storeFault("bulk items and requests answered 429", func(h esfake.Hits) int64 { return h.ThrottledItems + h.ThrottledRequests }, func() { s.store.Throttle(esfake.Throttle{}) })
	s.store.Throttle(esfake.Throttle{Item: ratio})
	return a, nil
}

// BlockStore sets the block that a full disk sets.
func (s *system) BlockStore(context.Context, time.Duration) (fault.Active, error) {
	a := s.storeFault("writes refused by the block", func(h esfake.Hits) int64 { return h.BlockedItems }, func() { s.store.FloodStage(false) })
	s.store.FloodStage(true)
	return a, nil
}

// StopStore takes the store away.
func (s *system) StopStore(context.Context, time.Duration) (fault.Active, error) {
	a := s.storeFault("connections and requests cut", func(h esfake.Hits) int64 { return h.Refused }, func() { s.store.Down(false) })
	s.store.Down(true)
	return a, nil
}

// ReceiverStopper: the remote_write receiver is away.
func (s *system) StopReceiver(context.Context, time.Duration) (fault.Active, error) {
	in := s.receiver.Inject(prom.Fault{Down: true})
	return &active{target: "central prometheus", heal: func() error { in.Remove(); return nil }, hits: func() (uint64, string) {
		return in.Hits(), fmt.Sprintf("%d connections refused", in.Hits())
	}}, nil
}

// KillForwarder kills a forwarder; it restarts, after hold when that is given.
func (s *system) KillForwarder(_ context.Context, name string, hold time.Duration) (fault.Active, error) {
	return s.killProc(name, hold)
}

// KillConnect kills the Connect worker, which restarts.
func (s *system) KillConnect(context.Context) (fault.Active, error) { return s.killProc("connect", 0) }

func (s *system) killProc(name string, hold time.Duration) (fault.Active, error) {
	p := s.procs[name]
	if p == nil {
		return nil, fmt.Errorf("no process %q", name)
	}
	before := p.kills.Load()
	p.kill(hold)
	return &active{target: name, hits: func() (uint64, string) { return p.kills.Load() - before, "the process was killed" }, gone: p.running}, nil
}

// FailTask makes tasks of the sink fail as they fail in earnest: one index refuses writes until the worker says FAILED, and takes them
// again at once. What brings the tasks back is the operator's business, not the fault's.
func (s *system) FailTask(ctx context.Context) (fault.Active, error) {
	if !s.procs["connect"].running() {
		return nil, errors.New("the connect worker does not run")
	}
	if err := s.putStore(ctx, "/service-topic/_settings", `{"index.blocks.write":true}`); err != nil {
		return nil, err
	}
	failed, err := s.awaitFailed(ctx)
	err = errors.Join(err, s.putStore(context.WithoutCancel(ctx), "/service-topic/_settings", `{"index.blocks.write":null}`))
	if err != nil {
		return nil, err
	}
	return &active{
		target: "tasks of the sink", gone: func() bool { return s.failedTasks() == 0 },
		hits: func() (uint64, string) {
			failed = max(failed, s.failedTasks())
			return failed, fmt.Sprintf("%d tasks FAILED", failed)
		},
	}, nil
}

// awaitFailed waits until a task has failed. A batch goes out every linger.ms, so it is a matter of seconds.
func (s *system) awaitFailed(ctx context.Context) (uint64, error) {
	const limit = 40 * time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no task failed within %s although the store refused its writes", limit))
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if n := s.failedTasks(); n > 0 {
			return n, nil
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// failedTasks asks the worker's REST interface, as anyone could.
func (s *system) failedTasks() uint64 {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	client := s.httpClient(scenario.Monitoring)
	defer client.CloseIdleConnections()
	all, err := connect.Ask(ctx, connect.Worker{URL: "http://" + s.ports.addr("connect", "8083"), Client: client})
	if err != nil {
		return 0
	}
	var n uint64
	for _, c := range all {
		for _, t := range c.Tasks {
			if t.State == "FAILED" {
				n++
			}
		}
	}
	return n
}

func (s *system) freezeGenerators(on bool) {
	s.genMu.Lock()
	defer s.genMu.Unlock()
	for _, g := range s.gens {
		if g.Cluster() == scenario.Datacenter {
			g.SetFrozen(on)
		}
	}
}
