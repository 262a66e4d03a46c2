//go:build !embedded_only

package kind

import (
	"context"
	"fmt"
	"strings"

	"triad/internal/load/agent"
	"triad/internal/runtimes"
	"triad/internal/runtimes/jobs"
	"triad/internal/scenario"
)

// generatorPod is one inputgen pod.
type generatorPod struct {
	agent.Remote
	app string // service-inputgen, system-inputgen or canary-inputgen
}

func (e *env) findGenerators(ctx context.Context) error {
	c := e.clients[Datacenter]
	for _, app := range []string{"service-inputgen", "system-inputgen", "canary-inputgen"} {
		pods, err := c.List(ctx, "v1", "Pod", Datacenter, "app.kubernetes.io/name="+app)
		if err != nil {
			return fmt.Errorf("generators: %w", err)
		}
		for i := range pods {
			if pods[i].GetDeletionTimestamp() != nil {
				continue
			}
			e.pods = append(e.pods, generatorPod{agent.Remote(jobs.Remote(c, &pods[i])), app})
		}
	}
	return e.preferGenerators(ctx)
}

// preferScript gives the pods of the generators ten times the processor weight of a pod that requests a whole processor, in whichever
// version of control groups the node has. It belongs to the pod, so it outlives a restart of the container.
const preferScript = `for c in $(grep -slz '^inputgen$' /proc/[0-9]*/cmdline); do
  p=${c%/cmdline}
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    g=/sys/fs/cgroup$(sed -n 's/^0:://p' $p/cgroup); echo 1000 > ${g%/*}/cpu.weight && echo preferred
  else
    g=/sys/fs/cgroup/cpu$(sed -n 's/^[0-9]*:\(cpu\|cpu,cpuacct\|cpuacct,cpu\)://p' $p/cgroup); echo 10240 > ${g%/*}/cpu.shares && echo preferred
  fi
done
`

// The weight of the datacenter's nodes beside other containers, and that of any container (docker run, --cpu-shares). The weight of a pod counts
// inside its node only. Six runs of broker-failover in turns, on two processors: 1 % of the records late by 46, 64 and 86 ms in the phase before
// with the one, by 22, 22 and 56 ms with the other.
const (
	nodeWeight  = "8192"
	equalWeight = "1024"
)

// preferGenerators puts the generators before what they share their node and the machine with. A request gives weight too, but no more of it
// than the scheduler can give away: on two processors not enough to be on time while a broker starts. A generator uses a hundredth of a
// processor, so nobody else misses it. Where topologies are compared, no node stands before another.
func (e *env) preferGenerators(ctx context.Context) error {
	weight := nodeWeight
	if e.opts.Caps != nil {
		weight = equalWeight
	}
	preferred := 0
	clusters := []string{Datacenter}
	if e.jobs.Made(Kafka) {
		clusters = append(clusters, Kafka)
	}
	for _, cluster := range clusters {
		nodes, err := e.runningNodes(ctx, cluster)
		if err != nil {
			return fmt.Errorf("weight of the generators: %w", err)
		}
		for _, n := range nodes {
			if cluster == Datacenter {
				if _, err := e.engine.Run(ctx, "update", "--cpu-shares", weight, n.Name); err != nil {
					e.log.Warn("the node of the generators has no weight of its own", "node", n.Name, "error", err) // an engine that cannot
				}
			}
			out, err := e.sh(ctx, n.Name, preferScript)
			if err != nil {
				return fmt.Errorf("weight of the generators: %w", err)
			}
			preferred += strings.Count(out, "preferred")
		}
	}
	pods := len(e.pods)
	for _, shards := range e.shards {
		pods += len(shards)
	}
	if preferred < pods {
		e.log.Warn("not every generator has its weight", "pods", pods, "preferred", preferred)
	}
	return nil
}

// Generate tells every agent its plan.
func (e *env) Generate(ctx context.Context, p runtimes.LoadPlan) (runtimes.Generation, error) {
	h := p.Evidence.Header()
	whole := agent.Plan{Scenario: *e.session.Scenario, Run: e.session.Run, Start: p.Start, HistWindow: h.HistWindow, PulseEvery: h.PulseEvery, Struck: p.Struck}
	shares, err := e.share(whole)
	if err != nil {
		return nil, err
	}
	begin := agent.Launch
	if p.GoesOn {
		begin = agent.Rejoin
	}
	e.jobs.Taken = true
	fleet, err := begin(ctx, whole, shares)
	if err != nil {
		return nil, err // not a nil *Fleet, which is no nil Generation
	}
	return fleet, nil
}

// underWay demands that the generators know a run that goes on, before it is decided that it does.
func (e *env) underWay(ctx context.Context) error {
	if !e.session.GoesOn {
		return nil
	}
	shares, err := e.share(agent.Plan{Scenario: *e.session.Scenario})
	if err != nil {
		return err
	}
	return agent.UnderWay(ctx, e.session.Run, shares)
}

// share gives every stream of a plan to a pod.
func (e *env) share(whole agent.Plan) ([]agent.Share, error) {
	return agent.Divide(whole, whole.Scenario.Streams(), func(st scenario.Stream) ([]agent.Remote, error) {
		if st.Enter == "forward" {
			return nil, fmt.Errorf("source %s: enter %s is not there on kind", st.Source, st.Enter)
		}
		if shards := e.shards[st.Load]; shards != nil {
			return shards, nil
		}
		app := agent.Application(st.Source)
		var pods []agent.Remote
		for _, pod := range e.pods {
			if pod.app == app {
				pods = append(pods, pod.Remote)
			}
		}
		if len(pods) == 0 {
			return nil, fmt.Errorf("source %s: no pod of %s runs", st.Source, app)
		}
		return pods, nil
	})
}
