package check

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"triad/internal/evidence"
	"triad/internal/schedule"
)

// Resumed is one time at which a run went on after its harness was killed.
type Resumed struct {
	From    int64  `json:"from_ns"` // the last sign of life before
	To      int64  `json:"to_ns"`   // watched again
	At      string `json:"at"`
	Commit  string `json:"commit,omitempty"` // of the harness that went on
	Dropped uint64 `json:"dropped"`          // due in between and never attempted
}

// String says it in a sentence.
func (r Resumed) String() string {
	s := fmt.Sprintf("the harness was dead from %s to %s of the run, which was resumed at %s; what rests on watching in between is not judged",
		spanWords(time.Duration(r.From)), spanWords(time.Duration(r.To)), r.At)
	if r.Dropped > 0 {
		s += fmt.Sprintf("; %d records that it was to send itself were dropped", r.Dropped)
	}
	return s
}

// gapsOf are the times in which nobody watched.
func gapsOf(r *evidence.Run) []Span {
	var out []Span
	for _, e := range r.Events {
		if e.Kind == evidence.EventResumed {
			from, err := strconv.ParseInt(e.Attrs["from_ns"], 10, 64)
			if err != nil || from < 0 || time.Duration(from) > e.At {
				from = 0 // when it died is not known: then since the beginning
			}
			out = append(out, Span{time.Duration(from), e.At})
		}
	}
	return out
}

// resumed is what the result says of the gaps.
func (j *judge) resumed() []Resumed {
	var out []Resumed
	for _, e := range j.r.Events {
		if e.Kind != evidence.EventResumed {
			continue
		}
		g := j.gaps[len(out)]
		out = append(out, Resumed{From: int64(g.From), To: int64(g.To), At: e.Attrs["at"], Commit: e.Attrs["commit"], Dropped: j.droppedIn(g)})
	}
	return out
}

// droppedIn counts the records that the harness was to send itself in a span and never attempted, as it did on kind until November 2026.
// Generators elsewhere go on without it, and what they drop is their own.
func (j *judge) droppedIn(g Span) uint64 {
	var n uint64
	for _, s := range j.acc.streams {
		if s.Enter == "kafka" {
			n += s.dropped.Intersect(span(schedule.Count(j.s, s.Stream, g.From), schedule.Count(j.s, s.Stream, g.To))).Len()
		}
	}
	return n
}

// gapIn says what of a check's phases nobody watched; empty when all of them were watched.
func (j *judge) gapIn(c *judged) string {
	if c.ownGaps {
		return ""
	}
	var in []string
	for _, w := range j.lat.phases {
		for _, p := range c.phases {
			if p != w.Name {
				continue
			}
			for _, g := range j.gaps {
				if g.From < w.To && g.To > w.From {
					in = append(in, fmt.Sprintf("in phase %s the harness was dead for %s", p, spanWords(min(g.To, w.To)-max(g.From, w.From))))
				}
			}
		}
	}
	return strings.Join(in, "; ")
}

// unseen is the first gap that overlaps a span.
func (j *judge) unseen(from, to time.Duration) (Span, bool) {
	for _, g := range j.gaps {
		if g.From < to && g.To > from {
			return g, true
		}
	}
	return Span{}, false
}

// without cuts a span out of spans.
func without(spans []Span, a, b time.Duration) []Span {
	var next []Span
	for _, s := range spans {
		if b <= s.From || a >= s.To {
			next = append(next, s)
			continue
		}
		if a > s.From {
			next = append(next, Span{s.From, a})
		}
		if b < s.To {
			next = append(next, Span{b, s.To})
		}
	}
	return next
}

// gapWords says when nobody watched, and that what passed through Kafka meanwhile was read afterwards.
func (j *judge) gapWords() string {
	var parts []string
	for _, g := range j.gaps {
		parts = append(parts, fmt.Sprintf("from %s to %s", spanWords(g.From), spanWords(g.To)))
	}
	return "the harness was dead " + strings.Join(parts, " and ") + ", and what passed through Kafka in that time was read afterwards"
}
