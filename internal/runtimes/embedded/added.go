package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"triad/internal/evidence"
	"triad/internal/fault"
	"triad/internal/manifests"
	prom "triad/internal/model/prometheus"
	"triad/internal/observe/promapi"
	"triad/internal/scenario"
)

// answerTime bounds the wait for the first series of an added cluster; its agent scrapes every 5 s.
const answerTime = time.Minute

// added is a fourth agent. There is no cluster around it, so it scrapes itself and nothing else.
type added struct {
	fault.Findings

	s    *system
	hits int
	seen string
}

var (
	_ fault.ClusterAdder = (*system)(nil)
	_ fault.Reporter     = (*added)(nil)
)

// AddCluster starts the model of an agent as the manifests of the added cluster have it, and waits until its series answer in the central
// Prometheus. What would have to change in the other clusters cannot be seen where there are none.
func (s *system) AddCluster(ctx context.Context, _ time.Duration) (fault.Active, error) {
	a := &added{s: s}
	began := time.Now()
	if err := s.startAdded(); err != nil {
		return nil, err
	}
	started := time.Now() // rendering the manifests took its time before
	wait, cancel := context.WithTimeoutCause(ctx, answerTime, fmt.Errorf("not within %v", answerTime))
	defer cancel()
	access := s.Prometheus()
	up, err := promapi.Client{Base: access.URL, HTTP: access.Client}.AwaitTargets(wait, manifests.Added, 1, started)
	if ctx.Err() != nil {
		s.removeAdded()
		return nil, context.Cause(ctx)
	}
	took := func(since time.Time) string { return strconv.FormatFloat(time.Since(since).Seconds(), 'f', 3, 64) }
	e := evidence.Event{Kind: evidence.EventAdded, Name: evidence.AddedSeries, State: evidence.AddedAnswered, Attrs: map[string]string{
		"cluster": manifests.Added, "targets": strconv.Itoa(up), "seconds": took(started), "total": took(began),
	}}
	if err != nil {
		e.State, e.Detail = evidence.AddedSilent, err.Error()
	} else {
		a.hits, a.seen = up, fmt.Sprintf("%d target of %s answers in the central Prometheus", up, manifests.Added)
	}
	a.Note(e, evidence.Event{
		Kind: evidence.EventAdded, Name: evidence.AddedElsewhere, State: evidence.AddedUnseen,
		Detail: "what has to change in the other clusters cannot be seen in one process: it takes real ones (--runtime kind)",
	})
	return a, nil
}

func (s *system) startAdded() error {
	s.addMu.Lock()
	defer s.addMu.Unlock()
	if s.added != nil {
		return errors.New("a cluster was added already")
	}
	cfg, err := s.cfg.addedAgent()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir(manifests.Added), 0o755); err != nil {
		return fmt.Errorf("scratch folder: %w", err)
	}
	if err := s.secrets(manifests.Added); err != nil {
		return err
	}
	const name = "prometheus-agent-" + manifests.Added
	// Its own address is known once it listens: the targets are found by the port that it was configured with.
	jobs := map[string][]prom.Target{}
	for i, j := range cfg.Jobs {
		jobs[j.Name] = nil
		if i == 0 {
			jobs[j.Name] = []prom.Target{{Address: manifests.Added + ":9091", Labels: map[string]string{"__metrics_path__": "/metrics", "instance": name, "component": "prometheus"}}}
		}
	}
	toCentral := s.ports.via("prometheus", s.net.dialer(manifests.Added, scenario.Monitoring))
	own := s.net.dialer(manifests.Added, manifests.Added)
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		switch _, port, err := net.SplitHostPort(addr); {
		case err == nil && port == "9090":
			return toCentral(ctx, network, addr)
		case err == nil && port == "9091":
			return own(ctx, network, s.ports.addr(name, "9090"))
		}
		return own(ctx, network, addr)
	}
	p := &proc{name: name, logger: s.logger, make: func() (runner, error) {
		return prom.New(cfg, prom.Options{
			Root: s.dir(manifests.Added), Listen: s.ports.listen(name), Dial: dial, Targets: jobs, Env: map[string]string{"TRIAD_CLUSTER": manifests.Added},
			Logger: s.logger.With("component", name),
		})
	}}
	if err := p.start(); err != nil {
		return err
	}
	s.added = p
	return nil
}

// removeAdded stops the agent of the added cluster, if there is one.
func (s *system) removeAdded() {
	s.addMu.Lock()
	defer s.addMu.Unlock()
	if s.added != nil {
		s.added.stop()
		s.added = nil
	}
}

// addedAgent reads the agent of the added cluster out of its manifests.
func (c *config) addedAgent() (prom.AgentConfig, error) {
	objects, err := c.committed.Render(manifests.Added, overlay)
	if err != nil {
		return prom.AgentConfig{}, err
	}
	text, args, err := manifests.Rendered{Cluster: manifests.Added, Overlay: overlay, Objects: objects}.Prometheus()
	if err != nil {
		return prom.AgentConfig{}, err
	}
	cfg, _, err := prom.ParseAgent([]byte(text), args) // what is not modelled is what is not of the other agents
	if err != nil {
		return cfg, fmt.Errorf("%s: prometheus agent: %w", manifests.Added, err)
	}
	return cfg, nil
}

func (a *added) Target() string { return "a fourth agent, cluster " + manifests.Added }

func (a *added) Hits(context.Context) (uint64, string, error) { return uint64(a.hits), a.seen, nil }

func (a *added) Heal(context.Context) error {
	a.s.removeAdded()
	return nil
}

func (a *added) Gone(context.Context) (bool, error) {
	a.s.addMu.Lock()
	defer a.s.addMu.Unlock()
	return a.s.added == nil, nil
}
