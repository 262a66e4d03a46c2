package brokers

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// testMachine has three brokers whose last heartbeats before t=10s were at 8.7 s (broker 0 and 1) and 9.1 s (broker 2),
// broker 2 the active controller, and one partition a broker: led by 0, 1 and 2.
func testMachine(t *testing.T, change func(c *Config)) *machine {
	t.Helper()
	cfg := Config{Nodes: 3, MinISR: 2}
	if change != nil {
		change(&cfg)
	}
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		t.Fatal(err)
	}
	m := newMachine(cfg, rand.New(rand.NewPCG(1, 2)))
	for i, n := range m.nodes {
		n.phase = 8700 * time.Millisecond % cfg.HeartbeatInterval
		if i == 2 {
			n.phase = 9100 * time.Millisecond % cfg.HeartbeatInterval
		}
		n.contact = -time.Hour
	}
	m.look = 0 // sessions end when they end; TestFencedAtALook has the rest
	if cfg.Controllers == 0 {
		m.controller = 2
	}
	m.addTopic("t", 0, 3, 3, cfg.MinISR)
	for i, p := range m.parts {
		if cfg.Nodes == 3 {
			p.replicas = []int{i, (i + 1) % 3, (i + 2) % 3}
			p.isr = slices.Clone(p.replicas)
			p.leader = i
		}
	}
	m.settle()
	return m
}

// state prints partitions as leader[isr], with ! for a standing high watermark and x for a refusal of acks=all.
func (m *machine) state() string {
	var b strings.Builder
	for i, p := range m.parts {
		if i > 0 {
			b.WriteByte(' ')
		}
		isr := slices.Sorted(slices.Values(p.isr))
		fmt.Fprintf(&b, "%d%v", p.leader, isr)
		if p.stalled {
			b.WriteByte('!')
		}
		if p.refuses() {
			b.WriteByte('x')
		}
	}
	return b.String()
}

// TestTimelines runs scripts: a line is "time action [broker]", or "time = state" which must hold at that time.
func TestTimelines(t *testing.T) {
	const healthy = "0[0 1 2] 1[0 1 2] 2[0 1 2]"
	cases := []struct {
		name   string
		config func(c *Config)
		script string
	}{
		{"kill of a follower and leader stalls acks=all until the session ends", nil, `
			10s kill 0
			10s = 0[0 1 2] 1[0 1 2]! 2[0 1 2]!
			17.69s = 0[0 1 2] 1[0 1 2]! 2[0 1 2]!
			17.7s = 1[1 2] 1[1 2] 2[1 2]`}, // 7.7 s after the kill, as measured with real brokers
		{"short session", func(c *Config) { c.SessionTimeout, c.HeartbeatInterval = 3*time.Second, 500*time.Millisecond }, `
			10.19s kill 0
			12.69s = 0[0 1 2] 1[0 1 2]! 2[0 1 2]!
			13.2s = 1[1 2] 1[1 2] 2[1 2]`}, // heartbeats at 9.7 and 10.2 s
		{"restart: start-up, registration, join, preferred leader", nil, `
			10s kill 0
			20s start 0
			28.29s = 1[1 2] 1[1 2] 2[1 2]
			28.3s status 0 catching-up
			28.8s = 1[0 1 2] 1[0 1 2] 2[0 1 2]
			28.8s status 0 running
			299s = 1[0 1 2] 1[0 1 2] 2[0 1 2]
			301s = ` + healthy},
		{"restart inside the session waits for its end, and its replicas do not", func(c *Config) { c.StartTime = time.Second }, `
			10s kill 0
			11s start 0
			12.5s status 0 starting
			13.49s = 0[0 1 2] 1[0 1 2]! 2[0 1 2]!
			13.5s = 0[0 1 2] 1[0 1 2] 2[0 1 2]
			17.69s = 0[0 1 2] 1[0 1 2] 2[0 1 2]
			17.7s = 1[1 2] 1[1 2] 2[1 2]
			18s status 0 starting
			18.5s status 0 catching-up
			19.5s = 1[0 1 2] 1[0 1 2] 2[0 1 2]`},
		{"killed again before anybody knew of the restart", func(c *Config) { c.StartTime = time.Second }, `
			10s kill 0
			11s start 0
			13.5s = 0[0 1 2] 1[0 1 2] 2[0 1 2]
			14s kill 0
			14s = 0[0 1 2] 1[0 1 2]! 2[0 1 2]!
			17.7s = 1[1 2] 1[1 2] 2[1 2]`},
		{"leaders lose patience before the controller does", func(c *Config) { c.ReplicaLagMax = 2 * time.Second }, `
			10s kill 0
			11.99s = 0[0 1 2] 1[0 1 2]! 2[0 1 2]!
			13.01s = 0[0 1 2] 1[1 2] 2[1 2]
			17.7s = 1[1 2] 1[1 2] 2[1 2]`},
		{"controlled shutdown moves leaders first", nil, `
			10s shutdown 0
			10.15s = 1[1 2] 1[1 2] 2[1 2]
			12.44s status 0 shutting-down
			12.45s fenced 0
			13.34s status 0 shutting-down
			13.35s status 0 shut-down
			30s = 1[1 2] 1[1 2] 2[1 2]`},
		{"controlled shutdown of the active controller: it says goodbye before its process ends", nil, `
			10s shutdown 2
			13.34s controller 2
			13.35s controller -1
			13.75s controller some
			13.94s status 2 shutting-down
			13.95s status 2 shut-down
			30s = 0[0 1] 1[0 1] 0[0 1]`},
		{"two controlled shutdowns leave one in sync: refusal", nil, `
			10s shutdown 0
			11s shutdown 1
			12s = 2[2]x 2[2]x 2[2]x`},
		{"two dead of a combined quorum: nothing can be decided, acks=all waits", nil, `
			10s kill 0
			17.7s = 1[1 2] 1[1 2] 2[1 2]
			20s kill 1
			60s = 1[1 2] 1[1 2] 2[1 2]!
			60s controller -1`},
		{"two dead with dedicated controllers: refusal", func(c *Config) { c.Controllers = 3 }, `
			10s kill 0
			17.7s = 1[1 2] 1[1 2] 2[1 2]
			20s kill 1
			27.7s = 2[2]x 2[2]x 2[2]x
			30s start 0
			38.8s = 2[0 2] 2[0 2] 2[0 2]`},
		{"all dead with dedicated controllers: only the last in sync can lead", func(c *Config) { c.Controllers = 3 }, `
			10s kill 0
			20s kill 1
			30s kill 2
			40s = -1[2] -1[2] -1[2]
			41s start 0
			60s = -1[2] -1[2] -1[2]
			61s start 2
			69.3s = 2[0 2] 2[0 2] 2[0 2]`},
		{"two at once: nothing happens until one is back", nil, `
			10s kill 0
			10s kill 1
			60s = 0[0 1 2] 1[0 1 2]! 2[0 1 2]!
			60s start 1
			69.5s controller some
			80s = 2[1 2] 2[1 2] 2[1 2]`},
		{"freeze shorter than the session", nil, `
			10s freeze 0
			12s = 0[0 1 2] 1[0 1 2]! 2[0 1 2]!
			15s unfreeze 0
			15s = ` + healthy + `
			40s = ` + healthy},
		{"freeze longer than the session", nil, `
			10s freeze 0
			17.7s = 1[1 2] 1[1 2] 2[1 2]
			20s unfreeze 0
			20.04s status 0 fenced
			20.05s status 0 catching-up
			20.6s = 1[0 1 2] 1[0 1 2] 2[0 1 2]`},
		{"frozen twice: the second session counts from the wake-up", nil, `
			10s freeze 0
			16s unfreeze 0
			16.5s freeze 0
			24s = 0[0 1 2] 1[0 1 2]! 2[0 1 2]!
			25.1s = 1[1 2] 1[1 2] 2[1 2]`},
		{"frozen controller that wakes up in time", nil, `
			10s freeze 2
			10s controller -1
			11s unfreeze 2
			11s controller 2
			40s = ` + healthy},
		{"no partition may shrink to nothing", func(c *Config) { c.Nodes, c.Controllers = 1, 1 }, `
			10s kill 0
			30s = -1[0] -1[0] -1[0]`},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			m := testMachine(t, tc.config)
			for line := range strings.SplitSeq(strings.TrimSpace(tc.script), "\n") {
				runLine(t, m, strings.TrimSpace(line))
			}
		})
	}
}

func runLine(t *testing.T, m *machine, line string) {
	t.Helper()
	when, rest, _ := strings.Cut(line, " ")
	now, err := time.ParseDuration(when)
	if err != nil {
		t.Fatal(err)
	}
	m.advance(now)
	if want, ok := strings.CutPrefix(rest, "= "); ok {
		if got := m.state(); got != want {
			t.Errorf("at %s: %s, want %s", now, got, want)
		}
		return
	}
	var verb, arg, arg2 string
	_, _ = fmt.Sscan(rest, &verb, &arg, &arg2)
	id := 0
	_, _ = fmt.Sscan(arg, &id)
	ok := true
	switch verb {
	case "kill":
		ok = m.kill(now, id)
	case "start":
		ok = m.start(now, id)
	case "shutdown":
		ok = m.shutdown(now, id)
	case "freeze":
		ok = m.freeze(now, id)
	case "unfreeze":
		ok = m.unfreeze(now, id)
	case "status":
		if got := m.status(m.nodes[id]); got != Status(arg2) {
			t.Errorf("at %s: broker %d is %s, want %s", now, id, got, arg2)
		}
	case "fenced":
		ok = m.nodes[id].fenced
	case "controller":
		if arg == "some" {
			ok = m.controller >= 0
		} else {
			ok = m.controller == id
		}
	default:
		t.Fatalf("unknown verb in %q", line)
	}
	if !ok {
		t.Errorf("at %s: %q did not hold", now, line)
	}
}

// TestFencedWithinSession: the session counts from the last heartbeat, and the controller looks eight times in a session, so
// a kill is noticed between session minus heartbeat interval and nine eighths of a session after it.
func TestFencedWithinSession(t *testing.T) {
	var late time.Duration
	for seed := range uint64(200) {
		m := newMachine(Config{}.withDefaults(), rand.New(rand.NewPCG(seed, 0)))
		victim := (m.controller + 1) % 3
		at := 20*time.Second + time.Duration(seed)*137*time.Millisecond
		m.advance(at)
		m.kill(at, victim)
		m.advance(at + time.Minute)
		fenced := eventTime(t, m.take(), victim, FencedEvent) - at
		if fenced <= 7*time.Second || fenced > 10125*time.Millisecond {
			t.Fatalf("seed %d: fenced %s after the kill, want (7s, 10.125s]", seed, fenced)
		}
		late = max(late, fenced)
	}
	if late < 9*time.Second {
		t.Errorf("never fenced later than %s after the kill: nobody waits for the controller to look", late)
	}
}

// TestControllerKill: nobody fences until a new controller is elected, and that one starts a full session.
func TestControllerKill(t *testing.T) {
	second := 0
	for seed := range uint64(200) {
		m := newMachine(Config{}.withDefaults(), rand.New(rand.NewPCG(seed, 0)))
		victim := m.controller
		at := 20 * time.Second
		m.advance(at)
		m.kill(at, victim)
		m.advance(at + time.Minute)
		ev := m.take()
		elected := time.Duration(-1)
		for _, e := range ev {
			if e.what == ControllerElected {
				elected = e.at - at
			}
		}
		if elected < 2*time.Second || elected > 4500*time.Millisecond {
			t.Fatalf("seed %d: elected %s after the kill, want 2s to 4.5s", seed, elected)
		}
		if elected > 3*time.Second {
			second++
		}
		if fenced := eventTime(t, ev, victim, FencedEvent) - at - elected; fenced < 9*time.Second || fenced > 10125*time.Millisecond {
			t.Fatalf("seed %d: fenced %s after the election, want a session to nine eighths of one", seed, fenced)
		}
	}
	if second < 20 || second > 180 {
		t.Errorf("%d of 200 elections took more than one round", second)
	}
}

func eventTime(t *testing.T, ev []machineEvent, id int, what What) time.Duration {
	t.Helper()
	for _, e := range ev {
		if e.node == id && e.what == what {
			return e.at
		}
	}
	t.Fatalf("no event %q of broker %d in %v", what, id, ev)
	return 0
}

func TestCatchUpTakesBytes(t *testing.T) {
	m := testMachine(t, func(c *Config) { c.CatchUpRate = 1000 })
	m.backlog = func(int) int64 { return 5000 }
	m.kill(10*time.Second, 0)
	m.advance(20 * time.Second)
	m.start(20*time.Second, 0)
	m.advance(40 * time.Second)
	ev := m.take()
	got := eventTime(t, ev, 0, InSync) - eventTime(t, ev, 0, Unfenced)
	if least := joinDelay + 5*time.Second; got < least || got > least+joinSpread {
		t.Errorf("caught up after %s, want %s and at most %s more", got, least, joinSpread)
	}
}

// TestMachineInvariants throws random faults at random clusters and then heals everything: at every step the partitions
// are possible, and at the end the cluster is as it was.
func TestMachineInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := Config{
			Nodes: rapid.IntRange(1, 5).Draw(t, "nodes"), Controllers: rapid.SampledFrom([]int{0, 0, 3}).Draw(t, "controllers"),
			ReplicaLagMax: rapid.SampledFrom([]time.Duration{2 * time.Second, 30 * time.Second}).Draw(t, "lag"),
		}.withDefaults()
		m := newMachine(cfg, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
		m.addTopic("a", 0, 4, min(3, cfg.Nodes), 2)
		m.addTopic("b", 0, 2, 1, 1)
		preferred := m.state()
		now := time.Duration(0)
		check := func() {
			for _, p := range m.parts {
				if len(p.isr) == 0 {
					t.Fatalf("%v: empty in-sync set", p.tp)
				}
				for _, id := range p.isr {
					if !slices.Contains(p.replicas, id) {
						t.Fatalf("%v: %d is in sync and not assigned", p.tp, id)
					}
				}
				if p.leader >= 0 && (!slices.Contains(p.isr, p.leader) || m.nodes[p.leader].fenced) {
					t.Fatalf("%v: leader %d, in sync %v, fenced %v", p.tp, p.leader, p.isr, m.nodes[p.leader].fenced)
				}
			}
			if at, ok := m.next(); ok && at < now {
				t.Fatalf("timer at %s is overdue at %s", at, now)
			}
		}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(0, 15000).Draw(t, "ms")) * time.Millisecond
			m.advance(now)
			id := rapid.IntRange(0, cfg.Nodes-1).Draw(t, "broker")
			switch rapid.SampledFrom([]string{"kill", "start", "freeze", "unfreeze", "shutdown", "elect"}).Draw(t, "do") {
			case "kill":
				m.kill(now, id)
			case "start":
				m.start(now, id)
			case "freeze":
				m.freeze(now, id)
			case "unfreeze":
				m.unfreeze(now, id)
			case "shutdown":
				m.shutdown(now, id)
			case "elect":
				m.electPreferred(now)
			}
			check()
		}
		now += time.Minute
		m.advance(now) // shutdowns end
		for id := range cfg.Nodes {
			m.unfreeze(now, id)
			m.start(now, id)
		}
		now += 2 * time.Minute
		m.advance(now)
		check()
		if m.controller < 0 {
			t.Fatal("no controller after everything was healed")
		}
		m.electPreferred(now)
		check()
		if diff := cmp.Diff(preferred, m.state()); diff != "" {
			t.Fatalf("not as before after everything was healed:\n%s\nevents: %v", diff, m.take())
		}
	})
}
