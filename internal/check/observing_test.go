package check

import (
	"math"
	"strings"
	"testing"
	"time"

	"triad/internal/scenario"
)

func totals(of map[string][]float64) *judge {
	s := &series{cpuTotal: map[[2]string][]reading{}}
	for part, vs := range of {
		p, cluster, _ := strings.Cut(part, "/")
		for i, v := range vs {
			k := [2]string{p, cluster}
			s.cpuTotal[k] = append(s.cpuTotal[k], reading{time.Duration(i) * time.Second, v})
		}
	}
	return &judge{ser: s}
}

func TestObserving(t *testing.T) {
	o := totals(map[string][]float64{
		"harness": {10, 11, 12}, "search/monitoring": {1, 2}, "metrics": {0, 0, 2}, "generator/datacenter": {5, 15}, "apiserver/kafka": {0, 4},
		"nodes/datacenter": {100, 130}, "nodes/kafka": {50, 90, 120}, "nodes/monitoring": {7, 17},
	}).observing()
	if o == nil || o.Harness != 2 || o.Search != 1 || o.Metrics != 2 || o.System != 100 || o.Share != 0.05 || o.Forwarding != 4 {
		t.Fatalf("%+v", o)
	}
	if s := o.String(); !strings.Contains(s, "5.0 %") || strings.Contains(s, "above") {
		t.Error(s)
	}
	o.Share = 0.08
	if s := o.String(); !strings.Contains(s, "That is above 5 %") {
		t.Error(s)
	}
	// A store that was started anew counts from nothing again: what is known is what it used since.
	if o = totals(map[string][]float64{"harness": {0, 1}, "nodes/kafka": {0, 10}, "search/monitoring": {90, 0, 2}}).observing(); o == nil || o.Search != 2 {
		t.Errorf("%+v", o)
	}
	// Clients of the engine that stay open for the run are the harness's too.
	if o = totals(map[string][]float64{"harness": {0, 1}, "nodes/kafka": {0, 10}, "clients": {0.1, 0.6}}).observing(); o == nil || o.Harness != 1.5 {
		t.Errorf("%+v", o)
	}
	// Threads that were watched for most of the time tell more than the clock; what they used is taken for all of it.
	for want, watched := range map[float64]float64{0.5: 2, 1: 1, 3: 0.9} {
		if o = totals(map[string][]float64{
			"harness": {0, 1}, "nodes/kafka": {0, 10}, "search/monitoring": {1, 2, 4}, "search-threads/monitoring": {0, 0.25, 0.5}, "search-watched/monitoring": {0, 0, watched},
		}).observing(); o == nil || o.Search != want {
			t.Errorf("%+v, want %v s of searches", o, want)
		}
	}
	// The time on the clock has waiting in it, the threads' time the cluster's own Prometheus: the smaller bound counts.
	for want, exporters := range map[float64][]float64{1.5: {7, 8.5}, 2: {7, 10}} {
		if o = totals(map[string][]float64{"harness": {0, 1}, "nodes/kafka": {0, 10}, "metrics": {0, 2}, "exporters/kafka": exporters}).observing(); o == nil || o.Metrics != want {
			t.Errorf("%+v, want %v s of metrics", o, want)
		}
	}
	// What is not known is not 0.
	for name, m := range map[string]map[string][]float64{
		"embedded": {"harness": {0, 1}}, "one reading": {"harness": {0, 1}, "nodes/kafka": {5}}, "nothing used": {"harness": {0, 1}, "nodes/kafka": {5, 5}}, "none": {},
	} {
		if o := totals(m).observing(); o != nil {
			t.Errorf("%s: %+v, want nothing", name, o)
		}
	}
}

// What the harness uses beyond its usual while a fault is made or undone is no watching: a second of a processor, of which a tenth goes on as always.
func TestFaultWorkIsNoWatching(t *testing.T) {
	j := totals(map[string][]float64{"harness": {0, 4.8}, "nodes/kafka": {0, 100}})
	j.ser.cpu = map[string][]reading{}
	for s := range 31 {
		v := 0.1
		if s > 10 && s <= 12 || s > 20 && s <= 21 {
			v = 1
		}
		j.ser.cpu["harness"] = append(j.ser.cpu["harness"], reading{time.Duration(s) * time.Second, v})
	}
	j.faults = []*faultState{
		{Fault: scenario.Fault{For: scenario.Duration(8500 * time.Millisecond)}, injecting: new(10500 * time.Millisecond), injected: new(11500 * time.Millisecond), healed: new(20500 * time.Millisecond)},
		{}, // never injected
	}
	o := j.observing()
	if o == nil || math.Abs(o.Faults-2.7) > 1e-6 || math.Abs(o.Harness-2.1) > 1e-6 || math.Abs(o.Share-0.021) > 1e-6 {
		t.Fatalf("%+v", o)
	}
	if s := o.String(); !strings.Contains(s, "2.7 s more of the harness made and undid faults") {
		t.Error(s)
	}
	j.faults = nil
	if o = j.observing(); o == nil || o.Faults != 0 || o.Harness != 4.8 {
		t.Errorf("without faults: %+v", o)
	}
}
