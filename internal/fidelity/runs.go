package fidelity

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"triad/internal/check"
	"triad/internal/evidence"
)

// resultFile is where a run directory has its verdict.
const resultFile = "result.json"

// Run is one run as it was judged when it ended.
type Run struct {
	Dir      string
	Header   evidence.Header
	Result   *check.Result
	Peaks    []check.Peak // of the segments; none where the evidence is not there any more
	CutShort bool         // its evidence was never closed

	did string // the plan, where the configuration is not there any more
}

// identity tells runs apart.
func (r Run) identity() string {
	return fmt.Sprintf("%s %d %s", r.Header.ID, r.Header.Run, r.Header.Created.UTC())
}

// plan stands for what a run did, as far as its figures depend on it.
func (r Run) plan() string {
	if r.did != "" {
		return r.did
	}
	var out []string
	for _, k := range slices.Sorted(maps.Keys(r.Result.Config)) {
		if kind, _, _ := strings.Cut(k, " "); slices.Contains([]string{"load", "phases", "fault", "setting"}, kind) {
			out = append(out, k+": "+r.Result.Config[k])
		}
	}
	return sum(strings.Join(out, "\n"))
}

// Out is a run that is left out, and why.
type Out struct {
	Run string `json:"run"`
	Why string `json:"why"`
}

// Find returns the run directories below folders, in the order in which they stand there. A run directory holds no other.
func Find(folders []string) ([]string, error) {
	var out []string
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return err
			}
			if _, err := os.Stat(filepath.Join(path, evidence.HeaderFile)); err != nil {
				return nil //nolint:nilerr // a folder without run.json is no run directory
			}
			out = append(out, path)
			return fs.SkipDir
		})
		if err != nil {
			return nil, fmt.Errorf("reports folder: %w", err)
		}
	}
	return out, nil
}

// Load reads what a run directory says of its run. The peaks of the backlog are not in result.json and come from the evidence.
func Load(dir string) (Run, error) {
	r := Run{Dir: dir}
	var err error
	if r.Header, err = evidence.ReadHeader(dir); err != nil {
		return r, err
	}
	b, err := os.ReadFile(filepath.Join(dir, resultFile))
	if errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("it has no %s; sim report makes it", resultFile)
	}
	if err != nil {
		return r, fmt.Errorf("result: %w", err)
	}
	r.Result = &check.Result{}
	if err := json.Unmarshal(b, r.Result); err != nil {
		return r, fmt.Errorf("%s: %w", resultFile, err)
	}
	if r.Result.SchemaVersion != check.ResultSchema {
		return r, fmt.Errorf("%s: format %d is not known to this version (%d)", resultFile, r.Result.SchemaVersion, check.ResultSchema)
	}
	if r.Result.Scenario != r.Header.Scenario || r.Result.Runtime != r.Header.Runtime {
		return r, fmt.Errorf("%s is of %s on %s, %s of %s on %s", resultFile, r.Result.Scenario, r.Result.Runtime, evidence.HeaderFile, r.Header.Scenario, r.Header.Runtime)
	}
	if e, err := evidence.Open(dir); err == nil {
		if r.CutShort = e.CutShort(); !r.CutShort {
			if r.Peaks, err = check.PeakBacklogs(e); err != nil {
				r.Peaks = nil // no data, which is what the row then says
			}
		}
	}
	return r, nil
}
