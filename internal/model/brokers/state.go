package brokers

import (
	"slices"
	"time"
)

// Hits counts what clients of one broker felt; a fault that felt like nothing has not bitten.
type Hits struct {
	ConnsReset       uint64 // connections reset by a kill
	Unanswered       uint64 // requests and connections held by a frozen broker
	ProducesHeld     uint64 // acks=all responses that waited for the high watermark
	ProducesTimedOut uint64 // of these, given up with REQUEST_TIMED_OUT: appended, outcome unknown to the client
	ProducesRefused  uint64 // NOT_ENOUGH_REPLICAS, before or after the append
	FetchesCut       uint64 // fetch responses that ended at a standing high watermark
	CommitsHeld      uint64 // offset commits that waited
	LeadershipsLost  uint64 // partitions that were moved away or went offline
}

// Total is the sum of all counts.
func (h Hits) Total() uint64 {
	return h.ConnsReset + h.Unanswered + h.ProducesHeld + h.ProducesTimedOut + h.ProducesRefused + h.FetchesCut + h.CommitsHeld + h.LeadershipsLost
}

// BrokerState is what one broker is doing now.
type BrokerState struct {
	ID         int
	Addr       string
	Status     Status
	Fenced     bool
	Controller bool
	Leaders    int // partitions it leads, internal topics included
	Replicas   int // partitions it is assigned
	InSync     int // of these, where it is in the in-sync set
	Since      time.Time
	Hits       Hits
}

// Addrs are the brokers' addresses, in the order of their ids; they do not change.
func (c *Cluster) Addrs() []string {
	addrs := make([]string, len(c.fronts))
	for i, f := range c.fronts {
		addrs[i] = f.port.addr.String()
	}
	return addrs
}

// CA is the PEM certificate of the authority of the brokers' certificates, nil when the cluster does not encrypt or
// Options.TLS was given.
func (c *Cluster) CA() []byte { return c.ca }

// Leader is the leader of a partition, -1 when it has none or does not exist. The leader of a partition whose broker died
// unnoticed is the dead broker.
func (c *Cluster) Leader(topic string, partition int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.m.index[tp{topic, int32(partition)}]; p != nil {
		return p.leader
	}
	return -1
}

// Replicas returns the assigned brokers of a partition, the preferred leader first, and those in sync. Both are nil when
// the partition does not exist.
func (c *Cluster) Replicas(topic string, partition int) (assigned, inSync []int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.m.index[tp{topic, int32(partition)}]; p != nil {
		return slices.Clone(p.replicas), slices.Clone(p.isr)
	}
	return nil, nil
}

// Controller is the id of the active controller, -1 when there is none. Dedicated controllers have ids from Nodes up.
func (c *Cluster) Controller() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.m.controller
}

// State returns every broker's state, in the order of ids.
func (c *Cluster) State() []BrokerState {
	c.mu.Lock()
	defer c.mu.Unlock()
	states := make([]BrokerState, 0, len(c.m.nodes))
	for _, n := range c.m.nodes {
		s := BrokerState{ID: n.id, Addr: c.fronts[n.id].port.addr.String(), Status: c.m.status(n), Fenced: n.fenced, Controller: c.m.controller == n.id, Since: c.epoch.Add(n.since), Hits: c.hitsOf(n.id)}
		for _, p := range c.m.parts {
			if p.leader == n.id {
				s.Leaders++
			}
			if slices.Contains(p.replicas, n.id) {
				s.Replicas++
			}
			if slices.Contains(p.isr, n.id) {
				s.InSync++
			}
		}
		states = append(states, s)
	}
	return states
}

// PartitionCounts are the numbers that an operator watches, internal topics included.
type PartitionCounts struct {
	Total           int
	UnderReplicated int // fewer in sync than assigned
	UnderMinISR     int // fewer in sync than min.insync.replicas: acks=all is refused
	Offline         int // no leader
	Stalled         int // acks=all waits: a member of the in-sync set does not fetch
	NotPreferred    int // led by another than the preferred leader
}

// Counts returns the partition counts.
func (c *Cluster) Counts() PartitionCounts {
	c.mu.Lock()
	defer c.mu.Unlock()
	var k PartitionCounts
	for _, p := range c.m.parts {
		k.Total++
		if len(p.isr) < len(p.replicas) {
			k.UnderReplicated++
		}
		if len(p.isr) < p.minISR {
			k.UnderMinISR++
		}
		if p.leader < 0 {
			k.Offline++
		}
		if p.stalled {
			k.Stalled++
		}
		if p.leader != p.replicas[0] {
			k.NotPreferred++
		}
	}
	return k
}

// Hits returns what the clients of a broker felt since the cluster started. An id that does not exist has no hits.
func (c *Cluster) Hits(id int) Hits {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id < 0 || id >= len(c.fronts) {
		return Hits{}
	}
	return c.hitsOf(id)
}

// hitsOf is Hits with c.mu held: it adds the refusals that are in force.
func (c *Cluster) hitsOf(id int) Hits {
	f := c.fronts[id]
	f.mu.Lock()
	h := f.hits
	f.mu.Unlock()
	for _, a := range c.applied {
		if a.refused != nil && a.at == id {
			h.ProducesRefused += uint64(a.refused.Hits())
		}
	}
	return h
}

// MetricsAddrs are the addresses of the brokers' JMX exporters (GET /metrics), in the order of ids. One is closed while
// its broker's process is down and silent while it is frozen.
func (c *Cluster) MetricsAddrs() []string {
	addrs := make([]string, len(c.exports))
	for i, x := range c.exports {
		addrs[i] = x.addr
	}
	return addrs
}
