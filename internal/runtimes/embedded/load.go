package embedded

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"triad/internal/evidence"
	"triad/internal/load"
	"triad/internal/load/agent"
	"triad/internal/model/forward"
	"triad/internal/runtimes"
	"triad/internal/scenario"
	"triad/internal/source"
)

// kubeletCheck is how often the kubelet looks at the size of a log file (containerLogMonitorInterval, 10 s by default):
// a file overshoots its limit by what is written meanwhile.
const kubeletCheck = 10 * time.Second

// group is the streams of one generator.
type group struct {
	name    string
	streams []scenario.Stream
}

// groups shares the streams out: one generator for each instance of a service, one for each log file of the system
// sources, one for each load that enters later.
func groups(s *scenario.Scenario) []group {
	var out []group
	at := map[string]int{}
	for _, st := range s.Streams() {
		key := fmt.Sprintf("%s-%s-%d-%d", st.Source, st.Enter, st.Load, st.Instance)
		if st.Enter == "file" && agent.SystemFile(st.Source) != "" {
			key = st.Source
		}
		i, ok := at[key]
		if !ok {
			i = len(out)
			at[key] = i
			out = append(out, group{name: key})
		}
		out[i].streams = append(out[i].streams, st)
	}
	return out
}

// Generate starts one generator for each group.
func (s *system) Generate(ctx context.Context, p runtimes.LoadPlan) (runtimes.Generation, error) {
	g := &generation{}
	for _, gr := range groups(s.session.Scenario) {
		sink, err := s.sinkFor(gr, p)
		if err != nil {
			return nil, err
		}
		ledger, err := p.Evidence.Ledger(evidence.PointSent + gr.name)
		if err != nil {
			return nil, err
		}
		cfg := load.Config{
			Scenario: s.session.Scenario, Run: s.session.Run, Start: p.Start, Streams: gr.streams, Sink: sink, Logger: s.logger,
			Evidence: load.Evidence{Ledger: ledger, Hists: p.Evidence.Hists, Series: p.Evidence.Series, Pulse: p.Pulse},
		}
		if s.session.Sabotage != nil {
			cfg.Sabotage = s.session.Sabotage.Generator
		}
		gen, err := load.New(cfg)
		if err != nil {
			return nil, err
		}
		g.gens = append(g.gens, gen)
	}
	s.genMu.Lock()
	s.gens, s.struck = g.gens, p.Struck
	s.genMu.Unlock()
	g.errs = make([]error, len(g.gens))
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	g.cancel = cancel
	for i, gen := range g.gens {
		g.wg.Go(func() { g.errs[i] = gen.Run(run) })
	}
	return g, nil
}

func (s *system) sinkFor(gr group, p runtimes.LoadPlan) (load.Sink, error) {
	st := gr.streams[0]
	switch st.Enter {
	case "kafka":
		from := s.net.outside(scenario.Kafka)
		if st.Cluster != scenario.Kafka {
			from = s.net.dialer(st.Cluster, scenario.Kafka)
		}
		opts, err := s.kafkaOpts(generator, from)
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.SeedBrokers(s.brokers.Addrs()...), kgo.ProducerLinger(load.Linger), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
		return load.NewKafkaSink(node, p.Start, opts...)
	case "forward":
		return s.forwardSink(gr)
	}
	path, cri := s.logFile(gr)
	w, err := source.NewRotator(source.RotatorOptions{Path: path, MaxBytes: s.cfg.logMaxBytes, MaxFiles: s.cfg.logMaxFiles, CheckEvery: kubeletCheck})
	return &load.FileSink{W: w, CRI: cri, Start: p.Start}, err
}

// logFile is the file that a generator writes, and whether it is that of a container.
func (s *system) logFile(gr group) (path string, cri bool) {
	logs := filepath.Join(s.dir(scenario.Datacenter), "var/log")
	st := gr.streams[0]
	if file := agent.SystemFile(st.Source); file != "" {
		return filepath.Join(logs, file), false
	}
	id := sha256.Sum256([]byte(gr.name))
	app := agent.Application(st.Source)
	return filepath.Join(logs, fmt.Sprintf("containers/%s-%d-%d_datacenter_%s-%s.log", app, st.Load, st.Instance, app, hex.EncodeToString(id[:]))), true
}

// openLogs makes the empty files of the generators: those of a pod and of a daemon are there before the first record is.
func (s *system) openLogs() error {
	for _, gr := range groups(s.session.Scenario) {
		if gr.streams[0].Enter != "file" {
			continue
		}
		path, _ := s.logFile(gr)
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// forwardSink sends to the aggregator in place of Fluent Bit.
func (s *system) forwardSink(gr group) (load.Sink, error) {
	tag := gr.streams[0].Source + "." + node
	if file := agent.SystemFile(gr.streams[0].Source); file != "" {
		tag = strings.Replace(gr.streams[0].Source, "-", ".", 1) // system-auth -> system.auth, as Fluent Bit tags it
	}
	addr := s.ports.addr("fluentd", "24224")
	if addr == "" {
		return nil, errors.New("the aggregator has no forward port")
	}
	c := forward.NewClient(forward.ClientOptions{Addr: addr, Dial: s.net.dialer(scenario.Datacenter, scenario.Datacenter), RequireAck: true})
	return load.NewForwardSink(c, tag, node), nil
}

// generation is the load under way.
type generation struct {
	gens   []*load.Generator
	errs   []error
	wg     sync.WaitGroup
	cancel context.CancelFunc
}

// Wait returns when every generator is done; when ctx ends, they stop.
func (g *generation) Wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() { g.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		g.cancel()
		<-done
	}
	g.cancel()
	return errors.Join(g.errs...)
}

// Progress adds the generators' counts.
func (g *generation) Progress() load.Progress {
	var p load.Progress
	for _, gen := range g.gens {
		p.Add(gen.Progress())
	}
	return p
}

// Collect has nothing to fetch: the ledgers are in the run directory.
func (g *generation) Collect(context.Context, *evidence.Writer) error { return nil }
