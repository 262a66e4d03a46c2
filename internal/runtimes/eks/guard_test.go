//go:build !embedded_only

package eks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triad/internal/esfake"
	"triad/internal/observe/elastic"
	"triad/internal/observe/kafka"
	"triad/internal/record"
	"triad/internal/runtimes"
	"triad/internal/scenario"
	"triad/internal/source"
)

func TestContextsFileSaysWhereItIsWrong(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"kubeconfig", "password", "ca.crt"} {
		write(t, dir, f, "x")
	}
	for _, tc := range []struct{ name, old, new, want string }{
		{"unknown key", "    allow: [purge]", "    alow: [purge]", `eks.yaml:17:5: clusters.monitoring.alow: unknown key; did you mean "allow"?`},
		{"unknown role", "  kafka:", "  kafak:", `clusters.kafak: unknown role "kafak"; did you mean "kafka"?`},
		{"a role is missing", "  kafka:", "  kafak:", `clusters: no kafka: all three roles are needed`},
		{"unknown action", "[purge]", "[purg]", `eks.yaml:17:13: clusters.monitoring.allow[0]: unknown action in monitoring "purg"; did you mean "purge"?`},
		{"an action of another role", "[purge]", "[canary]", `unknown action in monitoring "canary"; allowed: purge, jobs, connect-kill`},
		{"no context", "    context: ctx-kafka\n", "", `clusters.kafka.context: missing: the current context is never taken`},
		{"no kubeconfig", "kubeconfig: kubeconfig\n    context: ctx-kafka", "kubeconfig: nowhere\n    context: ctx-kafka", "nowhere is not a file"},
		{"another principal", "user: canary", "user: observer", `eks.yaml:12:19: clusters.kafka.login.user: "observer": only the principal canary is used`},
		{"no principal", "    login: {user: canary, passwordFile: password, caFile: ca.crt}\n", "", "clusters.kafka: missing login"},
		{"one id for two", "prod-kafka", "prod-datacenter", `"prod-datacenter" is the id of datacenter too`},
		{"an id that cannot be typed", "prod-kafka", "Prod Kafka", `clusters.kafka.id: "Prod Kafka": want a name`},
		{"a window without a zone", "clusters:", limits("2026-11-28T22:00:00", "2026-11-28T23:00:00Z", "30s", 0.02) + "clusters:", `faults.window: want from and to as RFC 3339`},
		{"a window that closes before it opens", "clusters:", limits("2026-11-28T22:00:00Z", "2026-11-28T21:00:00Z", "30s", 0.02) + "clusters:", `eks.yaml:3:44: faults.window.to: it is not after from`},
		{"a window that is always open", "clusters:", limits("2026-11-28T22:00:00Z", "2027-11-28T21:00:00Z", "30s", 0.02) + "clusters:", `at most 12h0m0s are a maintenance window`},
		{"no patience", "clusters:", limits("2026-11-28T22:00:00Z", "2026-11-28T23:00:00Z", "1s", 0.02) + "clusters:", `faults.abort.within: 1s; want 5s to 10m0s`},
		{"a budget of all", "clusters:", limits("2026-11-28T22:00:00Z", "2026-11-28T23:00:00Z", "30s", 1) + "clusters:", `faults.abort.overdue: 1; want a part above 0 and below 1`},
		{"no condition on the lag", "clusters:", strings.Replace(limits("2026-11-28T22:00:00Z", "2026-11-28T23:00:00Z", "30s", 0.02), "lag: 1000, ", "", 1) + "clusters:", `faults.abort.lag: 0; want`},
		{"a second document", "apiVersion: triad/v1\n", "apiVersion: triad/v1\nclusters: {}\n---\n", "a second YAML document"},
	} {
		text := strings.Replace(shipped, tc.old, tc.new, 1)
		if text == shipped {
			t.Fatalf("%s: nothing was changed", tc.name)
		}
		if _, err := LoadContexts(write(t, dir, "eks.yaml", text), false); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v\nwant %s", tc.name, err, tc.want)
		}
	}
	if _, err := LoadContexts(write(t, dir, "eks.yaml", shipped), false); err != nil {
		t.Error(err)
	}
}

// limits is the part of a contexts file that bounds faults.
func limits(from, to, within string, overdue float64) string {
	return fmt.Sprintf("faults:\n  window: {from: %s, to: %s}\n  abort: {within: %s, overdue: %g, lag: 1000, ingestion: 0.5}\n", from, to, within, overdue)
}

func TestOnlyACanaryMayRun(t *testing.T) {
	if err := refuse(canary(t)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		edit func(*scenario.Scenario)
		want string
	}{
		{"a fault that has to be undone", func(s *scenario.Scenario) { s.Faults = []scenario.Fault{{Kind: "link-cut", Name: "cut"}} }, "fault cut: link-cut cannot be done through an API server so that it ends without the harness"},
		{"a forwarder held down", func(s *scenario.Scenario) {
			s.Faults = []scenario.Fault{{Kind: "forwarder-kill", Name: "kill", For: scenario.Duration(time.Second)}}
		}, "fault kill: nothing holds a forwarder down here"},
		{"somebody's topic", func(s *scenario.Scenario) { s.Load[0].Source = "service" }, "source service goes to service-topic"},
		{"beside the route", func(s *scenario.Scenario) { s.Load[0].Source, s.Load[0].Enter = "control", "kafka" }, "only the source canary"},
		{"no cap", func(s *scenario.Scenario) { s.Cap = nil }, "it has no cap"},
		{"a cap above the program's", func(s *scenario.Scenario) { s.Cap.Total = maxTotal + 1 }, "above what this program ever sends"},
		{"a rate above the program's", func(s *scenario.Scenario) { s.Cap.Rate, s.Load[0].Rate = maxRate, maxRate+1 }, "it sends up to 51/s"},
		{"a stage above the program's", func(s *scenario.Scenario) {
			s.Load[0].Shape = []scenario.Stage{{At: scenario.Time{Phase: scenario.Before}, Rate: maxRate + 1}}
		}, "it sends up to 51/s"},
		{"arrivals that have no most", func(s *scenario.Scenario) { s.Load[0].Arrivals = "poisson" }, "arrivals poisson have no most"},
		{"long lines", func(s *scenario.Scenario) { s.Load[0].Size = maxBytes + 1 }, "at most 1KiB"},
		{"long", func(s *scenario.Scenario) { s.Phases.Before = scenario.Duration(time.Hour) }, "at most 15m0s"},
		{"faults in turn", func(s *scenario.Scenario) { s.Rotate = scenario.Duration(time.Minute) }, "faults in turn are not counted"},
		{"settings", func(s *scenario.Scenario) { s.Settings = []scenario.Setting{{Config: "fluentd.yaml"}} }, "settings would change the manifests"},
		{"probes", func(s *scenario.Scenario) { s.Probes = []string{"acls"} }, "probes try paths"},
		{"a search", func(s *scenario.Scenario) { s.Search = &scenario.Search{} }, "a search raises the rate"},
	} {
		s := canary(t)
		tc.edit(s)
		err := refuse(s)
		if _, ok := errors.AsType[*RefusedError](err); !ok || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", tc.name, err, tc.want)
		}
	}
}

// TestNothingIsWrittenUnlessConfirmed takes a canary through every gate. Whatever stops it, no cluster was written to.
func TestNothingIsWrittenUnlessConfirmed(t *testing.T) {
	both := []string{"prod-datacenter", "prod-monitoring"}
	for _, tc := range []struct {
		name    string
		spoil   func(trio)
		edit    func(string) string
		o       Options
		want    string // empty: it may pass
		refused bool   // it is the guard's refusal, not a cluster's
	}{
		{name: "confirmed on the command line", o: Options{Confirmed: both}},
		{name: "typed", o: Options{Ask: func(q string) (string, error) {
			_, id, _ := strings.Cut(q, "(")
			id, _, _ = strings.Cut(id, ")")
			return id + "\n", nil
		}}},
		{name: "nobody to ask", want: "nothing was written. To let it write, confirm each cluster: --yes-production prod-datacenter --yes-production prod-monitoring", refused: true},
		{name: "one of two", o: Options{Confirmed: both[:1]}, want: "nothing was written", refused: true},
		{name: "a misspelt id", o: Options{Confirmed: []string{"prod-datacentre"}}, want: `did you mean "prod-datacenter"?`, refused: true},
		{name: "the id of a cluster that is only read", o: Options{Confirmed: append(both, "prod-kafka")}, want: "--yes-production prod-kafka", refused: true},
		{name: "yes is not an id", o: Options{Ask: func(string) (string, error) { return "yes\n", nil }}, want: `"yes" is not prod-datacenter`, refused: true},
		{name: "read only by default", o: Options{Confirmed: both}, edit: func(s string) string { return strings.Replace(s, "    allow: [purge]\n", "", 1) }, want: "clusters.monitoring does not allow purge", refused: true},
		{
			name: "one server for two", o: Options{Confirmed: both}, edit: func(s string) string { return strings.Replace(s, "context: ctx-kafka", "context: ctx-datacenter", 1) },
			want: "datacenter and kafka are one API server", refused: true,
		},
		{
			name: "swapped", o: Options{Confirmed: both}, spoil: func(tr trio) {
				tr[scenario.Kafka].components, tr[scenario.Monitoring].components = tr[scenario.Monitoring].components, tr[scenario.Kafka].components
			},
			want: "what the file calls kafka looks like monitoring", refused: true,
		},
		{name: "an empty cluster", o: Options{Confirmed: both}, spoil: func(tr trio) { tr[scenario.Kafka].components = nil }, want: "no pod of kafka runs in its namespace kafka, nothing of Triad's manifests", refused: true},
		{name: "no sink", o: Options{Confirmed: both}, spoil: func(tr trio) { tr[scenario.Monitoring].components = []string{"elasticsearch"} }, want: "no pod of kafka-connect runs", refused: true},
		{name: "a context that is not there", o: Options{Confirmed: both}, edit: func(s string) string { return strings.Replace(s, "ctx-kafka", "ctx-kafak", 1) }, want: "ctx-kafak", refused: true},
		{name: "expired credentials", o: Options{Confirmed: both}, spoil: func(tr trio) { tr[scenario.Monitoring].expired = true }, want: "monitoring: context ctx-monitoring: the API server does not accept the credentials (401)"},
		{name: "a busy server that lets it through in the end", o: Options{Confirmed: both}, spoil: func(tr trio) { tr[scenario.Kafka].busy = 2 }},
		{name: "a right is missing", o: Options{Confirmed: both}, spoil: func(tr trio) { tr[scenario.Kafka].denied = []string{"create pods/portforward"} }, want: `- apiGroups:
  - ""
  resources:
  - pods/portforward
  verbs:
  - create`, refused: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tr := newTrio(t)
			if tc.spoil != nil {
				tc.spoil(tr)
			}
			s, said := tr.system(t, tc.o, tc.edit)
			sc := canary(t)
			err := s.Allow(t.Context(), sc, time.Time{})
			for role, a := range tr {
				if w := a.written(); len(w) > 0 {
					t.Errorf("%s was written to: %v", role, w)
				}
			}
			up := s.Up(t.Context(), runtimes.Session{Scenario: sc})
			if tc.want == "" {
				if err != nil || up != nil {
					t.Errorf("%v, %v", err, up)
				}
				for _, w := range []string{"prod-datacenter", tr[scenario.Kafka].url, "triad-harness/ann", "WRITE", "at most 1200 lines", "ctx-monitoring"} {
					if !strings.Contains(said.String(), w) {
						t.Errorf("what would be done does not say %q:\n%s", w, said)
					}
				}
				if err := s.Up(t.Context(), runtimes.Session{Scenario: canary(t)}); err == nil {
					t.Error("another scenario than the one that was confirmed may run")
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v\nwant %s", err, tc.want)
			}
			if _, ok := errors.AsType[*RefusedError](err); ok != tc.refused {
				t.Errorf("refused by the guard: %v, want %v", ok, tc.refused)
			}
			if up == nil {
				t.Error("a run that was not let pass may run")
			}
		})
	}
}

// A server that throttles for ever is given up, and the error says so.
func TestThrottledForEver(t *testing.T) {
	t.Parallel()
	tr := newTrio(t)
	tr[scenario.Kafka].busy = -1
	s, _ := tr.system(t, Options{}, nil)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, errors.New("the test has no more patience"))
	defer cancel()
	if err := s.Allow(ctx, canary(t), time.Time{}); err == nil || !strings.Contains(err.Error(), "kafka: context ctx-kafka: the API server throttles (429") {
		t.Error(err)
	}
}

func TestBrokersBehindOtherNamesAreNotDialled(t *testing.T) {
	for address, want := range map[string]string{
		"triad-kafka-bootstrap.kafka.svc:9093":                              "service/kafka/triad-kafka-bootstrap triad-kafka-bootstrap.kafka.svc",
		"triad-broker-1.triad-kafka-brokers.kafka.svc:9093":                 "pod/kafka/triad-broker-1 triad-broker-1.triad-kafka-brokers.kafka.svc",
		"triad-broker-1.triad-kafka-brokers.kafka.svc:9094":                 "",
		"triad-broker-1.triad-kafka-brokers.other.svc:9093":                 "",
		"other-broker-1.other-kafka-brokers.kafka.svc:9093":                 "",
		"broker-0.kafka.triad.internal:9094":                                "",
		"10.0.0.1:9093":                                                     "",
		"triad-broker-1.triad-kafka-brokers.kafka.svc":                      "",
		"triad-broker-2.triad-kafka-brokers.kafka.svc.cluster.local.a:9093": "pod/kafka/triad-broker-2 triad-broker-2.triad-kafka-brokers.kafka.svc.cluster.local.a",
	} {
		target, _, name, err := brokerTarget("kafka", address)
		got := ""
		if err == nil {
			got = target.String() + " " + name
		}
		if got != want {
			t.Errorf("%s: %q, want %q (%v)", address, got, want, err)
		}
	}
}

func TestClocksAreBoundedByTheShortestRoundTrip(t *testing.T) {
	const ahead = 3 * time.Second
	calls := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("collect[]") != "time" {
			t.Errorf("asked for %s", r.URL.RawQuery)
		}
		calls++
		if calls == 1 { // the first is slow, as one that has a connection to make
			time.Sleep(300 * time.Millisecond)
		}
		fmt.Fprintf(w, "# TYPE node_time_seconds gauge\nnode_time_seconds %v\nother 1\n", float64(time.Now().Add(ahead).UnixNano())/1e9)
	}))
	defer srv.Close()
	ask := func(ctx context.Context) (time.Time, error) {
		return nodeTime(ctx, srv.Client(), srv.URL+"/metrics?collect[]=time")
	}
	lo, hi, err := roundTrips(t.Context(), ask)
	if err != nil || lo > ahead+time.Millisecond || hi < ahead-time.Millisecond || hi-lo >= 300*time.Millisecond {
		t.Errorf("[%v, %v], %v; want %v inside, and no wider than the shortest of %d round trips", lo, hi, err, ahead, calls)
	}
	if _, _, err := roundTrips(t.Context(), func(context.Context) (time.Time, error) { return time.Time{}, errors.New("forbidden") }); err == nil {
		t.Error("a clock that nobody could read is known")
	}
}

// fakeStore is an esfake with documents of several runs.
func fakeStore(t *testing.T) (*store, func(run uint32) uint64) {
	t.Helper()
	srv := httptest.NewServer(esfake.New(esfake.Options{}).Handler())
	t.Cleanup(srv.Close)
	access := elastic.Access{URL: srv.URL}
	c, err := elastic.NewClient(access)
	if err != nil {
		t.Fatal(err)
	}
	st := &store{access: access, client: c}
	return st, func(run uint32) uint64 {
		docs, err := st.documents(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		return uint64(len(docs))
	}
}

// put indexes n documents of a run, as the sink would.
func put(t *testing.T, st *store, run uint32, n int) {
	t.Helper()
	kind, err := source.ParseKind("service")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for seq := range n {
		line := source.Append(nil, kind, 1, record.Tag{Run: run, Stream: 0, Seq: uint64(seq), Scheduled: time.Now().UnixNano()}, 256)
		fmt.Fprintf(&b, `{"index":{"_index":%q,"_id":"%d-%d"}}`+"\n"+`{"log":%q}`+"\n", canaryTopic, run, seq, line)
	}
	bulk(t, st, b.String())
}

func bulk(t *testing.T, st *store, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, st.access.URL+"/_bulk?refresh=true", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("bulk: HTTP %d", res.StatusCode)
	}
}

// TestDownTakesOutWhatRunsHaveLeftAndNothingElse: a dead run's documents and mark go; those of a run under way, other documents, and Leases
// that look alike stay.
func TestDownTakesOutWhatRunsHaveLeftAndNothingElse(t *testing.T) {
	tr := newTrio(t)
	dc := tr[scenario.Datacenter]
	long, now := time.Now().Add(-time.Hour), time.Now()
	dc.leases = map[string]map[string]any{
		"triad-run-7":       lease("triad-run-7", ours("7"), long),
		"triad-run-8":       lease("triad-run-8", ours("8"), now),
		"a-leader":          lease("a-leader", nil, long),
		"part-of-triad":     lease("part-of-triad", map[string]any{partOfLabel: "triad"}, long),
		"labelled-by-hand":  lease("labelled-by-hand", ours("7"), long),
		"triad-run-of-mine": lease("triad-run-of-mine", ours("mine"), long),
		"triad-run-9":       lease("triad-run-9", map[string]any{runLabel: "9"}, long),
	}
	s, said := tr.system(t, Options{}, nil)
	st, count := fakeStore(t)
	s.openStore = func() (*store, error) { return st, nil }
	put(t, st, 7, 40)
	put(t, st, 8, 30)
	put(t, st, 9, 20)
	// A line of somebody's that quotes what one of the run's begins with.
	bulk(t, st, fmt.Sprintf(`{"index":{"_index":%q,"_id":"foreign"}}`+"\n"+`{"log":"see %s1_2 in the archive"}`+"\n", canaryTopic, elastic.Prefix(7)))
	left, err := s.Leftovers(t.Context())
	if err != nil || len(left) != 2 {
		t.Fatalf("%+v, %v", left, err)
	}
	slices.SortFunc(left, func(a, b Left) int { return int(a.Run) - int(b.Run) })
	if left[0].Run != 7 || left[0].Documents != 40 || left[0].Live() || left[1].Run != 8 || left[1].Documents != 30 || !left[1].Live() {
		t.Errorf("%+v", left)
	}
	if w := dc.written(); len(w) > 0 {
		t.Fatalf("looking wrote: %v", w)
	}
	if _, refused := errors.AsType[*RefusedError](s.Down(t.Context())); !refused || len(dc.written()) > 0 || count(7) != 40 {
		t.Fatal("something was removed and nobody had confirmed it")
	}
	s.confirmed = []string{"prod-datacenter", "prod-monitoring"}
	if _, err := s.Leftovers(t.Context()); err == nil {
		t.Error("looking lets itself be confirmed")
	}
	if err := s.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"DELETE /apis/coordination.k8s.io/v1/namespaces/datacenter/leases/triad-run-7"}, dc.written()); d != "" {
		t.Error(d)
	}
	for run, want := range map[uint32]uint64{7: 0, 8: 30, 9: 20} {
		if n := count(run); n != want {
			t.Errorf("%d documents of run %d are there, want %d", n, run, want)
		}
	}
	if n, err := st.client.Total(t.Context(), canaryTopic); err != nil || n != 51 {
		t.Errorf("%d documents are there, want 51: %v", n, err)
	}
	if !strings.Contains(said.String(), "triad-run-7: 40 documents taken out, mark removed") || !strings.Contains(said.String(), "triad-run-8: still under way") {
		t.Errorf("%s", said)
	}
}

// Two canaries at a time would spoil each other's figures; one that died does not keep the next from running.
func TestARunIsMarkedOnceAtATime(t *testing.T) {
	tr := newTrio(t)
	dc := tr[scenario.Datacenter]
	s, _ := tr.system(t, Options{}, nil)
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	session := runtimes.Session{Scenario: canary(t), Run: 11}
	m, err := s.mark(t.Context(), session)
	if err != nil {
		t.Fatal(err)
	}
	meta, _ := dc.leases["triad-run-11"]["metadata"].(map[string]any)
	if d := cmp.Diff(map[string]any{partOfLabel: "triad", runLabel: "11", "app.kubernetes.io/managed-by": "triad"}, meta["labels"]); d != "" {
		t.Error(d)
	}
	session.Run = 12
	if _, err := s.mark(t.Context(), session); err == nil || !strings.Contains(err.Error(), "triad-run-11 of") {
		t.Errorf("a second run beside the first: %v", err)
	}
	if err := s.end(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond) // the shortest that a Lease can last
	if all, err := s.marks(t.Context()); err != nil || len(all) != 1 || all[0].Live() {
		t.Errorf("a mark that was ended: %+v, %v", all, err)
	}
	if err := s.unmark(t.Context(), m); err != nil || len(dc.leases) != 0 {
		t.Errorf("%v, %v", dc.leases, err)
	}
	dc.leases["triad-run-3"] = lease("triad-run-3", map[string]any{partOfLabel: "triad", runLabel: "3"}, time.Now().Add(-time.Hour))
	if _, err := s.mark(t.Context(), session); err != nil {
		t.Errorf("beside the mark of a dead run: %v", err)
	}
}

// Two harnesses that start at the same moment see no mark of each other before they write their own. Not both run, and a mark stands for the one
// that does and for no other.
func TestOfTwoThatStartTogetherNotBothRun(t *testing.T) {
	tr := newTrio(t)
	dc := tr[scenario.Datacenter]
	// The first look of each is answered when both look.
	both, looks := make(chan struct{}), atomic.Int32{}
	dc.before = func(r *http.Request) {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/leases") {
			return
		}
		switch looks.Add(1) {
		case 1:
			select {
			case <-both:
			case <-r.Context().Done():
			}
		case 2:
			close(both)
		}
	}
	var wg sync.WaitGroup
	var errs [2]error
	for i := range errs {
		s, _ := tr.system(t, Options{}, nil)
		if err := s.open(); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { _, errs[i] = s.mark(t.Context(), runtimes.Session{Scenario: canary(t), Run: uint32(21 + i)}) })
	}
	wg.Wait()
	var run int
	for _, err := range errs {
		if err == nil {
			run++
		} else if _, ok := errors.AsType[*RefusedError](err); !ok || !strings.Contains(err.Error(), "it began at the same moment") {
			t.Errorf("refused: %v", err)
		}
	}
	if run > 1 || len(dc.leases) != run {
		t.Errorf("%d of two runs go on, with %d marks", run, len(dc.leases))
	}
}

// A mark that comes between a run's look and its own mark is given way to: a new run takes its mark away, and one that goes on leaves its own as it was.
func TestARunGivesWayToAMarkThatComesBesideIt(t *testing.T) {
	for name, goesOn := range map[string]bool{"new": false, "goes on": true} {
		t.Run(name, func(t *testing.T) {
			tr := newTrio(t)
			dc := tr[scenario.Datacenter]
			if goesOn {
				dc.leases["triad-run-7"] = lease("triad-run-7", ours("7"), time.Now().Add(-time.Hour))
			}
			var came atomic.Bool
			dc.before = func(r *http.Request) {
				if (r.Method == http.MethodPost || r.Method == http.MethodPatch) && strings.Contains(r.URL.Path, "/leases") && came.CompareAndSwap(false, true) {
					dc.mu.Lock()
					defer dc.mu.Unlock()
					dc.leases["triad-run-8"] = lease("triad-run-8", ours("8"), time.Now())
				}
			}
			s, _ := tr.system(t, Options{}, nil)
			if err := s.open(); err != nil {
				t.Fatal(err)
			}
			_, err := s.mark(t.Context(), runtimes.Session{Scenario: canary(t), Run: 7, GoesOn: goesOn})
			if _, ok := errors.AsType[*RefusedError](err); !ok || !strings.Contains(err.Error(), "triad-run-8 of ann is under way") {
				t.Errorf("beside another: %v", err)
			}
			all, err := s.marks(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var live []string
			for _, m := range all {
				if m.Live() {
					live = append(live, m.Name)
				}
			}
			if want := map[bool]int{true: 2, false: 1}[goesOn]; len(all) != want || !slices.Equal(live, []string{"triad-run-8"}) {
				t.Errorf("%d marks, of which %v live", len(all), live)
			}
		})
	}
}

// The rights of the canary's principal end at its topic: a run that is not told so would be refused by the brokers in the middle of its work.
func TestOnlyTheCanarysTopicIsRead(t *testing.T) {
	tr := newTrio(t)
	s, _ := tr.system(t, Options{}, nil)
	access := (&env{System: s}).Kafka()
	if !slices.Equal(access.Only, []string{canaryTopic}) {
		t.Errorf("topics that may be read: %v", access.Only)
	}
	_, err := kafka.Open(t.Context(), kafka.Config{Brokers: access.Brokers, Topics: []string{canaryTopic, "service-topic"}, Only: access.Only})
	if err == nil || !strings.Contains(err.Error(), "topic service-topic may not be read here") {
		t.Errorf("somebody's topic: %v", err)
	}
}
