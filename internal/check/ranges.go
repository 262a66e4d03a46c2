package check

import (
	"slices"
	"time"

	"triad/internal/evidence"
	"triad/internal/record"
	"triad/internal/schedule"
	"triad/internal/stats"
)

// maxRanges bounds the ranges listed for a segment; the longest come first.
const maxRanges = 1000

// longest returns the longest spans of pick over all streams as ranges, with the seconds in which they were due and
// three sample identities each.
func (a *account) longest(r *evidence.Run, pick func(*streamAccount) *stats.Set) []Range {
	type piece struct {
		s *streamAccount
		stats.Span
	}
	var all []piece
	for _, s := range a.streams {
		for sp := range pick(s).All() {
			all = append(all, piece{s, sp})
		}
		if len(all) > 8*maxRanges { // keep the memory bounded by what is listed, not by what was lost
			all = cut(all, maxRanges, func(p piece) uint64 { return p.Len() })
		}
	}
	all = cut(all, maxRanges, func(p piece) uint64 { return p.Len() })
	want := map[*streamAccount][]uint64{}
	for _, p := range all {
		want[p.s] = append(want[p.s], p.Lo, p.Hi-1)
	}
	due := map[*streamAccount]map[uint64]time.Duration{}
	for s, seqs := range want {
		due[s] = s.dueTimes(r, seqs)
	}
	out := make([]Range, 0, len(all))
	for _, p := range all {
		out = append(out, Range{
			Stream: p.s.ID, Source: p.s.Source, Topic: p.s.Topic, Lo: p.Lo, Hi: p.Hi - 1,
			From: due[p.s][p.Lo], To: due[p.s][p.Hi-1], Samples: samples(r.Header.Run, p.s.ID, p.Span),
		})
	}
	return out
}

// cut keeps the n pieces with the largest key, in descending order and stable.
func cut[T any](all []T, n int, key func(T) uint64) []T {
	slices.SortStableFunc(all, func(x, y T) int { return cmpDesc(key(x), key(y)) })
	return all[:min(len(all), n)]
}

// samples are the identities of the first, a middle and the last record of a span, without repetition.
func samples(run, stream uint32, s stats.Span) []string {
	seqs := slices.Compact([]uint64{s.Lo, s.Lo + (s.Len()-1)/2, s.Hi - 1})
	out := make([]string, 0, len(seqs))
	for _, q := range seqs {
		out = append(out, string(record.AppendID(nil, run, stream, q)))
	}
	return out
}

// dueTimes walks the schedule once for the times of the given records.
func (s *streamAccount) dueTimes(r *evidence.Run, seqs []uint64) map[uint64]time.Duration {
	slices.Sort(seqs)
	out := make(map[uint64]time.Duration, len(seqs))
	sch := schedule.New(r.Scenario, s.Stream)
	for _, q := range seqs {
		if _, done := out[q]; done {
			continue
		}
		for {
			n := sch.Seq()
			d, ok := sch.Next()
			if !ok {
				return out
			}
			if n == q {
				out[q] = d
				break
			}
		}
	}
	return out
}
