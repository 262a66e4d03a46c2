package connect

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"triad/internal/model"
)

// A worker is a member of a group of its own, apart from those of its tasks' consumers, and what it runs belongs to that
// membership. When its coordinator has not answered for a session, or has broken the connection, it looks for the coordinator for
// as long as a heartbeat's interval, and without one stops its tasks (WorkerCoordinator.poll). A broker that is named is one, whether it lives
// or not (AbstractCoordinator.lookupCoordinator; a dead one is named until it is fenced): of thirteen kills of a broker on real clusters none
// stopped a task. When it is back under another member id, which it is when the brokers have missed it, the leader of the group takes what it ran for lost and gives it out again only
// after scheduled.rebalance.max.delay.ms (IncrementalCooperativeAssignor.handleLostAssignments); under its old id at once.
//
// The group of one worker that begins or is killed is not waited for: its tasks start when it does.

// rejoinPause is what lies between two tries to reach or to join: retry.backoff.ms.
const rejoinPause = 100 * time.Millisecond

// membership is the worker's place in its group.
type membership struct {
	m       *Model
	cl      *kgo.Client
	coord   int32 // broker id of the coordinator; -1: unknown
	id      string
	gen     int32
	joined  bool
	contact time.Time // last answer of the coordinator

	revoked bool      // the tasks were stopped
	as      string    // the member id that they ran under
	due     time.Time // when they are given out again; zero: not known yet
}

// belong keeps the worker in its group until ctx ends.
func (m *Model) belong(ctx context.Context) {
	if m.cfg.Worker.Group == "" {
		return
	}
	cl, err := kgo.NewClient(append(m.kafkaOpts(), kgo.ClientID("connect-"+m.cfg.Name), kgo.MetadataMinAge(rejoinPause))...)
	if err != nil {
		m.log.Error("the worker's group", slog.Any("error", err))
		return
	}
	defer cl.Close()
	g := &membership{m: m, cl: cl, coord: -1}
	for m.frozen.pass(ctx) == nil {
		g.step(ctx)
	}
	if !errors.Is(context.Cause(ctx), model.ErrKilled) {
		g.leave()
	}
}

// step does the next thing, and takes at most about a heartbeat's interval.
func (g *membership) step(ctx context.Context) {
	w := &g.m.cfg.Worker
	freezes := g.m.frozen.count()
	switch {
	case g.coord < 0:
		if !g.discover(ctx) && ctx.Err() == nil && freezes == g.m.frozen.count() {
			g.revoke()
		}
	case !g.joined:
		if err := g.join(ctx); err != nil {
			g.failed(err)
			pause(ctx, rejoinPause)
			return
		}
		g.joined, g.contact = true, time.Now()
		if !g.revoked {
			return
		}
		g.due = time.Now()
		if g.id != g.as {
			g.due = g.due.Add(w.RebalanceDelay)
		}
	case g.revoked && !time.Now().Before(g.due):
		g.assign()
	default:
		wait := w.Heartbeat
		if g.revoked {
			wait = min(wait, time.Until(g.due))
		}
		pause(ctx, wait)
		g.beat(ctx)
	}
}

// discover has a broker name the coordinator, within the interval of a heartbeat.
func (g *membership) discover(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, g.m.cfg.Worker.Heartbeat)
	defer cancel()
	for {
		if id, err := g.find(ctx); err == nil {
			g.coord, g.contact = id, time.Now()
			return true
		}
		if !pause(ctx, rejoinPause) {
			return false
		}
	}
}

func (g *membership) find(ctx context.Context) (int32, error) {
	// The client knows a broker by the answer to this one.
	if _, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, g.cl); err != nil {
		return -1, err
	}
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorKey = g.m.cfg.Worker.Group
	req.CoordinatorKeys = []string{g.m.cfg.Worker.Group}
	res, err := req.RequestWith(ctx, g.cl)
	if err != nil {
		return -1, err
	}
	for _, c := range res.Coordinators {
		return c.NodeID, kerr.ErrorForCode(c.ErrorCode)
	}
	return res.NodeID, kerr.ErrorForCode(res.ErrorCode)
}

// joinSlack is what the coordinator has to answer beyond the time that it may wait for others (AbstractCoordinator.JOIN_GROUP_TIMEOUT_LAPSE).
const joinSlack = 5 * time.Second

// join enters the group; the coordinator answers when it has waited for others.
func (g *membership) join(ctx context.Context) error {
	w := &g.m.cfg.Worker
	ctx, cancel := context.WithTimeout(ctx, w.RebalanceTimeout+joinSlack)
	defer cancel()
	at := g.cl.Broker(int(g.coord))
	for {
		req := kmsg.NewPtrJoinGroupRequest()
		req.Group, req.MemberID, req.ProtocolType = w.Group, g.id, "connect"
		req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = int32(w.SessionTimeout.Milliseconds()), int32(w.RebalanceTimeout.Milliseconds())
		req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "sessioned"}}
		res, err := req.RequestWith(ctx, at)
		if err != nil {
			return err
		}
		if res.ErrorCode == kerr.MemberIDRequired.Code {
			g.id = res.MemberID
			continue
		}
		if err := kerr.ErrorForCode(res.ErrorCode); err != nil {
			return err
		}
		g.id, g.gen = res.MemberID, res.Generation
		given := kmsg.NewPtrSyncGroupRequest()
		given.Group, given.Generation, given.MemberID = w.Group, g.gen, g.id
		given.ProtocolType, given.Protocol = new("connect"), new("sessioned")
		for _, m := range res.Members { // of the leader alone
			given.GroupAssignment = append(given.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: m.MemberID})
		}
		answer, err := given.RequestWith(ctx, at)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(answer.ErrorCode)
	}
}

// beat is one heartbeat; the coordinator has until the end of the session to answer.
func (g *membership) beat(ctx context.Context) {
	ctx, cancel := context.WithDeadline(ctx, g.contact.Add(g.m.cfg.Worker.SessionTimeout))
	defer cancel()
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.Generation = g.m.cfg.Worker.Group, g.id, g.gen
	res, err := req.RequestWith(ctx, g.cl.Broker(int(g.coord)))
	if err == nil {
		err = kerr.ErrorForCode(res.ErrorCode)
	}
	if err != nil {
		g.failed(err)
		return
	}
	g.contact = time.Now()
}

// failed draws the conclusion from an error of the coordinator or of the way to it.
func (g *membership) failed(err error) {
	g.joined = false
	switch {
	case errors.Is(err, kerr.RebalanceInProgress):
	case errors.Is(err, kerr.UnknownMemberID), errors.Is(err, kerr.IllegalGeneration):
		g.id = ""
	default:
		g.coord = -1
	}
}

// revoke stops what the worker runs, once.
func (g *membership) revoke() {
	if g.revoked {
		return
	}
	g.revoked, g.as, g.joined = true, g.id, false
	g.m.log.Warn("the coordinator of the worker's group was not reached: its tasks are stopped")
	g.m.each((*connector).revoke)
}

// assign starts it again.
func (g *membership) assign() {
	g.revoked = false
	g.m.log.Info("the worker is back in its group: its tasks start")
	g.m.each((*connector).assign)
}

// leave is the goodbye of a worker that stops in order.
func (g *membership) leave() {
	if !g.joined {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = g.m.cfg.Worker.Group, g.id
	req.Members = []kmsg.LeaveGroupRequestMember{{MemberID: g.id}}
	_, _ = req.RequestWith(ctx, g.cl.Broker(int(g.coord))) // without it the group finds out a session later
}

// each does something to every connector at once.
func (m *Model) each(do func(*connector)) {
	var wg sync.WaitGroup
	for _, c := range m.connectors {
		wg.Go(func() { do(c) })
	}
	wg.Wait()
}

// pause waits, and reports false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// freezer is the gate of a process that can be stopped and continued.
type freezer struct {
	mu   sync.Mutex
	gate chan struct{} // nil while the process runs
	n    int
}

func (f *freezer) set(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case on && f.gate == nil:
		f.gate = make(chan struct{})
		f.n++
	case !on && f.gate != nil:
		close(f.gate)
		f.gate = nil
	}
}

// count is how often it was stopped.
func (f *freezer) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

// pass waits while it is stopped; the error is that of ctx.
func (f *freezer) pass(ctx context.Context) error {
	f.mu.Lock()
	gate := f.gate
	f.mu.Unlock()
	if gate != nil {
		select {
		case <-ctx.Done():
		case <-gate:
		}
	}
	return ctx.Err()
}
