package load

import (
	"context"
	"runtime"
	"time"

	"triad/internal/evidence"
)

// maxBurst is how many records that are due already are sent between two readings of the clock, which is a good part of a record's cost. It
// bounds what the two readings are apart: some microseconds.
const maxBurst = 16

// crowd is how many records are under way when a generator that is behind anyway lets other goroutines go first: those that send what is
// under way already. It neither waits nor sends less. With three thousand records of 256 bytes, what is written is still in the caches of the
// processors when it is read, and used again; with fifty thousand, which the client takes, a record cost 40 % more.
const crowd = 3000

// How the driver waits. A goroutine that waits for a timer may be woken up a millisecond late: when no other thread is awake, the runtime
// waits in epoll, whose timeout is a whole one, and 1 % of the lines of 50,000 a second were 1.09 ms late. So the timer is set to coarse
// before the moment, and the rest is slept in the kernel.
const (
	coarse = time.Millisecond
	// shortest is the least that is slept: what is due in between goes together. The kernel sleeps 50 us more than it is asked to, and
	// waking up for each line of 50,000 a second would cost more than the lines.
	shortest = 250 * time.Microsecond
)

// driver is the state of a generator's goroutine.
type driver struct {
	*Generator

	promised *promise
	line     []byte
	blocked  time.Duration // time spent inside Send since the generator was last idle
	end      time.Duration // nothing is sent after it
	burst    [maxBurst]Outcome
	full     bool // the last burst was one, and not all that was due
}

func (g *Generator) drive(ctx context.Context) error {
	d := &driver{Generator: g, end: g.cfg.Scenario.Phases.LoadTime() + stopGrace}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	d.promised = newPromise(g.cfg.Evidence.Ledger)
	defer d.promised.close()
	now := g.now() // read again only where time can have passed that matters
	for len(g.queue) > 0 {
		s := g.queue[0]
		if s.due > now {
			now = g.now()
		}
		if wait := s.due - now; wait > coarse {
			d.blocked = 0
			if !sleep(ctx, timer, wait-coarse) {
				return g.dropRest(g.now())
			}
			continue
		} else if wait > 0 {
			d.blocked = 0
			g.nap(max(wait, shortest))
			now = g.now()
		}
		for g.frozen.Load() {
			if !sleep(ctx, timer, 10*time.Millisecond) {
				return g.dropRest(g.now())
			}
			now = g.now()
		}
		if ctx.Err() != nil {
			return g.dropRest(g.now())
		}
		if d.tooLate(s, now) {
			g.drop(s)
			g.step(s)
			now = g.now()
			continue
		}
		if err := d.promised.cover(max(s.due, now)); err != nil {
			return err
		}
		if g.stager != nil {
			if d.full && g.stager.UnderWay() > crowd {
				runtime.Gosched()
				now = g.now()
			}
			now = d.release(ctx, d.stage(now))
		} else {
			now = d.one(ctx, s)
		}
	}
	return nil
}

// tooLate says whether a record is dropped.
func (d *driver) tooLate(s *streamState, now time.Duration) bool {
	late := max(now-s.due, 0)
	return late-min(late, d.blocked) > maxLag || now > d.end
}

// one sends the next record of s, to whatever sink, and returns the time after that.
func (d *driver) one(ctx context.Context, s *streamState) time.Duration {
	g := d.Generator
	// Making the line is the generator's own time: it is lag, and none of it is the system's doing.
	r := Record{s.stream, s.seq, s.due, s.lines.AppendLine(d.line[:0], s.seq, g.unix(s.due))}
	times := 1
	if g.cfg.Sabotage != nil {
		times = g.cfg.Sabotage(&r)
	}
	at := g.now()
	late := max(at-s.due, 0)
	block := min(late, d.blocked)
	g.lag.Lock()
	g.lag.Window(s.due)[0].Record(late - block)
	g.lag.Unlock()
	g.attempted.Add(1)
	o := Outcome{run: s.settled, seq: s.seq, due: s.due}
	o.at, o.block = at, block
	if times == 0 {
		o.Done(nil)
	}
	if times > 1 {
		o.left = newCopies(times)
	}
	for range times {
		g.cfg.Sink.Send(ctx, r, o)
	}
	d.line = r.Line
	now := g.now()
	d.blocked += now - at - g.stood(at, now)
	g.step(s)
	return now
}

// stage makes the next record, and those that are due as well as far as the sink has room for all of them, and returns how many.
func (d *driver) stage(now time.Duration) int {
	g := d.Generator
	room := min(g.stager.Room(), maxBurst)
	at := g.cfg.Start.Add(now)
	n := 0
	for s := g.queue[0]; ; s = g.queue[0] {
		g.stager.Stage(s.stream, s.lines, s.seq, g.unix(s.due), at)
		d.burst[n] = Outcome{run: s.settled, seq: s.seq, due: s.due}
		n++
		g.step(s)
		if n >= room || len(g.queue) == 0 || g.queue[0].due > now || d.tooLate(g.queue[0], now) {
			d.full = n == maxBurst
			return n
		}
	}
}

// release sends what was staged and returns the time after that. Of several, nothing is told to be less than it was: the system's part
// (block, and the latency from sending) counts from before the first record, the generator's (lag) to behind the last. The sink has room
// for several, so what passes in between is the generator's; a single one may have been blocked.
func (d *driver) release(ctx context.Context, n int) time.Duration {
	g := d.Generator
	before := g.now()
	for i := range d.burst[:n] {
		o := &d.burst[i]
		o.at, o.block = before, min(max(before-o.due, 0), d.blocked)
	}
	g.attempted.Add(uint64(n))
	g.stager.Release(ctx, d.burst[:n])
	after := g.now()
	sent := after
	if n == 1 {
		sent = before
	}
	g.lag.Lock()
	for i := range d.burst[:n] {
		o := &d.burst[i]
		g.lag.Window(o.due)[0].Record(max(sent-o.due, 0) - o.block)
	}
	g.lag.Unlock()
	d.blocked += after - before - g.stood(before, after)
	return after
}

// stood is how much of a time lies in declared freezes of the generator itself. What it took there the system did not take: a write that the
// freeze fell into is no reason to send afterwards all that was due meanwhile.
func (g *Generator) stood(from, to time.Duration) (sum time.Duration) {
	for _, w := range g.freezes {
		sum += max(min(to, w.To)-max(from, w.From), 0)
	}
	return sum
}

// unix is a time of the schedule in unix nanoseconds.
func (g *Generator) unix(due time.Duration) int64 { return g.startUnix + int64(due) }

func (g *Generator) drop(s *streamState) {
	class := evidence.Dropped
	for _, w := range g.freezes {
		if s.due >= w.From && s.due < w.To {
			class = evidence.Frozen
		}
	}
	g.dropped.Add(1)
	g.cfg.Evidence.Ledger.Mark(class, s.stream.ID, s.seq)
}

func (g *Generator) step(s *streamState) {
	if s.advance() {
		g.queue.down(0)
	} else {
		g.queue.pop()
	}
}

// dropRest records what was due before now and never attempted. What lies after now was never due.
func (g *Generator) dropRest(now time.Duration) error {
	for len(g.queue) > 0 && g.queue[0].due <= now {
		s := g.queue[0]
		g.drop(s)
		g.step(s)
	}
	return nil
}

// sleep waits for d or the end of ctx and reports whether the wait was whole.
func sleep(ctx context.Context, t *time.Timer, d time.Duration) bool {
	t.Reset(d)
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
