package brokers

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"triad/internal/model/jmx"
	"triad/internal/model/promtext"
)

// counters are what the brokers' MBeans count since their process started.
type counters struct {
	out []atomic.Uint64 // bytes of fetch responses

	mu     sync.Mutex
	topics []map[string]*topicTraffic // by broker and topic
	seen   map[tp]logSize             // what is accounted for
}

type topicTraffic struct{ messages, bytes, failed uint64 }

type logSize struct{ end, bytes int64 }

func newCounters(nodes int) *counters {
	k := &counters{out: make([]atomic.Uint64, nodes), topics: make([]map[string]*topicTraffic, nodes), seen: map[tp]logSize{}}
	for i := range k.topics {
		k.topics[i] = map[string]*topicTraffic{}
	}
	return k
}

// restart sets a broker's counters to zero, as a new process does.
func (k *counters) restart(id int) {
	k.out[id].Store(0)
	k.mu.Lock()
	clear(k.topics[id])
	k.mu.Unlock()
}

// add counts for a broker and topic.
func (k *counters) add(id int, topic string, messages, bytes, failed uint64) {
	t := k.topics[id][topic]
	if t == nil {
		t = &topicTraffic{}
		k.topics[id][topic] = t
	}
	t.messages, t.bytes, t.failed = t.messages+messages, t.bytes+bytes, t.failed+failed
}

func (k *counters) refused(id int, topic string, n uint64) {
	k.mu.Lock()
	k.add(id, topic, 0, 0, n)
	k.mu.Unlock()
}

func (k *counters) forget(topic string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for at := range k.seen {
		if at.topic == topic {
			delete(k.seen, at)
		}
	}
}

// account adds what was appended since the last call to the leaders that appended it. It has to run before leaders move
// and before retention makes logs smaller. c.mu is held.
func (c *Cluster) account() {
	k := c.counters
	for _, t := range c.topicNames() {
		for _, info := range c.fake.PartitionInfos(t) {
			at := tp{t, info.Partition}
			a := c.applied[at]
			k.mu.Lock()
			was := k.seen[at]
			k.seen[at] = logSize{info.HighWatermark, info.NumBytes}
			if a != nil && a.leader >= 0 {
				k.add(a.leader, t, uint64(max(0, info.HighWatermark-was.end)), uint64(max(0, info.NumBytes-was.bytes)), 0)
			}
			k.mu.Unlock()
		}
	}
}

// kfake keeps an entry in memory for each batch of a log, whose size is not told; its index file has one of fixed size for each.
// TestHeld holds the file against the pinned version.
const (
	indexEntry = 15 // bytes in the file
	heldEntry  = 90 // bytes in memory: 72, and what a slice that grows keeps ready
)

// Held is how much memory the index of the logs takes: the one thing here that grows with what was produced, as far as Options.Dir
// holds the logs.
func (c *Cluster) Held() int64 {
	if c.opts.Dir == "" {
		return 0
	}
	files, err := filepath.Glob(filepath.Join(c.opts.Dir, "partitions", "*", "*.idx"))
	if err != nil {
		return 0 // the pattern is right
	}
	var n int64
	for _, f := range files {
		if info, err := os.Stat(f); err == nil { // retention may have taken it
			n += info.Size() / indexEntry * heldEntry
		}
	}
	return n
}

// usualRules are those of a cluster without metricsConfig; such a real cluster exports nothing, but whoever builds one in
// code wants to see something.
const usualRules = `
lowercaseOutputName: true
lowercaseOutputLabelNames: true
rules:
  - {pattern: 'kafka.(server|controller)<type=(ReplicaManager|KafkaController), name=(\w+)><>Value', name: kafka_$1_$2_$3, type: GAUGE}
  - {pattern: 'kafka.server<type=ReplicaManager, name=(\w+)PerSec><>Count', name: kafka_server_replicamanager_$1_total, type: COUNTER}
  - {pattern: 'kafka.server<type=BrokerTopicMetrics, name=(\w+)PerSec, topic=(.+)><>Count', name: kafka_server_brokertopicmetrics_$1_total, labels: {topic: $2}, type: COUNTER}
  - {pattern: 'kafka.server<type=BrokerTopicMetrics, name=(\w+)PerSec><>Count', name: kafka_server_brokertopicmetrics_$1_total, type: COUNTER}
  - {pattern: 'kafka.log<type=Log, name=(\w+), topic=(.+), partition=(.+)><>Value', name: kafka_log_log_$1, labels: {topic: $2, partition: $3}, type: GAUGE}
`

// exporter serves one broker's MBeans as the JMX exporter does, under the names that its rules give.
type exporter struct {
	c    *Cluster
	id   int
	addr string
	free func()

	mu    sync.Mutex
	srv   *http.Server
	ended bool // never started again
	wg    sync.WaitGroup
}

func newExporter(c *Cluster, id int) (*exporter, error) {
	addr, free, err := holdPort("127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("exporter of broker %d: %w", id, err)
	}
	x := &exporter{c: c, id: id, addr: addr, free: free}
	if err := x.start(); err != nil {
		free()
		return nil, err
	}
	return x, nil
}

func (x *exporter) start() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.srv != nil || x.ended {
		return nil
	}
	ln, err := x.c.listenOn("tcp", x.addr)
	if err != nil {
		return fmt.Errorf("exporter of broker %d: %w", x.id, err)
	}
	x.addr = ln.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", x.serve)
	mux.HandleFunc("GET /{$}", x.serve)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return context.Background() }}
	x.srv = srv
	x.wg.Go(func() { _ = srv.Serve(ln) })
	return nil
}

func (x *exporter) stop() {
	x.mu.Lock()
	srv := x.srv
	x.srv = nil
	x.mu.Unlock()
	if srv != nil {
		_ = srv.Close()
	}
}

func (x *exporter) close() {
	x.mu.Lock()
	x.ended = true
	x.mu.Unlock()
	x.stop()
	x.wg.Wait()
	x.free()
}

func (x *exporter) serve(w http.ResponseWriter, r *http.Request) {
	select {
	case <-x.c.fronts[x.id].currentGate(): // a frozen process does not answer here either
	case <-r.Context().Done():
		return
	case <-x.c.done:
		return
	}
	beans, ok := x.c.beans(x.id)
	if !ok {
		http.Error(w, "closed", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", promtext.ContentType)
	_, _ = w.Write(x.c.rules.Render(beans))
}

// beans are the MBeans of a broker, as far as the model has anything true to say about them. It reports false when the
// cluster is closed.
func (c *Cluster) beans(id int) ([]*jmx.Bean, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, false
	}
	c.account()
	beans := c.replicaBeans(nil, id)
	beans = c.controllerBeans(beans, id)
	beans = c.trafficBeans(beans, id)
	return c.logBeans(beans, id), true
}

// replicaBeans are those of ReplicaManager. Kafka counts as a shrink only what a leader decides, not a fencing.
func (c *Cluster) replicaBeans(beans []*jmx.Bean, id int) []*jmx.Bean {
	var leads, holds, under, underMin, atMin int
	for _, p := range c.m.parts {
		if slices.Contains(p.replicas, id) {
			holds++
		}
		if p.leader != id {
			continue
		}
		leads++
		if len(p.isr) < len(p.replicas) {
			under++
		}
		if len(p.isr) < p.minISR {
			underMin++
		}
		if len(p.isr) == p.minISR {
			atMin++
		}
	}
	add := func(name, attr string, v int) {
		beans = append(beans, jmx.NewBean("kafka.server", "type", "ReplicaManager", "name", name).Count(attr, int64(v)))
	}
	add("LeaderCount", "Value", leads)
	add("PartitionCount", "Value", holds)
	add("UnderReplicatedPartitions", "Value", under)
	add("UnderMinIsrPartitionCount", "Value", underMin)
	add("AtMinIsrPartitionCount", "Value", atMin)
	add("OfflineReplicaCount", "Value", 0) // of failed disks, which there are none of
	n := c.m.nodes[id]
	add("IsrShrinksPerSec", "Count", n.shrinks)
	add("IsrExpandsPerSec", "Count", n.expands)
	return beans
}

// controllerBeans are those of KafkaController and of the quorum. Every combined node follows the metadata log, so
// all show the same counts, and ActiveControllerCount tells them apart. Dedicated controllers have exporters of their own,
// which the model has not.
func (c *Cluster) controllerBeans(beans []*jmx.Bean, id int) []*jmx.Bean {
	beans = append(beans, jmx.NewBean("kafka.server", "type", "raft-metrics").Count("current-leader", int64(c.m.controller)).Count("current-epoch", int64(c.m.term+1)))
	if c.cfg.Controllers > 0 {
		return beans
	}
	active, offline, notPreferred, fenced, live := 0, 0, 0, 0, 0
	if c.m.controller == id {
		active = 1
	}
	topics := map[string]bool{}
	for _, p := range c.m.parts {
		topics[p.topic] = true
		if p.leader < 0 {
			offline++
		}
		if p.leader != p.replicas[0] {
			notPreferred++
		}
	}
	for _, n := range c.m.nodes {
		if n.fenced {
			fenced++
		} else {
			live++
		}
	}
	add := func(name string, v int) {
		beans = append(beans, jmx.NewBean("kafka.controller", "type", "KafkaController", "name", name).Count("Value", int64(v)))
	}
	add("ActiveControllerCount", active)
	add("OfflinePartitionsCount", offline)
	add("PreferredReplicaImbalanceCount", notPreferred)
	add("GlobalPartitionCount", len(c.m.parts))
	add("GlobalTopicCount", len(topics))
	add("ActiveBrokerCount", live)
	add("FencedBrokerCount", fenced)
	return beans
}

// trafficBeans are those of BrokerTopicMetrics. Bytes out are known for the broker and not by topic.
func (c *Cluster) trafficBeans(beans []*jmx.Bean, id int) []*jmx.Bean {
	k := c.counters
	failed := map[string]uint64{}
	for at, a := range c.applied {
		if a.refused != nil && a.at == id {
			failed[at.topic] += uint64(a.refused.Hits())
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var total topicTraffic
	add := func(name, topic string, v uint64) {
		props := []string{"type", "BrokerTopicMetrics", "name", name + "PerSec", "topic", topic}
		if topic == "" {
			props = props[:4]
		}
		beans = append(beans, jmx.NewBean("kafka.server", props...).Num("Count", float64(v)))
	}
	for _, topic := range slices.Sorted(maps.Keys(k.topics[id])) {
		t := *k.topics[id][topic]
		t.failed += failed[topic]
		total.messages, total.bytes, total.failed = total.messages+t.messages, total.bytes+t.bytes, total.failed+t.failed
		add("MessagesIn", topic, t.messages)
		add("BytesIn", topic, t.bytes)
		add("FailedProduceRequests", topic, t.failed)
	}
	add("MessagesIn", "", total.messages)
	add("BytesIn", "", total.bytes)
	add("FailedProduceRequests", "", total.failed)
	add("BytesOut", "", k.out[id].Load())
	return beans
}

// logBeans are those of the logs that the broker holds. A follower shows the leader's log: replication is not
// modelled.
func (c *Cluster) logBeans(beans []*jmx.Bean, id int) []*jmx.Bean {
	for _, t := range c.topicNames() {
		for _, info := range c.fake.PartitionInfos(t) {
			p := c.m.index[tp{t, info.Partition}]
			if p == nil || !slices.Contains(p.replicas, id) {
				continue
			}
			add := func(name string, v int64) {
				beans = append(beans, jmx.NewBean("kafka.log", "type", "Log", "name", name, "topic", t, "partition", strconv.Itoa(int(info.Partition))).Count("Value", v))
			}
			add("LogStartOffset", info.LogStartOffset)
			add("LogEndOffset", info.HighWatermark)
			add("Size", info.NumBytes)
		}
	}
	return beans
}
