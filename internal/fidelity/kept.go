package fidelity

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"slices"
	"time"

	"triad/internal/check"
	"triad/internal/evidence"
)

// keptSchema is the format of a file of kept runs.
const keptSchema = 1

// kept is a file of runs whose directories need not be there any more.
type kept struct {
	SchemaVersion int                             `json:"schema_version"`
	Components    map[string][]evidence.Component `json:"components"` // by what a run names them; most runs have the same
	Runs          []keptRun                       `json:"runs"`
}

// keptRun is what a table needs of one run, and nothing else.
type keptRun struct {
	ID         string             `json:"id"`
	Run        uint32             `json:"run"`
	Created    time.Time          `json:"created"`
	Scenario   string             `json:"scenario"`
	Runtime    string             `json:"runtime"`
	Commit     string             `json:"commit"`
	CPUs       int                `json:"cpus"`
	Components string             `json:"components"`
	Plan       string             `json:"plan"`
	Verdict    check.Verdict      `json:"verdict"`
	Injected   bool               `json:"injected,omitempty"`
	Recovery   keptRecovery       `json:"recovery"`
	Buffers    []keptBuffer       `json:"buffers,omitempty"`
	Peaks      map[string]float64 `json:"peaks,omitempty"` // of the segments
	Loss       check.Verdict      `json:"loss,omitempty"`  // of the check; none: it was not asked for
	Lost       uint64             `json:"lost"`            // records
}

// keptRecovery are the times in nanoseconds; those that never came are not there.
type keptRecovery struct {
	Noticed          *int64 `json:"noticed,omitempty"`
	FirstGood        *int64 `json:"first_good,omitempty"`
	Drained          *int64 `json:"drained,omitempty"`
	InBand           *int64 `json:"in_band,omitempty"`
	Resolution       int64  `json:"resolution,omitempty"`
	InBandResolution int64  `json:"in_band_resolution,omitempty"`
}

// keptBuffer is the peak of one buffer.
type keptBuffer struct {
	Hop  string  `json:"hop"`
	Unit string  `json:"unit"`
	Peak float64 `json:"peak"`
}

// ReadKept reads a file of kept runs. One that is not there is empty.
func ReadKept(file string) ([]Run, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("kept runs: %w", err)
	}
	var k kept
	if err := json.Unmarshal(b, &k); err != nil {
		return nil, fmt.Errorf("kept runs: %s: %w", file, err)
	}
	if k.SchemaVersion != keptSchema {
		return nil, fmt.Errorf("kept runs: %s: format %d is not known to this version (%d)", file, k.SchemaVersion, keptSchema)
	}
	var runs []Run
	for _, x := range k.Runs {
		components, ok := k.Components[x.Components]
		if !ok {
			return nil, fmt.Errorf("kept runs: %s: run %s has components %q, which are not there", file, x.ID, x.Components)
		}
		runs = append(runs, x.run(components))
	}
	return runs, nil
}

// Merge puts runs that were found to those that were kept. One that is in both counts as it was found: it may have been judged again.
func Merge(old, found []Run) []Run {
	seen := map[string]bool{}
	for _, r := range found {
		seen[r.identity()] = true
	}
	out := slices.Clone(found)
	for _, r := range old {
		if !seen[r.identity()] {
			out = append(out, r)
		}
	}
	return out
}

// Keep is the text of a file of kept runs, in the order of their time. Those that no table would count are left out.
func Keep(runs []Run) ([]byte, error) {
	runs, _ = countable(runs)
	runs = slices.Clone(runs)
	slices.SortFunc(runs, func(a, b Run) int {
		return cmp.Or(a.Header.Created.Compare(b.Header.Created), cmp.Compare(a.Header.ID, b.Header.ID))
	})
	components := map[string][]evidence.Component{}
	lines := make([][]byte, 0, len(runs))
	for _, r := range runs {
		parts := bare(r.Header.Components)
		name := sum(fmt.Sprint(parts))
		components[name] = parts
		line, err := json.Marshal(keep(r, name))
		if err != nil {
			return nil, fmt.Errorf("run %s: %w", r.Header.ID, err)
		}
		lines = append(lines, line)
	}
	parts, err := json.MarshalIndent(components, " ", " ")
	if err != nil {
		return nil, fmt.Errorf("components: %w", err)
	}
	// One run a line: a file that is kept in a repository shows what came.
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\n \"schema_version\": %d,\n \"components\": %s,\n \"runs\": [\n  %s\n ]\n}\n", keptSchema, parts, bytes.Join(lines, []byte(",\n  ")))
	return b.Bytes(), nil
}

// bare are components as a table names them: their images without where they came from, and Triad's own without its tag.
func bare(components []evidence.Component) []evidence.Component {
	out := make([]evidence.Component, 0, len(components))
	for _, c := range components {
		image := ""
		if v := tag(c.Image); v != "" {
			image = c.Name + ":" + v
		}
		out = append(out, evidence.Component{Cluster: c.Cluster, Name: c.Name, Fidelity: c.Fidelity, Image: image})
	}
	return out
}

func keep(r Run, components string) keptRun {
	h, res := r.Header, r.Result
	k := keptRun{
		ID: h.ID, Run: h.Run, Created: h.Created, Scenario: h.Scenario, Runtime: h.Runtime, Commit: h.Commit, CPUs: h.Host.CPUs, Components: components,
		Plan: r.plan(), Verdict: res.Verdict, Injected: injected(r), Lost: res.Totals.Lost,
	}
	k.Recovery = keptRecovery{res.Recovery.Noticed, res.Recovery.FirstGood, res.Recovery.Drained, res.Recovery.InBand, res.Recovery.Resolution, res.Recovery.InBandResolution}
	for _, b := range res.Buffers {
		if b.Peak != nil {
			k.Buffers = append(k.Buffers, keptBuffer{b.Hop, b.Unit, *b.Peak})
		}
	}
	for _, p := range r.Peaks {
		if p.Peak == nil {
			continue
		}
		if k.Peaks == nil {
			k.Peaks = map[string]float64{}
		}
		k.Peaks[p.Segment] = *p.Peak
	}
	if i := slices.IndexFunc(res.Checks, func(c check.Check) bool { return c.Name == lossCheck }); i >= 0 {
		k.Loss = res.Checks[i].Verdict
	}
	return k
}

// run is the run as a table reads it.
func (k keptRun) run(components []evidence.Component) Run {
	r := Run{
		Header: evidence.Header{ID: k.ID, Run: k.Run, Created: k.Created, Scenario: k.Scenario, Runtime: k.Runtime, Commit: k.Commit, Host: evidence.Host{CPUs: k.CPUs}, Components: components},
		Result: &check.Result{Scenario: k.Scenario, Runtime: k.Runtime, Verdict: k.Verdict},
		did:    k.Plan,
	}
	res := r.Result
	res.Totals.Lost = k.Lost
	x := k.Recovery
	res.Recovery = check.Recovery{Noticed: x.Noticed, FirstGood: x.FirstGood, Drained: x.Drained, InBand: x.InBand, Resolution: x.Resolution, InBandResolution: x.InBandResolution}
	if k.Injected {
		res.Faults = []check.Fault{{InjectedAt: new(int64)}}
	}
	for _, b := range k.Buffers {
		res.Buffers = append(res.Buffers, check.BufferFill{Hop: b.Hop, Unit: b.Unit, Peak: new(b.Peak)})
	}
	for segment, peak := range k.Peaks {
		r.Peaks = append(r.Peaks, check.Peak{Segment: segment, Peak: new(peak)})
	}
	if k.Loss != "" {
		res.Checks = []check.Check{{Name: lossCheck, Verdict: k.Loss}}
	}
	return r
}

// sum is a short name for a text.
func sum(text string) string {
	h := fnv.New64a()
	h.Write([]byte(text))
	return fmt.Sprintf("%016x", h.Sum64())
}
