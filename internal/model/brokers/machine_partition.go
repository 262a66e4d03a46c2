package brokers

import (
	"slices"
	"time"
)

// addTopic places the partitions [from, to) of a topic. Leaders go round the brokers from a random start and followers
// shift by one after each round, which spreads the load of a dead leader as KRaft's striped placement does on one rack;
// the first replica is the preferred leader.
func (m *machine) addTopic(name string, from, to, replicas, minISR int) {
	start := m.rng.IntN(len(m.nodes))
	if p := m.index[tp{name, 0}]; p != nil {
		start = p.replicas[0]
	}
	for i := from; i < to; i++ {
		p := &partition{tp: tp{name, int32(i)}, minISR: minISR}
		n := len(m.nodes)
		for r := range min(replicas, n) {
			behind := 0
			if r > 0 {
				behind = 1 + (i/n+r-1)%(n-1)
			}
			p.replicas = append(p.replicas, (start+i+behind)%n)
		}
		for _, id := range p.replicas {
			if !m.nodes[id].fenced {
				p.isr = append(p.isr, id)
			}
		}
		if len(p.isr) == 0 {
			p.isr = p.replicas[:1:1]
		}
		p.leader = -1
		m.elect(p)
		m.parts = append(m.parts, p)
		m.index[p.tp] = p
	}
	m.settle()
}

// dropTopic forgets a topic.
func (m *machine) dropTopic(name string) {
	m.parts = slices.DeleteFunc(m.parts, func(p *partition) bool {
		if p.topic == name {
			delete(m.index, p.tp)
		}
		return p.topic == name
	})
}

// eligible reports whether the controller would make the broker a leader. It does not know of deaths that it has not
// noticed, so a dead broker is eligible until it is fenced.
func (m *machine) eligible(id int) bool { return !m.nodes[id].fenced && !m.nodes[id].shutting }

// elect gives p the first eligible in-sync replica in assignment order as its leader, or none.
func (m *machine) elect(p *partition) {
	p.leader = -1
	for _, id := range p.replicas {
		if slices.Contains(p.isr, id) && m.eligible(id) {
			p.leader = id
			return
		}
	}
}

// remove takes the broker out of the in-sync set, unless it is the last member: the last one stays, so that it alone can
// bring the partition back.
func (p *partition) remove(id int) bool {
	if len(p.isr) == 1 || !slices.Contains(p.isr, id) {
		return false
	}
	p.isr = slices.DeleteFunc(slices.Clone(p.isr), func(o int) bool { return o == id })
	return true
}

// depose removes a broker from in-sync sets and leaderships and says what moved.
func (m *machine) depose(now time.Duration, n *node) {
	moved, offline, shrunk := 0, 0, 0
	for _, p := range m.parts {
		if p.remove(n.id) {
			shrunk++
		}
		if p.leader != n.id {
			continue
		}
		if m.elect(p); p.leader >= 0 {
			moved++
		} else {
			offline++
		}
	}
	if shrunk > 0 {
		m.emit(now, n.id, ISRShrunk, "out of %d in-sync sets", shrunk)
	}
	if moved > 0 {
		m.emit(now, n.id, LeadersMoved, "%d partitions have a new leader", moved)
	}
	if offline > 0 {
		m.emit(now, n.id, PartitionsOffline, "%d partitions have no leader", offline)
	}
}

// fence makes the controller treat the broker as gone.
func (m *machine) fence(now time.Duration, n *node) {
	n.fenced, n.caughtUp = true, false
	m.emit(now, n.id, FencedEvent, "")
	m.depose(now, n)
	m.expand()
	m.register(now, n) // a new incarnation may be waiting for this
}

// leave is the controller's part of a controlled shutdown: leaders move while the broker still serves.
func (m *machine) leave(now time.Duration, n *node) {
	moved, shrunk := 0, 0
	for _, p := range m.parts {
		if p.leader == n.id && !slices.ContainsFunc(p.isr, func(id int) bool { return m.eligible(id) }) {
			continue // nobody can take over: it leads until it exits
		}
		if p.remove(n.id) {
			shrunk++
		}
		if p.leader == n.id {
			m.elect(p)
			moved++
		}
	}
	if shrunk > 0 {
		m.emit(now, n.id, ISRShrunk, "out of %d in-sync sets", shrunk)
	}
	if moved > 0 {
		m.emit(now, n.id, LeadersMoved, "%d partitions have a new leader", moved)
	}
}

// shrink is the leaders' own removal of a follower that has not fetched for replica.lag.time.max.ms.
func (m *machine) shrink(now time.Duration, n *node) {
	shrunk := 0
	for _, p := range m.parts {
		if p.leader >= 0 && p.leader != n.id && m.nodes[p.leader].fetches() && p.remove(n.id) {
			shrunk++
			m.nodes[p.leader].shrinks++
		}
	}
	if shrunk > 0 {
		m.emit(now, n.id, ISRShrunk, "out of %d in-sync sets, by its leaders", shrunk)
	}
}

// reviveOffline makes a returning broker leader where it was the last in-sync replica.
func (m *machine) reviveOffline(now time.Duration, n *node) {
	revived := 0
	for _, p := range m.parts {
		if p.leader < 0 && slices.Contains(p.isr, n.id) {
			if m.elect(p); p.leader >= 0 {
				revived++
			}
		}
	}
	if revived > 0 {
		m.emit(now, n.id, LeadersMoved, "%d partitions have a leader again", revived)
		m.expand()
	}
}

// expand lets every broker that has caught up into the in-sync sets it belongs to.
func (m *machine) expand() {
	if !m.canCommit() {
		return
	}
	for _, p := range m.parts {
		if p.leader < 0 || !m.nodes[p.leader].fetches() {
			continue
		}
		for _, id := range p.replicas {
			n := m.nodes[id]
			if n.caughtUp && n.fetches() && !n.shutting && !slices.Contains(p.isr, id) {
				p.isr = append(slices.Clone(p.isr), id)
				m.nodes[p.leader].expands++
			}
		}
	}
}

// memberEverywhere reports whether the broker is in every in-sync set it belongs to.
func (m *machine) memberEverywhere(n *node) bool {
	for _, p := range m.parts {
		if slices.Contains(p.replicas, n.id) && !slices.Contains(p.isr, n.id) {
			return false
		}
	}
	return true
}

// electPreferred moves every partition to its preferred leader where that one is in sync. It returns how many moved.
func (m *machine) electPreferred(now time.Duration) int {
	if !m.canCommit() {
		return 0
	}
	moved := 0
	for _, p := range m.parts {
		first := p.replicas[0]
		if p.leader != first && slices.Contains(p.isr, first) && m.eligible(first) {
			p.leader = first
			moved++
		}
	}
	if moved > 0 {
		m.emit(now, -1, PreferredElected, "%d partitions", moved)
		m.expand()
	}
	m.settle()
	return moved
}

// settle recomputes which high watermarks stand still.
func (m *machine) settle() {
	for _, p := range m.parts {
		if p.leader < 0 || !m.nodes[p.leader].fetches() {
			continue // nobody appends; a stall that was there stays until a leader can say otherwise
		}
		p.stalled = slices.ContainsFunc(p.isr, func(id int) bool { return id != p.leader && !m.nodes[id].fetches() })
	}
}

// status names what the broker is doing.
func (m *machine) status(n *node) Status {
	switch {
	case n.proc == frozen:
		return Frozen
	case n.proc == starting, n.proc == up && !n.joined:
		return Starting
	case n.proc == down && n.clean:
		return ShutDown
	case n.proc == down && n.fenced:
		return Fenced
	case n.proc == down:
		return Dead
	case n.shutting: // fenced already or not
		return Stopping
	case n.fenced:
		return Fenced
	case !n.caughtUp:
		return CatchingUp
	default:
		return Running
	}
}
