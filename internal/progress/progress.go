package progress

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Fault is the state of one declared fault.
type Fault struct {
	Name  string
	State string // waiting, injected, bit, healed, gone, skipped, failed
}

// Status is a run as it stands.
type Status struct {
	Phase      string
	At         time.Duration // since the start of the load
	Load       time.Duration // length of the load
	Target     float64       // scheduled records a second
	Achieved   float64       // records a second attempted in the last second
	Planned    uint64
	Acked      uint64
	InKafka    uint64
	Searchable uint64
	Faults     []Fault
	DrainLeft  time.Duration // while draining: until its deadline
}

// Sink shows a run.
type Sink interface {
	// Step shows a step of bringing up, checking or closing: state begin, done or failed.
	Step(what, state, detail string)
	// Status shows a running load; it is called a few times a second.
	Status(s Status)
	// Close ends the display.
	Close()
}

// Plain writes one line for each step and one every few seconds for a running load.
type Plain struct {
	mu    sync.Mutex
	w     io.Writer
	every time.Duration
	last  time.Time
	phase string
	fault string
	began map[string]time.Time
}

var _ Sink = (*Plain)(nil)

// NewPlain returns a Sink for a stream that is no terminal; a status line comes at most once in every.
func NewPlain(w io.Writer, every time.Duration) *Plain {
	return &Plain{w: w, every: every, began: map[string]time.Time{}}
}

// Step writes one line for an end of a step.
func (p *Plain) Step(what, state, detail string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if state == "begin" {
		p.began[what] = time.Now()
		return
	}
	line := what
	if t, ok := p.began[what]; ok {
		line += fmt.Sprintf(" (%.1f s)", time.Since(t).Seconds())
		delete(p.began, what)
	}
	if state != "done" {
		line += ": " + state
	}
	if detail != "" {
		line += ": " + detail
	}
	fmt.Fprintln(p.w, line)
}

// Status writes a line when the phase or a fault changes, else every few seconds.
func (p *Plain) Status(s Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	faults := Faults(s.Faults)
	if s.Phase == p.phase && faults == p.fault && time.Since(p.last) < p.every {
		return
	}
	p.phase, p.fault, p.last = s.Phase, faults, time.Now()
	fmt.Fprintln(p.w, Line(s))
}

// Close does nothing.
func (p *Plain) Close() {}

// Line is a status in one line.
func Line(s Status) string {
	if s.At < 0 {
		return "starting"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-7s %5.1fs", s.Phase, s.At.Seconds())
	if s.DrainLeft > 0 {
		fmt.Fprintf(&b, " draining, at most %.0fs more", s.DrainLeft.Seconds())
	} else {
		fmt.Fprintf(&b, " of %.0fs  %.0f/s of %.0f/s", s.Load.Seconds(), s.Achieved, s.Target)
	}
	fmt.Fprintf(&b, "  acknowledged %d  kafka %d (-%d)  searchable %d (-%d)", s.Acked, s.InKafka, Behind(s.Acked, s.InKafka), s.Searchable, Behind(s.InKafka, s.Searchable))
	if f := Faults(s.Faults); f != "" {
		b.WriteString("  " + f)
	}
	return b.String()
}

// Behind is how far b is behind a.
func Behind(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}

// Faults lists faults with their states; waiting ones are left out.
func Faults(fs []Fault) string {
	var out []string
	for _, f := range fs {
		if f.State != "" && f.State != "waiting" {
			out = append(out, f.Name+" "+f.State)
		}
	}
	return strings.Join(out, ", ")
}
