package scenario

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Limits of what one file may ask for; they keep a typing error from taking the machine.
const (
	maxStreams = 100_000
	maxLength  = 7 * 24 * time.Hour
	maxSize    = 1 << 20
)

// Load reads, completes and judges a scenario file. The error joins every fault found, each an *Error.
func Load(file string) (*Scenario, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("scenario file: %w", err)
	}
	return Parse(file, data)
}

// Parse is Load on bytes; file is the name in messages.
func Parse(file string, data []byte) (*Scenario, error) {
	s := &Scenario{}
	at, err := DecodeStrict(file, data, s)
	if err != nil {
		return nil, err
	}
	s.File = file
	v := &validator{file: file, at: at, said: map[string]bool{}}
	v.keys(reflect.ValueOf(s).Elem(), "")
	s.setDefaults()
	v.scenario(s)
	if len(v.errs) > 0 {
		return nil, errors.Join(v.errs...)
	}
	s.places = v.at
	return s, nil
}

// At is the mistake of a path of the file, as alerts[0].name, that only somebody else could find.
func (s *Scenario) At(path, format string, args ...any) error {
	v := validator{file: s.File, at: s.places}
	v.fail(path, format, args...)
	return v.errs[0]
}

// YAML returns s with its defaults filled in, as a file that Parse accepts.
func (s *Scenario) YAML() ([]byte, error) { return yaml.Marshal(s) }

func (s *Scenario) setDefaults() {
	if s.Seed == 0 {
		s.Seed = 1
	}
	if len(s.Runtimes) == 0 {
		s.Runtimes = []string{"embedded", "kind"}
	}
	if s.Phases.WarmUp == 0 {
		s.Phases.WarmUp = Duration(5 * time.Second)
	}
	if s.Phases.Drain == 0 {
		s.Phases.Drain = Duration(2 * time.Minute)
	}
	for i := range s.Load {
		l := &s.Load[i]
		if l.Instances == 0 {
			l.Instances = max(l.Parallelism, 1)
		}
		if l.Streams == 0 {
			l.Streams = l.Instances
		}
		if l.Size == 0 {
			l.Size = 256
		}
		if l.Arrivals == "" {
			l.Arrivals = "uniform"
		}
		if src, ok := FindSource(l.Source); ok && l.Enter == "" {
			l.Enter = src.Enters[0]
		}
	}
	count := map[string]int{}
	for i := range s.Faults {
		f := &s.Faults[i]
		count[f.Kind]++
		if f.Name == "" {
			f.Name = f.Kind
			if n := count[f.Kind]; n > 1 {
				f.Name = fmt.Sprintf("%s-%d", f.Kind, n)
			}
		}
		if row, ok := FindFault(f.Kind); ok {
			if f.Cluster == "" {
				f.Cluster = row.Cluster
			}
			if f.Target == "" && strings.HasPrefix(f.Kind, "broker-") && row.Target != "" {
				f.Target = "leader"
			}
		}
		if f.Kind == "link-cut" {
			if f.Direction == "" {
				f.Direction = "both"
			}
			if f.Mode == "" {
				f.Mode = "drop"
			}
		}
		if f.Kind == "noisy-neighbour" && f.Mode == "" {
			f.Mode = "cpu"
		}
		if f.Kind == "es-throttle" && f.Ratio == 0 {
			f.Ratio = 1
		}
	}
	for i := range s.Alerts {
		if s.Alerts[i].Fault == "" && len(s.Faults) == 1 {
			s.Alerts[i].Fault = s.Faults[0].Name
		}
	}
	if s.Isolation != nil && s.Isolation.Tolerance == 0 {
		s.Isolation.Tolerance = 0.25
	}
	if c := s.Compare; c != nil {
		if c.Pairs == 0 {
			c.Pairs = 5
		}
		if c.Tolerance == 0 {
			c.Tolerance = 0.25
		}
	}
	if s.Search != nil {
		s.Search.setDefaults()
		if s.Phases.During == 0 {
			s.Phases.During = s.Search.Step
		}
		if i := slices.IndexFunc(s.Load, func(l Input) bool { return l.Source == s.Search.Source }); s.Search.Rate > 0 && i >= 0 && len(s.Load[i].Shape) == 0 {
			s.Load[i].Shape = s.Probe(s.Search.Rate).Load[i].Shape
		}
	}
}

type validator struct {
	file string
	at   map[string]Position
	errs []error
	said map[string]bool // paths at which a key is missing or 0: nothing more is said of them
}

// keys reports keys that have to be there and are not, and a 0 that is written where it would mean the default. It comes before the defaults.
func (v *validator) keys(val reflect.Value, path string) {
	switch {
	case val.Kind() == reflect.Pointer && !val.IsNil():
		v.keys(val.Elem(), path)
	case val.Kind() == reflect.Slice:
		for i := range val.Len() {
			v.keys(val.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	case val.Kind() == reflect.Struct:
		for i := range val.NumField() {
			f := val.Type().Field(i)
			name, rest, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if name == "-" || name == "" {
				continue
			}
			at, doc := join(path, name), f.Tag.Get("doc")
			switch _, there := v.at[at]; {
			case !there && !strings.Contains(rest, "omitempty"):
				v.fail(at, "missing: %s", doc)
			case there && val.Field(i).IsZero() && strings.Contains(doc, "; default ") && !strings.Contains(doc, "; default 0"):
				v.fail(at, "0 is not possible here; leave it out for the default: %s", doc)
			case there:
				v.keys(val.Field(i), at)
				continue
			default:
				continue
			}
			v.said[at] = true
		}
	}
}

// where is the place of path, or of the nearest enclosing path that stood in the file.
func (v *validator) where(path string) Position {
	for {
		if p, ok := v.at[path]; ok {
			return p
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return v.at[""]
		}
		path = path[:i]
	}
}

func (v *validator) fail(path, format string, args ...any) {
	if v.said[path] {
		return
	}
	v.errs = append(v.errs, &Error{v.file, v.where(path), path, fmt.Sprintf(format, args...)})
}

// oneOf reports an unknown name with what is allowed and the nearest spelling.
func (v *validator) oneOf(path, what, got string, allowed []string) bool {
	if slices.Contains(allowed, got) {
		return true
	}
	v.fail(path, "unknown %s %q; %sallowed: %s", what, got, DidYouMean(got, allowed), strings.Join(allowed, ", "))
	return false
}

var nameRE = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

func names[T any](rows []T, name func(T) string) []string {
	var out []string
	for _, r := range rows {
		out = append(out, name(r))
	}
	return out
}

// namedBy says whether a file of this name may hold the scenario: its own name, with a variant behind a dot or without, or the name
// of the copy that every run directory holds, which can be run again.
func (s *Scenario) namedBy(base string) bool {
	return base == s.Name || strings.HasPrefix(base, s.Name+".") || base == "scenario"
}

func (v *validator) scenario(s *Scenario) {
	if s.APIVersion != APIVersion {
		v.fail("apiVersion", "want %s, not %q", APIVersion, s.APIVersion)
	}
	if !nameRE.MatchString(s.Name) {
		v.fail("name", "%q: want lower-case letters, digits and dashes", s.Name)
	} else if base := strings.TrimSuffix(filepath.Base(v.file), filepath.Ext(v.file)); !s.namedBy(base) && strings.HasSuffix(v.file, ".yaml") {
		v.fail("name", "the file is called %s.yaml, so the name must be %q", base, base)
	}
	if s.Title == "" {
		v.fail("title", "missing: one line that says what is shown")
	}
	for i, c := range s.Claims {
		v.oneOf(fmt.Sprintf("claims[%d]", i), "claim", c, []string{"C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8"})
	}
	for i, r := range s.Runtimes {
		v.oneOf(fmt.Sprintf("runtimes[%d]", i), "runtime", r, []string{"embedded", "kind", "eks"})
	}
	for i, c := range s.Requires {
		v.oneOf(fmt.Sprintf("requires[%d]", i), "check", c, names(Checks, func(c CheckKind) string { return c.Name }))
	}
	if s.Expect != "" && s.Expect != "pass" {
		v.oneOf("expect", "expectation", s.Expect, []string{"pass", "fail"})
	}
	if s.Expect == "fail" && s.Because == "" {
		v.fail("expect", "fail needs because: which weakness it documents")
	}
	v.phases(s)
	v.load(s)
	v.faults(s)
	v.rotation(s)
	for i, t := range s.Thresholds {
		v.threshold(s, fmt.Sprintf("thresholds[%d]", i), t)
	}
	v.alerts(s)
	v.rest(s)
}

// alerts judges what is declared for claim C7. Whether a rule of that name exists is the manifests' affair: see cmd/sim.
func (v *validator) alerts(s *Scenario) {
	for i, a := range s.Alerts {
		p := fmt.Sprintf("alerts[%d]", i)
		if a.Name == "" {
			v.fail(p+".name", "missing: which alert fires")
		}
		if a.Fires <= 0 {
			v.fail(p+".fires", "must be > 0: how long after the injection it may come")
		}
		if a.Clears <= 0 {
			v.fail(p+".clears", "must be > 0: how long after the fault is healed it may stay")
		}
		if slices.ContainsFunc(s.Alerts[:i], func(b Alert) bool { return a.Name == b.Name && a.Fault == b.Fault }) {
			v.fail(p, "%s is declared twice for the same fault", a.Name)
		}
		at := slices.IndexFunc(s.Faults, func(f Fault) bool { return f.Name == a.Fault })
		switch {
		case at >= 0:
		case a.Fault == "" && len(s.Faults) > 0:
			v.fail(p, "missing fault: which of the %d faults raises %s", len(s.Faults), a.Name)
			continue
		case len(s.Faults) == 0:
			v.fail(p, "the scenario has no fault that could raise %s", a.Name)
			continue
		default:
			v.oneOf(p+".fault", "fault", a.Fault, names(s.Faults, func(f Fault) string { return f.Name }))
			continue
		}
		f := s.Faults[at]
		if end := s.Phases.Resolve(f.At) + f.For.D() + a.Clears.D(); end > s.Phases.LoadTime() {
			v.fail(p+".clears", "%s may stay until %v, after the end of the load at %v", a.Name, end, s.Phases.LoadTime())
		}
	}
	if s.Dashboards != nil {
		at := s.Phases.Resolve(*s.Dashboards)
		if at <= 0 || at >= s.Phases.LoadTime() {
			v.fail("dashboards", "%v is outside the load, which lasts %v", at, s.Phases.LoadTime())
		}
		for _, f := range s.Faults {
			if from := s.Phases.Resolve(f.At); at >= from && at <= from+f.For.D() {
				v.fail("dashboards", "%v lies in fault %s: a panel that is empty then proves nothing", at, f.Name)
			}
		}
	}
	if i := slices.Index(s.Requires, "one-view"); i >= 0 && s.Dashboards == nil {
		v.fail(fmt.Sprintf("requires[%d]", i), "one-view is judged by the queries of the dashboards, and the scenario does not say when to ask them; add dashboards: before+30s")
	}
}

func (v *validator) phases(s *Scenario) {
	if s.Phases.Before <= 0 {
		v.fail("phases.before", "must be > 0: it is what every other figure is compared with")
	}
	if s.Phases.LoadTime() > maxLength {
		v.fail("phases", "%v of load is above the limit of %v", s.Phases.LoadTime(), maxLength)
	}
	if s.Phases.Drain.D() > maxLength {
		v.fail("phases.drain", "%v is above the limit of %v", s.Phases.Drain, maxLength)
	}
	if len(s.Faults) > 0 && s.Phases.During <= 0 {
		v.fail("phases.during", "must be > 0 in a scenario with faults")
	}
}

func (v *validator) load(s *Scenario) {
	if len(s.Load) == 0 {
		v.fail("load", "missing: a run without load proves nothing")
	}
	if s.Observers < 0 || s.Observers > maxObservers {
		v.fail("observers", "must be from 0 to %d", maxObservers)
	}
	total := 0
	for i, l := range s.Load {
		p := fmt.Sprintf("load[%d]", i)
		src, _ := FindSource(l.Source)
		if v.oneOf(p+".source", "source", l.Source, names(Sources, func(s Source) string { return s.Name })) {
			v.oneOf(p+".enter", "entry of source "+l.Source, l.Enter, src.Enters)
		}
		if l.Rate <= 0 {
			v.fail(p+".rate", "must be > 0")
		}
		if l.Size < 128 || l.Size > maxSize {
			v.fail(p+".size", "%v is outside 128B to 1MiB", l.Size)
		}
		v.oneOf(p+".arrivals", "arrivals", l.Arrivals, []string{"uniform", "poisson"})
		v.parallelism(p, l)
		if l.Instances < 1 || l.Streams < l.Instances {
			v.fail(p+".streams", "%d streams cannot be shared by %d instances; every instance needs one", l.Streams, l.Instances)
		}
		total += l.Streams
		var last time.Duration
		for k, st := range l.Shape {
			q := fmt.Sprintf("%s.shape[%d]", p, k)
			at := s.Phases.Resolve(st.At)
			if at < last || at < 0 {
				v.fail(q+".at", "%v is before the end of the stage above it (%v)", at, last)
			}
			last = at + st.Over.D()
			if last > s.Phases.LoadTime() {
				v.fail(q+".at", "ends at %v, after the end of the load at %v", last, s.Phases.LoadTime())
			}
		}
	}
	if c := s.Cap; c != nil {
		rate, most := s.Most()
		switch {
		case c.Rate <= 0 || c.Total <= 0:
			v.fail("cap", "needs rate and total, both > 0")
		case rate > float64(c.Rate):
			v.fail("cap.rate", "the load reaches %g/s, above the cap of %s", rate, c.Rate)
		case most > c.Total:
			v.fail("cap.total", "the load sends up to %d records in %v, above the cap of %d", most, s.Phases.LoadTime(), c.Total)
		}
	}
	if s.Cap == nil && slices.Contains(s.Runtimes, "eks") {
		v.fail("cap", "missing: on eks nothing is sent without the most that it may be")
	}
	if total > maxStreams {
		v.fail("load", "%d streams are above the limit of %d", total, maxStreams)
	}
}

func (v *validator) faults(s *Scenario) {
	used := map[string]bool{}
	for i, f := range s.Faults {
		p := fmt.Sprintf("faults[%d]", i)
		if used[f.Name] {
			v.fail(p+".name", "%q is there twice", f.Name)
		}
		used[f.Name] = true
		if !v.oneOf(p+".kind", "fault", f.Kind, names(Faults, func(f FaultKind) string { return f.Name })) {
			continue
		}
		row, _ := FindFault(f.Kind)
		v.faultFields(p, f, row)
		at, end := s.Phases.Resolve(f.At), s.Phases.LoadTime()
		if at < 0 || at >= end {
			v.fail(p+".at", "%v is outside the load, which lasts %v", at, end)
		} else if at+f.For.D() > end {
			v.fail(p+".for", "ends at %v, after the end of the load at %v", at+f.For.D(), end)
		}
		v.overlap(s, i)
		v.possible(s, p, row)
	}
}

// overlap refuses two faults of a kind that last, on the same thing and at the same time: the first that is healed would end both.
func (v *validator) overlap(s *Scenario, i int) {
	what := func(f Fault) [7]string {
		return [7]string{f.Kind, f.Target, f.Cluster, f.From, f.To, f.Direction, f.Mode}
	}
	f := s.Faults[i]
	from := s.Phases.Resolve(f.At)
	for k, g := range s.Faults[:i] {
		if at := s.Phases.Resolve(g.At); f.For > 0 && g.For > 0 && what(f) == what(g) && from < at+g.For.D() && at < from+f.For.D() && s.Rotate == 0 {
			v.fail(fmt.Sprintf("faults[%d].at", i), "it is on while faults[%d] (%s) is, and does the same to the same: whichever is healed first would end both", k, g.Name)
		}
	}
}

// possible refuses a fault that none of the runtimes of the scenario can do.
func (v *validator) possible(s *Scenario, path string, row FaultKind) {
	able := row.Runtimes()
	if len(s.Runtimes) > 0 && !slices.ContainsFunc(s.Runtimes, func(r string) bool { return slices.Contains(able, r) }) {
		v.fail(path+".kind", "%s is not possible on %s: see sim list faults", row.Name, strings.Join(s.Runtimes, ", "))
	}
}

// brokerTarget is what a fault of one broker may be aimed at.
var brokerTarget = regexp.MustCompile(`^(leader|controller|leader:[a-zA-Z0-9._-]+/[0-9]+|[0-9]+)$`)

// maxBusy bounds the busy loops of a noisy neighbour.
const maxBusy = 256

// diskFullTime is the least that es-disk-full may last: the server looks at its disk every so often.
const diskFullTime = 40 * time.Second

// rotation judges faults that strike in turn.
func (v *validator) rotation(s *Scenario) {
	if s.Rotate == 0 {
		return
	}
	if len(s.Faults) < 2 {
		v.fail("rotate", "a rotation needs two faults at least, and there are %d", len(s.Faults))
	}
	if len(s.Alerts) > 0 {
		v.fail("rotate", "the scenario declares alerts, and each is declared for one fault, not for every round of it")
	}
	from := s.Phases.Resolve(Time{Phase: During})
	for i, f := range s.Faults {
		p := fmt.Sprintf("faults[%d]", i)
		in := s.Phases.Resolve(f.At) - from
		switch {
		case in < 0 || in >= s.Rotate.D():
			v.fail(p+".at", "%v is outside a turn, which is the first %v of the phase during", s.Phases.Resolve(f.At), s.Rotate)
		case in+f.For.D() > s.Rotate.D():
			v.fail(p+".for", "ends %v after its turn, which lasts %v", in+f.For.D()-s.Rotate.D(), s.Rotate)
		case i == 0 && in+f.For.D() > s.Phases.During.D():
			v.fail("phases.during", "%v has no room for the first turn", s.Phases.During)
		}
	}
}

func (v *validator) faultFields(p string, f Fault, row FaultKind) {
	set := map[string]bool{
		"for": f.For != 0, "target": f.Target != "", "cluster": f.Cluster != "" && f.Cluster != row.Cluster, "from": f.From != "", "to": f.To != "",
		"direction": f.Direction != "", "mode": f.Mode != "", "delay": f.Delay != 0, "bandwidth": f.Bandwidth != 0, "ratio": f.Ratio != 0, "count": f.Count != 0,
	}
	for _, k := range row.Needs {
		if !set[k] {
			v.fail(p, "fault %s needs %s", f.Kind, k)
		}
	}
	for k, is := range set {
		if is && !slices.Contains(row.Needs, k) && !slices.Contains(row.Takes, k) {
			v.fail(p+"."+k, "fault %s takes no %s; it takes: %s", f.Kind, k, strings.Join(slices.Concat([]string{"at"}, row.Needs, row.Takes), ", "))
		}
	}
	for _, c := range []struct{ k, v string }{{"cluster", f.Cluster}, {"from", f.From}, {"to", f.To}} {
		if c.v != "" {
			v.oneOf(p+"."+c.k, "cluster", c.v, ClusterNames)
		}
	}
	if f.Direction != "" {
		v.oneOf(p+".direction", "direction", f.Direction, []string{"both", "forward", "back"})
	}
	if f.Mode != "" {
		modes := []string{"drop", "reject"}
		if f.Kind == "noisy-neighbour" {
			modes = []string{"cpu", "io"}
		}
		v.oneOf(p+".mode", "mode", f.Mode, modes)
	}
	if f.Ratio < 0 || f.Ratio > 1 {
		v.fail(p+".ratio", "%v is outside 0 to 1", f.Ratio)
	}
	if f.Kind == "slow-link" && f.Delay == 0 && f.Bandwidth == 0 {
		v.fail(p, "slow-link needs delay or bandwidth")
	}
	if f.Kind == "roll-out" && f.Target != "" && (!strings.HasPrefix(f.Target, "rev:") || f.Target == "rev:") {
		v.fail(p+".target", "%q: want rev:REVISION, or none for the component roll-forward", f.Target)
	}
	if strings.HasPrefix(f.Kind, "broker-") && f.Target != "" && !brokerTarget.MatchString(f.Target) {
		v.fail(p+".target", "%q: want leader, controller, leader:TOPIC/PARTITION or a broker's id", f.Target)
	}
	if f.From != "" && f.From == f.To {
		v.fail(p+".to", "%s is both ends: a link is between two clusters", f.To)
	}
	if f.Count < 0 || f.Count > maxBusy {
		v.fail(p+".count", "%d is outside 1 to %d", f.Count, maxBusy)
	}
	if f.Kind == "es-disk-full" && f.For > 0 && f.For.D() < diskFullTime {
		v.fail(p+".for", "%v is shorter than %v, in which the store would not notice", f.For, diskFullTime)
	}
	if f.Kind == "forwarder-kill" && f.Target != "" {
		v.oneOf(p+".target", "forwarder", f.Target, []string{"fluent-bit", "fluentd"})
	}
}

func (v *validator) rest(s *Scenario) {
	for i, g := range s.Guarantees {
		p := fmt.Sprintf("guarantees[%d]", i)
		v.oneOf(p+".segment", "segment", g.Segment, SegmentNames)
		if g.Delivery == "" && g.Order == "" {
			v.fail(p, "declares nothing: needs delivery or order")
		}
		if g.Delivery != "" {
			v.oneOf(p+".delivery", "delivery", g.Delivery, []string{"at-least-once", "exactly-once", "best-effort"})
		}
		if g.Order != "" && v.oneOf(p+".order", "order", g.Order, []string{"kept", "best-effort"}) && g.Segment != "ledger-kafka" {
			v.fail(p+".order", "order is judged in Kafka, so only the segment ledger-kafka can promise it")
		}
		for _, x := range s.Guarantees[:i] {
			if x.Segment == g.Segment {
				v.fail(p+".segment", "%s is declared twice; put delivery and order into one entry", g.Segment)
			}
		}
	}
	for i, c := range s.Settings {
		p := fmt.Sprintf("settings[%d]", i)
		if c.Config == "" || c.Replace == "" {
			v.fail(p, "needs config and replace")
		}
	}
	for i, name := range s.Probes {
		p := fmt.Sprintf("probes[%d]", i)
		if v.oneOf(p, "probe", name, ProbeNames) && slices.Contains(s.Probes[:i], name) {
			v.fail(p, "%q is there twice", name)
		}
	}
	if i := slices.Index(s.Requires, "security-isolation"); i >= 0 && len(s.Probes) == 0 {
		v.fail(fmt.Sprintf("requires[%d]", i), "security-isolation is judged by probes, and the scenario has none; add probes: [%s]", strings.Join(ProbeNames, ", "))
	}
	if s.Isolation != nil {
		if len(s.Isolation.Victims) == 0 {
			v.fail("isolation.victims", "empty: which clusters must not get worse")
		}
		if t := s.Isolation.Tolerance; t < 0 || t > 10 {
			v.fail("isolation.tolerance", "%v is outside 0 to 10", t)
		}
		v.oneOf("isolation.fault", "cluster", s.Isolation.Fault, ClusterNames)
		for i, c := range s.Isolation.Victims {
			v.oneOf(fmt.Sprintf("isolation.victims[%d]", i), "cluster", c, ClusterNames)
		}
	}
	if c := s.Compare; c != nil {
		if c.Pairs < 1 || c.Pairs > 50 {
			v.fail("compare.pairs", "%d is outside 1 to 50", c.Pairs)
		}
		if c.Tolerance < 0 || c.Tolerance > 10 {
			v.fail("compare.tolerance", "%v is outside 0 to 10", c.Tolerance)
		}
		if c.CPUs <= 0 || c.Memory <= 0 {
			v.fail("compare", "needs cpus and memory: without caps the two topologies cannot be compared")
		}
		if s.Phases.During <= 0 {
			v.fail("phases.during", "must be > 0 in a scenario that compares: the burst is in it")
		}
	}
	if s.Search != nil {
		v.search(s)
	}
}

// SegmentNames are the segments between observation points, in order.
var SegmentNames = []string{"generate", "ledger-kafka", "kafka-search"}

func (v *validator) threshold(s *Scenario, path, text string) {
	t, err := ParseThreshold(text)
	if err == nil {
		v.measurable(s, path, t)
		return
	}
	te, ok := errors.AsType[*ThresholdError](err)
	if !ok {
		v.fail(path, "%v", err)
		return
	}
	p := v.where(path)
	p.Column += te.Offset
	v.errs = append(v.errs, &Error{v.file, p, path, te.Msg})
}

// measurable refuses a threshold for which the scenario would have no figure, which a whole run would be needed to find out.
func (v *validator) measurable(s *Scenario, path string, t Threshold) {
	sources, topics, phases := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, l := range s.Load {
		src, ok := FindSource(l.Source)
		if !ok {
			return // it is said already
		}
		sources[src.Name], topics[src.Topic] = true, true
	}
	for _, w := range s.Phases.Windows() {
		phases[w.Name] = true
	}
	for label, there := range map[string]map[string]bool{"source": sources, "topic": topics, "phase": phases} {
		if x := t.Labels[label]; x != "" && !there[x] {
			v.fail(path, "no data: the scenario has no %s %s; it has: %s", label, x, strings.Join(slices.Sorted(maps.Keys(there)), ", "))
		}
	}
	if slices.Contains([]string{"noticed", "first_good", "drained", "in_band"}, t.Metric.Name) && len(s.Faults) == 0 {
		v.fail(path, "no data: %s is about a fault, and the scenario has none", t.Metric.Name)
	}
}
