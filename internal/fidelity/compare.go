package fidelity

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/stats"
)

// What it takes for agreement.
const (
	enoughReal = 5    // runs on kind
	enoughSim  = 1    // runs on embedded
	tolerance  = 0.25 // of the real median
)

// The two runtimes that are compared.
const (
	Sim  = "embedded"
	Real = "kind"
)

// Agreement of a row.
type Agreement string

// Agreements. Only Agrees is agreement.
const (
	Agrees     Agreement = "agrees"
	Differs    Agreement = "differs"
	TooFew     Agreement = "too few"
	BothModels Agreement = "n/a"
	NoData     Agreement = "no data"
)

// Figures that a row may be about, in the order of the rows.
var (
	times    = []string{"noticed", "first good", "drained", "back in band"}
	segments = map[string]string{"ledger-kafka": "backlog before kafka", "kafka-search": "backlog behind kafka"}
	// programs are the components of a hop that has a buffer with a gauge of its own.
	programs = map[string][]string{"collect": {"fluent-bit"}, "forward": {"fluentd"}, "broker": {"kafka"}, "sink": {"kafka-connect", "elasticsearch-sink"}, "search": {"elasticsearch"}}
	hops     = []string{"collect", "forward", "broker", "sink", "search"}
)

const (
	lost      = "lost"
	lossCheck = "loss"
)

// Figures are the names of all rows.
func Figures() []string {
	out := append(slices.Clone(times), "backlog before kafka", "backlog behind kafka")
	for _, h := range hops {
		out = append(out, backlogOf(h))
	}
	return append(out, lost)
}

func backlogOf(hop string) string { return "backlog " + hop }

// Table is everything that is said.
type Table struct {
	Sim        Side        `json:"embedded"`
	Real       Side        `json:"kind"`
	Components []Component `json:"components"` // of the runs on kind
	Scenarios  []Block     `json:"scenarios"`
	Missing    []string    `json:"missing"` // scenarios without a run that counts
	LeftOut    []Out       `json:"left_out"`
}

// Side is what the runs on one runtime have in common.
type Side struct {
	Runs    int       `json:"runs"`
	Newest  time.Time `json:"newest"`
	Commits []string  `json:"commits"`
	Cores   []int     `json:"cores"`
}

// Component is one part of the real clusters, over all runs.
type Component struct {
	Name     string   `json:"name"`
	Fidelity string   `json:"fidelity"`
	Versions []string `json:"versions"` // tags of its images
}

// Block is one scenario.
type Block struct {
	Scenario string `json:"scenario"`
	Sim      Count  `json:"embedded"`
	Real     Count  `json:"kind"`
	NoFault  bool   `json:"no_fault,omitempty"` // nothing was injected on either side, so there are no times
	Rows     []Row  `json:"rows"`
}

// Count is how many runs count. An invalid run has a loss verdict and no other figure that counts.
type Count struct {
	Runs    int `json:"runs"`
	Invalid int `json:"invalid"`
}

// Row is one figure on both sides.
type Row struct {
	Figure    string    `json:"figure"`
	Unit      string    `json:"unit"`
	Sim       Interval  `json:"embedded"`
	Real      Interval  `json:"kind"`
	Agreement Agreement `json:"agreement"`
	Detail    string    `json:"detail,omitempty"`
	Change    *float64  `json:"change"` // of the median from kind to embedded, as a share; null where it cannot be told
	Reason    string    `json:"reason,omitempty"`
}

// Interval is a figure over the runs of one side. Min, max and median are null when no run has it.
type Interval struct {
	N        int            `json:"n"`
	Unseen   int            `json:"unseen,omitempty"` // runs in which it was looked for and never came
	Min      *float64       `json:"min"`
	Max      *float64       `json:"max"`
	Median   *float64       `json:"median"`
	Verdicts map[string]int `json:"verdicts,omitempty"` // of the loss check

	values []float64
	error  float64 // resolution: a figure is known to so much
}

func (i *Interval) add(v float64) { i.values = append(i.values, v) }

func (i *Interval) close() {
	if i.N = len(i.values); i.N > 0 {
		i.Min, i.Max, i.Median = new(slices.Min(i.values)), new(slices.Max(i.values)), new(stats.Median(i.values))
	}
}

// Compare makes the table. known are the scenarios that there are, so that one without a run is named.
func Compare(runs []Run, known []string, leftOut []Out) *Table {
	runs, out := sift(runs)
	t := &Table{Components: []Component{}, Scenarios: []Block{}, Missing: []string{}, LeftOut: append(slices.Clone(leftOut), out...)}
	slices.SortStableFunc(t.LeftOut, func(a, b Out) int { return cmp.Compare(a.Run, b.Run) })
	by := map[string][]Run{}
	for _, r := range runs {
		by[r.Header.Scenario] = append(by[r.Header.Scenario], r)
	}
	t.Sim, t.Real = side(runs, Sim), side(runs, Real)
	t.Components = components(runs)
	for _, name := range slices.Sorted(maps.Keys(by)) {
		t.Scenarios = append(t.Scenarios, block(name, by[name]))
	}
	for _, name := range known {
		if by[name] == nil {
			t.Missing = append(t.Missing, name)
		}
	}
	slices.Sort(t.Missing)
	return t
}

// sift leaves out what must not be counted, and runs that did something else under the same name.
func sift(all []Run) (runs []Run, out []Out) {
	runs, out = countable(all)
	usual := usually(runs)
	same := runs[:0]
	for _, r := range runs {
		if r.plan() != usual[r.Header.Scenario] {
			out = append(out, Out{r.Header.ID, "other load, phases, faults or settings than most runs of this scenario"})
			continue
		}
		same = append(same, r)
	}
	return same, out
}

// countable leaves out interrupted runs, other runtimes and a run that is there twice.
func countable(all []Run) (runs []Run, out []Out) {
	seen := map[string]bool{}
	for _, r := range all {
		why := ""
		switch {
		case r.Header.Runtime != Sim && r.Header.Runtime != Real:
			why = "runs on " + r.Header.Runtime + " are not compared"
		case r.Result.Interrupted != "":
			why = "interrupted: " + r.Result.Interrupted
		case r.CutShort:
			why = "interrupted: its evidence was never closed"
		case seen[r.identity()]:
			why = "it is there twice"
		}
		seen[r.identity()] = true
		if why != "" {
			out = append(out, Out{r.Header.ID, why})
			continue
		}
		runs = append(runs, r)
	}
	return runs, out
}

// usually is the plan of most runs of each scenario: on kind first, because these are dear, then of all, then of the newest.
func usually(runs []Run) map[string]string {
	type votes struct {
		plan      string
		real, all int
		newest    time.Time
	}
	by := map[string]map[string]*votes{}
	for _, r := range runs {
		p, s := r.plan(), r.Header.Scenario
		if by[s] == nil {
			by[s] = map[string]*votes{}
		}
		if by[s][p] == nil {
			by[s][p] = &votes{plan: p}
		}
		v := by[s][p]
		v.all++
		if r.Header.Runtime == Real {
			v.real++
		}
		if r.Header.Created.After(v.newest) {
			v.newest = r.Header.Created
		}
	}
	out := map[string]string{}
	for s, plans := range by {
		out[s] = slices.MaxFunc(slices.Collect(maps.Values(plans)), func(a, b *votes) int {
			return cmp.Or(cmp.Compare(a.real, b.real), cmp.Compare(a.all, b.all), a.newest.Compare(b.newest), cmp.Compare(a.plan, b.plan))
		}).plan
	}
	return out
}

func side(runs []Run, runtime string) Side {
	s := Side{Commits: []string{}, Cores: []int{}}
	for _, r := range runs {
		h := r.Header
		if h.Runtime != runtime {
			continue
		}
		s.Runs++
		if h.Created.After(s.Newest) {
			s.Newest = h.Created.UTC()
		}
		if !slices.Contains(s.Commits, h.Commit) {
			s.Commits = append(s.Commits, h.Commit)
		}
		if !slices.Contains(s.Cores, h.Host.CPUs) {
			s.Cores = append(s.Cores, h.Host.CPUs)
		}
	}
	slices.Sort(s.Commits)
	slices.Sort(s.Cores)
	return s
}

// components are the parts of the runs on kind. One that was real in some and a model in others is there twice.
func components(runs []Run) []Component {
	by := map[[2]string]*Component{}
	for _, r := range runs {
		if r.Header.Runtime != Real {
			continue
		}
		for _, c := range r.Header.Components {
			k := [2]string{c.Name, c.Fidelity}
			if by[k] == nil {
				by[k] = &Component{Name: c.Name, Fidelity: c.Fidelity, Versions: []string{}}
			}
			if v := tag(c.Image); v != "" && !slices.Contains(by[k].Versions, v) {
				by[k].Versions = append(by[k].Versions, v)
			}
		}
	}
	out := []Component{}
	for _, c := range by {
		slices.Sort(c.Versions)
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b Component) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Fidelity, b.Fidelity))
	})
	return out
}

// own is the name of Triad's image, which every build tags anew: the commit says which it was.
const own = "sim"

// tag is the version in the reference of an image, without a digest and without where it came from.
func tag(image string) string {
	image, _, _ = strings.Cut(image, "@")
	name, version, _ := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
	if name == own {
		return ""
	}
	return version
}

func block(name string, runs []Run) Block {
	b := Block{Scenario: name, NoFault: true}
	var timed []Run // whose figures count
	for _, r := range runs {
		c := &b.Sim
		if r.Header.Runtime == Real {
			c = &b.Real
		}
		c.Runs++
		if r.Result.Verdict == check.Invalid {
			c.Invalid++
		} else {
			timed = append(timed, r)
		}
		if injected(r) {
			b.NoFault = false
		}
	}
	if !b.NoFault {
		for _, f := range times {
			b.Rows = append(b.Rows, timeRow(f, timed))
		}
	}
	for _, s := range []string{"ledger-kafka", "kafka-search"} {
		b.Rows = append(b.Rows, segmentRow(s, timed))
	}
	for _, hop := range hops {
		if row, ok := hopRow(hop, runs, timed); ok {
			b.Rows = append(b.Rows, row)
		}
	}
	b.Rows = append(b.Rows, lossRow(runs))
	return b
}

// injected says whether any fault was: without one there is nothing to notice or to come back from.
func injected(r Run) bool {
	return slices.ContainsFunc(r.Result.Faults, func(f check.Fault) bool { return f.InjectedAt != nil })
}

// of is the interval of the runtime of a run.
func (r *Row) of(run Run) *Interval {
	if run.Header.Runtime == Real {
		return &r.Real
	}
	return &r.Sim
}

func timeRow(figure string, runs []Run) Row {
	row := Row{Figure: figure, Unit: "s"}
	for _, r := range runs {
		if !injected(r) {
			continue
		}
		rec := r.Result.Recovery
		v := map[string]*int64{"noticed": rec.Noticed, "first good": rec.FirstGood, "drained": rec.Drained, "back in band": rec.InBand}[figure]
		res := rec.Resolution
		if figure == "back in band" {
			res = max(res, rec.InBandResolution)
		}
		i := row.of(r)
		i.error = max(i.error, time.Duration(res).Seconds())
		if v == nil {
			i.Unseen++
			continue
		}
		i.add(time.Duration(*v).Seconds())
	}
	row.judge(false)
	return row
}

func segmentRow(segment string, runs []Run) Row {
	row := Row{Figure: segments[segment], Unit: "records"}
	for _, r := range runs {
		for _, p := range r.Peaks {
			if p.Segment == segment && p.Peak != nil {
				row.of(r).add(*p.Peak)
			}
		}
	}
	row.judge(false)
	return row
}

// hopRow is the peak of the fullest buffer of a hop. collect and forward always have a row, the others when a gauge of theirs was
// read: what waits there is counted between the observation points. ok is false without a row.
func hopRow(hop string, all, timed []Run) (row Row, ok bool) {
	row = Row{Figure: backlogOf(hop), Unit: "bytes"}
	reals, models := 0, 0
	for _, r := range all {
		if r.Header.Runtime == Real {
			reals++
			if modelled(r, hop) {
				models++
			}
		}
	}
	both := reals > 0 && models == reals
	found := false
	for _, r := range timed {
		// Where some runs had the real program, those with the model in its pod say nothing about it.
		if r.Header.Runtime == Real && !both && modelled(r, hop) {
			continue
		}
		var peak *float64
		for _, b := range r.Result.Buffers {
			if b.Hop != hop || b.Peak == nil || peak != nil && *peak >= *b.Peak {
				continue
			}
			peak, row.Unit = b.Peak, b.Unit
		}
		if peak != nil {
			found = true
			row.of(r).add(*peak)
		}
	}
	row.judge(both)
	return row, found || hop == "collect" || hop == "forward"
}

// modelled says whether everything in a hop was Triad's model.
func modelled(r Run, hop string) bool {
	model := false
	for _, c := range r.Header.Components {
		if !slices.Contains(programs[hop], c.Name) {
			continue
		}
		switch c.Fidelity {
		case evidence.Model:
			model = true
		case evidence.Real:
			if home[c.Name] == "" || home[c.Name] == c.Cluster {
				return false
			}
		case evidence.StandIn:
			return false
		}
	}
	return model
}

// home is the cluster of a program whose name others carry too: the datacenter has a kafka that is a user.
var home = map[string]string{"kafka": "kafka"}

// lossRow holds the verdict of the check against each other, then the numbers. It counts in invalid runs too: what became of a
// record does not depend on when it was sent.
func lossRow(runs []Run) Row {
	row := Row{Figure: lost, Unit: "records"}
	for _, r := range runs {
		for _, c := range r.Result.Checks {
			if c.Name != lossCheck || c.Verdict != check.Pass && c.Verdict != check.Fail {
				continue
			}
			i := row.of(r)
			i.add(float64(r.Result.Totals.Lost))
			if i.Verdicts == nil {
				i.Verdicts = map[string]int{}
			}
			i.Verdicts[string(c.Verdict)]++
		}
	}
	row.judge(false)
	a, b := slices.Sorted(maps.Keys(row.Sim.Verdicts)), slices.Sorted(maps.Keys(row.Real.Verdicts))
	if (row.Agreement == Agrees || row.Agreement == Differs) && !slices.Equal(a, b) {
		row.Agreement, row.Detail = Differs, "the verdict: "+strings.Join(a, " and ")+" against "+strings.Join(b, " and ")
	}
	return row
}

// judge closes both intervals and sets the agreement.
func (r *Row) judge(both bool) {
	r.Sim.close()
	r.Real.close()
	s, k := &r.Sim, &r.Real
	switch {
	case both:
		r.Agreement, r.Detail = BothModels, "both sides are Triad's model"
	case s.N == 0 && k.N == 0:
		r.Agreement = NoData
	case k.N+k.Unseen < enoughReal || s.N+s.Unseen < enoughSim:
		r.Agreement = TooFew
	case s.N == 0:
		r.Agreement, r.Detail = Differs, "never seen on embedded"
	case k.N == 0:
		r.Agreement, r.Detail = Differs, "never seen on kind"
	case s.mostlyUnseen() != k.mostlyUnseen():
		r.Agreement, r.Detail = Differs, fmt.Sprintf("never seen in %d of %d runs on embedded, in %d of %d on kind", s.Unseen, s.N+s.Unseen, k.Unseen, k.N+k.Unseen)
	case k.N < enoughReal:
		r.Agreement = TooFew
	default:
		r.compare()
	}
}

// mostlyUnseen says whether what is measured did not come about in most of the runs.
func (i *Interval) mostlyUnseen() bool { return i.Unseen > i.N }

// compare holds interval against interval, each wider by what its figures are known to, and then median against median.
func (r *Row) compare() {
	s, k := &r.Sim, &r.Real
	slack := s.error + k.error
	overlap := *s.Min <= *k.Max+slack && *k.Min <= *s.Max+slack
	diff := *s.Median - *k.Median
	if *k.Median != 0 {
		r.Change = new(diff / *k.Median)
	}
	switch {
	case overlap || math.Abs(diff) <= tolerance*math.Abs(*k.Median):
		r.Agreement = Agrees
	case r.Change == nil:
		r.Agreement, r.Detail = Differs, "the real median is 0"
	case diff < 0:
		r.Agreement, r.Detail = Differs, fmt.Sprintf("by %.0f %%, embedded is lower", -*r.Change*100)
	default:
		r.Agreement, r.Detail = Differs, fmt.Sprintf("by %.0f %%, embedded is higher", *r.Change*100)
	}
}

// String is the agreement in words.
func (r Row) String() string {
	switch {
	case r.Agreement == BothModels:
		return string(r.Agreement) + ": " + r.Detail
	case r.Detail == "":
		return string(r.Agreement)
	case strings.HasPrefix(r.Detail, "by "):
		return string(r.Agreement) + " " + r.Detail
	}
	return string(r.Agreement) + ": " + r.Detail
}
