//go:build !embedded_only

package kind

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"triad/internal/evidence"
	"triad/internal/load"
	"triad/internal/load/agent"
	"triad/internal/runtimes"
	"triad/internal/scenario"
)

// generatorPod is one inputgen pod.
type generatorPod struct {
	name   string
	system bool // writes system log files; otherwise service lines
	client *http.Client
	url    string
}

func (e *env) findGenerators(ctx context.Context) error {
	c := e.clients[Datacenter]
	for _, app := range []string{"service-inputgen", "system-inputgen"} {
		pods, err := c.List(ctx, "v1", "Pod", Datacenter, "app.kubernetes.io/name="+app)
		if err != nil {
			return fmt.Errorf("generators: %w", err)
		}
		for i := range pods {
			if pods[i].GetDeletionTimestamp() != nil {
				continue
			}
			name := pods[i].GetName()
			e.pods = append(e.pods, generatorPod{name: name, system: app == "system-inputgen", client: c.HTTP(30 * time.Second), url: fmt.Sprintf("http://%s.%s.pod:9400", name, Datacenter)})
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

// preferGenerators puts the generators before what they share their node with. A request gives weight too, but no more of it than the
// scheduler can give away: on two processors not enough to be on time while a broker starts. A generator uses a hundredth of a
// processor, so nobody else misses it.
func (e *env) preferGenerators(ctx context.Context) error {
	nodes, err := e.runningNodes(ctx, Datacenter)
	if err != nil {
		return fmt.Errorf("weight of the generators: %w", err)
	}
	preferred := 0
	for _, n := range nodes {
		out, err := e.sh(ctx, n.Name, preferScript)
		if err != nil {
			return fmt.Errorf("weight of the generators: %w", err)
		}
		preferred += strings.Count(out, "preferred")
	}
	if preferred < len(e.pods) {
		e.log.Warn("not every generator has its weight", "pods", len(e.pods), "preferred", preferred)
	}
	return nil
}

// generation is the load under way: agents in pods, and generators in the harness for what enters at the broker.
type generation struct {
	e      *env
	plan   runtimes.LoadPlan
	agents []generatorPod
	local  []*load.Generator
	wg     sync.WaitGroup
	cancel context.CancelFunc
	errs   []error

	mu   sync.Mutex
	last map[string]agent.Status
}

// Generate tells every agent its plan and starts the generators of sources that enter at the broker.
func (e *env) Generate(ctx context.Context, p runtimes.LoadPlan) (runtimes.Generation, error) {
	g := &generation{e: e, plan: p, last: map[string]agent.Status{}}
	h := p.Evidence.Header()
	plans, local, err := e.share(agent.Plan{Scenario: *e.session.Scenario, Run: e.session.Run, Start: p.Start, HistWindow: h.HistWindow, PulseEvery: h.PulseEvery})
	if err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	errs := make([]error, len(e.pods))
	for i, pod := range e.pods {
		plan, ok := plans[pod.name]
		if !ok {
			continue
		}
		g.agents = append(g.agents, pod)
		wg.Go(func() {
			if p.Resume != nil {
				errs[i] = pod.underWay(ctx, plan.Run)
			} else if errs[i] = pod.call(ctx, "/stop", nil, nil); errs[i] == nil {
				errs[i] = pod.call(ctx, "/run", plan, nil)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("start the load: %w", err)
	}
	if late := time.Since(p.Start); late > 0 && p.Resume == nil {
		return nil, fmt.Errorf("the agents had their plan %v after the start of the schedule", late.Round(time.Millisecond))
	}
	for name, streams := range local {
		gen, err := e.localGenerator(name, streams, p)
		if err != nil {
			return nil, err
		}
		g.local = append(g.local, gen)
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	g.cancel = cancel
	g.errs = make([]error, len(g.local))
	for i, gen := range g.local {
		g.wg.Go(func() { g.errs[i] = gen.Run(run) })
	}
	g.wg.Go(func() { g.watch(run) })
	return g, nil
}

// share gives every stream of a plan to a pod, or to the harness when it enters at the broker.
func (e *env) share(whole agent.Plan) (map[string]agent.Plan, map[string][]scenario.Stream, error) {
	plans, local := map[string]agent.Plan{}, map[string][]scenario.Stream{}
	var service, system []generatorPod
	for _, pod := range e.pods {
		if pod.system {
			system = append(system, pod)
		} else {
			service = append(service, pod)
		}
	}
	for _, st := range whole.Scenario.Streams() {
		if st.Enter == "kafka" {
			local[st.Source] = append(local[st.Source], st)
			continue
		}
		if st.Enter != "file" {
			return nil, nil, fmt.Errorf("source %s: enter %s is not there on kind", st.Source, st.Enter)
		}
		pods := service
		if agent.SystemFile(st.Source) != "" {
			pods = system
		}
		if len(pods) == 0 {
			return nil, nil, fmt.Errorf("source %s: no generator pod runs", st.Source)
		}
		name := pods[st.Instance%len(pods)].name
		plan, ok := plans[name]
		if !ok {
			plan = whole
		}
		plan.Streams = append(plan.Streams, st)
		plans[name] = plan
	}
	return plans, local, nil
}

// producer is a client of the principal that owns a topic.
func (e *env) producer(topic string) (*kgo.Client, error) {
	return kgo.NewClient(e.producerOpts(topic)...)
}

func (e *env) producerOpts(topic string) []kgo.Opt {
	user := "fluentd"
	if topic == "canary-topic" {
		user = "canary"
	}
	return append(e.kafkaOpts(user), kgo.SeedBrokers(e.bootstrap()...), kgo.ProducerLinger(0), kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
}

// localGenerator produces from the harness as the principal that owns the topic.
func (e *env) localGenerator(source string, streams []scenario.Stream, p runtimes.LoadPlan) (*load.Generator, error) {
	sink, err := load.NewKafkaSink("harness", p.Start, e.producerOpts(streams[0].Topic)...)
	if err != nil {
		return nil, err
	}
	ledger, err := p.Evidence.Ledger(evidence.PointSent + source)
	if err != nil {
		return nil, err
	}
	return load.New(load.Config{
		Scenario: e.session.Scenario, Run: e.session.Run, Start: p.Start, Streams: streams, Sink: sink, Logger: e.log, Resume: p.GoesOn(source),
		Evidence: load.Evidence{Ledger: ledger, Hists: p.Evidence.Hists, Series: p.Evidence.Series, Pulse: p.Pulse},
	})
}

// watch asks the agents for their progress once a second.
func (g *generation) watch(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		running := false
		for _, pod := range g.agents {
			var st agent.Status
			ask, cancel := context.WithTimeout(ctx, 5*time.Second)
			err := pod.call(ask, "/status", nil, &st)
			cancel()
			g.mu.Lock()
			if err == nil {
				g.last[pod.name] = st
			}
			running = running || g.last[pod.name].Running || g.last[pod.name].Run == 0
			g.mu.Unlock()
		}
		if !running {
			return
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// Wait returns when every generator is done; when ctx ends, they are told to stop.
func (g *generation) Wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() { g.wg.Wait(); close(done) }()
	limit := time.NewTimer(max(time.Until(g.plan.Start.Add(g.e.session.Scenario.Phases.LoadTime())), 0) + time.Minute) // the generators wait up to 35 s for outcomes
	defer limit.Stop()
	var errs []error
	select {
	case <-done:
	case <-limit.C:
		errs = append(errs, errors.New("agents did not say that they are done"))
	case <-ctx.Done():
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		for _, pod := range g.agents {
			errs = append(errs, pod.call(stop, "/stop", nil, nil))
		}
		cancel()
	}
	g.cancel()
	<-done
	return errors.Join(append(errs, g.errs...)...)
}

// Progress adds what the agents said last and the harness's own generators.
func (g *generation) Progress() load.Progress {
	var p load.Progress
	g.mu.Lock()
	for _, st := range g.last {
		p.Add(st.Progress)
	}
	g.mu.Unlock()
	for _, gen := range g.local {
		p.Add(gen.Progress())
	}
	return p
}

// Collect fetches the agents' ledgers into the evidence.
func (g *generation) Collect(ctx context.Context, w *evidence.Writer) error {
	var errs []error
	for _, pod := range g.agents {
		errs = append(errs, pod.fetch(ctx, g.e.session.Run, w))
	}
	return errors.Join(errs...)
}

// call posts a value as JSON (GET without one for /status) and decodes the answer.
func (p generatorPod) call(ctx context.Context, path string, in, out any) error {
	method, body := http.MethodPost, io.Reader(http.NoBody)
	if path == "/status" {
		method = http.MethodGet
	}
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, p.url+path, body)
	if err != nil {
		return err
	}
	res, err := p.client.Do(req)
	if err != nil {
		return fmt.Errorf("generator %s: %w", p.name, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		msg, _ := io.ReadAll(io.LimitReader(res.Body, 500))
		return fmt.Errorf("generator %s: HTTP %d: %s", p.name, res.StatusCode, strings.TrimSpace(string(msg)))
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(out)
}

// fetch brings a pod's ledger, histograms and series of a run into the evidence. A tar stream that ends early is an error.
func (p generatorPod) fetch(ctx context.Context, run uint32, w *evidence.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/evidence?run=%d", p.url, run), http.NoBody)
	if err != nil {
		return err
	}
	res, err := p.client.Do(req)
	if err != nil {
		return fmt.Errorf("ledger of %s: %w", p.name, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("ledger of %s: HTTP %d", p.name, res.StatusCode)
	}
	dir, err := os.MkdirTemp("", "triad-ledger-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	name := evidence.PointSent + p.name
	for t := tar.NewReader(res.Body); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("ledger of %s: %w", p.name, err)
		}
		b, err := io.ReadAll(t)
		if err != nil {
			return fmt.Errorf("ledger of %s: %w", p.name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+filepath.Ext(h.Name)), b, 0o600); err != nil {
			return err
		}
	}
	return w.Import(dir, name)
}
