package brokers

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// recording is one fault done to three real brokers several times over; testdata/real/README.md explains its fields.
type recording struct {
	Fault       string            `json:"fault"`
	Kafka       string            `json:"kafka"`
	Date        string            `json:"date"`
	Cores       int               `json:"cores"`
	SessionMS   int64             `json:"session_ms"`
	HeartbeatMS int64             `json:"heartbeat_ms"`
	PollMS      int64             `json:"poll_ms"`
	Rate        int               `json:"records_per_s_and_partition"`
	Settings    map[string]string `json:"settings"`
	Runs        []recordedRun     `json:"runs"`
}

// recordedRun is one repetition. Times count from the fault.
type recordedRun struct {
	Load       float64        `json:"load1"` // load average of the machine when it began
	LongestGap int64          `json:"longest_poll_gap_ms"`
	Controller int            `json:"controller"`
	Victims    []int          `json:"victims"`
	Partitions []recordedPart `json:"partitions"` // before the fault
	Events     []recordedStep `json:"events"`
	Produced   int            `json:"produced"`
	Acked      int            `json:"acked"`
	Errors     map[string]int `json:"errors,omitempty"` // final outcomes of the retrying producer
	Probe      map[string]int `json:"probe"`            // outcomes of single acks=all requests to a surviving leader
}

type recordedPart struct {
	Replicas  []int `json:"replicas"`
	Leader    int   `json:"leader"`
	GapMS     int64 `json:"gap_ms"`     // longest time without an acknowledgement
	SlowestMS int64 `json:"slowest_ms"` // from produced to acknowledged
}

type recordedStep struct {
	AtMS   int64 `json:"at_ms"`
	What   What  `json:"what"`
	Broker int   `json:"broker"`
}

// Events of recordings that the machine does not emit: what single acks=all requests to a surviving leader get.
const (
	probeOK      What = "acks=all acknowledged"
	probeTimeout What = "acks=all times out"
	probeRefused What = "acks=all refused"
	probeOther   What = "acks=all without an answer"
)

// deed is something that is done to a broker in a fault.
type deed struct {
	at     time.Duration // after the fault; processEnded: when the process has ended
	do     What          // Killed, ShutdownBegun, StartBegun
	victim int           // index into the victims
}

const processEnded time.Duration = -1

// timelineFault is one fault that is recorded and replayed.
type timelineFault struct {
	name string
	// controller: the active controller is the victim, else others, which lead partitions as it does.
	controller bool
	deeds      []deed
}

// timelineFaults is the catalogue: what the recorder does and the replay repeats. A broker that stays down does so until
// its session, and that which a new controller gives it, are over.
func timelineFaults(session time.Duration) []timelineFault {
	over, twoDown := session+6*time.Second, 12*time.Second
	return []timelineFault{
		{"kill-leader", false, []deed{{0, Killed, 0}, {over, StartBegun, 0}}},
		{"kill-controller", true, []deed{{0, Killed, 0}, {over, StartBegun, 0}}},
		{"kill-restart", false, []deed{{0, Killed, 0}, {500 * time.Millisecond, StartBegun, 0}}},
		{"shutdown-restart", false, []deed{{0, ShutdownBegun, 0}, {processEnded, StartBegun, 0}}},
		{"shutdown-controller", true, []deed{{0, ShutdownBegun, 0}, {processEnded, StartBegun, 0}}},
		{"two-killed", false, []deed{{0, Killed, 0}, {0, Killed, 1}, {twoDown, StartBegun, 0}, {twoDown, StartBegun, 1}}},
	}
}

func recordingFile(fault string, session time.Duration) string {
	return filepath.Join("testdata", "real", fault+"-"+session.String()+".json")
}

func readRecording(t *testing.T, file string) recording {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r recording
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return r
}

// Tolerances of the replay. A recording was made by polls 50 ms apart on a machine that did other work, three repetitions
// do not show how far a duration can stray, and what depends on when a heartbeat was due strays by half of its interval.
const (
	replayTolerance  = 600 * time.Millisecond
	startupTolerance = 1500 * time.Millisecond // of what a starting process does with a processor that it shares
	replaySeeds      = 150
	timelineStep     = 50 * time.Millisecond

	probeTimeoutAfter = time.Second            // of the recorder's requests
	orderMargin       = 150 * time.Millisecond // two events that are nearer in a recording have no order
)

// moment names an event of a timeline: what happened, to which of the victims, for the how manieth time.
type moment struct {
	what   What
	victim int // -1: to another broker, or to none
	nth    int
}

func (k moment) String() string {
	s := string(k.what)
	if k.victim >= 0 {
		s += fmt.Sprintf(" (victim %d)", k.victim)
	}
	if k.nth > 0 {
		s += fmt.Sprintf(" again (%d)", k.nth)
	}
	return s
}

// timeline is when each moment came.
type timeline map[moment]time.Duration

func (l timeline) add(victims []int, at time.Duration, what What, id int) {
	k := moment{what, slices.Index(victims, id), 0}
	for _, there := l[k]; there; _, there = l[k] {
		k.nth++
	}
	l[k] = at
}

func (r recordedRun) timeline() timeline {
	l := timeline{}
	for _, s := range r.Events {
		l.add(r.Victims, time.Duration(s.AtMS)*time.Millisecond, s.What, s.Broker)
	}
	return l
}

// cause is what a moment may have waited for: the same victim's, or anybody's.
type cause struct {
	what What
	any  bool
}

// causes of the moments that do not count from the fault alone.
var causes = map[What][]cause{
	ProcessUp: {{StartBegun, false}}, Unfenced: {{ProcessUp, false}, {FencedEvent, false}}, InSync: {{Unfenced, false}}, Stopped: {{FencedEvent, false}, {ControllerElected, true}},
	FencedEvent: {{ControllerElected, true}}, ISRShrunk: {{ControllerElected, true}}, LeadersMoved: {{ControllerElected, true}},
	ControllerElected: {{ProcessUp, true}, {ControllerResigned, true}},
	probeOK:           {{ProcessUp, true}, {FencedEvent, true}, {Unfenced, true}, {ControllerElected, true}},
	probeRefused:      {{FencedEvent, true}},
}

// since is how long after the last of its causes a moment came; what one poll showed together came together.
func (l timeline) since(k moment) time.Duration {
	var from time.Duration
	for _, c := range causes[k.what] {
		for m, at := range l {
			if m.what == c.what && (c.any || m.victim == k.victim) && at <= l[k]+orderMargin {
				from = max(from, at)
			}
		}
	}
	return max(l[k]-from, min(l[k], 0))
}

// spread is the least, middle and greatest of some durations.
type spread struct{ least, middle, most time.Duration }

func spreadOf(d []time.Duration) spread {
	d = slices.Sorted(slices.Values(d))
	return spread{d[0], d[len(d)/2], d[len(d)-1]}
}

func (s spread) String() string {
	r := func(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }
	return fmt.Sprintf("%s..%s..%s", r(s.least), r(s.middle), r(s.most))
}

// modelled are the events of the machine that recordings have too.
func modelled(what What) bool {
	switch what {
	case Killed, ShutdownBegun, Stopped, StartBegun, ProcessUp, FencedEvent, Unfenced, InSync, ISRShrunk, LeadersMoved, PartitionsOffline, ControllerElected, ControllerResigned:
		return true
	default:
		return false
	}
}

// median of when something came in all repetitions, from its cause.
func (r recording) median(k moment) time.Duration {
	var d []time.Duration
	for _, run := range r.Runs {
		l := run.timeline()
		if _, there := l[k]; there {
			d = append(d, l.since(k))
		}
	}
	if len(d) == 0 {
		return 0
	}
	return spreadOf(d).middle
}

// replay does to the machine what was done to the brokers of one repetition, from the same leaders and in-sync sets, and
// returns what it says. The speed of the recording's machine is the one thing that is taken from the recording.
func (r recording) replay(t *testing.T, f timelineFault, run recordedRun, seed uint64) timeline {
	t.Helper()
	const fault = 30 * time.Second // machine time at which it is done
	m := newMachine(Config{
		Nodes: 3, MinISR: 2, NoAutoRebalance: true, StartTime: r.median(moment{ProcessUp, 0, 0}),
		SessionTimeout: time.Duration(r.SessionMS) * time.Millisecond, HeartbeatInterval: time.Duration(r.HeartbeatMS) * time.Millisecond,
	}.withDefaults(), rand.New(rand.NewPCG(seed, 1)))
	m.controller = run.Controller
	m.addTopic("t", 0, len(run.Partitions), 3, 2)
	survivor := -1
	for id := range m.nodes {
		if !slices.Contains(run.Victims, id) && (survivor < 0 || id != run.Controller) {
			survivor = id
		}
	}
	var probed *partition
	for i, p := range run.Partitions {
		m.parts[i].replicas, m.parts[i].leader = slices.Clone(p.Replicas), p.Leader
		m.parts[i].isr = slices.Clone(p.Replicas)
		if probed == nil && p.Leader == survivor {
			probed = m.parts[i]
		}
	}
	m.settle()
	if probed == nil {
		t.Fatal("the survivor leads nothing")
	}
	m.advance(fault)
	m.take()

	line, last := timeline{}, probeOK
	note := func() {
		for _, e := range m.take() {
			if modelled(e.what) {
				line.add(run.Victims, e.at-fault, e.what, e.node)
			}
		}
	}
	probe := func(now time.Duration) {
		what := probeOK
		switch n := m.nodes[probed.leader]; {
		case n.proc != up:
			what = probeOther
		case probed.refuses():
			what = probeRefused
		case probed.stalled:
			what = probeTimeout
		}
		if what != last {
			line.add(run.Victims, now-fault, what, survivor)
			last = what
		}
	}
	until := func(end time.Duration) {
		for at, ok := m.next(); ok && at <= end; at, ok = m.next() {
			m.advance(at)
			note()
			probe(at)
		}
		m.advance(end)
	}
	for _, d := range f.deeds {
		id, at := run.Victims[d.victim], fault
		if d.do == StartBegun {
			at += r.median(moment{StartBegun, d.victim, 0})
			for d.at == processEnded && m.nodes[id].proc != down && at < fault+stuckExit+time.Minute {
				until(at)
				at += timelineStep
			}
		}
		until(at)
		done := false
		switch d.do {
		case Killed:
			done = m.kill(at, id)
		case ShutdownBegun:
			done = m.shutdown(at, id)
		case StartBegun:
			done = m.start(at, id)
		}
		if !done {
			t.Fatalf("%s of broker %d at %s: the machine says that it is %s", d.do, id, at-fault, m.status(m.nodes[id]))
		}
		note()
		probe(at)
	}
	until(fault + 2*time.Minute)
	return line
}

// TestModelTakesTheRecordedTimelines does to the machine every fault that was recorded with real brokers. The same things
// must happen, in the same order, and take as long, within the tolerances above.
func TestModelTakesTheRecordedTimelines(t *testing.T) {
	for _, session := range []time.Duration{9 * time.Second, 3 * time.Second} {
		for _, f := range timelineFaults(session) {
			t.Run(f.name+"/"+session.String(), func(t *testing.T) {
				r := readRecording(t, recordingFile(f.name, session))
				if len(r.Runs) < 3 {
					t.Fatalf("%d repetitions are recorded, want 3", len(r.Runs))
				}
				var real, model []timeline
				for _, run := range r.Runs {
					real = append(real, run.timeline())
				}
				for seed := range uint64(replaySeeds) {
					model = append(model, r.replay(t, f, r.Runs[seed%uint64(len(r.Runs))], seed))
				}
				heartbeat := time.Duration(r.HeartbeatMS) * time.Millisecond
				sameMoments(t, real, model)
				sameOrder(t, real, model)
				sameDurations(t, real, model, heartbeat)
			})
		}
	}
}

// always and ever are the moments that every timeline has, and that some have.
func momentsOf(lines []timeline) (always, ever map[moment]bool) {
	always, ever = map[moment]bool{}, map[moment]bool{}
	count := map[moment]int{}
	for _, l := range lines {
		for k := range l {
			count[k]++
		}
	}
	for k, n := range count {
		ever[k] = true
		if n == len(lines) {
			always[k] = true
		}
	}
	return always, ever
}

func sameMoments(t *testing.T, real, model []timeline) {
	t.Helper()
	realAlways, realEver := momentsOf(real)
	modelAlways, modelEver := momentsOf(model)
	for k := range realAlways {
		if !modelEver[k] {
			t.Errorf("%s: in every recording, and never in the model", k)
		}
	}
	for k := range modelAlways {
		if !realEver[k] {
			t.Errorf("%s: always in the model, and in no recording", k)
		}
	}
}

func sameOrder(t *testing.T, real, model []timeline) {
	t.Helper()
	always, _ := momentsOf(real)
	for a := range always {
		for b := range always {
			// Two brokers have nothing to wait for in each other, and a quorum nothing in the second that comes back.
			if a.what == ProcessUp && a.victim > 0 || a.victim >= 0 && b.victim >= 0 && a.victim != b.victim {
				continue
			}
			if slices.ContainsFunc(real, func(l timeline) bool { return l[b]-l[a] < orderMargin }) {
				continue
			}
			for _, l := range model {
				at, ok := l[a]
				bt, there := l[b]
				if ok && there && bt < at {
					t.Errorf("%s comes before %s in every recording; in the model at %s and %s", a, b, at, bt)
					break
				}
			}
		}
	}
}

func sameDurations(t *testing.T, real, model []timeline, heartbeat time.Duration) {
	t.Helper()
	always, _ := momentsOf(real)
	for _, k := range slices.SortedFunc(maps.Keys(always), func(a, b moment) int { return cmp.Compare(real[0][a], real[0][b]) }) {
		if k.what == StartBegun || k.what == ProcessUp {
			continue // what was done, and the machine's speed: they are given to the model
		}
		var rs, ms []time.Duration
		for _, l := range real {
			rs = append(rs, l.since(k))
		}
		for _, l := range model {
			if _, there := l[k]; there {
				ms = append(ms, l.since(k))
			}
		}
		if len(ms) == 0 {
			continue // sameMoments said so
		}
		tolerance := replayTolerance + heartbeat/2
		switch k.what {
		case Unfenced, InSync, Stopped:
			tolerance = startupTolerance
		case probeRefused:
			tolerance += probeTimeoutAfter // a request that waits is not refused: it times out first
		}
		a, b := spreadOf(rs), spreadOf(ms)
		t.Logf("%-40s real %-24s model %s", k, a, b)
		if b.middle < a.least-tolerance || b.middle > a.most+tolerance {
			t.Errorf("%s: the model's middle is outside of what was recorded: real %s, model %s, tolerance %s", k, a, b, tolerance)
		}
		if a.middle < b.least-tolerance || a.middle > b.most+tolerance {
			t.Errorf("%s: the recorded middle is outside of what the model can do: real %s, model %s, tolerance %s", k, a, b, tolerance)
		}
	}
}
