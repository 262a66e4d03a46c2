package evidence

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"time"
)

// Kinds of events.
const (
	EventPhase       = "phase"    // Name: the phase that begins
	EventFault       = "fault"    // Name: the fault; State below
	EventObserver    = "observer" // Name: point; State ready, lost, back, done
	EventSkip        = "skip"     // Name: what; Detail: why
	EventNote        = "note"
	EventStop        = "stop"           // sending stopped; Detail: why when early
	EventDrain       = "drain"          // State: begin, done, deadline
	EventRecon       = "reconciliation" // final exact reading of a point; State done or failed
	EventBroken      = "assumption"     // Name: what does not hold; Detail; Attrs copy: the ledger that is a copy of one that is gone
	EventRestart     = "restart"        // the API of a cluster told that a container ended or a pod is gone, whoever did it. Name: component, as its series name it; State below; Attrs cluster, pod, node, container, reason, exit_code, started, finished (as the API tells them), times, after_ns: the reading before
	EventForeignRun  = "foreign-run"    // records of another run seen at a point; Attrs count, point, topic, observer: of several the ledger's name
	EventUnreadable  = "unreadable"     // records whose tag could not be read; Attrs count, point, topic, observer
	EventNodeMetrics = "node-metrics"   // records that are figures of a node and nobody's lines; Attrs count, point, topic, observer
	EventProbe       = "probe"          // one isolation probe; Name from->to, State open, closed; Attrs declared. With check=one-view: a query
	EventAlert       = "alert"          // Name: alert; State pending, firing, resolved (it had fired), inactive; Attrs after_ns: the reading before; standing: it was there at the first; label_*
	EventRule        = "rule"           // Name: rule; State ok, err, unknown, stalled; Detail: its error; Attrs group, type
	EventRollout     = "rollout"        // Name: a stage below; State; Detail: what differs; Attrs fault, objects and counts
	EventTopology    = "topology"       // how this run stood. Name: three or one; State: capped or uncapped; Attrs pair, and the caps of each node
	EventPair        = "pair"           // a repetition in a run before this one. Name: three or one; State; Detail: why unusable; Attrs run, pair, figures
	EventAdded       = "added"          // what adding a cluster took. Name: a part below; State; Detail; Attrs fault, cluster and figures
	EventClock       = "clock"          // a cluster's clock was compared with the harness's. Name: cluster; State: known or unknown; Detail: why unknown; Attrs offset_ns (cluster minus harness), bound_ns, and sees: "kafka" where it is by this clock that records are seen in Kafka
	EventPurge       = "purge"          // what the run put into the system was taken out again. State: done or failed; Detail; Attrs removed, left, kept_ns (by Kafka), keeps (what is declared), late: records that had not arrived
	EventResumed     = "resumed"        // the run goes on after its harness was killed; At: from when it is watched again; Attrs from_ns: the last sign of life before, at: the time, commit
	EventConnector   = "connector"      // a connector or task of Kafka Connect changed; Name connector or connector/task; State as Connect names it, or GONE; Attrs was, worker, restarts
)

// States of a reading of a clock, and of a purge.
const (
	ClockKnown   = "known"
	ClockUnknown = "unknown"
	PurgeDone    = "done"   // and read again
	PurgeFailed  = "failed" // Detail: why; what is left is not known
)

// States of a restart.
const (
	RestartContainer = "ended"    // a container ended in its pod; the kubelet starts it again
	RestartPod       = "replaced" // a pod is gone, or will not run again; its owner makes another
)

// States of a topology and of a repetition.
const (
	TopologyCapped   = "capped"
	TopologyUncapped = "uncapped" // Detail: why; what is compared is not the same then
	PairUsable       = "usable"
	PairUnusable     = "unusable"
)

// Parts of adding a cluster, and what was found.
const (
	AddedSeries    = "series"    // answered or silent; Attrs targets, seconds (from its agent being deployed), total (from the beginning)
	AddedElsewhere = "elsewhere" // unchanged, changed or unseen; Attrs objects, changed, flows: the declared ones that it needs

	AddedAnswered  = "answered"
	AddedSilent    = "silent"
	AddedUnchanged = "unchanged"
	AddedChanged   = "changed"
	AddedUnseen    = "unseen"
)

// Stages of a rollout, and what was found at each.
const (
	RolloutRendered = "rendered" // kind and EKS, rendered: as-declared, undeclared or failed; Attrs allowed, undeclared
	RolloutBefore   = "before"   // live objects against the rendered ones: same or drift; Attrs objects, drift
	RolloutForward  = "forward"  // after rolling forward: there or missing; Attrs objects, changed, missing, to
	RolloutAfter    = "after"    // after rolling back: same or drift; Attrs objects, drift, left

	RolloutAsDeclared = "as-declared"
	RolloutUndeclared = "undeclared"
	RolloutFailed     = "failed"
	RolloutSame       = "same"
	RolloutDrift      = "drift"
	RolloutThere      = "there"
	RolloutMissing    = "missing"
)

// PointAlerts is the name of the observer of alerts in its events.
const PointAlerts = "alerts"

// States of a fault event.
const (
	FaultInjecting = "injecting"
	FaultInjected  = "injected"
	FaultBit       = "bit" // first effect seen
	FaultHealing   = "healing"
	FaultHealed    = "healed"
	FaultGone      = "gone" // seen that the effect is over
	FaultFailed    = "failed"
	FaultUnwatched = "unwatched" // it was due or acted while the harness was dead; Detail
	FaultSkipped   = "skipped"   // the runtime cannot do it; Detail: why
)

// Event is one thing that happened.
type Event struct {
	At     time.Duration     `json:"at_ns"`
	Kind   string            `json:"kind"`
	Name   string            `json:"name,omitempty"`
	State  string            `json:"state,omitempty"`
	Detail string            `json:"detail,omitempty"`
	Hits   uint64            `json:"hits,omitempty"`
	Attrs  map[string]string `json:"attrs,omitempty"`
}

// EventLog appends to events.jsonl: one JSON object a line, the last key of which is the CRC-32C of all before it.
type EventLog struct {
	mu  sync.Mutex
	f   *os.File
	err error
}

const crcKey = `,"crc":"`

// CreateEvents makes a new event log.
func CreateEvents(path string) (*EventLog, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("evidence file: %w", err)
	}
	return &EventLog{f: f}, nil
}

// Add writes one event.
func (l *EventLog) Add(e Event) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	b = b[:len(b)-1]
	b = fmt.Appendf(b, "%s%08x\"}\n", crcKey, crc32.Checksum(b, castagnoli))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		if _, err := l.f.Write(b); err != nil {
			l.err = writeError(l.f, err)
		}
	}
	return l.err
}

// failed is the error after which nothing more was written.
func (l *EventLog) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Close syncs and closes.
func (l *EventLog) Close() error { return errors.Join(l.err, l.f.Sync(), l.f.Close()) }

// ReadEvents returns all whole events of an event log.
func ReadEvents(path, name string) ([]Event, *Damage, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	var out []Event
	var at int64
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return out, nil, err // a disk that cannot be read is no shorter log
		}
		if len(line) == 0 {
			return out, nil, nil
		}
		if err != nil {
			return out, &Damage{name, true, at, "the last line is incomplete"}, nil
		}
		i := bytes.LastIndex(line, []byte(crcKey))
		var e Event
		if i < 0 || string(line[i+len(crcKey):]) != fmt.Sprintf("%08x\"}\n", crc32.Checksum(line[:i], castagnoli)) || json.Unmarshal(append(bytes.Clone(line[:i]), '}'), &e) != nil {
			return out, &Damage{name, false, at, "a line's checksum is wrong"}, nil
		}
		out = append(out, e)
		at += int64(len(line))
	}
}
