package brokers

import "time"

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
		// The voters notice when their fetch timer runs out; it was last reset by a fetch of at most raftPoll ago. Then
		// they vote, which is a round trip and, when two stand at once, a random back-off below the election timeout.
		since := min(m.upTo(raftPoll), m.cfg.FetchTimeout/2)
		m.replaceController(now + m.cfg.FetchTimeout - since + m.upTo(m.cfg.ElectionTimeout/4))
		return
	}
	switch {
	case m.controller < 0 && alive >= needed && !m.electing:
		m.scheduleElection(now + m.upTo(m.cfg.ElectionTimeout))
	case m.controller >= 0 && alive < needed && !m.resigning:
		// A leader without followers gives up after one and a half fetch timeouts (KafkaRaftClient, check quorum).
		m.resigning = true
		term := m.term
		m.after(now+m.cfg.FetchTimeout*3/2, func(now time.Duration) {
			if m.term != term || !m.resigning {
				return
			}
			m.emit(now, m.controller, ControllerResigned, "no majority of voters")
			m.controller, m.resigning = -1, false
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
		pick := m.rng.IntN(alive)
		for _, n := range m.nodes {
			if n.proc != up {
				continue
			}
			if pick == 0 {
				m.activate(now, n.id)
				return
			}
			pick--
		}
	})
}

// activate makes a broker the active controller. It gives every broker that is not fenced a new session, so a broker that
// died together with the old controller is fenced a full session timeout later.
func (m *machine) activate(now time.Duration, id int) {
	m.controller, m.formerly = id, -1
	m.term++
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
