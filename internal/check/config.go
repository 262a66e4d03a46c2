package check

import (
	"fmt"
	"reflect"
	"strings"

	"triad/internal/scenario"
)

// RunnerClass is the key of the configuration under which runs have machines of the same kind.
const RunnerClass = "runner class"

// config is what a comparison of two runs calls configuration: whatever was chosen, not measured.
func (j *judge) config() map[string]string {
	h := j.r.Header
	out := map[string]string{
		"runtime": h.Runtime, "seed": fmt.Sprint(h.Seed), "commit": h.Commit, "version": h.Version, "scenario": j.s.Name,
		"host": fmt.Sprintf("%s/%s %s, %d CPUs, %d MiB", h.Host.OS, h.Host.Arch, h.Host.Kernel, h.Host.CPUs, h.Host.MemoryBytes>>20),
		"go":   h.Host.Go,
		// Without the kernel, which changes by the week, and in steps of memory that a kernel does not take part of: what a baseline is kept for.
		RunnerClass: fmt.Sprintf("%s/%s, %d CPUs, %d GiB", h.Host.OS, h.Host.Arch, h.Host.CPUs, (h.Host.MemoryBytes+1<<29)>>30),
	}
	for _, c := range h.Components {
		v := c.Fidelity
		if c.Image != "" {
			v += " " + c.Image
		}
		out["component "+c.Cluster+"/"+c.Name] = v
	}
	for _, b := range h.Buffers {
		out["buffer "+b.Hop+"/"+b.Component] = fmt.Sprintf("%d B, %d records, %v, x%d, %s", b.Bytes, b.Records, b.For, b.Instances, b.Full)
	}
	if m := h.Metrics; m != nil {
		out["metrics path"] = fmt.Sprintf("retention %v, window %v, scrape %v", m.AgentRetention, m.ReceiverWindow, m.ScrapeInterval)
	}
	p := j.s.Phases
	out["phases"] = fmt.Sprintf("warm-up %v, before %v, during %v, after %v, drain %v", p.WarmUp, p.Before, p.During, p.After, p.Drain)
	for i, l := range j.s.Load {
		var text strings.Builder
		fmt.Fprintf(&text, "%s %v, %d streams, %d instances, %v, enter %s, %s", l.Source, l.Rate, l.Streams, l.Instances, l.Size, l.Enter, l.Arrivals)
		for _, st := range l.Shape {
			fmt.Fprintf(&text, "; %v over %v at %v", st.Rate, st.Over, st.At)
		}
		out[fmt.Sprintf("load %d", i)] = text.String()
	}
	for _, f := range j.s.Faults {
		out["fault "+f.Name] = faultText(f)
	}
	for i, s := range j.s.Settings {
		out[fmt.Sprintf("setting %d", i)] = fmt.Sprintf("%s: %q becomes %q", s.Config, s.Replace, s.With)
	}
	for _, g := range j.s.Guarantees {
		out["guarantee "+g.Segment] = strings.TrimSpace(g.Delivery + " " + g.Order)
	}
	return out
}

// faultText is a fault in words: what is declared of it, each figure with its name.
func faultText(f scenario.Fault) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s at %v", f.Kind, f.At)
	if f.For != 0 {
		fmt.Fprintf(&text, " for %v", f.For)
	}
	for _, x := range []struct {
		name  string
		value any
	}{
		{"target", f.Target},
		{"cluster", f.Cluster},
		{"from", f.From},
		{"to", f.To},
		{"direction", f.Direction},
		{"mode", f.Mode},
		{"delay", f.Delay},
		{"bandwidth", f.Bandwidth},
		{"ratio", f.Ratio},
		{"count", f.Count},
	} {
		if !reflect.ValueOf(x.value).IsZero() {
			fmt.Fprintf(&text, ", %s %v", x.name, x.value)
		}
	}
	return text.String()
}
