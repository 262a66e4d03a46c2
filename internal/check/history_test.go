package check

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triad/internal/evidence"
	"triad/internal/scenario"
	"triad/internal/stats"
)

// A history is a text that tells a run and what the judge must say of it; testdata/README.md describes the language.
type history struct {
	yaml   strings.Builder
	lists  map[string][]string
	story  *story
	wants  []string
	phases string
}

func TestHistories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.history")
	if err != nil || len(files) < 25 {
		t.Fatalf("%d histories, %v", len(files), err)
	}
	schema := loadSchema(t)
	var mu sync.Mutex
	told := map[string]map[Verdict]bool{} // by check: the verdicts that histories led to
	t.Cleanup(func() { everyCheckBothWays(t, told) })
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".history"), func(t *testing.T) {
			t.Parallel()
			h := readHistory(t, f)
			dir := h.story.write(t)
			res := judgeDir(t, dir)
			mu.Lock()
			for _, c := range res.Checks {
				if told[c.Name] == nil {
					told[c.Name] = map[Verdict]bool{}
				}
				told[c.Name][c.Verdict] = true
			}
			mu.Unlock()
			var v any
			if err := json.Unmarshal(marshal(t, res), &v); err != nil {
				t.Fatal(err)
			}
			for _, msg := range schema.check("", schema.root, v) {
				t.Error(msg)
			}
			if diff := cmp.Diff(string(marshal(t, res)), string(marshal(t, judgeDir(t, dir)))); diff != "" {
				t.Errorf("judged twice, two results (-first +second):\n%s", diff)
			}
			for _, w := range h.wants {
				if msg := expect(res, w); msg != "" {
					t.Errorf("%s: want %s: %s", f, w, msg)
				}
			}
			if t.Failed() {
				t.Logf("verdict %s\n%s", res.Verdict, table(res))
				for _, h := range res.Hops {
					t.Logf("hop %s: in %s out %s lost %s (%s to %s, %s) dup %s: %q", h.Name, num(h.In), num(h.Out), num(h.Lost), num(h.LostMin), num(h.LostMax), h.Certainty, num(h.Duplicated), h.Evidence)
				}
			}
			for _, s := range res.Segments {
				if s.In != s.Out+s.DeadLettered+s.Lost+s.Unknown {
					t.Errorf("segment %s: in %d, out %d + dead %d + lost %d + unknown %d", s.Name, s.In, s.Out, s.DeadLettered, s.Lost, s.Unknown)
				}
			}
		})
	}
}

// everyCheckBothWays demands a history in which each check passes and one in which it does not.
func everyCheckBothWays(t *testing.T, told map[string]map[Verdict]bool) {
	for _, k := range scenario.Checks {
		if !told[k.Name][Pass] {
			t.Errorf("no history in which %s passes", k.Name)
		}
		if !told[k.Name][Fail] && !told[k.Name][Invalid] {
			t.Errorf("no history in which %s fails or is invalid", k.Name)
		}
	}
}

func readHistory(t testing.TB, file string) *history {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := &history{lists: map[string][]string{}}
	sc := bufio.NewScanner(f)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := h.line(line); err != nil {
			t.Fatalf("%s:%d: %s: %v", file, n, line, err)
		}
	}
	if h.story == nil {
		t.Fatalf("%s: no run line", file)
	}
	if len(h.wants) == 0 {
		t.Fatalf("%s: wants nothing", file)
	}
	return h
}

func (h *history) line(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	if h.story == nil {
		switch word {
		case "phases":
			h.phases = rest
		case "load", "fault", "guarantee":
			h.lists[word] = append(h.lists[word], "{"+rest+"}")
		case "threshold":
			h.lists[word] = append(h.lists[word], strconv.Quote(rest))
		case "scenario":
			h.yaml.WriteString(rest + "\n")
		case "run":
			return h.begin()
		default:
			return fmt.Errorf("unknown before run: %s", word)
		}
		return nil
	}
	if word == "want" {
		h.wants = append(h.wants, rest)
		return nil
	}
	return h.tell(word, strings.Fields(rest), rest)
}

// begin puts the scenario together and makes the clean run that the lines below change.
func (h *history) begin() error {
	y := "apiVersion: triad/v1\nname: t\ntitle: a history\n"
	if h.phases == "" {
		h.phases = "{warm-up: 2s, before: 10s, during: 10s, after: 10s, drain: 30s}"
	}
	y += "phases: " + h.phases + "\n" + h.yaml.String()
	if len(h.lists["load"]) == 0 {
		h.lists["load"] = []string{"{source: service, rate: 20/s}"}
	}
	for _, k := range [][2]string{{"load", "load"}, {"fault", "faults"}, {"guarantee", "guarantees"}, {"threshold", "thresholds"}} {
		if l := h.lists[k[0]]; len(l) > 0 {
			y += k[1] + ": [" + strings.Join(l, ", ") + "]\n"
		}
	}
	var err error
	if h.story, err = newStory(y); err != nil {
		return err
	}
	h.story.calm()
	return nil
}

func (h *history) tell(word string, args []string, rest string) error {
	st := h.story
	switch word {
	case "acked", "unknown", "dropped", "frozen":
		return h.records(args, func(t *told, s *stats.Set) {
			t.outcome(map[string]evidence.Class{"acked": evidence.Acked, "unknown": evidence.Unknown, "dropped": evidence.Dropped, "frozen": evidence.Frozen}[word], s)
		})
	case "silent": // no outcome at all
		return h.records(args, func(t *told, s *stats.Set) {
			for _, c := range t.sent {
				t.remove(c, s)
			}
		})
	case "lose", "hide", "seen", "dup", "corrupt", "misordered", "foreign", "phantom":
		return h.sight(word, args)
	case "dead":
		return h.records(args, func(t *told, s *stats.Set) {
			t.at(evidence.PointDeadLetter, evidence.Seen).Union(s)
			t.remove(t.at(evidence.PointSearch, evidence.Seen), s)
		})
	case "event":
		return h.event(args)
	case "bites": // NAME from to hits
		return h.bites(args)
	case "silence":
		from, to, err := times2(args[1:])
		st.silence = append(st.silence, silence{args[0], from, to})
		return err
	case "counter":
		return h.counter(args)
	case "hist":
		return h.hist(args)
	case "no":
		return h.no(args)
	case "intent":
		d, err := time.ParseDuration(args[0])
		st.intent = d
		return err
	case "window":
		d, err := time.ParseDuration(args[0])
		st.header.HistWindow = d
		return err
	case "unsealed":
		st.unsealed = true
	case "interrupted":
		st.early = rest
	case "drain":
		st.drain = args[0]
	case "recon":
		st.recon = args[0]
	case "tear":
		n, err := strconv.Atoi(args[1])
		st.damage = append(st.damage, tear(args[0], n))
		return err
	case "flip":
		x, err := strconv.ParseFloat(args[1], 64)
		st.damage = append(st.damage, flip(args[0], x))
		return err
	case "query":
		return h.query(args)
	case "ramp":
		return h.ramp(args)
	case "try":
		return h.try(args)
	case "baseline":
		return h.baselineOf(args)
	case "in-process":
		st.header.InProcess = rest
	case "busy":
		return h.busy(args)
	case "series":
		return h.counter(args)
	case "component":
		st.header.Components = append(st.header.Components, evidence.Component{Cluster: args[0], Name: args[1], Fidelity: args[2]})
	case "buffer":
		return h.buffer(args)
	case "metrics":
		var d [3]time.Duration
		for i := range d {
			var err error
			if d[i], err = scenario.ParseDuration(args[i]); err != nil {
				return err
			}
		}
		st.header.Metrics = &evidence.MetricsPath{AgentRetention: d[0], ReceiverWindow: d[1], ScrapeInterval: d[2]}
	default:
		return fmt.Errorf("unknown word %q", word)
	}
	return nil
}

func times2(args []string) (from, to time.Duration, err error) {
	if from, err = time.ParseDuration(args[0]); err == nil {
		to, err = time.ParseDuration(args[1])
	}
	return from, to, err
}

// records applies fn to "STREAM RANGES"; a range may be counted from the end: $ is the last record, $-3 the third before.
func (h *history) records(args []string, fn func(*told, *stats.Set)) error {
	if len(args) < 2 {
		return fmt.Errorf("want STREAM RANGES")
	}
	id, err := strconv.Atoi(args[0])
	t := h.story.streams[uint32(id)]
	if err != nil || t == nil {
		return fmt.Errorf("no stream %q", args[0])
	}
	s, err := ranges(args[1], len(t.due))
	if err == nil {
		fn(t, s)
	}
	return err
}

func ranges(text string, n int) (*stats.Set, error) {
	var out stats.Set
	num := func(s string) (uint64, error) {
		if s == "$" {
			return uint64(n - 1), nil
		}
		if back, ok := strings.CutPrefix(s, "$"); ok {
			v, err := strconv.Atoi(back)
			return uint64(n - 1 - v), err
		}
		return strconv.ParseUint(s, 10, 64)
	}
	for part := range strings.SplitSeq(text, ",") {
		if part == "all" {
			part = "0-$"
		}
		a, b, two := strings.Cut(part, "-")
		if !two {
			b = a
		}
		lo, err := num(a)
		if err != nil {
			return nil, err
		}
		hi, err := num(b)
		if err != nil || hi < lo {
			return nil, fmt.Errorf("range %q", part)
		}
		out.AddSpan(stats.Span{Lo: lo, Hi: hi + 1})
	}
	return &out, nil
}

// sight changes what a point saw: WORD POINT STREAM RANGES [times].
func (h *history) sight(word string, args []string) error {
	point := args[0]
	return h.records(args[1:], func(t *told, s *stats.Set) {
		seen := t.at(point, evidence.Seen)
		switch word {
		case "lose":
			t.remove(seen, s)
			if point == evidence.PointKafka {
				t.remove(t.at(evidence.PointSearch, evidence.Seen), s)
			}
		case "hide":
			t.remove(seen, s)
		case "seen":
			seen.Union(s)
		case "dup":
			t.at(point, evidence.Duplicate).Union(s)
			if len(args) > 3 {
				n, _ := strconv.Atoi(args[3])
				if t.times[point] == nil {
					t.times[point] = map[uint64]int{}
				}
				for _, sp := range s.Spans() {
					for q := sp.Lo; q < sp.Hi; q++ {
						t.times[point][q] = n
					}
				}
			}
		case "corrupt":
			t.at(point, evidence.Corrupt).Union(s)
		case "misordered":
			t.at(point, evidence.Misordered).Union(s)
		case "foreign":
			t.remove(seen, s)
			t.at(point, evidence.Foreign).Union(s)
		case "phantom":
			t.at(point, evidence.Phantom).Union(s)
		}
	})
}

// event AT KIND NAME [STATE] [key=value...]; an underscore in a name stands for a space, - for an empty one.
func (h *history) event(args []string) error {
	at, err := time.ParseDuration(args[0])
	e := evidence.Event{At: at, Kind: args[1], Attrs: map[string]string{}}
	pos := 0
	for _, a := range args[2:] {
		k, v, ok := strings.Cut(a, "=")
		switch {
		case ok && k == "hits":
			e.Hits, err = strconv.ParseUint(v, 10, 64)
		case ok && k == "detail":
			e.Detail = strings.ReplaceAll(v, "_", " ")
		case ok:
			e.Attrs[k] = v
		case pos == 0:
			if pos++; a != "-" {
				e.Name = strings.ReplaceAll(a, "_", " ")
			}
		default:
			e.State = a
		}
	}
	h.story.events = append(h.story.events, e)
	return err
}

// bites NAME FROM TO HITS: the whole life of a fault that worked.
func (h *history) bites(args []string) error {
	from, to, err := times2(args[1:])
	if err != nil {
		return err
	}
	hits, err := strconv.ParseUint(args[3], 10, 64)
	add := func(at time.Duration, state string, n uint64) {
		h.story.events = append(h.story.events, evidence.Event{At: at, Kind: evidence.EventFault, Name: args[0], State: state, Hits: n})
	}
	add(from, evidence.FaultInjecting, 0)
	add(from, evidence.FaultInjected, 0)
	add(from+100*time.Millisecond, evidence.FaultBit, hits)
	add(to, evidence.FaultHealing, 0)
	add(to, evidence.FaultHealed, 0)
	add(to+100*time.Millisecond, evidence.FaultGone, hits)
	return err
}

// counter NAME{label="value",...} T=V T=V ...
func (h *history) counter(args []string) error {
	name, labels := evidence.ParseSelector(args[0])
	for _, a := range args[1:] {
		t, v, _ := strings.Cut(a, "=")
		at, err := time.ParseDuration(t)
		if err != nil {
			return err
		}
		x, err := strconv.ParseFloat(v, 64)
		if err != nil {
			return err
		}
		h.story.samples = append(h.story.samples, sampleAt{at, evidence.Sample{Name: name, Labels: labels, Value: x}})
	}
	return nil
}

// hist METRIC SOURCE FROM TO VALUE N
func (h *history) hist(args []string) error {
	from, to, err := times2(args[2:])
	if err != nil {
		return err
	}
	v, err := time.ParseDuration(args[4])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[5])
	src := args[1]
	if src == "-" {
		src = ""
	}
	h.story.hists = append(h.story.hists, histLine{evidence.HistKey{Metric: args[0], Source: src}, from, to, v, n})
	return err
}

func (h *history) no(args []string) error {
	st := h.story
	switch args[0] {
	case "observer":
		st.ready[args[1]] = false
	case "recon":
		st.recon = ""
	case "drain":
		st.drain = ""
	case "hist":
		st.noHists[args[1]] = true
	case "pulses":
		st.noPulses = true
	case "witness":
		st.samples = slices.DeleteFunc(st.samples, func(s sampleAt) bool { return s.Name == evidence.StallSeries || s.Name == evidence.CPUSeries })
	default:
		return fmt.Errorf("no what?")
	}
	return nil
}

// query CLUSTER FROM TO SECONDS: two searches a second, with a noise of 5 %.
func (h *history) query(args []string) error {
	from, to, err := times2(args[1:])
	if err != nil {
		return err
	}
	v, err := strconv.ParseFloat(args[3], 64)
	for i := 0; from < to; i++ {
		noise := 1 + 0.05*math.Sin(float64(i*i))
		h.story.samples = append(h.story.samples, sampleAt{from, evidence.Sample{Name: evidence.QuerySeries, Labels: evidence.Labels{"cluster": args[0]}, Value: v * noise}})
		from += 500 * time.Millisecond
	}
	return err
}

// ramp SERIES FROM TO START END NOISE: a value every ten seconds on a line, with a noise that is a share of its start.
func (h *history) ramp(args []string) error {
	name, labels := evidence.ParseSelector(args[0])
	from, to, err := times2(args[1:])
	if err != nil {
		return err
	}
	var v [3]float64
	for i := range v {
		if v[i], err = strconv.ParseFloat(args[3+i], 64); err != nil {
			return err
		}
	}
	for at := from; at < to; at += 10 * time.Second {
		i := float64(at / (10 * time.Second))
		x := v[0] + (v[1]-v[0])*float64(at-from)/float64(to-from) + v[0]*v[2]*math.Sin(i*i)
		h.story.samples = append(h.story.samples, sampleAt{at, evidence.Sample{Name: name, Labels: labels, Value: x}})
	}
	return nil
}

// try RATE VERDICT [LO HI]: an earlier try; its first gate has the verdict, and the others passed.
func (h *history) try(args []string) error {
	rate, err := strconv.ParseFloat(args[0], 64)
	if err != nil {
		return err
	}
	t := evidence.Try{Run: fmt.Sprintf("run-%d", len(h.story.header.Tries)+1), Rate: rate}
	for i, g := range h.story.scene.Search.Gate {
		x := evidence.TryGate{Gate: g, Verdict: string(Pass), Lo: new(0.0), Hi: new(0.0)}
		if i == 0 {
			x.Verdict, x.Lo, x.Hi, x.Detail = args[1], nil, nil, "told by the history"
			if len(args) > 3 {
				x.Lo, x.Hi = new(0.0), new(0.0)
				if *x.Lo, err = strconv.ParseFloat(args[2], 64); err != nil {
					return err
				}
				if *x.Hi, err = strconv.ParseFloat(args[3], 64); err != nil {
					return err
				}
			}
		}
		t.Gates = append(t.Gates, x)
	}
	h.story.header.Tries = append(h.story.header.Tries, t)
	return nil
}

// busy FROM TO CORES
func (h *history) busy(args []string) error {
	from, to, err := times2(args)
	if err != nil {
		return err
	}
	cores, err := strconv.ParseFloat(args[2], 64)
	for i, s := range h.story.samples {
		if s.Name == evidence.CPUSeries && s.at >= from && s.at < to {
			h.story.samples[i].Value = cores
		}
	}
	return err
}

// buffer HOP COMPONENT BYTES INSTANCES FULL [GAUGE]
func (h *history) buffer(args []string) error {
	n, err := scenario.ParseSize(args[2])
	if err != nil {
		return err
	}
	inst, err := strconv.Atoi(args[3])
	b := evidence.Buffer{Hop: args[0], Component: args[1], Bytes: n, Instances: inst, Full: args[4], Source: "history"}
	if len(args) > 5 {
		b.Gauge = args[5]
	}
	h.story.header.Buffers = append(h.story.header.Buffers, b)
	return err
}

// baselineOf FIGURE N VALUE [STEP] [key=value]: what an earlier run had, its values in turn VALUE and up to six STEPs more.
func (h *history) baselineOf(args []string) error {
	st := h.story
	if st.baseline == nil {
		own := (&judge{r: &evidence.Run{Header: st.header}, s: st.scene}).config()
		st.baseline = &Result{SchemaVersion: ResultSchema, Run: "last-night", Scenario: st.scene.Name, Runtime: st.header.Runtime, Config: own}
	}
	var num []float64
	for _, a := range args[1:] {
		if k, v, ok := strings.Cut(a, "="); ok {
			st.baseline.Config[strings.ReplaceAll(k, "_", " ")] = strings.ReplaceAll(v, "_", " ")
			continue
		}
		x, err := strconv.ParseFloat(a, 64)
		if err != nil {
			return err
		}
		num = append(num, x)
	}
	f := Figures{What: strings.ReplaceAll(args[0], "_p", " p"), Unit: "s"}
	for i := range int(num[0]) {
		v := num[1]
		if len(num) > 2 {
			v += float64(i*3%7) * num[2]
		}
		f.Values = append(f.Values, v)
	}
	st.baseline.Intervals = append(st.baseline.Intervals, f)
	return nil
}
