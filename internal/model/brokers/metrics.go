package brokers

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// counters are what the brokers' MBeans count since their process started.
type counters struct {
	in, out []atomic.Uint64 // bytes of produce requests and fetch responses

	mu       sync.Mutex
	messages []map[string]uint64 // by broker and topic
	ends     map[tp]int64        // log ends that are accounted for
}

func newCounters(nodes int) *counters {
	k := &counters{in: make([]atomic.Uint64, nodes), out: make([]atomic.Uint64, nodes), messages: make([]map[string]uint64, nodes), ends: map[tp]int64{}}
	for i := range k.messages {
		k.messages[i] = map[string]uint64{}
	}
	return k
}

// restart sets a broker's counters to zero, as a new process does.
func (k *counters) restart(id int) {
	k.in[id].Store(0)
	k.out[id].Store(0)
	k.mu.Lock()
	clear(k.messages[id])
	k.mu.Unlock()
}

func (k *counters) forget(topic string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for at := range k.ends {
		if at.topic == topic {
			delete(k.ends, at)
		}
	}
}

func (c *Cluster) produced(id, size int) { c.counters.in[id].Add(uint64(size)) }

// account adds what was appended since the last call to the leaders that appended it. c.mu is held.
func (c *Cluster) account() {
	k := c.counters
	for _, t := range c.topicNames() {
		for _, info := range c.fake.PartitionInfos(t) {
			at := tp{t, info.Partition}
			a := c.applied[at]
			k.mu.Lock()
			if n := info.HighWatermark - k.ends[at]; n > 0 {
				k.ends[at] = info.HighWatermark
				if a != nil && a.leader >= 0 {
					k.messages[a.leader][t] += uint64(n)
				}
			}
			k.mu.Unlock()
		}
	}
}

// exporter serves one broker's metrics in the text format of the JMX exporter, under the names that its usual Kafka rules
// give (lower case, kafka_<domain>_<type>_<name>, _total for counts).
type exporter struct {
	c    *Cluster
	id   int
	addr string
	free func()

	mu  sync.Mutex
	srv *http.Server
	wg  sync.WaitGroup
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
	if x.srv != nil {
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
	var b bytes.Buffer
	if !x.c.writeMetrics(&b, x.id) {
		http.Error(w, "closed", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(b.Bytes())
}

// writeMetrics writes what broker id knows. It reports false when the cluster is closed.
func (c *Cluster) writeMetrics(b *bytes.Buffer, id int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.account()
	var leads, holds, under, underMin int
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
	}
	gauge := func(name string, v int) { fmt.Fprintf(b, "# TYPE %s gauge\n%s %d\n", name, name, v) }
	gauge("kafka_server_replicamanager_leadercount", leads)
	gauge("kafka_server_replicamanager_partitioncount", holds)
	gauge("kafka_server_replicamanager_underreplicatedpartitions", under)
	gauge("kafka_server_replicamanager_underminisrpartitioncount", underMin)
	c.writeController(gauge, id)
	c.writeTraffic(b, id)
	c.writeLogs(b, id)
	return true
}

// writeController writes the controller's gauges. Every combined node follows the metadata log, so all show the same
// counts, and activecontrollercount tells them apart.
func (c *Cluster) writeController(gauge func(string, int), id int) {
	if c.cfg.Controllers > 0 {
		return // they live in the dedicated controllers' exporters, which this model does not have
	}
	active := 0
	if c.m.controller == id {
		active = 1
	}
	gauge("kafka_controller_kafkacontroller_activecontrollercount", active)
	offline, notPreferred, fenced, live := 0, 0, 0, 0
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
	gauge("kafka_controller_kafkacontroller_offlinepartitionscount", offline)
	gauge("kafka_controller_kafkacontroller_preferredreplicaimbalancecount", notPreferred)
	gauge("kafka_controller_kafkacontroller_globalpartitioncount", len(c.m.parts))
	gauge("kafka_controller_kafkacontroller_globaltopiccount", len(topics))
	gauge("kafka_controller_kafkacontroller_activebrokercount", live)
	gauge("kafka_controller_kafkacontroller_fencedbrokercount", fenced)
}

// writeTraffic writes the counters of BrokerTopicMetrics.
func (c *Cluster) writeTraffic(b *bytes.Buffer, id int) {
	k := c.counters
	k.mu.Lock()
	defer k.mu.Unlock()
	var names []string
	var total uint64
	for t, n := range k.messages[id] {
		names = append(names, t)
		total += n
	}
	sort.Strings(names)
	const messages = "kafka_server_brokertopicmetrics_messagesin_total"
	fmt.Fprintf(b, "# TYPE %s counter\n%s %d\n", messages, messages, total)
	for _, t := range names {
		fmt.Fprintf(b, "%s{topic=%q} %d\n", messages, t, k.messages[id][t])
	}
	bytesTotal := func(dir string, v uint64) {
		name := "kafka_server_brokertopicmetrics_" + dir + "_total"
		fmt.Fprintf(b, "# TYPE %s counter\n%s %d\n", name, name, v)
	}
	bytesTotal("bytesin", k.in[id].Load())
	bytesTotal("bytesout", k.out[id].Load())
}

// writeLogs writes the gauges of kafka.log:type=Log for the partitions that the broker holds. A follower shows the
// leader's end: replication is not modelled.
func (c *Cluster) writeLogs(b *bytes.Buffer, id int) {
	kinds := []struct {
		name string
		get  func(start, end, size int64) int64
	}{
		{"kafka_log_log_logendoffset", func(_, end, _ int64) int64 { return end }},
		{"kafka_log_log_logstartoffset", func(start, _, _ int64) int64 { return start }},
		{"kafka_log_log_size", func(_, _, size int64) int64 { return size }},
	}
	for _, kind := range kinds {
		fmt.Fprintf(b, "# TYPE %s gauge\n", kind.name)
		for _, t := range c.topicNames() {
			for _, info := range c.fake.PartitionInfos(t) {
				p := c.m.index[tp{t, info.Partition}]
				if p == nil || !slices.Contains(p.replicas, id) {
					continue
				}
				fmt.Fprintf(b, "%s{topic=%q,partition=\"%d\"} %d\n", kind.name, t, info.Partition, kind.get(info.LogStartOffset, info.HighWatermark, info.NumBytes))
			}
		}
	}
}
