package brokers

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// The delays below are those of KRaft's own code paths and not settings. Most were read off the recordings in testdata/real,
// which TestModelTakesTheRecordedTimelines holds the machine against; each names its source.
const (
	// brokerDelay is from a combined node's vote to the first registration of its broker: the controller comes up first. It is
	// the speed of a starting process (1 to 3 s on two busy cores) as Config.StartTime is.
	brokerDelay = 1900 * time.Millisecond
	// registerRetry is the wait between two registrations of a broker that is refused while its old session lasts.
	registerRetry = 500 * time.Millisecond
	// unfenceDelay is from the registration to the heartbeat that unfences: the broker catches up with the metadata log.
	unfenceDelay = 600 * time.Millisecond
	// wakeDelay is the overdue heartbeat of a broker that was frozen and not restarted.
	wakeDelay = 50 * time.Millisecond
	// joinDelay is the least time from unfenced to in-sync and joinSpread what comes on top: leaders hear of it, fetchers
	// start, one fetch (500 ms at most) reaches the end of the log, the leader asks the controller to expand the set.
	joinDelay, joinSpread = 150 * time.Millisecond, 600 * time.Millisecond
	// handoffDelay is from SIGTERM to the controller's answer that moves the leaders.
	handoffDelay = 150 * time.Millisecond
	// releaseDelay is what comes on top of a heartbeat interval until the heartbeat that permits the exit, with which the
	// controller fences the broker: a broker in controlled shutdown beats as always.
	releaseDelay = 300 * time.Millisecond
	// exitDelay is from that to the closed sockets: logs are closed and synced.
	exitDelay = 900 * time.Millisecond
	// stuckExit is when a broker that cannot reach a controller gives up its controlled shutdown. Kafka's limit is minutes;
	// what stops it in practice is the container's termination grace period of 30 s.
	stuckExit = 30 * time.Second
	// raftPoll is the longest time between two fetches of an idle voter (500 ms).
	raftPoll = 500 * time.Millisecond
	// resignDelay is from the goodbye of an active controller, whose broker has stopped, to its successor; the process ends
	// lingerDelay after that.
	resignDelay, lingerDelay = 400 * time.Millisecond, 200 * time.Millisecond
	// earlyFetch is from a combined node's vote to the first fetches of its replicas when its old session lasts: it knows
	// itself as a member of the cluster from its own copy of the metadata log and need not be registered for them.
	earlyFetch = 1500 * time.Millisecond
	// sessionChecks is how often in a session the active controller looks for brokers whose session is over
	// (QuorumController, maybeFenceStaleBroker); a broker is fenced at the first look after its end.
	sessionChecks = 8
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
	doomed   bool          // a controller decided to fence it and could not commit that
	early    bool          // restarted inside its session: its replicas fetch, and nobody knows of the new process
	phase    time.Duration // of its heartbeats
	contact  time.Duration // earliest last contact: activation of the controller or a wake-up
	silent   time.Duration // when it stopped sending heartbeats and fetching
	shrinks  int           // followers that it, as a leader, took out of in-sync sets, since its process started
	expands  int           // and let in
	life     int           // counts kills, freezes, starts: timers of an earlier life do nothing
	since    time.Duration
	upSince  time.Duration // when its process came up
}

// beats reports whether the broker sends heartbeats.
func (n *node) beats() bool { return n.proc == up && n.joined }

// fetches reports whether the broker's replica fetchers run: those of a restarted process do before its registration is
// accepted, as long as the old one lasts.
func (n *node) fetches() bool { return n.proc == up && !n.fenced && (n.joined || n.early) }

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

	// look is the time between two looks for sessions that are over, and lookPhase when the active controller began; 0: a
	// session's end is seen at once.
	look, lookPhase time.Duration

	controller int // active controller, -1: none
	formerly   int // the one before, while nobody has replaced it
	ahead      int // a controller that resigned for want of a majority: its log is the longest, so it is elected again; -1: none
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
	m := &machine{cfg: cfg, rng: rng, look: cfg.SessionTimeout / sessionChecks, index: map[tp]*partition{}, controller: -1, formerly: -1, ahead: -1, backlog: func(int) int64 { return 0 }}
	m.lookPhase = -m.upTo(m.look)
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

// seen is when the active controller looks for the first time at or after t.
func (m *machine) seen(t time.Duration) time.Duration {
	if m.look <= 0 || t <= m.lookPhase {
		return t
	}
	return m.lookPhase + (t-m.lookPhase+m.look-1)/m.look*m.look
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
	n.proc, n.listens, n.clean, n.caughtUp, n.early, n.shutting, n.since = down, false, false, false, false, false, now
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
		n.proc, n.upSince = up, now
		m.emit(now, id, ProcessUp, "")
		m.after(now+earlyFetch, func(time.Duration) { n.early = n.life == life && !n.joined && !n.fenced })
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
		m.after(now+m.cfg.HeartbeatInterval+releaseDelay, func(now time.Duration) {
			if n.life == life {
				m.release(now, n)
			}
		})
	}
	m.after(now+handoffDelay, try)
	m.settle()
	return true
}

// release is the controller's permission to exit: nothing has to time out. The broker stops, and then, in a combined node
// that is the active controller, that one says goodbye.
func (m *machine) release(now time.Duration, n *node) {
	if m.canCommit() {
		m.fence(now, n)
	}
	life := n.life
	m.after(now+exitDelay, func(now time.Duration) {
		if n.life != life {
			return
		}
		if m.controller != n.id || !m.canCommit() {
			m.exit(now, n)
			return
		}
		m.emit(now, n.id, ControllerResigned, "its process ends")
		m.replaceController(now + resignDelay)
		m.after(now+resignDelay+lingerDelay, func(now time.Duration) {
			if n.life == life {
				m.exit(now, n)
			}
		})
	})
}

// exit ends the process after a controlled shutdown.
func (m *machine) exit(now time.Duration, n *node) {
	n.proc, n.listens, n.joined, n.caughtUp, n.clean, n.silent, n.since = down, false, false, false, true, now, now
	n.shutting = false
	n.life++
	m.emit(now, n.id, Stopped, "")
	if n.fenced {
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
	expiry := func() time.Duration { return m.seen(m.lastContact(n, n.silent) + m.cfg.SessionTimeout) }
	m.after(max(now, expiry()), func(now time.Duration) {
		if m.term != term || n.fenced || n.beats() || now < expiry() {
			return
		}
		if m.canCommit() {
			m.fence(now, n)
		} else if m.controller >= 0 {
			n.doomed = true // decided and written, but a controller without a majority cannot commit it
		}
	})
	// Leaders look at their followers every half of replica.lag.time.max.ms.
	patience := m.cfg.ReplicaLagMax + m.upTo(m.cfg.ReplicaLagMax/2)
	m.after(max(now, n.silent+patience), func(now time.Duration) {
		if m.term == term && !n.fenced && !n.beats() && !n.early && now >= n.silent+patience && m.canCommit() {
			m.shrink(now, n)
		}
	})
}

// register lets a broker whose process is up join again, as soon as a controller can take it.
func (m *machine) register(now time.Duration, n *node) {
	// While the session of the earlier incarnation lasts the controller refuses a second registration of the id
	// (DUPLICATE_BROKER_REGISTRATION), and fence calls again.
	if n.proc != up || !n.fenced || n.shutting || !m.canCommit() {
		return
	}
	at := now + wakeDelay // frozen and fenced: still the same incarnation
	if !n.joined {
		at = m.nextAttempt(n, now) + unfenceDelay
	}
	life, term := n.life, m.term
	m.after(at, func(now time.Duration) {
		if n.life != life || m.term != term || !n.fenced {
			return
		}
		if !m.canCommit() {
			return
		}
		n.fenced, n.joined, n.early, n.listens, n.contact, n.since = false, true, false, true, now, now
		m.emit(now, n.id, Unfenced, "")
		m.reviveOffline(now, n)
		m.catchUp(now, n)
	})
}

// nextAttempt is when a broker whose process came up at n.upSince tries to register for the first time at or after now.
func (m *machine) nextAttempt(n *node, now time.Duration) time.Duration {
	first := n.upSince + brokerDelay
	if first >= now {
		return first
	}
	return first + (now-first+registerRetry-1)/registerRetry*registerRetry
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
	m.after(now+joinDelay+m.upTo(joinSpread)+copying, func(now time.Duration) {
		if n.life != life || n.fenced {
			return
		}
		n.caughtUp = true
		m.expand()
		m.emit(now, n.id, InSync, "copied %d bytes", missed)
	})
}
