package connect

import (
	"context"
	"errors"
	"sync"
	"time"
)

// connector is one connector at work: its target state and its tasks.
type connector struct {
	m   *Model
	cfg Connector

	op sync.Mutex // one change of the set of tasks at a time

	mu     sync.Mutex
	state  string // RUNNING, PAUSED or STOPPED
	tasks  []*task
	ended  bool
	out    bool // the tasks were stopped because the worker is out of its group
	starts int  // task starts, for the worker's bean
}

func newConnector(m *Model, cfg Connector) *connector {
	return &connector{m: m, cfg: cfg, state: targetState(cfg.State)}
}

// targetState turns spec.state into the state of the REST interface.
func targetState(spec string) string {
	switch spec {
	case "paused":
		return statePaused
	case "stopped":
		return stateStopped
	}
	return stateRunning
}

func (c *connector) target() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

func (c *connector) list() []*task {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*task(nil), c.tasks...)
}

// begin starts the tasks at the start of the worker.
func (c *connector) begin() {
	c.op.Lock()
	defer c.op.Unlock()
	if c.target() != stateStopped {
		c.startAll()
	}
}

// startAll makes the tasks; op is held.
func (c *connector) startAll() {
	tasks := make([]*task, c.cfg.TasksMax)
	for i := range tasks {
		tasks[i] = c.launch(i)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tasks = tasks
}

// launch starts one task; op is held.
func (c *connector) launch(id int) *task {
	ctx, giveUp := context.WithCancelCause(context.Background())
	state := c.target()
	t := &task{
		w: c.m, c: c.cfg, id: id, log: c.m.log, m: newTaskMetrics(), ctx: ctx, giveUp: giveUp,
		stop: make(chan struct{}), done: make(chan struct{}), offsets: newOffsets(),
		indexes: map[string]bool{}, mapped: map[string]bool{},
		state: stateRunning, paused: state == statePaused, since: time.Now(),
	}
	c.mu.Lock()
	c.starts++
	c.mu.Unlock()
	go t.run()
	return t
}

// halt stops a task in order; one that does not end in time is abandoned, as the worker does.
func (c *connector) halt(t *task) {
	select {
	case <-t.stop:
	default:
		close(t.stop)
	}
	t.wake()
	timer := time.NewTimer(c.m.cfg.Worker.GracefulShutdown + time.Second)
	defer timer.Stop()
	select {
	case <-t.done:
		return
	case <-timer.C:
	}
	t.giveUp(errAbandoned)
	<-t.done
}

func (c *connector) haltAll(tasks []*task) {
	var wg sync.WaitGroup
	for _, t := range tasks {
		wg.Go(func() { c.halt(t) })
	}
	wg.Wait()
}

// end stops everything at the end of the worker; a killed worker's tasks only vanish.
func (c *connector) end(killed bool) {
	if killed {
		for _, t := range c.list() {
			t.giveUp(errKilled)
		}
	}
	c.op.Lock()
	defer c.op.Unlock()
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	if killed {
		for _, t := range c.list() {
			t.giveUp(errKilled)
			<-t.done
		}
		return
	}
	c.haltAll(c.list())
}

// revoke stops the tasks of a worker that is out of its group; assign starts them again. Commands to the connector count meanwhile.
func (c *connector) revoke() {
	c.op.Lock()
	defer c.op.Unlock()
	c.mu.Lock()
	tasks := c.tasks
	c.out = len(tasks) > 0 && !c.ended
	c.mu.Unlock()
	c.haltAll(tasks)
	for _, t := range tasks {
		t.setState(stateUnassigned)
	}
}

func (c *connector) assign() {
	c.op.Lock()
	defer c.op.Unlock()
	c.mu.Lock()
	again := c.out && !c.ended && c.state != stateStopped
	c.out = false
	c.mu.Unlock()
	if again {
		c.startAll()
	}
}

var errKilled = errors.New("worker killed")

// setState moves the connector to RUNNING, PAUSED or STOPPED.
func (c *connector) setState(state string) {
	c.op.Lock()
	defer c.op.Unlock()
	c.mu.Lock()
	old, ended := c.state, c.ended
	c.state = state
	tasks := c.tasks
	c.mu.Unlock()
	if old == state || ended {
		return
	}
	switch {
	case state == stateStopped:
		c.haltAll(tasks)
		c.mu.Lock()
		c.tasks = nil
		c.mu.Unlock()
	case old == stateStopped:
		c.startAll()
	default:
		for _, t := range tasks {
			t.pause(state == statePaused)
		}
	}
}

// restart restarts the tasks that want says; a restarted task begins anew, with counters at zero.
func (c *connector) restart(want func(t *task) bool) {
	c.op.Lock()
	defer c.op.Unlock()
	c.mu.Lock()
	ended := c.ended
	c.mu.Unlock()
	if ended {
		return
	}
	var chosen []*task
	for _, t := range c.list() {
		if want(t) {
			chosen = append(chosen, t)
		}
	}
	c.haltAll(chosen)
	for _, old := range chosen {
		t := c.launch(old.id)
		c.mu.Lock()
		c.tasks[old.id] = t
		c.mu.Unlock()
	}
}

func failed(t *task) bool {
	state, _ := t.status()
	return state == stateFailed
}
