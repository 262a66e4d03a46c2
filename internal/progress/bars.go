package progress

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Bars shows a run on a terminal: one bar for the time line and one for each hop.
type Bars struct {
	mu     sync.Mutex
	p      *mpb.Progress
	began  map[string]time.Time
	status Status
	bars   []*mpb.Bar
}

var _ Sink = (*Bars)(nil)

// NewBars returns a Sink for a terminal.
func NewBars(w io.Writer) *Bars {
	return &Bars{p: mpb.New(mpb.WithOutput(w), mpb.WithWidth(40), mpb.WithRefreshRate(200*time.Millisecond), mpb.WithAutoRefresh()), began: map[string]time.Time{}}
}

// Step writes a line above the bars.
func (b *Bars) Step(what, state, detail string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	mark := map[string]string{"begin": "…", "done": "✓", "failed": "✗"}[state]
	line := mark + " " + what
	if state == "begin" {
		b.began[what] = time.Now()
		if detail == "" {
			return
		}
	} else if t, ok := b.began[what]; ok {
		line += fmt.Sprintf(" (%.1f s)", time.Since(t).Seconds())
		delete(b.began, what)
	}
	if detail != "" {
		line += ": " + detail
	}
	_, _ = b.p.Write([]byte(line + "\n")) // a display that is gone stops nothing
}

// Status moves the bars.
func (b *Bars) Status(s Status) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status = s
	if b.bars == nil {
		b.make()
	}
	total := int64(max(s.Planned, 1))
	at := min(s.At, s.Load)
	b.bars[0].SetCurrent(int64(at / time.Millisecond))
	for i, n := range []uint64{s.Acked, s.InKafka, s.Searchable} {
		b.bars[i+1].SetTotal(total, false)
		b.bars[i+1].SetCurrent(int64(min(n, uint64(total))))
	}
}

func (b *Bars) read() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status
}

func (b *Bars) make() {
	text := func(fn func(Status) string) decor.Decorator {
		return decor.Any(func(decor.Statistics) string { return fn(b.read()) })
	}
	add := func(total int64, name string, right func(Status) string) {
		b.bars = append(b.bars, b.p.New(total, mpb.BarStyle().Lbound("").Rbound("").Filler("━").Tip("━").Padding("─"),
			mpb.PrependDecorators(decor.Name(name, decor.WC{W: 13, C: decor.DindentRight})), mpb.AppendDecorators(text(right))))
	}
	s := b.status
	add(int64(s.Load/time.Millisecond), "time", func(s Status) string {
		left := s.Load - s.At
		if s.DrainLeft > 0 {
			return fmt.Sprintf(" draining, at most %.0f s more", s.DrainLeft.Seconds())
		}
		line := fmt.Sprintf(" %s, %.0f s left, %.0f/s of %.0f/s", s.Phase, max(left, 0).Seconds(), s.Achieved, s.Target)
		if f := Faults(s.Faults); f != "" {
			line += "  [" + f + "]"
		}
		return line
	})
	add(int64(s.Planned), "acknowledged", func(s Status) string { return fmt.Sprintf(" %d", s.Acked) })
	add(int64(s.Planned), "in kafka", func(s Status) string { return fmt.Sprintf(" %d  backlog %d", s.InKafka, Behind(s.Acked, s.InKafka)) })
	add(int64(s.Planned), "searchable", func(s Status) string {
		return fmt.Sprintf(" %d  backlog %d", s.Searchable, Behind(s.InKafka, s.Searchable))
	})
}

// Close ends the bars where they stand.
func (b *Bars) Close() {
	b.mu.Lock()
	bars := b.bars
	b.mu.Unlock()
	for _, bar := range bars {
		bar.Abort(false)
	}
	b.p.Wait()
}
