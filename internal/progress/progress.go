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
	State string        // waiting, injecting, injected, bit, healing, healed, gone, skipped, failed
	At    time.Duration // when it is to strike, since the start of the load
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
	Ended      bool          // nothing moves any more
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
	fmt.Fprintf(&b, "%-7s %s", s.Phase, Clock(s.At))
	if s.DrainLeft > 0 {
		fmt.Fprintf(&b, " draining, at most %.0f s more", s.DrainLeft.Seconds())
	} else {
		fmt.Fprintf(&b, " of %s  %.0f/s of %.0f/s", Clock(s.Load), s.Achieved, s.Target)
	}
	fmt.Fprintf(&b, "  acknowledged %d  kafka %d (-%d)  searchable %d (-%d)", s.Acked, s.InKafka, Behind(s.Acked, s.InKafka), s.Searchable, Behind(s.InKafka, s.Searchable))
	if f := Faults(s.Faults); f != "" {
		b.WriteString("  " + f)
	}
	return b.String()
}

// Where says in one short line where a run stands: phase, rate and time left.
func Where(s Status) string {
	switch {
	case s.Ended:
		return "ended"
	case s.At < 0:
		return "starting"
	case s.DrainLeft > 0:
		return fmt.Sprintf("draining, at most %s more", Clock(s.DrainLeft))
	}
	return fmt.Sprintf("%s, %s left, %.0f/s of %.0f/s", s.Phase, Clock(max(s.Load-s.At, 0)), s.Achieved, s.Target)
}

// FaultLine says which faults were done and which comes next.
func FaultLine(s Status) string {
	said := Faults(s.Faults)
	next := time.Duration(-1)
	name := ""
	for _, f := range s.Faults {
		if (f.State == "" || f.State == "waiting") && f.At >= s.At && (next < 0 || f.At < next) {
			next, name = f.At, f.Name
		}
	}
	switch {
	case name == "" && said == "":
		return ""
	case name == "":
		return "faults: " + said
	case said == "":
		return fmt.Sprintf("faults: %s in %s", name, Clock(next-s.At))
	}
	return fmt.Sprintf("faults: %s; %s in %s", said, name, Clock(next-s.At))
}

// Clock prints a length of time for a display that changes all the time: 7.3 s, 1:05, 2:03:09.
func Clock(d time.Duration) string {
	switch s := int(d.Round(time.Second).Seconds()); {
	case d < time.Minute-time.Second/2:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case s < 3600:
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	default:
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
}

// Behind is how far b is behind a.
func Behind(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}

// mostFaults is how many faults are named in a line; a night has hundreds.
const mostFaults = 3

// Faults lists the latest faults with their states; those that wait are left out.
func Faults(fs []Fault) string {
	var out []string
	for _, f := range fs {
		if f.State != "" && f.State != "waiting" {
			out = append(out, f.Name+" "+f.State)
		}
	}
	if n := len(out) - mostFaults; n > 0 {
		out = append([]string{fmt.Sprintf("%d earlier", n)}, out[n:]...)
	}
	return strings.Join(out, ", ")
}
