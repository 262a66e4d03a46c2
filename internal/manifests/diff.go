package manifests

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Difference is one place where the two overlays disagree.
type Difference struct {
	Cluster string
	Object  string   // Kind/name, without the hash of generated names
	Path    []string // empty: only one overlay has the object
	Kind    any      // value on kind, nil when it is not there
	EKS     any      // value on EKS, nil when it is not there
	Allowed *Allowance
	Why     string // why an allowance that fits does not hold, empty otherwise
}

// String prints the place and both values on one line.
func (d Difference) String() string {
	at := d.Cluster + "/" + d.Object
	if len(d.Path) == 0 {
		side := "kind"
		if d.Kind == nil {
			side = "eks"
		}
		return at + ": only on " + side
	}
	s := fmt.Sprintf("%s: %s: kind %s, eks %s", at, strings.Join(d.Path, "/"), short(d.Kind), short(d.EKS))
	if d.Why != "" {
		s += " (" + d.Why + ")"
	}
	return s
}

func short(v any) string {
	if v == nil {
		return "(none)"
	}
	s := fmt.Sprintf("%v", v)
	if len(s) > 120 {
		s = s[:117] + "..."
	}
	return strconv.Quote(s)
}

// Allowance is one entry of differences.yaml.
type Allowance struct {
	Objects string `yaml:"objects"` // cluster/Kind/name with *
	Path    string `yaml:"path"`    // keys joined by "/", * one, ** any number; empty: an object that only one overlay has
	What    string `yaml:"what"`    // kind of difference
	Why     string `yaml:"why"`
}

// String names the allowance.
func (a Allowance) String() string {
	return strings.TrimSuffix(a.Objects+": "+a.Path, ": ") + " (" + a.What + ")"
}

// allowedKinds are the kinds of difference that the design allows, and no more.
var allowedKinds = []string{"replicas", "resources", "storage", "exposure", "registry", "placement", "iam"}

// DiffResult is the outcome of a comparison.
type DiffResult struct {
	Allowed    []Difference
	Undeclared []Difference
	Unused     []Allowance // allowances that no difference needs
}

// Entry is an allowance with the differences that need it.
type Entry struct {
	Allowance
	Differences []Difference
}

// Entries are the allowances that differences need, each once, in the order of their first difference.
func (r DiffResult) Entries() []Entry {
	var out []Entry
	for _, d := range r.Allowed {
		i := slices.IndexFunc(out, func(e Entry) bool { return e.Allowance == *d.Allowed })
		if i < 0 {
			i, out = len(out), append(out, Entry{Allowance: *d.Allowed})
		}
		out[i].Differences = append(out[i].Differences, d)
	}
	return out
}

// Err returns an error that names everything wrong, nil when the difference is exactly the allowed list.
func (r DiffResult) Err() error {
	var errs []error
	for _, d := range r.Undeclared {
		errs = append(errs, fmt.Errorf("undeclared difference: %s", d))
	}
	for _, a := range r.Unused {
		errs = append(errs, fmt.Errorf("manifests/differences.yaml: nothing uses the allowance %s", a))
	}
	return errors.Join(errs...)
}

// Allowances reads differences.yaml and checks it.
func (s Set) Allowances() ([]Allowance, error) {
	var doc struct {
		Allowed []Allowance `yaml:"allowed"`
	}
	if err := s.strictFile("differences.yaml", &doc); err != nil {
		return nil, err
	}
	var errs []error
	for i, a := range doc.Allowed {
		if strings.Count(a.Objects, "/") != 2 || a.Why == "" || !slices.Contains(allowedKinds, a.What) {
			errs = append(errs, fmt.Errorf("manifests/differences.yaml: allowed[%d]: needs objects as cluster/Kind/name, a why, and what as one of %s", i, strings.Join(allowedKinds, ", ")))
		}
	}
	return doc.Allowed, errors.Join(errs...)
}

// Diff renders both overlays of every cluster and judges their differences against differences.yaml.
func (s Set) Diff() (DiffResult, error) {
	allowed, err := s.Allowances()
	if err != nil {
		return DiffResult{}, err
	}
	var all []Difference
	for _, c := range rendered() {
		kind, err := s.Render(c, "kind")
		if err != nil {
			return DiffResult{}, err
		}
		eks, err := s.Render(c, "eks")
		if err != nil {
			return DiffResult{}, err
		}
		all = append(all, Compare(c, kind, eks)...)
	}
	return Judge(all, allowed), nil
}

// Compare returns the differences of two renderings of one cluster, sorted by object and path.
func Compare(cluster string, kind, eks []Object) []Difference {
	a, b := byName(kind), byName(eks)
	names := slices.Collect(maps.Keys(a))
	for n := range b {
		if _, ok := a[n]; !ok {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	var out []Difference
	for _, n := range names {
		d := Difference{Cluster: cluster, Object: n}
		x, inKind := a[n]
		y, inEKS := b[n]
		switch {
		case !inKind:
			d.EKS = y
			out = append(out, d)
		case !inEKS:
			d.Kind = x
			out = append(out, d)
		default:
			walkDiff(d, map[string]any(x), map[string]any(y), &out)
		}
	}
	return out
}

func byName(objects []Object) map[string]Object {
	out := map[string]Object{}
	for _, o := range objects {
		name := o.Name()
		if i := strings.LastIndexByte(name, '-'); i > 0 && (o.Kind() == "ConfigMap" || o.Kind() == "Secret") && hashed(name, name[:i]) {
			name = name[:i]
		}
		out[o.Kind()+"/"+name] = o
	}
	return out
}

func walkDiff(at Difference, a, b any, out *[]Difference) {
	if reflect.DeepEqual(a, b) {
		return
	}
	x, y := children(a), children(b)
	if x == nil && y == nil || x == nil && a != nil || y == nil && b != nil {
		at.Kind, at.EKS = a, b
		*out = append(*out, at)
		return
	}
	keys := slices.Collect(maps.Keys(x))
	for k := range y {
		if _, ok := x[k]; !ok {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	if len(keys) == 0 { // one side has an empty map or list, the other nothing
		at.Kind, at.EKS = a, b
		*out = append(*out, at)
	}
	for _, k := range keys {
		d := at
		d.Path = append(slices.Clone(at.Path), k)
		walkDiff(d, x[k], y[k], out)
	}
}

// children returns the parts of a map or list by key, nil for anything else. Elements of a list go by their name, id or broker
// when all of them have one, so that an added element does not make all behind it differ.
func children(v any) map[string]any {
	switch t := v.(type) {
	case map[string]any:
		return t
	case []any:
		for _, key := range []string{"name", "id", "broker"} {
			out := map[string]any{}
			for _, e := range t {
				m, _ := e.(map[string]any)
				if n, ok := m[key]; ok {
					out[fmt.Sprint(n)] = e
				}
			}
			if len(out) == len(t) && len(t) > 0 {
				return out
			}
		}
		out := map[string]any{}
		for i, e := range t {
			out[strconv.Itoa(i)] = e
		}
		return out
	}
	return nil
}

// Judge divides differences into allowed and undeclared ones, and reports the allowances that none needs.
func Judge(differences []Difference, allowed []Allowance) DiffResult {
	var r DiffResult
	used := make([]bool, len(allowed))
	for _, d := range differences {
		for i, a := range allowed {
			if !a.covers(d) {
				continue
			}
			used[i] = true
			if a.What == "registry" && !sameImages(d.Kind, d.EKS) {
				d.Why = "more than the registry differs"
				continue
			}
			d.Allowed = &allowed[i]
			break
		}
		if d.Allowed != nil {
			r.Allowed = append(r.Allowed, d)
		} else {
			r.Undeclared = append(r.Undeclared, d)
		}
	}
	for i, a := range allowed {
		if !used[i] {
			r.Unused = append(r.Unused, a)
		}
	}
	return r
}

func (a Allowance) covers(d Difference) bool {
	want, have := strings.Split(a.Objects, "/"), strings.SplitN(d.Cluster+"/"+d.Object, "/", 3)
	for i := range have {
		if !fits(want[i], have[i]) {
			return false
		}
	}
	if a.Path == "" || len(d.Path) == 0 {
		return a.Path == "" && len(d.Path) == 0
	}
	return fitsPath(strings.Split(a.Path, "/"), d.Path)
}

// fitsPath matches a path part by part. A pattern that ends in "/**" fits its beginning too: a whole block may be missing.
func fitsPath(pattern, path []string) bool {
	switch {
	case len(pattern) == 0:
		return len(path) == 0
	case pattern[0] == "**":
		for i := 0; i <= len(path); i++ {
			if fitsPath(pattern[1:], path[i:]) {
				return true
			}
		}
		return false
	case len(path) == 0:
		return false
	}
	return fits(pattern[0], path[0]) && fitsPath(pattern[1:], path[1:])
}

// sameImages compares what is behind the last slash of every word of two values: name, tag and digest.
func sameImages(a, b any) bool {
	x, xok := a.(string)
	y, yok := b.(string)
	if !xok || !yok {
		return false
	}
	tails := func(s string) []string {
		words := strings.Fields(s)
		for i, w := range words {
			words[i] = w[strings.LastIndexByte(w, '/')+1:]
		}
		return words
	}
	return slices.Equal(tails(x), tails(y))
}
