//go:build !embedded_only

package eks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"triad/internal/fault"
	"triad/internal/load/agent"
	"triad/internal/observe/scrape"
	"triad/internal/runtimes"
	"triad/internal/scenario"
)

// open and shut are windows around now.
func open() string {
	now := time.Now().UTC()
	return limits(now.Add(-time.Hour).Format(time.RFC3339), now.Add(time.Hour).Format(time.RFC3339), "30s", 0.02)
}

func failover(t *testing.T) *scenario.Scenario {
	t.Helper()
	s, err := scenario.Load(filepath.Join("..", "..", "..", "scenarios", "prod-broker-failover.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestFaultsNeedTheFilesPermission: what is shipped passes only with the fault's own permission and inside of the window, and it is said.
func TestFaultsNeedTheFilesPermission(t *testing.T) {
	const login = "    login: {user: canary"
	allow := func(kind, lim string) func(string) string {
		return func(s string) string {
			return strings.Replace(strings.Replace(s, login, "    allow: ["+kind+"]\n"+login, 1), "clusters:", lim+"clusters:", 1)
		}
	}
	now := time.Now().UTC()
	at := func(d time.Duration) string { return now.Add(d).Format(time.RFC3339) }
	all := []string{"prod-datacenter", "prod-kafka", "prod-monitoring"}
	for _, tc := range []struct {
		name      string
		edit      func(string) string
		confirmed []string
		denied    string
		want      string
	}{
		{name: "permitted", edit: allow("broker-kill", open()), confirmed: all},
		{name: "no limits", edit: allow("broker-kill", ""), confirmed: all, want: "has no faults: a scenario that breaks something needs a maintenance window"},
		{name: "another fault is permitted", edit: allow("broker-down", open()), confirmed: all, want: "clusters.kafka does not allow broker-kill: fault broker-kill at during"},
		{name: "too early", edit: allow("broker-kill", limits(at(time.Minute), at(time.Hour), "30s", 0.02)), confirmed: all, want: "the maintenance window opens at"},
		{name: "it would last beyond the window", edit: allow("broker-kill", limits(at(-time.Hour), at(time.Minute), "30s", 0.02)), confirmed: all, want: "the maintenance window closes at"},
		{name: "the cluster that is struck is not confirmed", edit: allow("broker-kill", open()), confirmed: []string{"prod-datacenter", "prod-monitoring"}, want: "--yes-production prod-kafka"},
		{name: "no right to delete pods", edit: allow("broker-kill", open()), confirmed: all, denied: "delete pods", want: "may not delete pods in kafka"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tr := newTrio(t)
			if tc.denied != "" {
				tr[scenario.Kafka].denied = []string{tc.denied}
			}
			s, said := tr.system(t, Options{Confirmed: tc.confirmed}, tc.edit)
			err := s.Allow(t.Context(), failover(t), time.Time{})
			if tc.want == "" {
				for _, w := range []string{"fault broker-kill at during: delete the pod of one broker", "the run is given up", "WRITE"} {
					if err != nil || !strings.Contains(said.String(), w) {
						t.Errorf("%v; what would be done does not say %q:\n%s", err, w, said)
					}
				}
				return
			}
			if _, ok := errors.AsType[*RefusedError](err); !ok || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v\nwant %s", err, tc.want)
			}
			for role, a := range tr {
				if w := a.written(); len(w) > 0 {
					t.Errorf("%s was written to: %v", role, w)
				}
			}
		})
	}
}

// exporter is the metrics of all brokers: how many partitions are under-replicated, by pod.
type exporter struct {
	mu     sync.Mutex
	behind map[string]int
}

func (x *exporter) set(pod string, n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.behind[pod] = n
}

func (x *exporter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x.mu.Lock()
	defer x.mu.Unlock()
	pod, _, _ := strings.Cut(r.Host, ".")
	n, ok := x.behind[pod]
	if !ok {
		http.Error(w, "away", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintf(w, "# TYPE kafka_server_replicamanager_underreplicatedpartitions gauge\nkafka_server_replicamanager_underreplicatedpartitions %d\n", n)
}

// struckEnv is the environment of a run on a trio with three brokers, in an open window, with everything permitted and traffic that was watched.
func struckEnv(t *testing.T, lim string) (*env, *api, *exporter) {
	t.Helper()
	tr := newTrio(t)
	k := tr[scenario.Kafka]
	k.components = []string{"strimzi-operator"}
	for i := range 3 {
		k.pods = append(k.pods, &owned{component: "kafka", name: fmt.Sprintf("triad-broker-%d", i), uid: 10 * i, back: 3})
	}
	s, _ := tr.system(t, Options{Logger: slog.New(slog.DiscardHandler)}, func(f string) string {
		f = strings.Replace(f, "    login: {user: canary", "    allow: [broker-kill, broker-down]\n    login: {user: canary", 1)
		return strings.Replace(f, "clusters:", lim+"clusters:", 1)
	})
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	x := &exporter{behind: map[string]int{"triad-broker-0": 0, "triad-broker-1": 0, "triad-broker-2": 0}}
	srv := httptest.NewServer(x)
	t.Cleanup(srv.Close)
	// In place of the way through the API server: every pod's port is this server.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", srv.Listener.Addr().String())
	}}}
	e := &env{System: s, session: runtimes.Session{Scenario: failover(t)}, scrapers: map[string]*http.Client{scenario.Kafka: client}, watch: newWatch(s.contexts.Faults.Abort)}
	tr[scenario.Datacenter].pods = []*owned{{component: "inputgen", name: "canary-inputgen-0", app: agent.Application("canary")}}
	if err := e.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	began := time.Now().Add(-time.Minute)
	for i := range 31 {
		if why := e.watch.add(vitals{at: began.Add(time.Duration(i) * 2 * time.Second)}, sink(10, 100*float64(i)), nil); why != "" {
			t.Fatal(why)
		}
	}
	return e, k, x
}

// sink is what a worker of Connect says.
func sink(lag, sent float64) []scrape.Sample {
	return []scrape.Sample{{Name: lagMetric, Value: lag}, {Name: sentMetric, Labels: map[string]string{"instance": "w", "connector": "c", "task": "0"}, Value: sent}}
}

func until(t *testing.T, what string, fn func() bool) {
	t.Helper()
	for range 400 {
		if fn() {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatal(what)
}

func TestOneBrokerAtATime(t *testing.T) {
	e, k, x := struckEnv(t, open())
	ctx := t.Context()
	unavailable := func(want string) {
		t.Helper()
		_, err := e.KillBroker(ctx, "1", 0)
		if _, ok := errors.AsType[*fault.UnavailableError](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	x.set("triad-broker-2", 4)
	unavailable("triad-broker-2 leads 4 partitions that are under-replicated")
	x.set("triad-broker-2", 0)
	k.mu.Lock()
	k.pods[0].unready = true
	k.mu.Unlock()
	unavailable("triad-broker-0 is not ready")
	k.mu.Lock()
	k.pods[0].unready = false
	k.mu.Unlock()
	k.take("triad-broker-2", 1<<20) // evicted a moment ago: no partition counts as behind yet
	unavailable("only 2 of 3 pods of kafka are there")
	k.take("triad-broker-2", 0)
	if w := k.written(); len(w) > 0 {
		t.Fatalf("a broker was struck while the cluster was not whole: %v", w)
	}
	a, err := e.KillBroker(ctx, "1", 0)
	if err != nil {
		t.Fatal(err)
	}
	if n, seen, err := a.Hits(ctx); n != 1 || err != nil {
		t.Errorf("hits %d (%s), %v", n, seen, err)
	}
	x.set("triad-broker-0", 5) // the others lead what it has missed
	unavailable("what broker-kill struck has not come back: one thing at a time")
	if gone, err := a.Gone(ctx); gone || err != nil {
		t.Errorf("gone while partitions are under-replicated: %v, %v", gone, err)
	}
	x.set("triad-broker-0", 0)
	until(t, "it is not seen to be back", func() bool { gone, err := a.Gone(ctx); return gone && err == nil })
	b, err := e.KillBroker(ctx, "1", 0)
	if err != nil {
		t.Fatalf("after the first is back: %v", err)
	}
	if err := b.Heal(ctx); err != nil {
		t.Error(err)
	}
	if w := k.written(); len(w) != 2 || !strings.HasSuffix(w[0], "/pods/triad-broker-1") {
		t.Errorf("written: %v", w)
	}
}

func TestHeldDownUntilAnotherSuffers(t *testing.T) {
	for _, tc := range []struct {
		name        string
		spoil, mend func(*api, *exporter)
		want        string
	}{
		{
			"another does not answer",
			func(_ *api, x *exporter) {
				x.mu.Lock()
				defer x.mu.Unlock()
				delete(x.behind, "triad-broker-2")
			},
			func(_ *api, x *exporter) { x.set("triad-broker-2", 0) },
			"triad-broker-2",
		},
		{ // evicted, or lost with its node, and not made again: it stands in no list, so nothing that is listed is amiss
			"the pod of another is gone",
			func(k *api, _ *exporter) { k.take("triad-broker-2", 1<<20) },
			func(k *api, _ *exporter) { k.take("triad-broker-2", 0) },
			"only 1 of 2 pods of kafka are there",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e, k, x := struckEnv(t, open())
			ctx := t.Context()
			a, err := e.KillBroker(ctx, "1", time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			until(t, "it was not deleted again", func() bool { return len(k.written()) >= 2 })
			if gone, _ := a.Gone(ctx); gone {
				t.Error("gone while it is held down")
			}
			tc.spoil(k, x)
			n := len(k.written())
			until(t, "it is held down although another broker went", func() bool {
				_, seen, err := a.Hits(ctx)
				return err == nil && strings.Contains(seen, "not held down any longer") && strings.Contains(seen, tc.want)
			})
			if len(k.written()) > n+1 { // one may have been on its way
				t.Errorf("it was deleted %d times while another broker was away", len(k.written())-n)
			}
			n = len(k.written())
			if err := a.Heal(ctx); err != nil {
				t.Error(err)
			}
			tc.mend(k, x)
			until(t, "it is not seen to be back", func() bool { gone, err := a.Gone(ctx); return gone && err == nil })
			if len(k.written()) != n {
				t.Errorf("it was deleted after it was let go: %v", k.written())
			}
		})
	}
}

func TestTheGateShutsBehindTheWindowAndTheGuard(t *testing.T) {
	now := time.Now().UTC()
	e, k, _ := struckEnv(t, limits(now.Add(-time.Hour).Format(time.RFC3339), now.Add(20*time.Second).Format(time.RFC3339), "30s", 0.02))
	if _, err := e.KillBroker(t.Context(), "1", time.Minute); err == nil || !strings.Contains(err.Error(), "the maintenance window closes") {
		t.Error(err)
	}
	e.watch.add(vitals{at: time.Now(), acked: 0}, nil, errors.New("away"))
	e.watch.add(vitals{at: time.Now().Add(31 * time.Second)}, nil, errors.New("away"))
	if _, err := e.KillBroker(t.Context(), "1", 0); err == nil || !strings.Contains(err.Error(), "the run was given up") {
		t.Error(err)
	}
	e.watch = newWatch(e.contexts.Faults.Abort)
	if _, err := e.KillBroker(t.Context(), "1", 0); err == nil || !strings.Contains(err.Error(), "what is not watched is not struck") {
		t.Error(err)
	}
	for _, target := range []string{"controller", "leader:service-topic/0", "leader:canary-topic", "one"} {
		if _, err := e.broker(t.Context(), target); err == nil || !strings.Contains(err.Error(), "target") {
			t.Errorf("%s: %v", target, err)
		}
	}
	if w := k.written(); len(w) > 0 {
		t.Errorf("struck: %v", w)
	}
}

// Each condition ends a run, and none does that holds.
func TestAbortConditions(t *testing.T) {
	abort := Abort{Within: scenario.Duration(30 * time.Second), Overdue: 0.02, Lag: 1000, Ingestion: 0.5}
	type step struct {
		acked, inKafka uint64
		lag, sent      float64
		err            error
		lost           func(due int) uint64 // of the records due before a step; nil: it is not told
	}
	at := func(i int) time.Time { return time.Unix(1_000_000, 0).Add(time.Duration(i) * 2 * time.Second) }
	for _, tc := range []struct {
		name string
		of   func(i int) step // every two seconds, for two minutes; a fault strikes behind step 20
		want string           // empty: it goes on
		by   int              // no later than this step
	}{
		{"all is well", func(i int) step { return step{uint64(20 * i), uint64(20 * i), 100, float64(200 * i), nil, nil} }, "", 0},
		{"a lag that goes again", func(i int) step {
			lag := 100.0
			if i > 25 && i < 38 {
				lag = 5000
			}
			return step{uint64(20 * i), uint64(20 * i), lag, float64(200 * i), nil, nil}
		}, "", 0},
		{"a lag that stays", func(i int) step {
			lag := 100.0
			if i > 25 {
				lag = 5000
			}
			return step{uint64(20 * i), uint64(20 * i), lag, float64(200 * i), nil, nil}
		}, "the sink is 5000 records behind", 42},
		{"records that do not come", func(i int) step { return step{uint64(20 * i), uint64(min(20*i, 500)), 100, float64(200 * i), nil, nil} }, "% of the canary's", 42},
		{"one of twenty does not come, and newer ones do", func(i int) step {
			lost := func(due int) uint64 { return uint64(max(due-20, 0)) }
			return step{uint64(20 * i), uint64(20*i) - lost(i), 100, float64(200 * i), nil, lost}
		}, "% of the canary's", 50},
		{"records that come late, in time", func(i int) step {
			return step{uint64(20 * i), uint64(max(20*(i-14), 0)), 100, float64(200 * i), nil, nil}
		}, "", 0},
		{"the sink stands still", func(i int) step {
			return step{uint64(20 * i), uint64(20 * i), 100, float64(200 * min(i, 22)), nil, nil}
		}, "records/s over the last 30s, 13 % of the 100.0/s before the first fault", 35},
		{"the sink is slower, and keeps up more than half", func(i int) step {
			return step{uint64(20 * i), uint64(20 * i), 100, float64(200*min(i, 22) + 120*max(i-22, 0)), nil, nil}
		}, "", 0},
		{"the sink's task begins anew", func(i int) step {
			sent := float64(200 * i)
			if i > 30 {
				sent = float64(200 * (i - 30))
			}
			return step{uint64(20 * i), uint64(20 * i), 100, sent, nil, nil}
		}, "", 0},
		{"workers that do not answer", func(i int) step {
			s := step{uint64(20 * i), uint64(20 * i), 100, float64(200 * i), nil, nil}
			if i > 30 {
				s.err = errors.New("connection refused")
			}
			return s
		}, "could not be read for 30s: connection refused", 47},
	} {
		w := newWatch(abort)
		why, step := "", 0
		for i := 0; i < 60 && why == ""; i++ {
			s := tc.of(i)
			v := vitals{at: at(i), acked: s.acked, inKafka: s.inKafka}
			if s.lost != nil {
				v.due = func(before time.Time) uint64 {
					step := int(before.Sub(at(0)) / (2 * time.Second))
					return uint64(20*step) - s.lost(step)
				}
			}
			why, step = w.add(v, sink(s.lag, s.sent), s.err), i
			if i == 20 {
				if u := w.unfit(at(i)); u != "" {
					t.Fatalf("%s: %s", tc.name, u)
				}
				w.struck(at(i))
			}
		}
		if tc.want == "" && why != "" || tc.want != "" && (!strings.Contains(why, tc.want) || step > tc.by) {
			t.Errorf("%s: step %d: %q, want %q by step %d", tc.name, step, why, tc.want, tc.by)
		}
		if sum := w.summary(); !strings.Contains(sum, "limit 1000") {
			t.Error(sum)
		}
	}
}

// What is watched has to be fresh and well at the moment of every strike, not of the first alone.
func TestNothingIsStruckWhileTheSinkSuffers(t *testing.T) {
	abort := Abort{Within: scenario.Duration(10 * time.Second), Overdue: 0.02, Lag: 1000, Ingestion: 0.5}
	at := func(i int) time.Time { return time.Unix(1_000_000, 0).Add(time.Duration(i) * 2 * time.Second) }
	for _, tc := range []struct {
		name string
		lag  float64
		sent func(i int) float64
		away int // from this step on the workers do not answer; 0: they do
		now  int
		want string
	}{
		{"well", 10, func(i int) float64 { return 100 * float64(i) }, 0, 20, ""},
		{"nothing is sent", 10, func(int) float64 { return 7 }, 0, 20, "no real ingestion was seen"},
		{"not read for a while", 10, func(i int) float64 { return 100 * float64(i) }, 17, 20, "were last read"},
		{"a high lag", 2000, func(i int) float64 { return 100 * float64(i) }, 0, 4, "more than 1000 records behind"},
	} {
		w := newWatch(abort)
		for i := range tc.now + 1 {
			var err error
			if tc.away > 0 && i >= tc.away {
				err = errors.New("away")
			}
			lag := 10.0
			if i >= tc.now-1 {
				lag = tc.lag
			}
			if tc.now < 10 { // long enough to have a rate
				w.add(vitals{at: at(i - 10)}, sink(10, tc.sent(i)), nil)
			}
			w.add(vitals{at: at(i)}, sink(lag, tc.sent(i+5)), err)
		}
		if got := w.unfit(at(tc.now)); (tc.want == "") != (got == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	w := newWatch(abort)
	for i := range 20 {
		w.add(vitals{at: at(i)}, sink(10, 100*float64(i)), nil)
	}
	w.struck(at(19))
	for i := 20; i < 26; i++ {
		w.add(vitals{at: at(i)}, sink(10, 1900+40*float64(i-19)), nil)
	}
	if got := w.unfit(at(25)); got == "" {
		t.Error("a second fault may strike while the sink sends two fifths of what it did")
	}
}

// A worker of Connect is not struck either while a broker's partitions are under-replicated: what the sink has not read waits there.
func TestKafkaIsWholeWhateverIsStruck(t *testing.T) {
	e, _, x := struckEnv(t, open())
	x.set("triad-broker-2", 4)
	e.contexts.Clusters[scenario.Monitoring] = Target{Namespace: "monitoring", Allow: []string{"connect-kill"}}
	for _, p := range []string{"elasticsearch", "kafka-connect"} {
		if pods, err := e.pods(t.Context(), scenario.Monitoring, p); err != nil || len(pods) == 0 {
			t.Fatalf("%s: %d pods, %v", p, len(pods), err)
		}
	}
	if _, err := e.KillConnect(t.Context()); err == nil || !strings.Contains(err.Error(), "triad-broker-2 leads 4 partitions") {
		t.Error(err)
	}
}

// Nothing is made where the file does not allow it: a load with more shards than pods of the generator that stand is refused with the command that makes them stand, and two
// that stand divide it.
func TestShardsArePodsThatStand(t *testing.T) {
	sc := canary(t)
	sc.Load[0].Streams, sc.Load[0].Instances, sc.Load[0].Parallelism = 4, 2, 2
	tr := newTrio(t)
	dc := tr[scenario.Datacenter]
	standing := func(names ...string) *env {
		t.Helper()
		dc.mu.Lock()
		dc.pods = nil
		for i, n := range names {
			dc.pods = append(dc.pods, &owned{component: "inputgen", name: n, uid: i, app: agent.Application("canary")})
		}
		dc.mu.Unlock()
		s, _ := tr.system(t, Options{Logger: slog.New(slog.DiscardHandler)}, nil)
		if err := s.open(); err != nil {
			t.Fatal(err)
		}
		return &env{System: s, session: runtimes.Session{Scenario: sc}}
	}
	const want = "source canary asks for 2 shards, and 1 pods of the generator stand in datacenter; the file does not allow jobs there, so nothing is made: " +
		"kubectl --namespace datacenter scale deployment/canary-inputgen --replicas 2"
	if err := standing("canary-inputgen-a").look(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v\nwant %s", err, want)
	}
	e := standing("canary-inputgen-a", "canary-inputgen-b")
	if err := e.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	shares, err := e.share(agent.Plan{Scenario: *sc})
	if err != nil {
		t.Fatal(err)
	}
	all := map[int]string{}
	for _, sh := range shares {
		if len(sh.Plan.Streams) != 2 {
			t.Errorf("%s sends %d streams of 4", sh.Name, len(sh.Plan.Streams))
		}
		for _, st := range sh.Plan.Streams {
			all[int(st.ID)] = sh.Name
		}
	}
	if len(shares) != 2 || len(all) != 4 {
		t.Errorf("%d shares; streams by pod: %v", len(shares), all)
	}
	for role, a := range tr {
		if w := a.written(); len(w) > 0 {
			t.Errorf("%s was written to: %v", role, w)
		}
	}
}
