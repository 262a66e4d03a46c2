package brokers

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// The delays below are those of KRaft's own code paths and not settings; each names its source.
const (
	// registerDelay is registration plus the heartbeat that unfences, once the broker is up: two round trips and the
	// catch-up with the metadata log (BrokerLifecycleManager retries a heartbeat at once while it starts).
	registerDelay = 300 * time.Millisecond
	// wakeDelay is the overdue heartbeat of a broker that was frozen and not restarted.
	wakeDelay = 50 * time.Millisecond
	// joinDelay is the least time from unfenced to in-sync: leaders hear of it, fetchers start, one fetch (500 ms at most)
	// reaches the end of the log, the leader asks the controller to expand the set.
	joinDelay = 500 * time.Millisecond
	// handoffDelay is from SIGTERM to the controller's answer that moves the leaders (the heartbeat is sent at once).
	handoffDelay = 50 * time.Millisecond
	// exitDelay is from the hand-off to the closed sockets; the next heartbeat, which permits the exit, follows the first
	// after 50 ms (BrokerLifecycleManager), the rest is closing the log.
	exitDelay = 300 * time.Millisecond
	// stuckExit is when a broker that cannot reach a controller gives up its controlled shutdown. Kafka's limit is minutes;
	// what stops it in practice is the container's termination grace period of 30 s.
	stuckExit = 30 * time.Second
	// raftPoll is the longest time between two fetches of an idle voter (500 ms), so the age of the last successful fetch.
	raftPoll = 500 * time.Millisecond
	// resignDelay is from the exit of an active controller, which says goodbye, to its successor.
	resignDelay = 100 * time.Millisecond
)

// What names an event.
type What string

// The events of a cluster.
const (
	Killed             What = "killed"
	ShutdownBegun      What = "shutdown begun"
	Stopped            What = "stopped"
	FrozenEvent        What = "frozen"
	Unfrozen           What = "unfrozen"
	StartBegun         What = "start begun"
	ProcessUp          What = "process up"
	FencedEvent        What = "fenced"
	Unfenced           What = "unfenced"
	InSync             What = "in sync"
	ISRShrunk          What = "isr shrunk"
	LeadersMoved       What = "leaders moved"
	PartitionsOffline  What = "partitions offline"
	PreferredElected   What = "preferred leaders elected"
	ControllerLost     What = "controller lost"
	ControllerElected  What = "controller elected"
	ControllerResigned What = "controller resigned"
)

// Status is what a broker is doing.
type Status string

// The states of a broker.
const (
	Running    Status = "running"
	Dead       Status = "killed"        // the process is gone, the controller does not know yet
	Fenced     Status = "fenced"        // gone or silent, and the controller knows
	Starting   Status = "starting"      // the process runs, the broker is not registered
	CatchingUp Status = "catching-up"   // serving, not in every in-sync set it belongs to
	ShutDown   Status = "shut-down"     // stopped after a controlled shutdown
	Stopping   Status = "shutting-down" // in a controlled shutdown
	Frozen     Status = "frozen"        // stopped by a signal, sockets open; see BrokerState.Fenced
)

type process uint8

const (
	up process = iota
	down
	starting
	frozen
)

// tp names a partition.
type tp struct {
	topic string
	part  int32
}

// node is one broker as the machine sees it.
type node struct {
	id       int
	proc     process
	listens  bool // its sockets accept: from unfencing to the end of the process
	joined   bool // this incarnation has registered and sends heartbeats
	fenced   bool
	shutting bool          // in controlled shutdown: never elected
	clean    bool          // the last exit was controlled
	caughtUp bool          // has everything; may join in-sync sets
	phase    time.Duration // of its heartbeats
	contact  time.Duration // earliest last contact: activation of the controller or a wake-up
	silent   time.Duration // when it stopped sending heartbeats and fetching
	shrinks  int           // followers that it, as a leader, took out of in-sync sets, since its process started
	expands  int           // and let in
	life     int           // counts kills, freezes, starts: timers of an earlier life do nothing
	since    time.Duration
}

// beats reports whether the broker sends heartbeats.
func (n *node) beats() bool { return n.proc == up && n.joined }

// fetches reports whether the broker's replica fetchers run.
func (n *node) fetches() bool { return n.proc == up && n.joined && !n.fenced }

// partition is one partition as the machine sees it.
type partition struct {
	tp
	replicas []int
	isr      []int
	leader   int // -1: none
	minISR   int
	stalled  bool // the high watermark cannot advance: a member of the in-sync set does not fetch
}

func (p *partition) refuses() bool { return p.leader >= 0 && len(p.isr) < p.minISR }

type timer struct {
	at  time.Duration
	seq int
	fn  func(now time.Duration)
}

// machineEvent is an Event in machine time.
type machineEvent struct {
	at     time.Duration
	node   int
	what   What
	detail string
}

// machine decides what brokers, partitions and the controller do. Time is a duration since its start and is handed in;
// nothing in it blocks, reads a clock or is safe for concurrent use.
type machine struct {
	cfg   Config
	rng   *rand.Rand
	nodes []*node
	parts []*partition
	index map[tp]*partition

	controller int // active controller, -1: none
	formerly   int // the one before, while nobody has replaced it
	term       int // counts controllers: timers of an earlier term do nothing
	electing   bool
	resigning  bool

	timers []timer
	seq    int
	events []machineEvent

	// backlog tells how many bytes a broker has to copy when it comes back.
	backlog func(id int) int64
}

func newMachine(cfg Config, rng *rand.Rand) *machine {
	m := &machine{cfg: cfg, rng: rng, index: map[tp]*partition{}, controller: -1, formerly: -1, backlog: func(int) int64 { return 0 }}
	for id := range cfg.Nodes {
		m.nodes = append(m.nodes, &node{
			id: id, listens: true, joined: true, caughtUp: true,
			phase: m.upTo(cfg.HeartbeatInterval),
			// A broker that has just started has heart-beaten already: without this the first session would end early.
			contact: -m.upTo(cfg.HeartbeatInterval),
		})
	}
	if cfg.Controllers > 0 {
		m.controller = cfg.Nodes
	} else {
		m.controller = rng.IntN(cfg.Nodes)
	}
	m.scheduleRebalance(0)
	return m
}

// upTo draws a duration in [0, d).
func (m *machine) upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(m.rng.Int64N(int64(d)))
}

func (m *machine) after(at time.Duration, fn func(now time.Duration)) {
	m.seq++
	t := timer{at, m.seq, fn}
	i, _ := slices.BinarySearchFunc(m.timers, t, func(a, b timer) int {
		if a.at != b.at {
			return int(min(max(a.at-b.at, -1), 1))
		}
		return a.seq - b.seq
	})
	m.timers = slices.Insert(m.timers, i, t)
}

// next returns the time of the next thing to do.
func (m *machine) next() (time.Duration, bool) {
	if len(m.timers) == 0 {
		return 0, false
	}
	return m.timers[0].at, true
}

// advance does everything that is due at now, each at its own time.
func (m *machine) advance(now time.Duration) {
	for len(m.timers) > 0 && m.timers[0].at <= now {
		t := m.timers[0]
		m.timers = m.timers[1:]
		t.fn(t.at)
		m.settle()
	}
}

func (m *machine) emit(now time.Duration, id int, what What, format string, args ...any) {
	m.events = append(m.events, machineEvent{now, id, what, fmt.Sprintf(format, args...)})
}

// take returns the events since the last call.
func (m *machine) take() []machineEvent {
	ev := m.events
	m.events = nil
	return ev
}

// lastContact is the time of the broker's last heartbeat at or before t.
func (m *machine) lastContact(n *node, t time.Duration) time.Duration {
	hb := m.cfg.HeartbeatInterval
	k := (t - n.phase) / hb
	last := n.phase + k*hb
	if last > t {
		last -= hb
	}
	return max(last, n.contact)
}

// kill is kill -9 of a broker. It reports whether there was a process to kill.
func (m *machine) kill(now time.Duration, id int) bool {
	n := m.nodes[id]
	if n.proc == down {
		return false
	}
	if n.beats() {
		n.silent = now // else it has been silent for longer
	}
	n.proc, n.listens, n.clean, n.caughtUp, n.shutting, n.since = down, false, false, false, false, now
	n.life++
	m.emit(now, id, Killed, "")
	m.fellSilent(now, n)
	n.joined = false
	m.settle()
	return true
}

// freeze stops a broker as SIGSTOP does. Only a broker that serves can be frozen.
func (m *machine) freeze(now time.Duration, id int) bool {
	n := m.nodes[id]
	if n.proc != up || !n.joined || n.shutting {
		return false
	}
	n.proc, n.silent, n.since = frozen, now, now
	n.life++
	m.emit(now, id, FrozenEvent, "")
	m.fellSilent(now, n)
	m.settle()
	return true
}

// unfreeze continues a frozen broker.
func (m *machine) unfreeze(now time.Duration, id int) bool {
	n := m.nodes[id]
	if n.proc != frozen {
		return false
	}
	n.proc, n.since = up, now
	n.life++
	m.emit(now, id, Unfrozen, "")
	if m.formerly == id && m.electing {
		// The voters had not given up yet: its fetch answers come before their timers.
		m.controller, m.formerly, m.electing = id, -1, false
		m.term++
		m.emit(now, id, ControllerElected, "woke up before the voters gave up")
		m.scheduleRebalance(now)
	}
	m.quorumChanged(now)
	if !n.fenced {
		n.contact = now
		m.catchUp(now, n)
	} else {
		m.register(now, n)
	}
	m.settle()
	return true
}

// start begins a broker's process again.
func (m *machine) start(now time.Duration, id int) bool {
	n := m.nodes[id]
	if n.proc != down {
		return false
	}
	n.proc, n.joined, n.caughtUp, n.since = starting, false, false, now
	n.shrinks, n.expands = 0, 0
	n.life++
	life := n.life
	m.emit(now, id, StartBegun, "")
	m.after(now+m.cfg.StartTime, func(now time.Duration) {
		if n.life != life {
			return
		}
		n.proc = up
		m.emit(now, id, ProcessUp, "")
		m.quorumChanged(now)
		m.register(now, n)
	})
	m.settle()
	return true
}

// shutdown begins a controlled shutdown (SIGTERM).
func (m *machine) shutdown(now time.Duration, id int) bool {
	n := m.nodes[id]
	if n.proc != up || !n.joined || n.shutting {
		return false
	}
	n.shutting, n.since = true, now
	life := n.life
	m.emit(now, id, ShutdownBegun, "")
	var try func(now time.Duration)
	deadline := now + stuckExit
	try = func(now time.Duration) {
		if n.life != life {
			return
		}
		if !m.canCommit() && now < deadline {
			m.after(now+handoffDelay, try)
			return
		}
		if m.canCommit() {
			m.leave(now, n)
		}
		m.after(now+exitDelay, func(now time.Duration) {
			if n.life == life {
				m.exit(now, n)
			}
		})
	}
	m.after(now+handoffDelay, try)
	m.settle()
	return true
}

// exit ends the process after a controlled shutdown.
func (m *machine) exit(now time.Duration, n *node) {
	n.proc, n.listens, n.joined, n.caughtUp, n.clean, n.silent, n.since = down, false, false, false, true, now, now
	n.shutting = false
	n.life++
	m.emit(now, n.id, Stopped, "")
	if m.canCommit() {
		// The exit was agreed with the controller, so nothing has to time out.
		m.fence(now, n)
		if m.controller == n.id {
			m.replaceController(now + resignDelay)
		}
		m.quorumChanged(now)
		return
	}
	m.fellSilent(now, n)
}

// fellSilent starts what follows when a broker's heartbeats and fetches end.
func (m *machine) fellSilent(now time.Duration, n *node) {
	m.quorumChanged(now)
	m.watch(now, n)
}

// watch sets the two timers of a silent broker: its session, and the leaders' patience with it.
func (m *machine) watch(now time.Duration, n *node) {
	if n.beats() || n.fenced {
		return
	}
	// The timers outlive restarts of the process, because the session of the old incarnation does; so they ask again
	// whether the broker is silent, and for long enough, when they fire.
	term := m.term
	expiry := func() time.Duration { return m.lastContact(n, n.silent) + m.cfg.SessionTimeout }
	m.after(max(now, expiry()), func(now time.Duration) {
		if m.term == term && !n.fenced && !n.beats() && now >= expiry() && m.canCommit() {
			m.fence(now, n)
		}
	})
	// Leaders look at their followers every half of replica.lag.time.max.ms.
	patience := m.cfg.ReplicaLagMax + m.upTo(m.cfg.ReplicaLagMax/2)
	m.after(max(now, n.silent+patience), func(now time.Duration) {
		if m.term == term && !n.fenced && !n.beats() && now >= n.silent+patience && m.canCommit() {
			m.shrink(now, n)
		}
	})
}

// register lets a broker whose process is up join again, as soon as a controller can take it.
func (m *machine) register(now time.Duration, n *node) {
	// While the session of the earlier incarnation lasts the controller refuses a second registration of the id
	// (DUPLICATE_BROKER_REGISTRATION), and fence calls again.
	if n.proc != up || !n.fenced || !m.canCommit() {
		return
	}
	delay := registerDelay
	if n.joined {
		delay = wakeDelay // frozen and fenced: still the same incarnation
	}
	life, term := n.life, m.term
	m.after(now+delay, func(now time.Duration) {
		if n.life != life || m.term != term || !n.fenced {
			return
		}
		if !m.canCommit() {
			return
		}
		n.fenced, n.joined, n.listens, n.contact, n.since = false, true, true, now, now
		m.emit(now, n.id, Unfenced, "")
		m.reviveOffline(now, n)
		m.catchUp(now, n)
	})
}

// catchUp lets a broker copy what it missed and join the in-sync sets.
func (m *machine) catchUp(now time.Duration, n *node) {
	n.caughtUp = false
	life := n.life
	missed := max(0, m.backlog(n.id))
	copying := time.Duration(float64(missed) / m.cfg.CatchUpRate * float64(time.Second))
	if m.memberEverywhere(n) {
		// It was silent for less than anyone's patience: it is in every set already.
		n.caughtUp = true
		return
	}
	m.after(now+joinDelay+copying, func(now time.Duration) {
		if n.life != life || n.fenced {
			return
		}
		n.caughtUp = true
		m.expand()
		m.emit(now, n.id, InSync, "copied %d bytes", missed)
	})
}
