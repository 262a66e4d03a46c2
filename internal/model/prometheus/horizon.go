package prometheus

import (
	"fmt"
	"math"
	"time"
)

// Horizon is how long the connection between agents and receiver may be away without a hole in the stored series: the smaller of what the
// agent keeps and what the receiver still accepts. The reason is a sentence for the report.
//
// What the receiver accepts is counted from the newest sample of all its series, the head's maximum, not from the clock
// (tsdb/head_append.go: appendableMinValidTime is the head's maximum less half a block, and out_of_order_time_window widens it, see
// "storage.tsdb.out_of_order_time_window" in the configuration reference). So:
//
//   - one agent cut off: the other agents and the receiver's own scrapes keep the head's maximum at the clock. When the agent comes back
//     after an outage of d its oldest sample is d older than that. Beyond the window it is refused with 400, and with it the whole request
//     that carries it; the agent gives the request up and counts it in prometheus_remote_storage_samples_failed_total.
//   - all cut off, and the receiver scrapes nothing itself: the head's maximum stands still at the beginning of the outage. Each agent
//     sends its oldest sample first, so the first requests lie just ahead of the maximum and move it along with them. The window does not
//     bound the outage then. It bounds how far apart the agents may drain: whoever is first moves the maximum for all.
//
// agentRetention is the agent's own part (AgentConfig.Retention), receiverWindow is ReceiverConfig.AcceptanceWindow. A negative duration
// counts as 0.
func Horizon(agentRetention, receiverWindow time.Duration, allAgentsCutOff bool) (time.Duration, string) {
	agentRetention, receiverWindow = max(0, agentRetention), max(0, receiverWindow)
	switch {
	case allAgentsCutOff:
		return agentRetention, fmt.Sprintf("the agents keep unsent samples for %v; nothing moves the receiver's newest sample meanwhile, so it still accepts "+
			"the oldest of them, provided that the receiver scrapes nothing itself and the agents drain no more than %v apart", agentRetention, receiverWindow)
	case receiverWindow < agentRetention:
		return receiverWindow, fmt.Sprintf("the agent keeps unsent samples for %v, but the receiver, whose newest sample others move on, refuses "+
			"those more than %v behind it, and the whole request with them", agentRetention, receiverWindow)
	}
	return agentRetention, fmt.Sprintf("the agent keeps unsent samples for %v; the receiver would accept them up to %v behind its newest sample",
		agentRetention, receiverWindow)
}

// QuietLog is the rate for Retention of a log whose segments are ended by truncation and not by their size: below 18 kB/s at the default
// segment of 128 MiB and truncation every 2 h, which is some 4,000 samples a second.
const QuietLog = 0.0

// Retention is the agent's part of the horizon: the smaller of --storage.agent.retention.max-time, which is what the documentation
// promises, and of what the log holds for certain at this rate (LogHorizon). An agent that is restarted during the outage keeps nothing: what it
// had not sent before it sends never (see watcher).
func (c AgentConfig) Retention(logBytesPerSecond float64) (time.Duration, string) {
	shortest, _ := c.LogHorizon(logBytesPerSecond)
	if shortest < c.RetentionMax {
		return shortest, fmt.Sprintf("truncation every %v removes unsent samples after as little as %v, before retention.max-time %v", c.TruncateFrequency, shortest, c.RetentionMax)
	}
	return c.RetentionMax, fmt.Sprintf("retention.max-time is %v", c.RetentionMax)
}

// LogHorizon is between which two durations an outage begins to lose samples, by the rule that the real program truncates by (cut). Which of
// them it is depends on the phase of the truncations only. logBytesPerSecond is what the agent writes to its log; the real one compresses
// (about 3 to 5 bytes a sample). Both are what the disk holds: the shards hold queue_config.capacity samples each on top.
//
// The reader stands in the segment that was being written when the outage began. It loses everything up to the end of the outage when the segment
// after it has been removed by then.
func (c AgentConfig) LogHorizon(logBytesPerSecond float64) (shortest, longest time.Duration) {
	type segment struct{ start, end, removed float64 }
	period := c.TruncateFrequency.Seconds()
	fill := math.Inf(1)
	if logBytesPerSecond > 0 && c.SegmentSize > 0 {
		// More than 200 segments between two truncations change the answer no more.
		fill = max(float64(c.SegmentSize)/logBytesPerSecond, period/200)
	}
	never := math.Inf(1)
	segs := []segment{{0, 0, never}}
	first := 0
	const rounds = 40
	for round := 1; round <= rounds; round++ {
		now := float64(round) * period
		for segs[len(segs)-1].start+fill < now {
			end := segs[len(segs)-1].start + fill
			segs[len(segs)-1].end = end
			segs = append(segs, segment{end, 0, never})
		}
		last := len(segs) - 1
		segs[last].end = now
		segs = append(segs, segment{now, 0, never})
		if upTo, ok := cut(first, last); ok {
			for ; first <= upTo; first++ {
				segs[first].removed = now
			}
		}
	}
	low, high := never, 0.0
	for i := range segs[:len(segs)-1] {
		// The first rounds have not settled and the last have not been removed yet.
		next := segs[i+1].removed
		if segs[i].start < 10*period || next == never {
			continue
		}
		low, high = min(low, next-segs[i].end), max(high, next-segs[i].start)
	}
	return seconds(low), seconds(high)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
