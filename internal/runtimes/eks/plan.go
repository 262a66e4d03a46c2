//go:build !embedded_only

package eks

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"triad/internal/kube"
	"triad/internal/scenario"
)

// action is one thing that a run does to a cluster. There are no others: what the runtime does and what it says come from this list.
type action struct {
	role   string
	allow  string // what the file must allow; empty: reading
	what   string
	rights []kube.Right
}

// Rights that reading takes. A port-forward reaches every port of every pod of the namespace: what stands behind it still asks for a
// password.
func reading(namespace string, services bool) []kube.Right {
	out := []kube.Right{{Resource: "pods", Verb: "list", Namespace: namespace}, {Resource: "pods/portforward", Verb: "create", Namespace: namespace}}
	if services {
		out = append(out, kube.Right{Resource: "services", Verb: "get", Namespace: namespace})
	}
	return out
}

// marking are the rights to mark a run, and to find and remove the marks.
func marking(namespace string, verbs ...string) []kube.Right {
	var out []kube.Right
	for _, v := range verbs {
		out = append(out, kube.Right{Group: "coordination.k8s.io", Resource: "leases", Verb: v, Namespace: namespace})
	}
	return out
}

// looking is what every use of the runtime does: find out who is there.
func (c *Contexts) looking() []action {
	var out []action
	for _, role := range scenario.ClusterNames {
		out = append(out, action{role: role, what: "see which components run, and refuse a cluster that looks like another role", rights: reading(c.Clusters[role].Namespace, false)[:1]})
	}
	return out
}

// way is how brokers or store are reached.
func (c *Contexts) way(role string) string {
	if a := c.Clusters[role].Address; a != "" {
		return "connection by " + a
	}
	return "port-forward"
}

// running is what a run of s does, from its beginning or where it goes on.
func (c *Contexts) running(s *scenario.Scenario, goesOn bool) []action {
	dc, k, m := c.Clusters[scenario.Datacenter].Namespace, c.Clusters[scenario.Kafka].Namespace, c.Clusters[scenario.Monitoring].Namespace
	rate, total := s.Most()
	mark := action{scenario.Datacenter, allowCanary, "mark the run by a Lease, and remove it when everything is taken out again, else say in it that the run is over", marking(dc, "create", "patch", "delete")}
	load := action{scenario.Datacenter, allowCanary, fmt.Sprintf("let the canary's generator write at most %d lines, %g/s at most, in %v", total, rate, s.Phases.LoadTime()), nil}
	if goesOn {
		mark.what = "find the run's Lease, say in it how long the run lasts now, and remove it when everything is taken out again, else say in it that the run is over"
		mark.rights = marking(dc, "patch", "delete")
		load.what = fmt.Sprintf("let the canary's generator, which was told so when the run began, write on: at most %d lines in all, %g/s at most, in %v", total, rate, s.Phases.LoadTime())
	}
	watching := c.looking()
	for _, role := range scenario.ClusterNames {
		watching = append(watching, action{role, "", "list the pods of components every few seconds: which containers restarted", nil})
	}
	out := append(append(watching, c.striking(s, goesOn)...),
		action{scenario.Datacenter, "", "port-forward to the canary's generator: its clock, progress and ledger", reading(dc, false)},
		action{scenario.Datacenter, "", "list the marks of runs", marking(dc, "list")},
		mark, load,
	)
	return append(append(out, c.making(s, goesOn)...),
		action{scenario.Kafka, "", fmt.Sprintf("%s to the brokers: read %s, and how long it keeps its records, as %s", c.way(scenario.Kafka), canaryTopic, canaryUser), reading(k, true)},
		action{scenario.Kafka, "", "port-forward to node exporters: clocks", nil},
		action{scenario.Monitoring, "", c.way(scenario.Monitoring) + " to the store: search index " + canaryTopic, reading(m, true)},
		action{scenario.Monitoring, "", "port-forward to node exporters: clocks", nil},
		action{scenario.Monitoring, allowPurge, fmt.Sprintf("take the run's own documents out of index %s, by their ids, and read again", canaryTopic), nil},
	)
}

// striking is what the faults of s do, and what is watched while they may.
func (c *Contexts) striking(s *scenario.Scenario, goesOn bool) []action {
	if len(s.Faults) == 0 {
		return nil
	}
	k, m := c.Clusters[scenario.Kafka].Namespace, c.Clusters[scenario.Monitoring].Namespace
	out := []action{
		{scenario.Kafka, "", "port-forward to the brokers' metrics before each fault: none strikes while partitions are under-replicated", reading(k, false)},
		{scenario.Monitoring, "", fmt.Sprintf("port-forward to the metrics of Connect every %v: the sink's lag and rate, on which the run is given up", watchEvery), reading(m, false)},
	}
	for _, f := range s.Faults {
		k, ok := strikes[f.Kind]
		if !ok {
			continue // refused before
		}
		a := action{role: k.role, allow: f.Kind, what: fmt.Sprintf("fault %s at %v: %s", f.Name, f.At, k.what)}
		if f.For > 0 {
			a.what += fmt.Sprintf(", for %v", f.For)
		}
		if goesOn {
			a.what += "; not when it was due before the run goes on"
		}
		for _, r := range k.rights {
			r.Namespace = c.Clusters[k.role].Namespace
			a.rights = append(a.rights, r)
		}
		out = append(out, a)
	}
	return out
}

// lasts is how long a run lasts from now, with its drain. began is when the load of one that goes on began; zero: it begins now.
func lasts(s *scenario.Scenario, now, began time.Time) time.Duration {
	load := s.Phases.LoadTime()
	if !began.IsZero() {
		load = max(load-now.Sub(began), 0)
	}
	return load + s.Phases.Drain.D()
}

// permit says why the faults of a scenario may not strike now: without limits, and outside of the window, none may.
func (c *Contexts) permit(s *scenario.Scenario, now, began time.Time) error {
	if len(s.Faults) == 0 {
		return nil
	}
	if c.Faults == nil {
		return &RefusedError{fmt.Sprintf("%s has no faults: a scenario that breaks something needs a maintenance window and abort conditions there; see docs/production-safety.md", c.File)}
	}
	if err := c.Faults.Window.holds(now, lasts(s, now, began)); err != nil {
		return &RefusedError{fmt.Sprintf("%s: faults.window: %v", c.File, err)}
	}
	return nil
}

// removing is what taking out leftovers of dead runs does.
func (c *Contexts) removing() []action {
	dc, m := c.Clusters[scenario.Datacenter].Namespace, c.Clusters[scenario.Monitoring].Namespace
	return append(append(c.listing(), c.sweeping()...),
		action{scenario.Datacenter, allowCanary, "remove the marks of runs whose documents are gone, and say in the others how many records are on their way still", marking(dc, "delete", "patch")},
		action{scenario.Monitoring, allowPurge, fmt.Sprintf("take the documents of marked runs out of index %s, by their ids, and read again", canaryTopic), reading(m, true)},
	)
}

// listing is what sim status does.
func (c *Contexts) listing() []action {
	dc, m := c.Clusters[scenario.Datacenter].Namespace, c.Clusters[scenario.Monitoring].Namespace
	out := c.looking()
	for _, role := range c.makers() {
		out = append(out, action{role, "", "list the Jobs of marked runs", c.in(role, listJobs)})
	}
	return append(out,
		action{scenario.Datacenter, "", "list the marks of runs", marking(dc, "list")},
		action{scenario.Monitoring, "", c.way(scenario.Monitoring) + " to the store: count the documents of marked runs", reading(m, true)},
	)
}

// writes are the roles in which something is written, in order.
func writes(actions []action) []string {
	var out []string
	for _, role := range scenario.ClusterNames {
		if slices.ContainsFunc(actions, func(a action) bool { return a.role == role && a.allow != "" }) {
			out = append(out, role)
		}
	}
	return out
}

// rightsOf are the rights that the actions take in a role, each once.
func rightsOf(actions []action, role string) []kube.Right {
	var out []kube.Right
	for _, a := range actions {
		for _, r := range a.rights {
			if a.role == role && !slices.Contains(out, r) {
				out = append(out, r)
			}
		}
	}
	return out
}

// print says everything before anything is done. who is the name under which each API server knows the caller.
func (s *System) print(w io.Writer, actions []action, who map[string]string) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "CLUSTER\tID\tAPI SERVER\tCONTEXT\tNAMESPACE\tYOU ARE")
	for _, role := range scenario.ClusterNames {
		c := s.contexts.Clusters[role]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", role, c.ID, s.clients[role].Server(), s.clients[role].Name(), c.Namespace, who[role])
	}
	fmt.Fprintln(t, "\t\t\t\t\t")
	fmt.Fprintln(t, "CLUSTER\tACTION\tWHAT WOULD BE DONE")
	for _, a := range actions {
		kind := "read"
		if a.allow != "" {
			kind = "WRITE"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", a.role, kind, a.what)
	}
	_ = t.Flush() // to people; a stream that is gone is noticed when they are asked
	fmt.Fprintln(w)
}

// Caps in code: no scenario and no file raises them. A hundredth of what one service pod writes, for a quarter of an hour.
const (
	maxRate   = 50.0
	maxTotal  = 20_000
	maxBytes  = 1 << 10
	maxLength = 15 * time.Minute
)

// canaryTopic is the one topic, and the one index, that this runtime touches.
const canaryTopic = "canary-topic"

// refuse says why a scenario may not run here; nil: it may.
func refuse(s *scenario.Scenario) error {
	var why []string
	no := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	for _, f := range s.Faults {
		if _, ok := strikes[f.Kind]; !ok {
			no("fault %s: %s cannot be done through an API server so that it ends without the harness; run it on kind. Possible here: %s", f.Name, f.Kind, strings.Join(slices.Sorted(maps.Keys(strikes)), ", "))
		} else if f.Kind == "forwarder-kill" && f.For > 0 {
			no("fault %s: nothing holds a forwarder down here; leave for away, or run it on kind", f.Name)
		}
	}
	for i, l := range s.Load {
		src, _ := scenario.FindSource(l.Source)
		if src.Topic != canaryTopic || l.Enter != "file" {
			no("load[%d]: source %s goes to %s; only the source canary, which has topic, routes, rights and an index of its own, may be sent", i, l.Source, src.Topic)
		}
		if l.Arrivals != "uniform" {
			no("load[%d]: arrivals %s have no most: what may come is bounded for uniform ones alone", i, l.Arrivals)
		}
		if l.Size > maxBytes {
			no("load[%d]: lines of %v; at most %v", i, l.Size, scenario.Size(maxBytes))
		}
	}
	rate, total := s.Most()
	switch {
	case s.Cap == nil:
		no("it has no cap: the most that it may ever send has to stand in the file")
	case float64(s.Cap.Rate) > maxRate || s.Cap.Total > maxTotal:
		no("its cap of %s and %d records is above what this program ever sends to clusters that are not its own: %g/s and %d", s.Cap.Rate, s.Cap.Total, maxRate, maxTotal)
	}
	if !(rate <= maxRate) || total < 0 || total > maxTotal {
		no("it sends up to %g/s and %d records; at most %g/s and %d", rate, total, maxRate, maxTotal)
	}
	if s.Phases.LoadTime() > maxLength {
		no("it sends for %v; at most %v", s.Phases.LoadTime(), maxLength)
	}
	for what, is := range map[string]bool{
		"faults in turn are not counted before they strike: write each one out, without rotate": s.Rotate > 0, "settings would change the manifests": len(s.Settings) > 0, "probes try paths and rights that are closed": len(s.Probes) > 0, "a search raises the rate until something gives": s.Search != nil,
		"topologies are compared on clusters that can be capped": s.Compare != nil, "alerts and dashboards are read with rights that it does not ask for": len(s.Alerts) > 0 || s.Dashboards != nil,
	} {
		if is {
			no("%s", what)
		}
	}
	if len(why) == 0 {
		return nil
	}
	slices.Sort(why)
	return &RefusedError{fmt.Sprintf("scenario %s may not run on clusters that are not Triad's:\n  %s", s.Name, strings.Join(why, "\n  "))}
}

// RefusedError is a refusal by the guard, before anything was written.
type RefusedError struct{ Why string }

// Error prints the reason.
func (e *RefusedError) Error() string { return e.Why }
