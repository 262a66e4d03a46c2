package check

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"triad/internal/evidence"
	"triad/internal/record"
	"triad/internal/stats"
)

// naive is the account of one stream as a person would keep it: a map from record to what happened to it.
type naive struct {
	outcome map[uint64]evidence.Class
	kafka   map[uint64]bool
	search  map[uint64]bool
	dead    map[uint64]bool
}

// The interval account must equal the map for random histories of several streams.
func TestAccountAgainstMap(t *testing.T) {
	const yaml = "apiVersion: triad/v1\nname: t\ntitle: t\nphases: {warm-up: 1s, before: 5s, drain: 5s}\nload: [{source: service, rate: 20/s, streams: 3}]\n"
	rapid.Check(t, func(rt *rapid.T) {
		st, err := newStory(yaml)
		if err != nil {
			rt.Fatal(err)
		}
		st.calm()
		st.noPulses = true
		for _, m := range []string{"generator_lag", "target_block", "kafka_latency", "e2e_latency"} {
			st.noHists[m] = true
		}
		st.intent = time.Duration(rapid.IntRange(0, 7000).Draw(rt, "intent_ms")) * time.Millisecond
		books := map[uint32]*naive{}
		for id, x := range st.streams {
			books[id] = random(rt, x)
		}
		res := judgeDir(t, st.write(t))
		var want Counts
		var phantoms, contradicted uint64
		for id, x := range st.streams {
			c, p, con := books[id].count(x, st.intent)
			want.add(c)
			phantoms += p
			contradicted += con
		}
		got := res.Totals
		for _, f := range []struct {
			name      string
			got, want uint64
		}{
			{"acknowledged", got.Acknowledged, want.Acknowledged},
			{"unknown", got.Unknown, want.Unknown},
			{"dropped", got.Dropped, want.Dropped},
			{"lost", got.Lost, want.Lost},
			{"kafka", got.SeenKafka, want.SeenKafka},
			{"seen", got.Seen, want.Seen},
			{"dead", got.DeadLettered, want.DeadLettered},
			{"phantom", got.Phantom, phantoms},
		} {
			if f.got != f.want {
				rt.Fatalf("%s: account %d, map %d", f.name, f.got, f.want)
			}
		}
		if bad := find(res, "evidence").Verdict == Invalid; bad != (contradicted > 0) {
			rt.Fatalf("evidence invalid %v, contradicted %d", bad, contradicted)
		}
		for _, s := range res.Segments {
			if s.In != s.Out+s.DeadLettered+s.Lost+s.Unknown {
				rt.Fatalf("segment %+v is not conserved", s)
			}
			var inRanges uint64
			for _, g := range s.Ranges {
				inRanges += g.Hi - g.Lo + 1
			}
			if inRanges != s.Lost {
				rt.Fatalf("segment %s: %d in ranges, %d lost", s.Name, inRanges, s.Lost)
			}
		}
	})
}

func find(res *Result, name string) *Check {
	for i := range res.Checks {
		if res.Checks[i].Name == name {
			return &res.Checks[i]
		}
	}
	return nil
}

// random draws outcomes and sightings of a stream and writes them into story and map.
func random(rt *rapid.T, x *told) *naive {
	b := &naive{map[uint64]evidence.Class{}, map[uint64]bool{}, map[uint64]bool{}, map[uint64]bool{}}
	x.sent, x.points = map[evidence.Class]*stats.Set{}, map[string]map[evidence.Class]*stats.Set{}
	n := uint64(len(x.due))
	spans := func(name string, most uint64) []stats.Span {
		return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) stats.Span {
			lo := rapid.Uint64Range(0, most-1).Draw(t, "lo")
			return stats.Span{Lo: lo, Hi: min(lo+rapid.Uint64Range(1, 20).Draw(t, "n"), most)}
		}), 0, 6).Draw(rt, fmt.Sprintf("%s_%d", name, x.ID))
	}
	for _, c := range []evidence.Class{evidence.Acked, evidence.Unknown, evidence.Dropped} {
		for _, sp := range spans(c.String(), n) {
			for q := sp.Lo; q < sp.Hi; q++ {
				if _, has := b.outcome[q]; !has {
					b.outcome[q] = c
					x.set(c).Add(q)
				}
			}
		}
	}
	for _, p := range []struct {
		point string
		m     map[uint64]bool
	}{{evidence.PointKafka, b.kafka}, {evidence.PointSearch, b.search}, {evidence.PointDeadLetter, b.dead}} {
		for _, sp := range spans(p.point, n+5) {
			for q := sp.Lo; q < sp.Hi; q++ {
				p.m[q] = true
				x.at(p.point, evidence.Seen).Add(q)
			}
		}
	}
	return b
}

// count walks every record and puts it into its classes by definition.
func (b *naive) count(x *told, intent time.Duration) (c Counts, phantoms, contradicted uint64) {
	n := uint64(len(x.due))
	var reached uint64 // beyond it nothing was attempted
	for q := range n {
		if _, has := b.outcome[q]; has || x.due[q] < intent {
			reached = q + 1
		}
	}
	for q := range n + 5 {
		class, has := b.outcome[q]
		if !has && q < n && x.due[q] < intent {
			class, has = evidence.Unknown, true
		}
		arrived := b.kafka[q] || b.search[q] || b.dead[q]
		switch {
		case q >= reached:
			// Without even an intent nobody knows what of the schedule was sent; what is not in the schedule was not.
			if arrived && (reached > 0 || q >= n) {
				phantoms++
			}
			continue
		case !has:
			continue
		case class == evidence.Dropped:
			c.Dropped++
			if arrived {
				contradicted++
			}
			continue
		case class == evidence.Acked:
			c.Acknowledged++
			if !arrived {
				c.Lost++
			}
		default:
			c.Unknown++
		}
		if !arrived {
			continue
		}
		c.SeenKafka++
		switch {
		case b.search[q]:
			c.Seen++
		case b.dead[q]:
			c.DeadLettered++
		default:
			c.Lost++
		}
	}
	return c, phantoms, contradicted
}

// What the solver calls exact must be true for every way in which records can have been lost.
func TestSolverIsSound(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(rt, "losses")
		truth := make([]float64, n)
		var s system
		for i := range truth {
			truth[i] = float64(rapid.IntRange(0, 9).Draw(rt, "loss"))
			s.unknown(30)
		}
		var all []int
		sum := 0.0
		for i, v := range truth {
			all = append(all, i)
			sum += v
		}
		s.know(all, sum, sum, "")
		s.groups = 1
		for range rapid.IntRange(0, 6).Draw(rt, "facts") {
			vars := rapid.SliceOfNDistinct(rapid.IntRange(0, n-1), 1, n, rapid.ID).Draw(rt, "vars")
			var v float64
			for _, k := range vars {
				v += truth[k]
			}
			s.know(vars, v-float64(rapid.IntRange(0, 4).Draw(rt, "below")), v+float64(rapid.IntRange(0, 4).Draw(rt, "above")), "")
		}
		if !s.narrow() {
			rt.Fatal("true facts contradict each other")
		}
		vars := rapid.SliceOfNDistinct(rapid.IntRange(0, n-1), 1, n, rapid.ID).Draw(rt, "asked")
		var v float64
		for _, k := range vars {
			v += truth[k]
		}
		if lo, hi := s.bounds(vars); v < lo || v > hi {
			rt.Fatalf("truth %v of %v outside of [%v, %v]; %+v", v, vars, lo, hi, s)
		}
		for i, v := range truth {
			if v < s.lo[i] || v > s.hi[i] {
				rt.Fatalf("loss %d is %v, outside of [%v, %v]", i, v, s.lo[i], s.hi[i])
			}
		}
	})
}

func TestSamples(t *testing.T) {
	if got := samples(7, 3, stats.Span{Lo: 4, Hi: 6}); !slices.Equal(got, []string{"tq_7_3_4", "tq_7_3_5"}) {
		t.Errorf("%v", got)
	}
	if got := samples(7, 3, stats.Span{Lo: 36, Hi: 37}); !slices.Equal(got, []string{string(record.AppendID(nil, 7, 3, 36))}) {
		t.Errorf("%v", got)
	}
}
