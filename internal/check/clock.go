package check

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"triad/internal/evidence"
)

// clock is how a cluster's clock stood to the harness's over the whole run: somewhere in [lo, hi] ahead of it.
type clock struct {
	lo, hi   time.Duration
	readings int
	sees     bool   // records are seen in Kafka by this clock, in place of the harness's
	unknown  string // why the bound is not known; empty: it is
	last     string // why the last reading failed; empty: it did not
}

// newClocks gathers the readings of every cluster's clock: before the load, during it, and after it. The bound is the hull of all; the first
// and the last must be there, or nothing says where the clock came from or went. Without readings a cluster has the harness's own clock.
func newClocks(r *evidence.Run) map[string]*clock {
	out := map[string]*clock{}
	for _, e := range r.Events {
		if e.Kind != evidence.EventClock {
			continue
		}
		c := out[e.Name]
		if c == nil {
			c = &clock{}
			out[e.Name] = c
		}
		c.sees = c.sees || e.Attrs["sees"] == "kafka"
		offset, oerr := strconv.ParseInt(e.Attrs["offset_ns"], 10, 64)
		bound, berr := strconv.ParseInt(e.Attrs["bound_ns"], 10, 64)
		if e.State != evidence.ClockKnown || oerr != nil || berr != nil {
			c.last = cmp.Or(e.Detail, "it could not be read")
			if c.readings == 0 {
				c.unknown = c.last
			}
			continue
		}
		c.last = ""
		lo, hi := time.Duration(offset-bound), time.Duration(offset+bound)
		if c.readings == 0 {
			c.lo, c.hi = lo, hi
		}
		c.lo, c.hi = min(c.lo, lo), max(c.hi, hi)
		c.readings++
	}
	for _, c := range out {
		c.unknown = cmp.Or(c.unknown, c.last)
		if c.readings == 1 && c.unknown == "" {
			c.unknown = "it was read only once, so that it is not known where it went"
		}
	}
	return out
}

// skew is what has to be added to a latency from the scheduled time in the log files of a source to where it was seen: the sender's clock decides
// when a record is written, and that of observers in pods when it was in Kafka. why says which clock that it rests on is not known.
func (j *judge) skew(metric, source, topic string) (lo, hi time.Duration, crosses bool, why string) {
	if metric != "e2e_latency" && metric != "kafka_latency" {
		return 0, 0, false, ""
	}
	seen := clock{}
	for cluster, c := range j.clocks {
		if metric != "kafka_latency" || !c.sees {
			continue
		}
		if c.unknown != "" {
			return 0, 0, true, fmt.Sprintf("the clock of %s, by which records are seen in Kafka, is not known to the harness: %s", cluster, c.unknown)
		}
		seen, crosses = *c, true
	}
	first := true
	for _, st := range j.r.Header.Streams {
		if source != "" && st.Source != source || topic != "" && st.Topic != topic {
			continue
		}
		var at clock // what enters at the brokers was sent by the harness itself, and on kind, where it is sent by pods, there is one clock
		if c := j.clocks[st.Cluster]; c != nil && st.Enter != "kafka" {
			if c.unknown != "" {
				return 0, 0, true, fmt.Sprintf("the clock of %s is not known to the harness: %s", st.Cluster, c.unknown)
			}
			at, crosses = *c, true
		}
		if first {
			lo, hi, first = at.lo, at.hi, false
		}
		lo, hi = min(lo, at.lo), max(hi, at.hi)
	}
	return lo - seen.hi, hi - seen.lo, crosses, ""
}

// spread is by how much a time that sets what senders wrote against what was seen may be off: the widest of the clocks by which
// records are written and seen. None when all are the harness's own; why, when one is not known.
func (j *judge) spread() (most time.Duration, crosses bool, why string) {
	for _, metric := range []string{"kafka_latency", "e2e_latency"} {
		lo, hi, other, unknown := j.skew(metric, "", "")
		if unknown != "" {
			return 0, true, unknown
		}
		most, crosses = max(most, -lo, hi), crosses || other
	}
	return most, crosses, ""
}

// clockTable lists the clocks for the result.
func (j *judge) clockTable() []Clock {
	var out []Clock
	for cluster, c := range j.clocks {
		row := Clock{Cluster: cluster, Readings: c.readings, Sees: c.sees, Unknown: c.unknown}
		if c.unknown == "" {
			row.Offset, row.Bound = new(int64((c.lo+c.hi)/2)), new(int64((c.hi-c.lo)/2))
		}
		out = append(out, row)
	}
	slices.SortFunc(out, func(a, b Clock) int { return cmp.Compare(a.Cluster, b.Cluster) })
	return out
}

// crossed puts the clock's part beside every latency that compares two clocks.
func (j *judge) crossed(rows []Latency) []Latency {
	for i := range rows {
		l := &rows[i]
		source := l.Source
		if source == PhaseAll {
			source = ""
		}
		lo, hi, crosses, why := j.skew(l.Metric, source, l.Topic)
		switch {
		case !crosses:
		case why != "":
			l.ClockUnknown = why
		default:
			l.ClockOffset, l.ClockBound = new(int64((lo+hi)/2)), new(int64((hi-lo)/2))
		}
	}
	return rows
}
