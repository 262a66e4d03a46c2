package elastic

import (
	"context"
	"slices"
	"time"

	"triad/internal/evidence"
	"triad/internal/record"
	"triad/internal/scenario"
	"triad/internal/schedule"
)

// Numbers of a watch.
const (
	pollGap      = 200 * time.Millisecond // between two looks; the resolution of a searchable latency that is not the refresh interval's
	pollBatch    = 250                    // records in one search
	pollPending  = 20_000                 // records waited for at most; the rest is not polled, and counted
	refreshEvery = time.Second            // the refresh interval of the shipped template: after one refresh the next is not expected before
)

// watch looks at one index: how many documents of the run it has, which is the search pulse, and whether the records that are waited for are
// among them. Nothing is less true for looking seldom: what was not looked for is neither a hit nor a miss.
type watch struct {
	o     *Observer
	index string
	next  []*upcoming // records to be waited for, by stream
	wait  []*polled

	total  uint64        // documents of the index at the last look that the store answered
	looked time.Duration // when that was
	quiet  time.Duration // no look before

	source string // that the pulse is booked on: of several the first
	pulse  *evidence.Pulse
	pulsed uint64 // documents in the pulse
	exact  uint64 // of them, at the last exact count
	tally  tally
}

// polled is a record that is waited for.
type polled struct {
	stream *scenario.Stream
	token  string
	due    time.Duration
	miss   time.Duration // begin of the last look that did not find it
	missed bool
	total  uint64 // documents of the index just before the last miss
}

// upcoming is the next record of a stream that is to be waited for.
type upcoming struct {
	stream *scenario.Stream
	sched  *schedule.Schedule
	seq    uint64
	due    time.Duration
	ok     bool
}

func (u *upcoming) advance(every uint64) {
	for {
		u.seq = u.sched.Seq()
		u.due, u.ok = u.sched.Next()
		if !u.ok || u.seq%every == 0 {
			return
		}
	}
}

// watch prepares the watch of an index, or nil where no stream of the run ends: what is there all the same, the reconciliation says.
func (o *Observer) watch(index string) *watch {
	w := &watch{o: o, index: index, looked: -1}
	streams := o.cfg.Scenario.Streams()
	for i := range streams {
		st := &streams[i]
		if st.Topic != index {
			continue
		}
		if w.source == "" {
			w.source = st.Source
		}
		u := &upcoming{stream: st, sched: schedule.New(o.cfg.Scenario, *st)}
		for u.advance(o.cfg.PollEvery); u.ok && u.due < o.cfg.From; {
			u.advance(o.cfg.PollEvery)
		}
		w.next = append(w.next, u)
	}
	if w.source == "" {
		return nil
	}
	w.pulse = evidence.NewPulse(o.cfg.Evidence.Series, evidence.PointSearch, o.cfg.Pulse)
	w.pulsed = o.cfg.Pulsed[w.source]
	w.exact = w.pulsed
	o.counted.Add(w.pulsed)
	o.likely.Add(w.pulsed)
	return w
}

func (w *watch) run(ctx context.Context) {
	t := time.NewTicker(pollGap)
	defer t.Stop()
	for last := false; !last; {
		select {
		case <-ctx.Done():
			last = true
		case <-t.C:
			w.await()
			if w.o.cfg.Evidence.Now() >= w.quiet {
				w.look(ctx)
			}
		}
		if err := w.pulse.Flush(w.o.cfg.Evidence.Now(), last); err != nil {
			w.o.cfg.Logger.Error("search pulse", "error", err)
		}
	}
}

// await begins to wait for what is due.
func (w *watch) await() {
	now := w.o.cfg.Evidence.Now()
	for _, u := range w.next {
		for u.ok && u.due <= now {
			if len(w.wait) < pollPending {
				token := record.AppendID(nil, w.o.known.Run(), u.stream.ID, u.seq)
				w.wait = append(w.wait, &polled{stream: u.stream, token: string(token), due: u.due})
			} else {
				w.o.skipped.Add(1)
			}
			u.advance(w.o.cfg.PollEvery)
		}
	}
}

// look asks how many documents there are, and what turns on it.
func (w *watch) look(ctx context.Context) {
	began := w.o.cfg.Evidence.Now()
	ask, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	total, err := w.o.cfg.Client.Total(ask, w.index)
	if err != nil {
		return // neither hits nor misses
	}
	w.count(ctx, total)
	w.poll(ctx, began, total)
	if total != w.total && w.looked >= 0 {
		w.quiet = w.looked + refreshEvery // the refresh came after the last look
	}
	w.total, w.looked = total, began
}

// count says how many of the documents are the run's, and books what is new.
func (w *watch) count(ctx context.Context, total uint64) {
	ours, exact := w.tally.ours, false
	if began := time.Now(); w.tally.due(began, total) {
		ask, cancel := context.WithTimeout(ctx, askTime)
		defer cancel()
		n, err := w.o.cfg.Client.Count(ask, []string{w.index}, w.o.prefix)
		now := time.Now()
		var after uint64
		if err == nil {
			after, err = w.o.cfg.Client.Total(ask, w.index)
		}
		if err == nil {
			w.tally.counted(now, now.Sub(began), n, total, after)
			ours, exact = n, true
		} else {
			w.tally.failed(now, now.Sub(began))
		}
	}
	if n, ok := w.tally.estimate(total); ok && !exact {
		ours = n
	}
	if ours > w.pulsed {
		w.pulse.Add(w.source, w.o.cfg.Evidence.Now(), ours-w.pulsed)
		w.o.likely.Add(ours - w.pulsed)
		w.pulsed = ours
	}
	if exact && ours > w.exact {
		w.o.counted.Add(ours - w.exact)
		w.exact = ours
	}
}

// poll searches once for what is waited for, a bounded number: the oldest and the newest, so that a long outage neither stops the watch on
// fresh records nor forgets old ones.
func (w *watch) poll(ctx context.Context, began time.Duration, total uint64) {
	const most = 4 * pollBatch
	ask := slices.Clone(w.wait)
	if len(ask) > most {
		ask = append(ask[:most/2], ask[len(ask)-most/2:]...)
	}
	// As long as an index has no document more than at the last miss, it has not this one either, and nothing that was due only after a
	// look with as many: between two refreshes nothing has to be searched for.
	ask = slices.DeleteFunc(ask, func(p *polled) bool {
		same := p.missed && p.total == total || !p.missed && w.looked >= 0 && w.total == total && p.due > w.looked
		if same {
			p.miss, p.missed, p.total = began, true, total
		}
		return same
	})
	hit := map[*polled]bool{}
	for batch := range slices.Chunk(ask, pollBatch) {
		w.search(ctx, batch, total, hit)
	}
	w.wait = slices.DeleteFunc(w.wait, func(p *polled) bool { return hit[p] })
}

func (w *watch) search(ctx context.Context, batch []*polled, total uint64, hit map[*polled]bool) {
	tokens := make([]string, len(batch))
	for i, p := range batch {
		tokens[i] = p.token
	}
	began := w.o.cfg.Evidence.Now()
	ask, cancel := context.WithTimeout(ctx, askTime)
	found, err := w.o.cfg.Client.Found(ask, w.index, tokens)
	cancel()
	if err != nil {
		return // neither a hit nor a miss: the interval stays open to the next answer
	}
	hists, now := w.o.cfg.Evidence.Hists, w.o.cfg.Evidence.Now()
	for i, p := range batch {
		if !found[i] {
			p.miss, p.missed, p.total = began, true, total
			continue
		}
		hit[p] = true
		keys := w.o.latency[p.stream.Source+"\x00"+p.stream.Topic]
		lower := time.Duration(0)
		if p.missed {
			lower = max(p.miss-p.due, 0)
		}
		hists.Record(keys[0], p.due, lower)
		hists.Record(keys[1], p.due, now-p.due)
	}
}
