package connect

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"triad/internal/link"
)

// TestOutOfItsGroup: what becomes of the tasks when the worker does not reach the coordinator of its group.
func TestOutOfItsGroup(t *testing.T) {
	t.Parallel()
	const delay = 1500 * time.Millisecond
	begin := func(t *testing.T, session, beat time.Duration) (*rig, *worker, *link.Link) {
		r := newRig(t, false)
		brokers := link.New("brokers")
		r.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr == strings.TrimPrefix(r.esURL, "http://") {
				return (&net.Dialer{}).DialContext(ctx, network, addr)
			}
			return brokers.Dial(ctx, network, addr)
		}
		w := &r.cfg.Worker
		w.SessionTimeout, w.Heartbeat, w.RebalanceDelay = session, beat, delay
		m := r.start()
		r.produce("a-topic", 40)
		r.exact()
		// kfake does not miss a member whose connection breaks while it joins.
		within(t, 10*time.Second, "the tasks in their group", func() bool {
			g := r.kafka.GroupInfo(r.cfg.Connectors[0].Consumer.Group)
			return g.State == "Stable" && len(g.Members) == 2
		})
		within(t, 10*time.Second, "in its group", func() bool { g := r.kafka.GroupInfo("triad-connect"); return g != nil && g.State == "Stable" })
		return r, m, brokers
	}
	t.Run("missed by the brokers", func(t *testing.T) {
		t.Parallel()
		r, w, o := begin(t, 500*time.Millisecond, 100*time.Millisecond)
		o.Cut(link.Both, link.Reject)
		within(t, 20*time.Second, "the tasks stopped", func() bool { return w.states() == "UNASSIGNED UNASSIGNED" })
		within(t, 20*time.Second, "its session over", func() bool { return r.kafka.GroupInfo("triad-connect").State == "Empty" })
		back := time.Now()
		o.Heal()
		within(t, 20*time.Second, "the tasks started", func() bool { return w.states() == "RUNNING RUNNING" })
		if d := time.Since(back); d < delay {
			t.Errorf("lost tasks were given out again after %s, want %s at the least", d, delay)
		}
		r.produce("a-topic", 40)
		r.exact()
	})
	t.Run("not missed by the brokers", func(t *testing.T) {
		t.Parallel()
		r, w, o := begin(t, 30*time.Second, 100*time.Millisecond)
		was := r.kafka.GroupInfo("triad-connect").Members[0].MemberID
		o.Cut(link.Both, link.Reject)
		within(t, 20*time.Second, "the tasks stopped", func() bool { return w.states() == "UNASSIGNED UNASSIGNED" })
		o.Heal()
		within(t, 20*time.Second, "the tasks started", func() bool { return w.states() == "RUNNING RUNNING" })
		if is := r.kafka.GroupInfo("triad-connect").Members[0].MemberID; is != was {
			t.Errorf("it is %s and was %s", is, was)
		}
		r.exact()
	})
	t.Run("its coordinator is dead and named", func(t *testing.T) {
		t.Parallel()
		r, w, _ := begin(t, 2*time.Second, time.Second) // the client reconnects in a quarter of a second
		var dead atomic.Bool
		var refused atomic.Int32
		refuse := func(group string) (kmsg.Response, error, bool) {
			r.kafka.KeepControl()
			if group == r.cfg.Connectors[0].Consumer.Group || !dead.Load() {
				return nil, nil, false
			}
			refused.Add(1)
			return nil, errors.New("dead"), true // the connection ends
		}
		r.kafka.ControlKey(int16(kmsg.Heartbeat), func(q kmsg.Request) (kmsg.Response, error, bool) { return refuse(q.(*kmsg.HeartbeatRequest).Group) })
		r.kafka.ControlKey(int16(kmsg.JoinGroup), func(q kmsg.Request) (kmsg.Response, error, bool) { return refuse(q.(*kmsg.JoinGroupRequest).Group) })
		dead.Store(true)
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if s := w.states(); s != "RUNNING RUNNING" {
				t.Fatalf("tasks %s after %d requests that were not answered", s, refused.Load())
			}
		}
		if refused.Load() < 3 {
			t.Errorf("the coordinator was asked %d times", refused.Load())
		}
		dead.Store(false)
		within(t, 20*time.Second, "in its group again", func() bool { return r.kafka.GroupInfo("triad-connect").State == "Stable" })
		r.produce("a-topic", 40)
		r.exact()
	})
	t.Run("stopped and continued", func(t *testing.T) {
		t.Parallel()
		r, w, o := begin(t, 500*time.Millisecond, 100*time.Millisecond)
		w.Freeze(true)
		o.Cut(link.Both, link.Reject)
		within(t, 20*time.Second, "its session over", func() bool { return r.kafka.GroupInfo("triad-connect").State == "Empty" })
		o.Heal()
		w.Freeze(false)
		for end := time.Now().Add(20 * time.Second); r.kafka.GroupInfo("triad-connect").State != "Stable"; time.Sleep(10 * time.Millisecond) {
			if s := w.states(); s != "RUNNING RUNNING" || time.Now().After(end) {
				t.Fatalf("tasks %s, group %s", s, r.kafka.GroupInfo("triad-connect").State)
			}
		}
		r.produce("a-topic", 40)
		r.exact()
	})
}
