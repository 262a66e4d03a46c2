package evidence

import (
	"slices"
	"time"

	"triad/internal/scenario"
)

// Schema is the version of the evidence format. Readers accept it and all before it: 1 had no packed frames and no
// compact histograms.
const Schema = 2

// Header is run.json: what a reader must know before it opens another file.
type Header struct {
	Schema      int               `json:"schema"`
	ID          string            `json:"id"`  // name of the run directory
	Run         uint32            `json:"run"` // run number in the record tags
	Scenario    string            `json:"scenario"`
	Runtime     string            `json:"runtime"`
	Why         string            `json:"why"` // why this runtime
	Seed        uint64            `json:"seed"`
	Commit      string            `json:"commit"` // of Triad
	Version     string            `json:"version"`
	Command     []string          `json:"command"` // how to run it again
	Created     time.Time         `json:"created"`
	Start       time.Time         `json:"start"` // zero until the load began
	Host        Host              `json:"host"`
	Streams     []scenario.Stream `json:"streams"`
	Windows     []scenario.Window `json:"windows"`    // phases as planned
	PollEvery   uint64            `json:"poll_every"` // records with seq % PollEvery == 0 are polled in the store; 0: none
	HistWindow  time.Duration     `json:"hist_window_ns"`
	PulseEvery  time.Duration     `json:"pulse_every_ns"` // resolution of the pulse series
	Components  []Component       `json:"components"`
	NotModelled []string          `json:"not_modelled,omitempty"`
	Limits      []string          `json:"limits,omitempty"`     // what this runtime cannot show, in words
	InProcess   string            `json:"in_process,omitempty"` // what of the system lies in the memory of the harness's process
	Buffers     []Buffer          `json:"buffers,omitempty"`
	Metrics     *MetricsPath      `json:"metrics,omitempty"`
	Tries       []Try             `json:"tries,omitempty"` // of a search: what the runs before this one found
	Budget      *CPUBudget        `json:"cpu_budget,omitempty"`
}

// Try is what an earlier run of a search found about one rate. The figures are kept beside the verdict, so that judging again
// compares them again; the run itself has a directory of its own.
type Try struct {
	Run   string    `json:"run"`
	Rate  float64   `json:"rate"` // records a second
	Gates []TryGate `json:"gates"`
}

// TryGate is one gate of a try.
type TryGate struct {
	Gate    string   `json:"gate"`
	Verdict string   `json:"verdict"`
	Lo      *float64 `json:"lo"` // the figure lies in [lo, hi]; null: no data
	Hi      *float64 `json:"hi"`
	Detail  string   `json:"detail"`
}

// CPUBudget is how many processors the load was expected to take, from what a record cost on this machine just before.
// It is an estimate for people; nothing is judged by it: CPUSeries says what was used.
type CPUBudget struct {
	Cores  int         `json:"cores"`          // that the process may use
	Idle   float64     `json:"idle_cores"`     // that the system took before the load
	Peak   float64     `json:"peak_rate"`      // highest scheduled rate of all loads together, in records/s
	Need   float64     `json:"need_cores"`     // at that rate, with what was idle
	Stages []StageCost `json:"stages"`         // what the estimate is made of
	Warn   string      `json:"warn,omitempty"` // not empty: the load will probably saturate the machine
}

// StageCost is what one stage of the pipeline costs for each record that goes through it.
type StageCost struct {
	Name      string        `json:"name"`
	PerRecord time.Duration `json:"ns_per_record"`
	Peak      float64       `json:"peak_rate"` // records/s that go through it
}

// Host is the machine of the harness.
type Host struct {
	OS, Arch, Kernel, Go string
	CPUs                 int
	MemoryBytes          uint64
}

// How real a component is.
const (
	Real    = "real"
	StandIn = "stand-in" // another program under the same name
	Model   = "model"    // Triad's model of it
	Absent  = "absent"
)

// Component is one part of the system under test and how real it was.
type Component struct {
	Cluster  string `json:"cluster"`
	Name     string `json:"name"`
	Fidelity string `json:"fidelity"` // Real, StandIn, Model, Absent
	Image    string `json:"image,omitempty"`
	Note     string `json:"note,omitempty"`
}

// Buffer is a hop's buffer as configured: what the survival horizon is computed from.
type Buffer struct {
	Hop       string        `json:"hop"`
	Component string        `json:"component"`
	Bytes     int64         `json:"bytes,omitempty"`   // limit in bytes of records as the hop stores them, each instance; 0: none
	Records   int64         `json:"records,omitempty"` // limit in records; 0: none
	For       time.Duration `json:"for_ns,omitempty"`  // limit in time (retention); 0: none
	Instances int           `json:"instances"`
	Full      string        `json:"full"`            // what happens when it is full: block, drop-oldest, drop-newest, delete
	Gauge     string        `json:"gauge,omitempty"` // series that tells its fill
	Source    string        `json:"source"`          // where the limit stands: file and key
}

// MetricsPath is what the horizon of the metrics path is computed from.
type MetricsPath struct {
	// AgentRetention is how long an agent keeps what it cannot send, and AgentReason what bounds it.
	AgentRetention time.Duration `json:"agent_retention_ns"`
	AgentReason    string        `json:"agent_reason,omitempty"`
	ReceiverWindow time.Duration `json:"receiver_window_ns"`
	ScrapeInterval time.Duration `json:"scrape_interval_ns"`
}

// Agents are the clusters from which an agent sends metrics to another.
func (h Header) Agents() []string {
	var out []string
	for _, c := range h.Components {
		if c.Name == "prometheus" && c.Cluster != scenario.Monitoring && c.Fidelity != Absent && !slices.Contains(out, c.Cluster) {
			out = append(out, c.Cluster)
		}
	}
	return out
}

// Seal is closed.json: the last file written. A run without it was cut short.
type Seal struct {
	Closed      time.Time           `json:"closed"`
	Interrupted string              `json:"interrupted,omitempty"` // why the run ended early; empty: it ran to its end
	Files       map[string]FileSeal `json:"files"`
	Sum         string              `json:"sum,omitempty"` // SHA-256 of this file with 64 zeros in place of this sum
}

// FileSeal is the size and SHA-256 of one file at closing.
type FileSeal struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}
