package brokers

import (
	"slices"
	"time"
)

// voters counts the members of the quorum that take part, and how many are needed.
func (m *machine) voters() (alive, needed int) {
	if m.cfg.Controllers > 0 {
		return m.cfg.Controllers, m.cfg.Controllers/2 + 1
	}
	for _, n := range m.nodes {
		if n.proc == up {
			alive++
		}
	}
	return alive, len(m.nodes)/2 + 1
}

// canCommit reports whether there is a controller whose decisions reach the brokers: it needs a majority of the voters.
func (m *machine) canCommit() bool {
	alive, needed := m.voters()
	return m.controller >= 0 && alive >= needed
}

// quorumChanged follows a change of the set of running processes.
func (m *machine) quorumChanged(now time.Duration) {
	if m.cfg.Controllers > 0 {
		return
	}
	alive, needed := m.voters()
	if c := m.controller; c >= 0 && m.nodes[c].proc != up {
		m.emit(now, c, ControllerLost, "")
		m.replaceController(now + m.cfg.FetchTimeout + m.rounds())
		return
	}
	switch {
	case m.controller < 0 && alive >= needed && !m.electing:
		m.scheduleElection(now + m.upTo(m.cfg.ElectionTimeout))
	case m.controller >= 0 && alive < needed && !m.resigning:
		// A leader without followers gives up one and a half fetch timeouts after their last fetch (KafkaRaftClient, check
		// quorum), at its next poll: 3.2 to 3.8 s in the recordings.
		m.resigning = true
		term := m.term
		m.after(now+m.cfg.FetchTimeout*3/2+raftPoll, func(now time.Duration) {
			if m.term != term || !m.resigning {
				return
			}
			m.emit(now, m.controller, ControllerResigned, "no majority of voters")
			m.ahead, m.controller, m.resigning = m.controller, -1, false
			m.term++
			m.quorumChanged(now)
		})
	case m.controller >= 0 && alive >= needed:
		m.resigning = false
		for _, n := range m.nodes {
			m.watch(now, n) // what could not be committed meanwhile is due now
			m.register(now, n)
		}
		m.expand()
	}
}

// rounds is how long the voters need beyond their fetch timer. A voter asks the others first whether they would vote for it
// (KIP-996), and one whose own timer still runs, as it does for up to a poll longer, refuses; the next round comes an election
// timeout later. Of 13 recorded kills of a controller 9 needed one round (2.0 to 2.6 s), 4 a second (2.9 to 3.6 s) or third (4.3 s).
func (m *machine) rounds() time.Duration {
	took := m.upTo(min(raftPoll, m.cfg.FetchTimeout/2))
	for m.rng.IntN(3) == 0 && took < 2*m.cfg.ElectionTimeout {
		took += m.cfg.ElectionTimeout
	}
	return took
}

// replaceController leaves the cluster without a controller until at.
func (m *machine) replaceController(at time.Duration) {
	if m.cfg.Controllers > 0 {
		return
	}
	m.formerly, m.controller, m.resigning, m.electing = m.controller, -1, false, false
	m.term++
	if alive, needed := m.voters(); alive >= needed {
		m.scheduleElection(at)
	}
}

func (m *machine) scheduleElection(at time.Duration) {
	m.electing = true
	term := m.term
	m.after(at, func(now time.Duration) {
		if m.term != term || !m.electing {
			return
		}
		m.electing = false
		alive, needed := m.voters()
		if alive < needed {
			return // quorumChanged starts the next one
		}
		var able []*node
		for _, n := range m.nodes {
			if n.proc == up && !n.shutting {
				able = append(able, n)
			}
		}
		if len(able) == 0 {
			return // the last ones are about to leave
		}
		pick := able[m.rng.IntN(len(able))]
		again := m.ahead >= 0 && slices.Contains(able, m.nodes[m.ahead])
		if again {
			pick = m.nodes[m.ahead]
		}
		m.activate(now, pick.id)
		for _, n := range m.nodes {
			// What it wrote before it resigned is committed with its new term.
			if n.doomed && again && !n.fenced {
				m.fence(now, n)
			}
			n.doomed = false
		}
		m.ahead = -1
	})
}

// activate makes a broker the active controller. It gives every broker that is not fenced a new session, so a broker that
// died together with the old controller is fenced a full session timeout later.
func (m *machine) activate(now time.Duration, id int) {
	m.controller, m.formerly = id, -1
	m.term++
	m.lookPhase = now - m.upTo(m.look)
	m.emit(now, id, ControllerElected, "")
	m.scheduleRebalance(now)
	for _, n := range m.nodes {
		n.contact = max(n.contact, now)
		m.watch(now, n)
		m.register(now, n)
	}
	m.expand()
}

// scheduleRebalance starts the active controller's periodic election of preferred leaders.
func (m *machine) scheduleRebalance(now time.Duration) {
	if m.cfg.NoAutoRebalance {
		return
	}
	term := m.term
	m.after(now+m.cfg.ImbalanceInterval, func(now time.Duration) {
		if m.term != term {
			return
		}
		m.electPreferred(now)
		m.scheduleRebalance(now)
	})
}
