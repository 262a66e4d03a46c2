package fault

import (
	"context"
	"fmt"
	"sync"
	"time"

	"triad/internal/evidence"
	"triad/internal/scenario"
)

// Active is a fault that was injected.
type Active interface {
	// Hits is how often it bit so far, with what was seen in words. 0 means that nothing noticed.
	Hits(ctx context.Context) (n uint64, seen string, err error)
	// Heal undoes it; calling it again does nothing. For a fault that is an instant it does nothing.
	Heal(ctx context.Context) error
	// Gone reports whether the effect is seen to be over: the broker is back in sync, the link carries again.
	Gone(ctx context.Context) (bool, error)
}

// Target is what a fault struck, in words: "broker 1", "link datacenter -> kafka".
type Target interface{ Target() string }

// Reporter is an Active that finds things out beside its hits. Report returns what was found since the last call; it
// becomes events of the run, with the fault's name.
type Reporter interface{ Report() []evidence.Event }

// Findings is the part of a Reporter that keeps what was found until it is asked for. The zero value is ready.
type Findings struct {
	mu    sync.Mutex
	found []evidence.Event
}

// Note keeps what was found.
func (f *Findings) Note(e ...evidence.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.found = append(f.found, e...)
}

// Report hands out what was found since the last call.
func (f *Findings) Report() []evidence.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.found
	f.found = nil
	return out
}

// Patience is how long injecting, and how long healing a kind of fault may take: a deployment to three clusters is not
// done in the minute that suffices for a process.
func Patience(kind string) time.Duration {
	switch kind {
	case "roll-out":
		return 8 * time.Minute
	case "cluster-add":
		return 15 * time.Minute // a minute on idle cores; eight did not suffice on two that had forty times their load
	}
	return time.Minute
}

// The capabilities an environment may have; a kind of fault asks for the one it needs. For how long is a promise to
// undo it by itself should the harness die: every runtime sets a timer outside of the harness where it can.
type (
	// BrokerKiller kills -9 one broker; hold 0 lets it restart at once, else it is held down for so long.
	BrokerKiller interface {
		KillBroker(ctx context.Context, target string, hold time.Duration) (Active, error)
	}
	// BrokerFreezer stops one broker's process (SIGSTOP).
	BrokerFreezer interface {
		FreezeBroker(ctx context.Context, target string, d time.Duration) (Active, error)
	}
	// BrokerRoller restarts every broker gracefully, one after another.
	BrokerRoller interface {
		RollBrokers(ctx context.Context) (Active, error)
	}
	// ClusterFreezer stops every process of a cluster.
	ClusterFreezer interface {
		FreezeCluster(ctx context.Context, cluster string, d time.Duration) (Active, error)
	}
	// LinkCutter cuts the link from one cluster to another; direction both, forward or back, mode drop or reject.
	LinkCutter interface {
		CutLink(ctx context.Context, from, to, direction, mode string, d time.Duration) (Active, error)
	}
	// LinkShaper delays a link or limits its bandwidth (bytes a second; 0: no limit).
	LinkShaper interface {
		ShapeLink(ctx context.Context, from, to string, delay time.Duration, bandwidth int64, d time.Duration) (Active, error)
	}
	// StoreThrottler makes the store answer 429 to the given share of bulk items.
	StoreThrottler interface {
		ThrottleStore(ctx context.Context, ratio float64, d time.Duration) (Active, error)
	}
	// StoreBlocker sets the read-only block that a full disk sets.
	StoreBlocker interface {
		BlockStore(ctx context.Context, d time.Duration) (Active, error)
	}
	// StoreStopper takes the store away.
	StoreStopper interface {
		StopStore(ctx context.Context, d time.Duration) (Active, error)
	}
	// StoreKiller kills -9 the store, which restarts.
	StoreKiller interface {
		KillStore(ctx context.Context) (Active, error)
	}
	// DiskFiller makes the store believe that its disk is full; the block that follows is the store's own doing.
	DiskFiller interface {
		FillDisk(ctx context.Context, d time.Duration) (Active, error)
	}
	// ConnectPauser pauses the sink's connector.
	ConnectPauser interface {
		PauseConnect(ctx context.Context, d time.Duration) (Active, error)
	}
	// TaskFailer makes a sink task fail.
	TaskFailer interface {
		FailTask(ctx context.Context) (Active, error)
	}
	// ConnectKiller kills -9 the Connect worker.
	ConnectKiller interface {
		KillConnect(ctx context.Context) (Active, error)
	}
	// ForwarderKiller kills -9 fluent-bit or fluentd; hold as for brokers.
	ForwarderKiller interface {
		KillForwarder(ctx context.Context, name string, hold time.Duration) (Active, error)
	}
	// ReceiverStopper takes the remote_write receiver away.
	ReceiverStopper interface {
		StopReceiver(ctx context.Context, d time.Duration) (Active, error)
	}
	// ClusterAdder adds a cluster that has a Prometheus agent and nothing else.
	ClusterAdder interface {
		AddCluster(ctx context.Context, d time.Duration) (Active, error)
	}
	// Roller rolls a change of the manifests out to every cluster, and back when healed. to is empty for the component
	// that the manifests keep for it, or rev:REVISION.
	Roller interface {
		RollOut(ctx context.Context, to string, d time.Duration) (Active, error)
	}
	// Neighbour burns processor time (kind cpu) or writes to the disk (io) in a cluster.
	Neighbour interface {
		MakeNoise(ctx context.Context, cluster, kind string, loops int, d time.Duration) (Active, error)
	}
)

// UnavailableError says that an environment cannot do a fault, and why.
type UnavailableError struct {
	Kind string
	Why  string
}

// Error prints the reason.
func (e *UnavailableError) Error() string { return fmt.Sprintf("fault %s: %s", e.Kind, e.Why) }

// inject is one row of the table of kinds: try returns ok false when env lacks the capability. With a nil context it
// only looks.
type inject func(ctx context.Context, env any, f scenario.Fault) (a Active, ok bool, err error)

// with builds a row from the capability it needs and the call to make.
func with[C any](call func(ctx context.Context, c C, f scenario.Fault) (Active, error)) inject {
	return func(ctx context.Context, env any, f scenario.Fault) (Active, bool, error) {
		c, ok := env.(C)
		if !ok || ctx == nil {
			return nil, ok, nil
		}
		a, err := call(ctx, c, f)
		return a, true, err
	}
}

func kill(ctx context.Context, c BrokerKiller, f scenario.Fault) (Active, error) {
	return c.KillBroker(ctx, f.Target, f.For.D())
}

// table has a row for every kind of scenario.Faults.
func table(kind string) inject {
	return map[string]inject{
		"broker-kill": with(kill),
		"broker-down": with(kill),
		"broker-freeze": with(func(ctx context.Context, c BrokerFreezer, f scenario.Fault) (Active, error) {
			return c.FreezeBroker(ctx, f.Target, f.For.D())
		}),
		"broker-roll": with(func(ctx context.Context, c BrokerRoller, _ scenario.Fault) (Active, error) { return c.RollBrokers(ctx) }),
		"cluster-freeze": with(func(ctx context.Context, c ClusterFreezer, f scenario.Fault) (Active, error) {
			return c.FreezeCluster(ctx, f.Cluster, f.For.D())
		}),
		"link-cut": with(func(ctx context.Context, c LinkCutter, f scenario.Fault) (Active, error) {
			return c.CutLink(ctx, f.From, f.To, f.Direction, f.Mode, f.For.D())
		}),
		"slow-link": with(func(ctx context.Context, c LinkShaper, f scenario.Fault) (Active, error) {
			return c.ShapeLink(ctx, f.From, f.To, f.Delay.D(), int64(f.Bandwidth), f.For.D())
		}),
		"es-throttle": with(func(ctx context.Context, c StoreThrottler, f scenario.Fault) (Active, error) {
			return c.ThrottleStore(ctx, f.Ratio, f.For.D())
		}),
		"es-read-only": with(func(ctx context.Context, c StoreBlocker, f scenario.Fault) (Active, error) {
			return c.BlockStore(ctx, f.For.D())
		}),
		"es-down": with(func(ctx context.Context, c StoreStopper, f scenario.Fault) (Active, error) {
			return c.StopStore(ctx, f.For.D())
		}),
		"es-kill": with(func(ctx context.Context, c StoreKiller, _ scenario.Fault) (Active, error) { return c.KillStore(ctx) }),
		"es-disk-full": with(func(ctx context.Context, c DiskFiller, f scenario.Fault) (Active, error) {
			return c.FillDisk(ctx, f.For.D())
		}),
		"connect-pause": with(func(ctx context.Context, c ConnectPauser, f scenario.Fault) (Active, error) {
			return c.PauseConnect(ctx, f.For.D())
		}),
		"connect-task-fail": with(func(ctx context.Context, c TaskFailer, _ scenario.Fault) (Active, error) { return c.FailTask(ctx) }),
		"connect-kill": with(func(ctx context.Context, c ConnectKiller, _ scenario.Fault) (Active, error) {
			return c.KillConnect(ctx)
		}),
		"forwarder-kill": with(func(ctx context.Context, c ForwarderKiller, f scenario.Fault) (Active, error) {
			return c.KillForwarder(ctx, f.Target, f.For.D())
		}),
		"receiver-down": with(func(ctx context.Context, c ReceiverStopper, f scenario.Fault) (Active, error) {
			return c.StopReceiver(ctx, f.For.D())
		}),
		"noisy-neighbour": with(func(ctx context.Context, c Neighbour, f scenario.Fault) (Active, error) {
			return c.MakeNoise(ctx, f.Cluster, f.Mode, max(f.Count, 1), f.For.D())
		}),
		"cluster-add": with(func(ctx context.Context, c ClusterAdder, f scenario.Fault) (Active, error) {
			return c.AddCluster(ctx, f.For.D())
		}),
		"roll-out": with(func(ctx context.Context, c Roller, f scenario.Fault) (Active, error) {
			return c.RollOut(ctx, f.Target, f.For.D())
		}),
		"nothing": with(func(context.Context, any, scenario.Fault) (Active, error) { return nothing{}, nil }),
	}[kind]
}

// Inject injects f into env. An *UnavailableError means that the step is to be skipped with its reason.
func Inject(ctx context.Context, env any, f scenario.Fault) (Active, error) {
	row := table(f.Kind)
	if row == nil {
		return nil, &UnavailableError{f.Kind, "unknown kind"}
	}
	a, ok, err := row(ctx, env, f)
	if !ok {
		return nil, &UnavailableError{f.Kind, cannot(f.Kind)}
	}
	return a, err
}

// cannot says what a kind of fault needs where that is not plain from its name.
func cannot(kind string) string {
	switch kind {
	case "roll-out":
		return "this runtime has no clusters that could be rolled: it takes real ones (--runtime kind)"
	}
	return "this runtime cannot do it"
}

// Check reports why env cannot do a kind of fault, or nil when it can.
func Check(env any, kind string) error {
	if row := table(kind); row == nil {
		return &UnavailableError{kind, "unknown kind"}
	} else if _, ok, _ := row(nil, env, scenario.Fault{}); !ok {
		return &UnavailableError{kind, cannot(kind)}
	}
	return nil
}

// nothing is the fault that does nothing: a run with it must come out invalid.
type nothing struct{}

func (nothing) Hits(context.Context) (uint64, string, error) { return 0, "", nil }
func (nothing) Heal(context.Context) error                   { return nil }
func (nothing) Gone(context.Context) (bool, error)           { return true, nil }
