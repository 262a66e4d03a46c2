package run_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/observe/agent"
	"triad/internal/pod"
	"triad/internal/run"
	"triad/internal/runtimes"
	"triad/internal/runtimes/embedded"
	"triad/internal/scenario"
)

// outliving is the embedded runtime as one whose system, generators and, with pods, observers outlive the harness.
type outliving struct {
	runtimes.Runtime
	t    *testing.T
	pods bool
	s    *scenario.Scenario
	dead *atomic.Bool  // the first harness: it reaches nothing any more
	sent chan struct{} // closed when the load has begun

	env  runtimes.Env
	seen []pod.Remote
	own  *evidence.Writer // what the generators write
	gen  runtimes.Generation
}

func (o *outliving) Rejoin(context.Context, runtimes.Session) ([]string, error) {
	if o.env == nil {
		return nil, errors.New("nothing is there")
	}
	return nil, nil
}

func (o *outliving) Connect(ctx context.Context, s runtimes.Session) (runtimes.Env, error) {
	if s.GoesOn != (o.env != nil) {
		return nil, fmt.Errorf("goes on: %v, and there is %v", s.GoesOn, o.env)
	}
	if o.env == nil {
		s.Dir = o.t.TempDir()
		var err error
		if o.env, err = o.Runtime.Connect(ctx, s); err != nil {
			return nil, err
		}
		o.t.Cleanup(func() { _ = o.env.Close(context.Background()) })
		if o.pods {
			for k := range s.Scenario.Observers {
				o.seen = append(o.seen, o.observer(k))
			}
		}
	}
	return outlivingEnv{o.env, o}, nil
}

// observer is one on loopback. What the first harness asks of it when it is dead does not come to it.
func (o *outliving) observer(k int) pod.Remote {
	o.t.Helper()
	l, err := (&net.ListenConfig{}).Listen(o.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		o.t.Fatal(err)
	}
	access := o.env.Kafka()
	a, done := agent.New(agent.Config{Brokers: access.Brokers, Opts: access.Opts, State: o.t.TempDir(), Logger: slog.New(slog.DiscardHandler)}), make(chan error, 1)
	ctx, stop := context.WithCancel(context.Background())
	go func() { done <- a.Serve(ctx, l) }()
	o.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			o.t.Error(err)
		}
	})
	return pod.Remote{Name: fmt.Sprintf("observer-%d", k), URL: "http://" + l.Addr().String(), Client: &http.Client{Transport: cut{o.dead}}}
}

// cut is a way that is cut while something is dead.
type cut struct{ dead *atomic.Bool }

func (c cut) RoundTrip(r *http.Request) (*http.Response, error) {
	if c.dead.Load() {
		return nil, errors.New("nobody asks any more")
	}
	t := &http.Transport{DisableKeepAlives: true}
	return t.RoundTrip(r)
}

type outlivingEnv struct {
	runtimes.Env
	o *outliving
}

func (e outlivingEnv) Observers() []pod.Remote { return e.o.seen }
func (e outlivingEnv) Readers() []pod.Remote   { return nil }

func (e outlivingEnv) Close(context.Context) error { return nil }

// Generate starts generators that write beside the run's directory, or finds those that were started.
func (e outlivingEnv) Generate(ctx context.Context, p runtimes.LoadPlan) (runtimes.Generation, error) {
	o := e.o
	if !p.GoesOn {
		var err error
		if o.own, err = evidence.Create(filepath.Join(o.t.TempDir(), "own"), p.Evidence.Header(), o.s); err != nil {
			return nil, err
		}
		if err := o.own.Begin(p.Start); err != nil {
			return nil, err
		}
		p.Evidence, p.Pulse = o.own, evidence.NewPulse(o.own.Series, "ledger", p.Evidence.Header().PulseEvery)
		if o.gen, err = e.Env.Generate(ctx, p); err != nil {
			return nil, err
		}
		close(o.sent)
	}
	return outlivingLoad{o.gen, o}, nil
}

type outlivingLoad struct {
	runtimes.Generation
	o *outliving
}

// Wait ends with the harness, and the load does not.
func (l outlivingLoad) Wait(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- l.Generation.Wait(context.WithoutCancel(ctx)) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return nil
	}
}

func (l outlivingLoad) Collect(_ context.Context, w *evidence.Writer) error {
	if l.o.dead.Load() {
		return nil
	}
	if err := l.o.own.Close(""); err != nil {
		return err
	}
	return w.Merge(l.o.own.Dir)
}

// TestResume: a harness that is killed in the middle of a run goes on, with two observers of its own or in pods, and every record is in the account
// once: in the ledgers, and in the pulses. Where the pod of one came anew, what it had seen is not known, and nothing is taken for lost.
func TestResume(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	for name, c := range map[string]struct {
		pods, anew bool
		want       check.Verdict // of the evidence
	}{
		"in the harness": {want: check.Pass},
		"in pods":        {pods: true, want: check.Pass},
		"one came anew":  {pods: true, anew: true, want: check.Inconclusive},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := filepath.Join("..", "..")
			s, err := scenario.Parse("again.yaml", []byte(`apiVersion: triad/v1
name: again
title: a run that goes on
phases: {warm-up: 1s, before: 14s, drain: 20s}
observers: 2
load:
  - {source: service, rate: 100/s, streams: 6}
`))
			if err != nil {
				t.Fatal(err)
			}
			rt, err := embedded.New(embedded.Options{Manifests: filepath.Join(root, "manifests"), KindConfig: filepath.Join(root, "kind")})
			if err != nil {
				t.Fatal(err)
			}
			o := &outliving{Runtime: rt, t: t, s: s, pods: c.pods, dead: &atomic.Bool{}, sent: make(chan struct{})}
			options := run.Options{Scenario: s, Runtime: o, Reports: t.TempDir(), Logger: slog.New(slog.DiscardHandler), Progress: silent{}, Now: time.Now()}

			ctx, kill := context.WithCancel(t.Context())
			ended := make(chan struct{})
			var first string
			go func() {
				defer close(ended)
				first, _ = run.Run(ctx, options) // it is killed
			}()
			select {
			case <-ended:
				t.Fatal("it ended before its load")
			case <-o.sent:
			}
			for o.gen.Progress().Acked < 400 {
				time.Sleep(20 * time.Millisecond)
			}
			dirs, err := filepath.Glob(filepath.Join(options.Reports, "*"))
			if err != nil || len(dirs) != 1 {
				t.Fatal(dirs, err)
			}
			dir := filepath.Join(t.TempDir(), "run")
			if err := os.CopyFS(dir, os.DirFS(dirs[0])); err != nil { // what is on the disk when kill -9 comes
				t.Fatal(err)
			}
			o.dead.Store(true)
			kill()
			<-ended
			if first != dirs[0] {
				t.Errorf("the first run is in %s", first)
			}
			o.dead.Store(false)
			if c.anew {
				o.seen[1] = o.observer(1)
			}

			options.Resume, options.Now = dir, time.Now()
			if _, err := run.Run(t.Context(), options); err != nil {
				t.Fatal(err)
			}
			r, err := evidence.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			res, err := check.Judge(r, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range res.Checks {
				t.Logf("  %-14s %-30s %s", k.Verdict, k.Name, k.Detail)
				if k.Name == "evidence" && k.Verdict != c.want || k.Verdict == check.Fail {
					t.Errorf("check %s is %s: %s", k.Name, k.Verdict, k.Detail)
				}
			}
			total := res.Totals
			if len(res.Resumed) != 1 || total.Acknowledged != 1500 || total.Seen != 1500 || total.Lost+total.Unknown != 0 {
				t.Errorf("resumed %+v, totals %+v", res.Resumed, total)
			}
			pulses := map[string]float64{}
			r.Series(func(_ time.Duration, s evidence.Sample) error {
				if s.Name == evidence.PulseSeries {
					pulses[s.Labels["point"]] += s.Value
				}
				return nil
			})
			if c.anew == (pulses[evidence.PointKafka] == 1500) || pulses["ledger"] != 1500 {
				t.Errorf("the pulses counted %v", pulses)
			}
		})
	}
}
