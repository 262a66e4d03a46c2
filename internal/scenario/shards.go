package scenario

import (
	"errors"
	"fmt"
	"slices"
)

// shardable reports whether pods made for a run can send a load. They are made where the generators are, in datacenter; and files of the
// system are the node's, which have one writer.
func (l Input) shardable() bool {
	src, _ := FindSource(l.Source)
	return src.Cluster == Datacenter && (l.Enter != "file" || src.Kind == "service")
}

func (v *validator) parallelism(path string, l Input) {
	switch {
	case l.Parallelism == 0:
	case l.Parallelism < 0:
		v.fail(path+".parallelism", "must be > 0, or left out")
	case !l.shardable():
		v.fail(path+".parallelism", "%s that enters at %s has one generator: shards are pods in datacenter with log files of their own, or with enter: kafka", l.Source, l.Enter)
	case l.Instances != l.Parallelism:
		v.fail(path+".instances", "%d, but parallelism is %d: a shard is one generator; leave instances out", l.Instances, l.Parallelism)
	}
}

// maxObservers is more than any topic of a platform of this size has partitions for.
const maxObservers = 256

// Sharded returns s with its load sent by n shards. A load with fewer streams gets as many shards as it has streams; one of a single stream,
// or that has to have one generator, stays as it is. As many observers read Kafka. It is an error when nothing would be sent by more than one
// shard though n asks for it.
func (s *Scenario) Sharded(n int) (*Scenario, error) {
	if n < 1 || n > maxObservers {
		return nil, fmt.Errorf("want a number of shards from 1 to %d", maxObservers)
	}
	out := *s
	out.Load, out.Observers = slices.Clone(s.Load), n
	most := 0
	for i := range out.Load {
		l := &out.Load[i]
		if k := min(n, l.Streams); l.shardable() && (k > 1 || n == 1) {
			l.Parallelism, l.Instances = k, k
			most = max(most, k)
		}
	}
	if most < min(n, 2) {
		return nil, errors.New("no load of the scenario can be shared: a shard needs a stream of its own, and a log file of the node has one writer; give a load more streams")
	}
	return &out, nil
}
