package progress

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Columns of the bars: a name before, figures behind, and what is left of the terminal between bounds between them.
const (
	nameColumns   = 14
	figureColumns = 32
	leastBar      = 10
	mostBar       = 60
)

// Bars shows a run on a terminal: a line that says where it stands, one about its faults, and a bar for the time line
// and for each observation point.
type Bars struct {
	p     *mpb.Progress
	width int
	color bool
	mu    sync.Mutex
	began map[string]time.Time
	bars  []*mpb.Bar // time, acknowledged, in kafka, searchable
	lines []*mpb.Bar
	// status is read by decorators, which run in the goroutines of the bars. Were it behind mu, Status, which holds mu,
	// could wait for a bar that waits for mu.
	status atomic.Pointer[Status]
}

var (
	_ Sink      = (*Bars)(nil)
	_ io.Writer = (*Bars)(nil)
)

// NewBars returns a Sink for a terminal of so many columns.
func NewBars(w io.Writer, columns int, color bool) *Bars {
	if columns <= 0 {
		columns = 80
	}
	return &Bars{
		p:     mpb.New(mpb.WithOutput(w), mpb.WithRefreshRate(200*time.Millisecond), mpb.WithAutoRefresh()),
		width: min(max(columns-nameColumns-figureColumns, leastBar), mostBar), color: color, began: map[string]time.Time{},
	}
}

// Write writes lines of a log above the bars.
func (b *Bars) Write(p []byte) (int, error) { return b.p.Write(p) }

// Step writes a line above the bars.
func (b *Bars) Step(what, state, detail string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	mark := map[string]string{"begin": "…", "done": b.paint("32", "✓"), "failed": b.paint("31", "✗")}[state]
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
	b.status.Store(&s)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bars == nil {
		b.make(s)
	}
	b.bars[0].SetCurrent(int64(max(min(s.At, s.Load), 0) / time.Millisecond))
	total := int64(max(s.Planned, 1))
	for i, n := range []uint64{s.Acked, s.InKafka, s.Searchable} {
		b.bars[i+1].SetTotal(total, false)
		b.bars[i+1].SetCurrent(int64(min(n, uint64(total))))
	}
}

func (b *Bars) paint(code, text string) string {
	if !b.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (b *Bars) make(first Status) {
	line := func(fn func(Status) string) {
		b.lines = append(b.lines, b.p.New(0, mpb.NopStyle(), mpb.PrependDecorators(decor.Any(func(st decor.Statistics) string {
			return cut(fn(*b.status.Load()), st.AvailableWidth-1)
		}))))
	}
	bar := func(total int64, name, code string, figures func(Status) string) {
		paint := func(code string) func(string) string { return func(s string) string { return b.paint(code, s) } }
		style := mpb.BarStyle().Lbound("").Rbound("").Filler("━").Tip("━").Padding("─").FillerMeta(paint(code)).TipMeta(paint(code)).PaddingMeta(paint("2"))
		b.bars = append(b.bars, b.p.New(total, style, mpb.BarWidth(b.width),
			mpb.PrependDecorators(decor.Name(name, decor.WC{W: nameColumns, C: decor.DindentRight})),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return " " + figures(*b.status.Load()) }))))
	}
	line(Where)
	if len(first.Faults) > 0 {
		line(FaultLine)
	}
	bar(int64(first.Load/time.Millisecond), "time", "36", func(s Status) string {
		return fmt.Sprintf("%s of %s", Clock(max(min(s.At, s.Load), 0)), Clock(s.Load))
	})
	total := int64(max(first.Planned, 1))
	bar(total, "acknowledged", "32", func(s Status) string { return fmt.Sprint(s.Acked) })
	bar(total, "in kafka", "32", func(s Status) string { return behind(s.InKafka, s.Acked) })
	bar(total, "searchable", "32", func(s Status) string { return behind(s.Searchable, s.InKafka) })
}

// behind prints a count and how far it is behind the point before it.
func behind(n, before uint64) string {
	if d := Behind(before, n); d > 0 {
		return fmt.Sprintf("%d, backlog %d", n, d)
	}
	return fmt.Sprint(n)
}

// cut shortens text to so many columns.
func cut(text string, columns int) string {
	if columns < 1 || utf8.RuneCountInString(text) <= columns {
		return text
	}
	return string([]rune(text)[:columns-1]) + "…"
}

// Close ends the bars where they stand.
func (b *Bars) Close() {
	b.mu.Lock()
	all := append(append([]*mpb.Bar(nil), b.lines...), b.bars...)
	b.mu.Unlock()
	if last := b.status.Load(); last != nil {
		s := *last
		s.Ended = true
		b.status.Store(&s)
	}
	for _, bar := range all {
		bar.Abort(false)
	}
	b.p.Wait()
}
