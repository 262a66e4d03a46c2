package brokers

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Three things of Kafka's group coordinator that kfake's does not have.
//
// A group whose members all were missed or left is empty, and the first one that comes back waits for others for
// group.initial.rebalance.delay.ms before it gets its partitions: behind an outage that was longer than the members' session
// nothing is read for so long. kfake answers the first member at once and begins anew with the second, so its answer is held
// back here; a second member that comes meanwhile makes kfake refuse the first one's assignment and ask it to join again,
// which ends with both. A group without a past, which waits as well and longer still with each new member, is formed at
// once here: a run begins with its consumers at work.
//
// A member whose connection breaks while it waits for the answer to its join is missed a session later. In kfake it stays, and
// others wait for it as long as a rebalance may take, which is minutes; so it is taken out here, unless it has joined again.
//
// A coordinator that died counts nobody's session any more, and the one that follows it gives every member that it reads from the
// log a new one. kfake counts on; so while a group's coordinator is dead its members' heartbeats are sent for them. One that stands
// still finds the sessions over when it goes on, as kfake does.

// sessionTick is how often heartbeats are sent for members of a group without a coordinator: well within a session, whose least is 6 s.
const sessionTick = 500 * time.Millisecond

// keepSessions does so until the cluster closes.
func (c *Cluster) keepSessions() {
	ctx, cancel := c.whileOpen()
	defer cancel()
	var cl *kgo.Client // made when it is needed, which it seldom is
	tick := time.NewTicker(sessionTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, group := range c.orphans() {
			if cl == nil {
				var err error
				if cl, err = c.internalClient(); err != nil {
					c.log.Error("group", slog.Any("error", err))
					return
				}
				defer cl.Close()
				// The client knows brokers by the answer to this one.
				if _, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, cl); err != nil {
					return
				}
			}
			c.beatFor(ctx, cl, group)
		}
	}
}

// whileOpen returns a context that ends when the cluster closes.
func (c *Cluster) whileOpen() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		select {
		case <-ctx.Done():
		case <-c.done:
			cancel()
		}
	}()
	return ctx, cancel
}

// orphans are the groups whose coordinator is dead.
func (c *Cluster) orphans() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for k, at := range c.coord.keys {
		p := c.m.index[at]
		if k.txn || p == nil {
			continue
		}
		if p.leader >= 0 {
			n := c.m.nodes[p.leader]
			if n.proc == frozen || n.proc == up && n.joined {
				continue
			}
		}
		out = append(out, k.name)
	}
	return out
}

// beatFor sends the heartbeats of a group's members.
func (c *Cluster) beatFor(ctx context.Context, cl *kgo.Client, group string) {
	var g *kfake.GroupInfo
	var at int32
	c.joins.ask(func() { g, at = c.fake.GroupInfo(group), c.fake.CoordinatorFor(group) })
	if g == nil {
		return
	}
	for _, m := range g.Members {
		req := kmsg.NewPtrHeartbeatRequest()
		req.Group, req.MemberID, req.Generation = group, m.MemberID, g.Epoch
		if _, err := req.RequestWith(ctx, cl.Broker(int(at))); err != nil && ctx.Err() == nil {
			c.log.Debug("group", slog.Any("error", err))
		}
	}
}

// join is a JoinGroup request that waits for its answer.
type join struct {
	group, member string
	session       time.Duration
	// hold is until when the answer waits because the group had lost all its members; zero: it does not.
	hold time.Time
}

// joins are the latest ones, by member.
type joins struct {
	mu     sync.Mutex
	latest map[string]*join
	closed bool
	// asking is held while kfake is asked, which blocks for ever once it has stopped. It is apart from mu, which answers take.
	asking sync.RWMutex
}

func (j *joins) close() {
	j.asking.Lock()
	defer j.asking.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
}

// ask runs what asks kfake something, if there is one still.
func (j *joins) ask(fn func()) {
	j.asking.RLock()
	defer j.asking.RUnlock()
	j.mu.Lock()
	closed := j.closed
	j.mu.Unlock()
	if !closed {
		fn()
	}
}

func (j *joins) begin(r *join) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.latest == nil {
		j.latest = map[string]*join{}
	}
	j.latest[r.member] = r
}

// end forgets a request, and reports whether its member has not sent another since.
func (j *joins) end(r *join) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	last := j.latest[r.member] == r
	if last {
		delete(j.latest, r.member)
	}
	return last
}

// understandJoin reads a JoinGroup request whose body (behind the client id) is src, before kfake does; nil is one that only asks
// for a member id.
func (c *Cluster) understandJoin(version int16, src []byte) *join {
	r := kbin.Reader{Src: src}
	str := r.String
	if version >= 6 {
		kmsg.SkipTags(&r)
		str = r.CompactString
	}
	q := &join{group: str(), session: time.Duration(r.Int32()) * time.Millisecond}
	rebalance := q.session
	if version >= 1 {
		rebalance = time.Duration(r.Int32()) * time.Millisecond
	}
	if q.member = str(); !r.Ok() || q.member == "" {
		return nil
	}
	var g *kfake.GroupInfo
	if c.cfg.GroupDelay > 0 {
		c.joins.ask(func() { g = c.fake.GroupInfo(q.group) })
	}
	if g != nil && g.State == "Empty" && g.Epoch > 0 {
		q.hold = time.Now().Add(min(c.cfg.GroupDelay, rebalance))
	}
	c.joins.begin(q)
	return q
}

// answerJoin is called with kfake's answer: it waits with it if it must.
func (c *Cluster) answerJoin(cn *conn, q *join) error {
	c.joins.end(q)
	if q.hold.IsZero() {
		return nil
	}
	timer := time.NewTimer(time.Until(q.hold))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-cn.done: // kfake misses it by itself: it has answered
		return errGone
	case <-c.done:
		return errGone
	}
}

// abandoned is called when a connection ends while a join waits.
func (c *Cluster) abandoned(q *join) {
	c.joins.mu.Lock()
	defer c.joins.mu.Unlock()
	if c.joins.closed {
		return
	}
	c.wg.Go(func() {
		timer := time.NewTimer(q.session)
		defer timer.Stop()
		select {
		case <-timer.C:
			if c.joins.end(q) {
				c.miss(q)
			}
		case <-c.done:
		}
	})
}

// miss takes a member out of its group.
func (c *Cluster) miss(q *join) {
	ctx, cancel := c.whileOpen()
	defer cancel()
	cl, err := c.internalClient()
	if err != nil {
		c.log.Error("group", slog.Any("error", err))
		return
	}
	defer cl.Close()
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = q.group, q.member
	req.Members = []kmsg.LeaveGroupRequestMember{{MemberID: q.member}}
	if _, err := req.RequestWith(ctx, cl); err != nil && ctx.Err() == nil {
		c.log.Error("group", slog.Any("error", err))
	}
}
