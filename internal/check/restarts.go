package check

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"triad/internal/evidence"
	"triad/internal/scenario"
)

// Restart is a container that ended, or a pod that was replaced.
type Restart struct {
	At        int64  `json:"at_ns"`    // when it was seen
	After     int64  `json:"after_ns"` // the reading before, in which it had not happened
	Cluster   string `json:"cluster"`
	Component string `json:"component"`
	Pod       string `json:"pod"`
	Container string `json:"container,omitempty"` // empty: the whole pod
	Times     int    `json:"times"`               // how often since the reading before; reason, code and times are those of the last
	Reason    string `json:"reason"`              // as Kubernetes names it; empty: not told
	ExitCode  *int   `json:"exit_code"`
	Started   string `json:"started,omitempty"` // of what ended, by the cluster's clock
	Finished  string `json:"finished,omitempty"`
	Fault     string `json:"fault,omitempty"` // the fault of the run that explains it
}

// oomKilled is the kubelet's reason for a container that went above its memory limit.
const oomKilled = "OOMKilled"

// OOM reports whether the kernel ended it for its memory.
func (r Restart) OOM() bool { return r.Reason == oomKilled }

// Told reports whether a reader must hear of it: no fault of the run explains it, or it is of a kind that no fault makes.
func (r Restart) Told() bool { return r.Fault == "" || r.OOM() }

// Where is the container or the pod.
func (r Restart) Where() string {
	where := r.Cluster + "/" + r.Pod
	if r.Container != "" && r.Container != r.Component {
		where += "/" + r.Container
	}
	return where
}

// How is what happened, in words: "ended twice, the last: OOMKilled, exit code 137".
func (r Restart) How() string {
	s := "was replaced"
	switch {
	case r.Container != "" && r.Times > 1:
		s = fmt.Sprintf("ended %d times, the last", r.Times)
	case r.Container != "":
		s = "ended"
	}
	var why []string
	if r.Reason != "" {
		why = append(why, r.Reason)
	}
	if r.ExitCode != nil {
		why = append(why, fmt.Sprintf("exit code %d", *r.ExitCode))
	}
	if len(why) == 0 {
		return s + ": why is not told"
	}
	return s + ": " + strings.Join(why, ", ")
}

// probesRunOut is how long after a fault the kubelet may still kill what it struck: liveness probes of the platform run out within a minute of
// a process that does not answer, and one that was let go answers late.
const probesRunOut = time.Minute

// newRestarts reads what API servers told, and finds the fault that explains each.
func newRestarts(j *judge) []Restart {
	var out []Restart
	for _, e := range j.r.Events {
		if e.Kind != evidence.EventRestart {
			continue
		}
		x := Restart{
			At: int64(e.At), Cluster: e.Attrs["cluster"], Component: e.Name, Pod: e.Attrs["pod"], Container: e.Attrs["container"], Times: 1,
			Reason: e.Attrs["reason"], Started: e.Attrs["started"], Finished: e.Attrs["finished"],
		}
		x.After, _ = strconv.ParseInt(e.Attrs["after_ns"], 10, 64) // not told: any time before
		if n, err := strconv.Atoi(e.Attrs["times"]); err == nil {
			x.Times = n
		}
		if n, err := strconv.Atoi(e.Attrs["exit_code"]); err == nil {
			x.ExitCode = &n
		}
		for _, f := range j.faults {
			if f.restarts(x) {
				x.Fault = f.Name
				break
			}
		}
		out = append(out, x)
	}
	return out
}

// restarts reports whether a fault explains a restart: it kills, freezes or replaces what restarted, and acted, or was being made, when that happened.
func (f *faultState) restarts(x Restart) bool {
	from, to, acted := f.active()
	if f.injecting != nil {
		from = min(from, *f.injecting)
	}
	return acted && f.strikes(x) && time.Duration(x.At) >= from && time.Duration(x.After) <= to+probesRunOut
}

// strikes reports whether a fault ends or stops the processes of a pod by itself. That another component fails because of it is a finding.
func (f *faultState) strikes(x Restart) bool {
	component := ""
	switch f.Kind {
	case "roll-out":
		return true
	case "cluster-freeze":
		return f.Cluster == x.Cluster
	case "broker-roll":
		return x.Cluster == scenario.Kafka && x.Component == "kafka"
	case "broker-kill", "broker-down", "broker-freeze":
		component = "kafka"
	case "es-down", "es-kill":
		component = "elasticsearch"
	case "connect-kill":
		component = compSink
	case "forwarder-kill":
		component = f.Target
	case "receiver-down":
		component = "prometheus"
	default:
		return false
	}
	row, _ := scenario.FindFault(f.Kind)
	if x.Cluster != row.Cluster || x.Component != component {
		return false
	}
	// Where the fault says which pod it struck, it explains no other.
	struck := strings.FieldsFunc(f.attrs["struck"], func(r rune) bool { return strings.ContainsRune("/, ", r) })
	return len(struck) == 0 || slices.Contains(struck, x.Pod)
}

// restartWords is the sentence about restarts that no fault explains; empty: there are none.
func restartWords(all []Restart) string {
	var parts []string
	for _, x := range all {
		if x.Fault == "" {
			parts = append(parts, x.Where()+" "+x.How())
		}
	}
	if len(parts) == 0 {
		return ""
	}
	more := ""
	if n := len(parts); n > 3 {
		parts, more = parts[:3], fmt.Sprintf("; and %d more", n-3)
	}
	return " No fault of the run explains that something restarted: " + strings.Join(parts, "; ") + more + "."
}
