package connect

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// outage is the way to the brokers: while it lasts, connections are refused.
type outage struct {
	mu     sync.Mutex
	except string // an address that is always reached
	on     bool
	conns  []net.Conn
}

func (o *outage) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.on && addr != o.except {
		return nil, errors.New("refused")
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err == nil && addr != o.except {
		o.conns = append(o.conns, c)
	}
	return c, err
}

// set begins or ends it; at its begin every connection breaks.
func (o *outage) set(on bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.on = on
	if on {
		for _, c := range o.conns {
			_ = c.Close()
		}
		o.conns = nil
	}
}

// TestOutOfItsGroup: what becomes of the tasks when the worker does not reach the coordinator of its group.
func TestOutOfItsGroup(t *testing.T) {
	t.Parallel()
	const delay = 1500 * time.Millisecond
	begin := func(t *testing.T, session, beat time.Duration) (*rig, *worker, *outage) {
		r := newRig(t, false)
		o := &outage{except: strings.TrimPrefix(r.esURL, "http://")}
		r.dial = o.dial
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
		return r, m, o
	}
	t.Run("missed by the brokers", func(t *testing.T) {
		t.Parallel()
		r, w, o := begin(t, 500*time.Millisecond, 100*time.Millisecond)
		o.set(true)
		within(t, 20*time.Second, "the tasks stopped", func() bool { return w.states() == "UNASSIGNED UNASSIGNED" })
		within(t, 20*time.Second, "its session over", func() bool { return r.kafka.GroupInfo("triad-connect").State == "Empty" })
		back := time.Now()
		o.set(false)
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
		o.set(true)
		within(t, 20*time.Second, "the tasks stopped", func() bool { return w.states() == "UNASSIGNED UNASSIGNED" })
		o.set(false)
		within(t, 20*time.Second, "the tasks started", func() bool { return w.states() == "RUNNING RUNNING" })
		if is := r.kafka.GroupInfo("triad-connect").Members[0].MemberID; is != was {
			t.Errorf("it is %s and was %s", is, was)
		}
		r.exact()
	})
	t.Run("stopped and continued", func(t *testing.T) {
		t.Parallel()
		r, w, o := begin(t, 500*time.Millisecond, 100*time.Millisecond)
		w.Freeze(true)
		o.set(true)
		within(t, 20*time.Second, "its session over", func() bool { return r.kafka.GroupInfo("triad-connect").State == "Empty" })
		o.set(false)
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
