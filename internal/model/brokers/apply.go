package brokers

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"
)

// The topics that carry groups and transactions. kfake keeps those itself; here they are only places in the machine, so
// that coordinators move, wait and refuse as leaders do.
const (
	offsetsTopic = "__consumer_offsets"
	txnTopic     = "__transaction_state"
)

// applied is what kfake was last told about a partition.
type applied struct {
	leader  int
	refused *kfake.FaultHandle // the standing refusal of acks=all
	at      int                // the broker that refuses
	hold    *hold              // the stall in force, nil when the high watermark moves
}

// hold is a standing high watermark.
type hold struct {
	hw       int64
	released chan struct{} // closed when it moves again
	short    bool          // set before released closes: too few in sync to acknowledge
}

// view is what the connections read, replaced as a whole at every change.
type view struct {
	brokers    map[int32]bool // registered and not fenced
	controller int32
	parts      map[tp]partView
	topics     map[string]int // partitions
	ids        map[[16]byte]string
	holds      int
	offsets    map[string]tp // partition of each known group
}

type partView struct {
	leader        int32
	replicas, isr []int32
	offline       []int32
	hold          *hold
}

func internal(topic string) bool { return topic == offsetsTopic || topic == txnTopic }

// internalClient asks kfake past the sockets and the failures of the brokers.
func (c *Cluster) internalClient() (*kgo.Client, error) {
	opts := []kgo.Opt{kgo.SeedBrokers(c.Addrs()...), kgo.Dialer(c.dialInternal)}
	if c.cfg.Authenticate {
		opts = append(opts, kgo.SASL(plain.Auth{User: internalUser, Pass: c.secret}.AsMechanism()))
	}
	return kgo.NewClient(opts...)
}

// createTopics makes the configured topics in kfake, through its own protocol.
func (c *Cluster) createTopics() error {
	if len(c.cfg.Topics) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cl, err := c.internalClient()
	if err != nil {
		return fmt.Errorf("topics: %w", err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	for _, t := range c.cfg.Topics {
		configs := map[string]*string{}
		for k, v := range t.Config {
			configs[k] = new(v)
		}
		configs["min.insync.replicas"] = new(fmt.Sprint(t.MinISR))
		if _, err := adm.CreateTopic(ctx, int32(t.Partitions), int16(t.Replicas), configs, t.Name); err != nil {
			return fmt.Errorf("topic %s: %w", t.Name, err)
		}
	}
	return nil
}

// apply makes kfake and the sockets look like the machine. c.mu is held.
func (c *Cluster) apply() {
	moved := false
	for _, p := range c.m.parts {
		a := c.applied[p.tp]
		if a == nil {
			a = &applied{leader: -2}
			c.applied[p.tp] = a
		}
		if a.leader != p.leader {
			moved = true
		}
	}
	if moved {
		c.account() // what was written so far belongs to the leaders so far
	}
	// Sockets first: a killed process is silent before anybody can learn of it.
	for _, n := range c.m.nodes {
		c.applySocket(n)
	}
	for _, p := range c.m.parts {
		c.applyLeader(p, c.applied[p.tp])
	}
	for _, p := range c.m.parts {
		c.applyStall(p, c.applied[p.tp])
	}
	c.steer()
	c.publish()
	for _, p := range c.m.parts {
		c.applyRefusal(p, c.applied[p.tp])
	}
	c.applyGroupRefusals()
	for _, ev := range c.m.take() {
		c.log.Info("broker event", "broker", ev.node, "what", string(ev.what), "detail", ev.detail)
		if c.opts.OnEvent != nil {
			c.opts.OnEvent(Event{Time: c.epoch.Add(ev.at), Broker: ev.node, What: ev.what, Detail: ev.detail})
		}
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// applySocket opens, closes, freezes and unfreezes a broker's sockets.
func (c *Cluster) applySocket(n *node) {
	f := c.fronts[n.id]
	f.mu.Lock()
	open := f.ln != nil
	f.mu.Unlock()
	switch {
	case open && !n.listens:
		c.atDown[n.id] = c.assignedBytes(n.id)
		// The gate of a frozen broker opens last: what waits behind it must find its connection closed, not be served.
		f.shut(!n.clean)
	case !open && n.listens:
		if err := f.open(); err != nil {
			c.log.Error("broker cannot listen", "broker", n.id, "error", err)
		}
		c.counters.restart(n.id)
	}
	if n.id < len(c.exports) { // the exporter is an agent in the broker's process
		x := c.exports[n.id]
		if n.proc == down {
			x.stop()
		} else if err := x.start(); err != nil {
			c.log.Error("exporter cannot listen", "broker", n.id, "error", err)
		}
	}
	if n.proc == frozen {
		select {
		case <-f.currentGate():
			c.atDown[n.id] = c.assignedBytes(n.id)
			f.answer(false)
		default:
		}
	} else {
		f.answer(true)
	}
}

// applyLeader moves a partition in kfake. An offline partition keeps its last leader there: that broker is down.
func (c *Cluster) applyLeader(p *partition, a *applied) {
	if a.leader == p.leader {
		return
	}
	if a.leader >= 0 {
		c.fronts[a.leader].hit(func(h *Hits) { h.LeadershipsLost++ })
	}
	a.leader = p.leader
	if p.leader < 0 || internal(p.topic) {
		return
	}
	if c.fake.LeaderFor(p.topic, p.part) == int32(p.leader) {
		return // back where it was: the epoch of kfake stays, as nobody led in between
	}
	if err := c.fake.MoveTopicPartition(p.topic, p.part, int32(p.leader)); err != nil {
		c.log.Error("leader move", "topic", p.topic, "partition", p.part, "error", err)
	}
}

// applyStall begins and ends the standing still of a high watermark.
func (c *Cluster) applyStall(p *partition, a *applied) {
	switch {
	case p.stalled && a.hold == nil:
		a.hold = &hold{released: make(chan struct{})}
		if !internal(p.topic) {
			if info := c.fake.PartitionInfo(p.topic, p.part); info != nil {
				a.hold.hw = info.HighWatermark
			}
		}
	case !p.stalled && a.hold != nil:
		a.hold.short = p.refuses()
		close(a.hold.released)
		a.hold = nil
	}
}

// applyRefusal sets and lifts the refusal of acks=all below min.insync.replicas.
func (c *Cluster) applyRefusal(p *partition, a *applied) {
	if internal(p.topic) {
		return
	}
	want := p.refuses()
	if a.refused != nil && (!want || a.at != p.leader) {
		n := uint64(a.refused.Hits())
		c.fronts[a.at].hit(func(h *Hits) { h.ProducesRefused += n })
		c.counters.refused(a.at, p.topic, n)
		a.refused.Remove()
		a.refused = nil
	}
	if want && a.refused == nil {
		a.at = p.leader
		a.refused = c.fake.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.Produce}, Nodes: []int32{int32(p.leader)}, Topic: p.topic, Partitions: []int32{p.part},
			Err: kerr.NotEnoughReplicas, Count: -1,
			When: func(req kmsg.Request) bool { r, ok := req.(*kmsg.ProduceRequest); return ok && r.Acks == -1 },
		})
	}
}

// publish gives the connections a new view.
func (c *Cluster) publish() {
	old := c.view.Load()
	v := &view{brokers: map[int32]bool{}, controller: -1, parts: make(map[tp]partView, len(c.m.parts)), topics: map[string]int{}, ids: old.ids, offsets: map[string]tp{}}
	for _, n := range c.m.nodes {
		if !n.fenced {
			v.brokers[int32(n.id)] = true
		}
	}
	// KRaft brokers name any live broker as the controller, and forward what is meant for it. kfake's own is the last
	// broker, so that one is named while it lives.
	for id := int32(c.cfg.Nodes) - 1; id >= 0 && v.controller < 0; id-- {
		if c.m.nodes[id].beats() && v.brokers[id] {
			v.controller = id
		}
	}
	for _, p := range c.m.parts {
		pv := partView{leader: int32(p.leader), hold: c.applied[p.tp].hold}
		for _, id := range p.replicas {
			pv.replicas = append(pv.replicas, int32(id))
			if c.m.nodes[id].fenced {
				pv.offline = append(pv.offline, int32(id))
			}
		}
		for _, id := range p.isr {
			pv.isr = append(pv.isr, int32(id))
		}
		if pv.hold != nil {
			v.holds++
		}
		v.parts[p.tp] = pv
		v.topics[p.topic]++
	}
	if len(v.topics) != len(old.topics) {
		v.ids = map[[16]byte]string{}
		for t := range v.topics {
			if internal(t) {
				continue
			}
			if info := c.fake.TopicInfo(t); info != nil {
				v.ids[info.TopicID] = t
			}
		}
	}
	for k, at := range c.coord.keys {
		if !k.txn {
			v.offsets[k.name] = at
		}
	}
	c.view.Store(v)
}

// adopt takes a topic that a client created, or its new partitions, into the machine.
func (c *Cluster) adopt(topic string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	info := c.fake.TopicInfo(topic)
	if info == nil {
		return
	}
	minISR := c.cfg.MinISR
	if v := info.Configs["min.insync.replicas"]; v != nil {
		if _, err := fmt.Sscan(*v, &minISR); err != nil {
			c.log.Warn("min.insync.replicas ignored", "topic", topic, "value", *v)
		}
	}
	have := 0
	for _, p := range c.m.parts {
		if p.topic == topic {
			have++
		}
	}
	if n := len(c.fake.PartitionInfos(topic)); n > have {
		c.m.addTopic(topic, have, n, max(1, info.NumReplicas), minISR)
		c.apply()
	}
}

// forgetDeleted drops topics that kfake no longer has.
func (c *Cluster) forgetDeleted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	for _, t := range c.topicNames() {
		if c.fake.TopicInfo(t) != nil {
			continue
		}
		c.m.dropTopic(t)
		for k, a := range c.applied {
			if k.topic != t {
				continue
			}
			if a.refused != nil {
				a.refused.Remove()
			}
			if a.hold != nil {
				close(a.hold.released)
			}
			delete(c.applied, k)
		}
		c.counters.forget(t)
	}
	c.apply()
}

// topicNames are the topics that kfake has, in order. c.mu is held.
func (c *Cluster) topicNames() []string {
	var names []string
	for _, p := range c.m.parts {
		if p.part == 0 && !internal(p.topic) {
			names = append(names, p.topic)
		}
	}
	slices.Sort(names)
	return names
}

// assignedBytes is the size of the logs that a broker holds. c.mu is held.
func (c *Cluster) assignedBytes(id int) int64 {
	var sum int64
	for _, t := range c.topicNames() {
		for _, info := range c.fake.PartitionInfos(t) {
			if p := c.m.index[tp{t, info.Partition}]; p != nil && slices.Contains(p.replicas, id) {
				sum += info.NumBytes
			}
		}
	}
	return sum
}

// backlog is what a returning broker has to copy. Retention that ran meanwhile makes it too small, never negative.
func (c *Cluster) backlog(id int) int64 { return c.assignedBytes(id) - c.atDown[id] }
