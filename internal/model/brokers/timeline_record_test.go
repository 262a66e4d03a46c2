//go:build !embedded_only

package brokers

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"triad/internal/containers"
)

// record makes TestRecordTimelines do every fault to real brokers and write testdata/real; it takes half an hour.
var (
	record      = flag.Bool("record", false, "record timelines of real brokers into testdata/real; needs a container engine and TRIAD_IMAGES")
	repetitions = flag.Int("repetitions", 3, "of each fault, with -record")
	onlyFault   = flag.String("fault", "", "record only the faults whose names contain this, with -record")
)

const (
	timelinePoll       = 50 * time.Millisecond
	timelineRate       = 20 // records a second and partition
	timelinePartitions = 6
	maxPollGap         = 800 * time.Millisecond // a repetition with a longer one recorded the machine, not the brokers
	healedWithin       = time.Minute            // beyond two sessions, until every victim is back in sync
)

// sessions are the recorded session timeouts with their heartbeat intervals.
func sessions() map[time.Duration]time.Duration {
	return map[time.Duration]time.Duration{9 * time.Second: 2 * time.Second, 3 * time.Second: 500 * time.Millisecond}
}

// timelineSettings are the server settings of a recording, those of manifests/base/kafka where it has them. Nothing but
// the faults may move leaders, so the periodic election is off.
func timelineSettings(session, heartbeat time.Duration) map[string]string {
	return map[string]string{
		"default.replication.factor": "3", "min.insync.replicas": "2", "auto.create.topics.enable": "false", "auto.leader.rebalance.enable": "false",
		"broker.session.timeout.ms": strconv.FormatInt(session.Milliseconds(), 10), "broker.heartbeat.interval.ms": strconv.FormatInt(heartbeat.Milliseconds(), 10),
	}
}

// TestRecordTimelines writes testdata/real. Run it with -record on a machine that does little else:
//
//	go test ./internal/model/brokers -run TestRecordTimelines -record -timeout 60m
func TestRecordTimelines(t *testing.T) {
	if !*record {
		t.Skip("-record was not given: the recordings in testdata/real stay as they are")
	}
	for session, heartbeat := range sessions() {
		t.Run(session.String(), func(t *testing.T) {
			k := newRealCluster(t, session, heartbeat)
			for _, f := range timelineFaults(session) {
				if !strings.Contains(f.name, *onlyFault) {
					continue
				}
				r := recording{
					Fault: f.name, Kafka: k.Version, Date: time.Now().UTC().Format(time.DateOnly), Cores: runtime.NumCPU(),
					SessionMS: session.Milliseconds(), HeartbeatMS: heartbeat.Milliseconds(), PollMS: timelinePoll.Milliseconds(),
					Rate: timelineRate, Settings: timelineSettings(session, heartbeat),
				}
				disturbed := 0
				for n := 0; n < *repetitions; n++ {
					run := k.do(t, f)
					if run.LongestGap > maxPollGap.Milliseconds() && disturbed < 2**repetitions {
						t.Logf("%s %s, %d: polling stood still for %d ms: it is done again", f.name, session, n, run.LongestGap)
						disturbed++
						n--
						continue
					}
					t.Logf("%s %s, %d: load %.1f, controller %d, victims %v", f.name, session, n, run.Load, run.Controller, run.Victims)
					for _, e := range run.Events {
						t.Logf("  %6d ms  %-28s %d", e.AtMS, e.What, e.Broker)
					}
					r.Runs = append(r.Runs, run)
				}
				writeRecording(t, recordingFile(f.name, session), r)
			}
		})
	}
}

func writeRecording(t *testing.T, file string, r recording) {
	t.Helper()
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// realCluster is three real brokers and what is asked of them.
type realCluster struct {
	*containers.Kafka
	admin   *kadm.Client
	clients []*kgo.Client // one for each broker, which knows nothing but it
	quorum  []*kgo.Client // the same for its controller listener
	probes  []*kgo.Client // the same for requests that may wait
}

func newRealCluster(t *testing.T, session, heartbeat time.Duration) *realCluster {
	t.Helper()
	k := &realCluster{Kafka: containers.StartKafka(t, containers.KafkaConfig{Nodes: 3, Settings: timelineSettings(session, heartbeat)})}
	only := func(addr string) *kgo.Client {
		cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RequestRetries(0), kgo.DialTimeout(time.Second), kgo.RequestTimeoutOverhead(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		return cl
	}
	for _, n := range k.Nodes {
		k.clients = append(k.clients, only(n.Client))
		k.quorum = append(k.quorum, only(n.Controller))
		k.probes = append(k.probes, only(n.Client))
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.Addrs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	k.admin = kadm.NewClient(cl)
	if _, err := k.admin.CreateTopic(t.Context(), timelinePartitions, 3, nil, "t"); err != nil {
		t.Fatal(err)
	}
	return k
}

// view is what one broker says about the cluster.
type realView struct {
	topic  [16]byte
	alive  map[int]bool
	leader []int
	isr    [][]int
	assign [][]int
}

func (k *realCluster) view(ctx context.Context, id int) (realView, error) {
	var v realView
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = new("t")
	req.Topics = append(req.Topics, rt)
	raw, err := k.clients[id].SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		return v, err
	}
	res := raw.(*kmsg.MetadataResponse)
	v.alive = map[int]bool{}
	for _, b := range res.Brokers {
		v.alive[int(b.NodeID)] = true
	}
	if len(res.Topics) != 1 || len(res.Topics[0].Partitions) != timelinePartitions {
		return v, errors.New("the topic is not known")
	}
	v.topic = res.Topics[0].TopicID
	v.leader, v.isr, v.assign = make([]int, timelinePartitions), make([][]int, timelinePartitions), make([][]int, timelinePartitions)
	ints := func(in []int32) (out []int) {
		for _, n := range in {
			out = append(out, int(n))
		}
		return out
	}
	for _, p := range res.Topics[0].Partitions {
		v.leader[p.Partition], v.isr[p.Partition], v.assign[p.Partition] = int(p.Leader), ints(p.ISR), ints(p.Replicas)
	}
	return v, nil
}

func (v realView) leads(id int) bool { return slices.Contains(v.leader, id) }

// inSync reports whether the broker is in every in-sync set, and in none.
func (v realView) inSync(id int) (all, none bool) {
	all, none = true, true
	for _, isr := range v.isr {
		if slices.Contains(isr, id) {
			none = false
		} else {
			all = false
		}
	}
	return all, none
}

// active asks a node's controller listener whether it is the active controller; up is whether it answered at all.
func (k *realCluster) active(ctx context.Context, id int) (active, up bool) {
	req := kmsg.NewPtrDescribeQuorumRequest()
	rt := kmsg.NewDescribeQuorumRequestTopic()
	rt.Topic = "__cluster_metadata"
	rt.Partitions = append(rt.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	req.Topics = append(req.Topics, rt)
	raw, err := k.quorum[id].SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		return false, false
	}
	res := raw.(*kmsg.DescribeQuorumResponse)
	ok := res.ErrorCode == 0 && len(res.Topics) == 1 && len(res.Topics[0].Partitions) == 1 && res.Topics[0].Partitions[0].ErrorCode == 0
	return ok && int(res.Topics[0].Partitions[0].LeaderID) == id, true
}

// healthy waits until every broker is in every in-sync set and every partition has its preferred leader.
func (k *realCluster) healthy(t *testing.T) (v realView, controller int) {
	t.Helper()
	containers.Eventually(t, 2*time.Minute, "a healthy cluster", func(ctx context.Context) error {
		controller = -1
		for id := range k.Nodes {
			if ok, _ := k.active(ctx, id); ok {
				controller = id
			}
			w, err := k.view(ctx, id)
			if err != nil {
				return err
			}
			for other := range k.Nodes {
				if all, _ := w.inSync(other); !all {
					return fmt.Errorf("broker %d says that %d is not in sync", id, other)
				}
			}
			v = w
		}
		if controller < 0 {
			return errors.New("no active controller")
		}
		for p, leader := range v.leader {
			if leader != v.assign[p][0] {
				if _, err := k.admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, nil); err != nil {
					return err
				}
				return errors.New("leaders are not the preferred ones")
			}
		}
		return nil
	})
	return v, controller
}

// do heals the cluster, does the fault once and returns what was seen.
func (k *realCluster) do(t *testing.T, f timelineFault) recordedRun {
	t.Helper()
	v, controller := k.healthy(t)
	run := recordedRun{Controller: controller, Load: loadAverage(), Probe: map[string]int{}}
	for id := range k.Nodes {
		if (id == controller) == f.controller && v.leads(id) {
			run.Victims = append(run.Victims, id)
		}
	}
	for _, d := range f.deeds {
		if d.victim >= len(run.Victims) {
			t.Fatalf("%s: victims %v with controller %d and leaders %v", f.name, run.Victims, controller, v.leader)
		}
	}
	victims := 0
	for _, d := range f.deeds {
		victims = max(victims, d.victim+1)
	}
	run.Victims = run.Victims[:victims]
	survivor := -1
	for id := range k.Nodes {
		if !slices.Contains(run.Victims, id) && (survivor < 0 || id != controller) {
			survivor = id
		}
	}
	probed := slices.Index(v.leader, survivor)
	if probed < 0 {
		t.Fatalf("survivor %d leads nothing: %v", survivor, v.leader)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	w := &watcher{k: k, survivor: survivor, victims: run.Victims, partition: int32(probed), probes: map[string]int{}}
	p := startRealLoad(t, k.Addrs())
	wg.Go(func() { p.run(ctx) })
	time.Sleep(2 * time.Second)
	wg.Go(func() { w.metadata(ctx) })
	for id := range k.Nodes {
		wg.Go(func() { w.controllers(ctx, id, id == controller) })
	}
	wg.Go(func() { w.probe(ctx, v.topic) })
	time.Sleep(time.Second)
	session := k.session(t)
	zero := k.deeds(t, f, run.Victims, w)
	w.await(t, zero.Add(2*session+healedWithin), run.Victims)
	cancel()
	wg.Wait()
	p.flush(t)
	run.Events, run.LongestGap, run.Probe = w.result(zero)
	p.mu.Lock()
	defer p.mu.Unlock()
	run.Produced, run.Acked, run.Errors = p.produced, p.acked, p.failed
	for n := range timelinePartitions {
		run.Partitions = append(run.Partitions, recordedPart{v.assign[n], v.leader[n], p.gap[n].Milliseconds(), p.slowest[n].Milliseconds()})
	}
	return run
}

// session is what the brokers say that it is, so that a setting that they did not take is not recorded as if they had.
func (k *realCluster) session(t *testing.T) time.Duration {
	t.Helper()
	rs, err := k.admin.DescribeBrokerConfigs(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rs {
		for _, c := range r.Configs {
			if c.Key == "broker.session.timeout.ms" {
				ms, err := strconv.Atoi(c.MaybeValue())
				if err != nil {
					t.Fatal(err)
				}
				return time.Duration(ms) * time.Millisecond
			}
		}
	}
	t.Fatal("the brokers do not say their session timeout")
	return 0
}

// deeds does what the fault is, each deed at its time and victims of one time at once, and returns the time of the first.
func (k *realCluster) deeds(t *testing.T, f timelineFault, victims []int, w *watcher) time.Time {
	t.Helper()
	var zero time.Time
	for i := 0; i < len(f.deeds); {
		same := 1
		for i+same < len(f.deeds) && f.deeds[i+same].at == f.deeds[i].at {
			same++
		}
		if i > 0 && f.deeds[i].at > 0 {
			time.Sleep(time.Until(zero.Add(f.deeds[i].at)))
		}
		times, errs := make([]time.Time, same), make([]error, same)
		var wg sync.WaitGroup
		for j, d := range f.deeds[i : i+same] {
			wg.Go(func() {
				n := k.Nodes[victims[d.victim]]
				switch d.do {
				case Killed:
					times[j], errs[j] = n.Kill()
				case ShutdownBegun:
					var ended time.Time
					if times[j], ended, errs[j] = n.Stop(); errs[j] == nil {
						w.add(ended, Stopped, n.ID)
					}
				case StartBegun:
					times[j], errs[j] = n.Start()
				default:
					errs[j] = fmt.Errorf("no such deed: %s", d.do)
				}
				if errs[j] != nil {
					return
				}
				w.add(times[j], d.do, n.ID)
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			zero = slices.MinFunc(times, time.Time.Compare)
		}
		i += same
	}
	return zero
}

// watcher polls and notes what changes.
type watcher struct {
	k         *realCluster
	survivor  int
	victims   []int
	partition int32

	mu     sync.Mutex
	steps  []stepAt
	gap    time.Duration
	probes map[string]int
}

type stepAt struct {
	at time.Time
	recordedStep
}

func (w *watcher) add(at time.Time, what What, id int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.steps = append(w.steps, stepAt{at, recordedStep{What: what, Broker: id}})
}

// result sorts what was noted; what one poll showed comes in the order of causes.
func (w *watcher) result(zero time.Time) (steps []recordedStep, gap int64, probes map[string]int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.SortStableFunc(w.steps, func(a, b stepAt) int { return a.at.Compare(b.at) })
	starting := map[int]bool{}
	for _, s := range w.steps {
		// What came and went before the fault is the machine's.
		if s.at.Before(zero.Add(-probeTimeoutAfter)) {
			continue
		}
		// A listener is a process that came up when it is the first answer after a start.
		switch s.What {
		case StartBegun:
			starting[s.Broker] = true
		case ProcessUp:
			if !starting[s.Broker] {
				continue
			}
			starting[s.Broker] = false
		}
		s.AtMS = s.at.Sub(zero).Milliseconds()
		steps = append(steps, s.recordedStep)
	}
	return steps, w.gap.Milliseconds(), w.probes
}

// await waits until every victim is in sync again, and a moment longer for what follows.
func (w *watcher) await(t *testing.T, end time.Time, victims []int) {
	t.Helper()
	for ; time.Now().Before(end); time.Sleep(timelinePoll) {
		w.mu.Lock()
		back := map[int]bool{}
		for _, s := range w.steps {
			switch s.What {
			case StartBegun:
				back[s.Broker] = false
			case InSync:
				back[s.Broker] = true
			}
		}
		w.mu.Unlock()
		if !slices.ContainsFunc(victims, func(id int) bool { return !back[id] }) {
			time.Sleep(time.Second)
			return
		}
	}
	t.Errorf("victims %v are not all in sync again", victims)
}

// metadata polls the survivor's view of the victims.
func (w *watcher) metadata(ctx context.Context) {
	type known struct{ fenced, out, in, led bool }
	was := map[int]*known{}
	for _, id := range w.victims {
		was[id] = &known{in: true, led: true}
	}
	offline := false
	tick := time.NewTicker(timelinePoll)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		ask, cancel := context.WithTimeout(ctx, 2*time.Second)
		v, err := w.k.view(ask, w.survivor)
		cancel()
		now := time.Now()
		if err != nil {
			continue
		}
		w.mu.Lock()
		w.gap = max(w.gap, now.Sub(last))
		w.mu.Unlock()
		last = now
		for _, id := range w.victims {
			k := was[id]
			if fenced := !v.alive[id]; fenced != k.fenced {
				k.fenced = fenced
				w.add(now, map[bool]What{true: FencedEvent, false: Unfenced}[fenced], id)
			}
			all, none := v.inSync(id)
			if none && !k.out {
				w.add(now, ISRShrunk, id)
			}
			if all && !k.in {
				w.add(now, InSync, id)
			}
			k.out, k.in = none, all
			if led := v.leads(id); led != k.led {
				k.led = led
				if !led {
					w.add(now, LeadersMoved, id)
				}
			}
		}
		if none := v.leads(-1); none != offline {
			offline = none
			if none {
				w.add(now, PartitionsOffline, -1)
			}
		}
	}
}

// controllers polls one node's controller listener.
func (w *watcher) controllers(ctx context.Context, id int, active bool) {
	up := true
	tick := time.NewTicker(timelinePoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		ask, cancel := context.WithTimeout(ctx, 2*time.Second)
		is, answered := w.k.active(ask, id)
		slow := ask.Err() != nil
		cancel()
		if slow {
			continue // no answer in time says nothing; a process that is gone refuses at once
		}
		now := time.Now()
		switch {
		case answered && !up:
			w.add(now, ProcessUp, id)
		case is && !active:
			w.add(now, ControllerElected, id)
		case answered && !is && active:
			w.add(now, ControllerResigned, id)
		}
		up, active = answered, is
	}
}

// probe sends single acks=all requests to the survivor, which nothing retries. The client library hides the error of a
// request that it would retry, so they are made by hand.
func (w *watcher) probe(ctx context.Context, topic [16]byte) {
	cl := w.k.probes[w.survivor]
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	last := probeOK
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		began := time.Now()
		ask, cancel := context.WithTimeout(ctx, probeTimeoutAfter+5*time.Second)
		raw, err := cl.SeedBrokers()[0].Request(ask, probeRequest(topic, w.partition))
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			res := raw.(*kmsg.ProduceResponse)
			err = kerr.ErrorForCode(res.Topics[0].Partitions[0].ErrorCode)
		}
		// What fails stood still since it was asked; what succeeds does so now.
		what, at, name := probeOther, began, ""
		switch {
		case err == nil:
			what, at, name = probeOK, time.Now(), "acknowledged"
		case errors.Is(err, kerr.RequestTimedOut):
			what, name = probeTimeout, kerr.RequestTimedOut.Message
		case errors.Is(err, kerr.NotEnoughReplicas), errors.Is(err, kerr.NotEnoughReplicasAfterAppend):
			what, name = probeRefused, kerr.NotEnoughReplicas.Message
		default:
			name = err.Error()
		}
		w.mu.Lock()
		w.probes[name]++
		w.mu.Unlock()
		if what != last {
			w.add(at, what, w.survivor)
			last = what
		}
	}
}

// probeRequest is one record, not idempotent, to be acknowledged by all in sync within probeTimeoutAfter.
func probeRequest(topic [16]byte, partition int32) *kmsg.ProduceRequest {
	// Length, attributes, time and offset deltas, no key, a value of five bytes, no headers: all varints below 64.
	record := append([]byte{0, 0, 0, 0, 1, 10}, "probe\x00"...)
	record[0] = byte(2 * (len(record) - 1))
	batch := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: 1,
		FirstTimestamp: time.Now().UnixMilli(), MaxTimestamp: time.Now().UnixMilli(), Records: record,
	}
	const lengthEnd, crcEnd = 12, 21 // bytes before what the length and the checksum cover
	batch.Length = int32(len(batch.AppendTo(nil)) - lengthEnd)
	raw := batch.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[crcEnd-4:], crc32.Checksum(raw[crcEnd:], crc32.MakeTable(crc32.Castagnoli)))
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, int32(probeTimeoutAfter.Milliseconds())
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic, rt.TopicID = "t", topic
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Partition, rp.Records = partition, raw
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

// realLoad produces at a fixed rate to every partition, as the harness does: idempotent, acks=all, no limit of retries.
type realLoad struct {
	cl *kgo.Client

	mu       sync.Mutex
	produced int
	acked    int
	failed   map[string]int
	lastAck  [timelinePartitions]time.Time
	gap      [timelinePartitions]time.Duration
	slowest  [timelinePartitions]time.Duration
}

func startRealLoad(t *testing.T, addrs []string) *realLoad {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
		kgo.MetadataMinAge(250*time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }), kgo.AlwaysRetryEOF(), kgo.DialTimeout(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return &realLoad{cl: cl, failed: map[string]int{}}
}

func (l *realLoad) run(ctx context.Context) {
	tick := time.NewTicker(time.Second / timelineRate)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for n := range timelinePartitions {
			began := time.Now()
			l.mu.Lock()
			l.produced++
			l.mu.Unlock()
			l.cl.Produce(context.WithoutCancel(ctx), &kgo.Record{Topic: "t", Partition: int32(n), Value: make([]byte, 256)}, func(_ *kgo.Record, err error) {
				now := time.Now()
				l.mu.Lock()
				defer l.mu.Unlock()
				if err != nil {
					l.failed[err.Error()]++
					return
				}
				l.acked++
				if !l.lastAck[n].IsZero() {
					l.gap[n] = max(l.gap[n], now.Sub(l.lastAck[n]))
				}
				l.lastAck[n] = now
				l.slowest[n] = max(l.slowest[n], now.Sub(began))
			})
		}
	}
}

func (l *realLoad) flush(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.cl.Flush(ctx); err != nil {
		t.Errorf("records without an outcome a minute after the fault: %v", err)
	}
	l.cl.Close()
}

// loadAverage is the machine's, 0 where it is not to be had.
func loadAverage() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	f, _ := strconv.ParseFloat(strings.Fields(string(b))[0], 64)
	return f
}
