//go:build !embedded_only

package eks

import (
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triad/internal/load/agent"
	"triad/internal/observe/elastic"
	"triad/internal/pod"
	"triad/internal/runtimes"
	"triad/internal/scenario"
)

// makers is the contexts file that lets Jobs be made everywhere.
func makers(s string) string {
	s = strings.Replace(s, "allow: [canary]", "allow: [canary, jobs]", 1)
	s = strings.Replace(s, "    context: ctx-kafka\n", "    context: ctx-kafka\n    allow: [jobs]\n", 1)
	return strings.Replace(s, "allow: [purge]", "allow: [purge, jobs]", 1)
}

// shared is the canary with two shards and as many observers.
func shared(t *testing.T) *scenario.Scenario {
	t.Helper()
	s, err := canary(t).Sharded(2)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// makerEnv is a run on a trio, of which the generators that stand are known.
func (tr trio) makerEnv(t *testing.T, goesOn bool, edit func(string) string) *env {
	t.Helper()
	tr[scenario.Datacenter].pods = []*owned{{component: "inputgen", name: "canary-inputgen-a", app: agent.Application("canary")}}
	s, _ := tr.system(t, Options{Logger: slog.New(slog.DiscardHandler)}, edit)
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	session := runtimes.Session{Scenario: shared(t), Run: 7, GoesOn: goesOn}
	e := &env{System: s, session: session, shards: map[int][]agent.Remote{}, jobs: s.contexts.jobs(session, s.clients), store: &store{access: elastic.Access{Username: "canary"}}}
	if err := e.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	return e
}

func (a *api) jobNames() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.jobs))
}

// What is made is said before: a WRITE in each cluster whose file allows it, and in no other. A run that goes on makes nothing.
func TestJobsAreSaidBefore(t *testing.T) {
	breaking := shared(t)
	breaking.Faults = []scenario.Fault{{Kind: "forwarder-kill", Name: "kill"}}
	for _, tc := range []struct {
		name   string
		edit   func(string) string
		goesOn bool
		sc     *scenario.Scenario
		writes []string
		made   int
	}{
		{name: "as shipped", sc: shared(t), writes: []string{scenario.Datacenter, scenario.Monitoring}},
		{name: "allowed, and no shards", edit: makers, sc: canary(t), writes: []string{scenario.Datacenter, scenario.Monitoring}},
		{name: "allowed", edit: makers, sc: shared(t), writes: scenario.ClusterNames, made: 3},
		{name: "a run with faults, which the harness reads", edit: makers, sc: breaking, writes: []string{scenario.Datacenter, scenario.Monitoring}, made: 2},
		{name: "goes on", edit: makers, goesOn: true, sc: shared(t), writes: scenario.ClusterNames},
	} {
		s, said := newTrio(t).system(t, Options{}, tc.edit)
		if err := s.open(); err != nil {
			t.Fatal(err)
		}
		actions := s.contexts.running(tc.sc, tc.goesOn)
		s.print(said, actions, nil)
		if got := writes(actions); !slices.Equal(got, tc.writes) {
			t.Errorf("%s: written in %v, want %v", tc.name, got, tc.writes)
		}
		created := 0
		for _, role := range scenario.ClusterNames {
			for _, r := range rightsOf(actions, role) {
				if r.Namespace != role {
					t.Errorf("%s: %s is asked for in %q", role, r, r.Namespace)
				}
				if r.Group == "batch" && r.Verb == "create" {
					created++
				}
			}
		}
		if created != tc.made || strings.Contains(said.String(), "WRITE            make a Job of 2 pods") != (tc.made > 0) {
			t.Errorf("%s: the right to make Jobs is asked for %d times, want %d:\n%s", tc.name, created, tc.made, said)
		}
	}
}

// The Jobs of a run are made behind its mark, with pods like those that stand; its load goes to them alone, and all of it is gone in the end. Nothing
// else is written.
func TestJobsOfARun(t *testing.T) {
	tr := newTrio(t)
	e := tr.makerEnv(t, false, makers)
	if err := e.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	names := map[string]string{scenario.Datacenter: "shards-0-00000007", scenario.Kafka: "observers-00000007", scenario.Monitoring: "readers-00000007"}
	secrets := map[string][]string{scenario.Kafka: {"canary", "triad-cluster-ca-cert"}, scenario.Monitoring: {"elasticsearch-tls", "elasticsearch-users"}}
	for role, name := range names {
		a := tr[role]
		if got := a.jobNames(); !slices.Equal(got, []string{name}) {
			t.Fatalf("%s: Jobs %v, want %s", role, got, name)
		}
		b, err := json.Marshal(a.jobs[name])
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`"namespace":"` + role + `"`, `"image":"registry.example.com/triad/sim:1"`, `"priorityClassName":"triad-batch"`, `"triad.dev/shards":"00000007"`, `"activeDeadlineSeconds"`} {
			if !strings.Contains(string(b), want) {
				t.Errorf("%s: no %s in %s", role, want, b)
			}
		}
		for _, secret := range secrets[role] {
			if !strings.Contains(string(b), `"`+secret+`"`) {
				t.Errorf("%s: the pods do not have %s: %s", role, secret, b)
			}
		}
	}
	shares, err := e.share(agent.Plan{Scenario: *e.session.Scenario})
	if err != nil || len(shares) != 2 || shares[0].Name != "shards-0-00000007-0" || shares[1].Name != "shards-0-00000007-1" {
		t.Errorf("%+v, %v", shares, err)
	}
	if len(e.Observers()) != 2 || len(e.Readers()) != 2 || len(e.Targets()) != 3 {
		t.Errorf("%d observers, %d readers, %d targets", len(e.Observers()), len(e.Readers()), len(e.Targets()))
	}
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	lease := "/apis/coordination.k8s.io/v1/namespaces/datacenter/leases"
	for role, name := range names {
		made := "/apis/batch/v1/namespaces/" + role + "/jobs"
		want := []string{"POST " + made, "DELETE " + made + "/" + name}
		if role == scenario.Datacenter {
			want = []string{"POST " + lease, want[0], want[1], "DELETE " + lease + "/triad-run-7"}
		}
		if d := cmp.Diff(want, tr[role].written()); d != "" {
			t.Errorf("%s (-want +written):\n%s", role, d)
		}
	}
}

// A run that does not come to be takes out what it had made; where that cannot be removed the mark stays, and says that the run is over.
func TestJobsOfARunThatDoesNotBegin(t *testing.T) {
	for _, stuck := range []bool{false, true} {
		tr := newTrio(t)
		e := tr.makerEnv(t, false, makers)
		tr[scenario.Datacenter].stuck = stuck
		tr[scenario.Monitoring].noJobs = true
		err := e.begin(t.Context())
		if err == nil || !strings.Contains(err.Error(), "readers: ") {
			t.Errorf("%v", err)
		}
		dc := tr[scenario.Datacenter]
		if got := dc.jobNames(); len(got) != map[bool]int{true: 1}[stuck] || len(tr[scenario.Kafka].jobNames()) > 0 {
			t.Errorf("stuck %v: Jobs %v in datacenter, %v in kafka", stuck, got, tr[scenario.Kafka].jobNames())
		}
		marks, err := e.marks(t.Context())
		if err != nil || len(marks) != map[bool]int{true: 1}[stuck] || stuck && marks[0].Lasts > time.Second {
			t.Errorf("stuck %v: %+v, %v", stuck, marks, err)
		}
	}
}

// A run that goes on finds its Jobs; where one is gone it does not go on. Both make nothing, and one that does not go on leaves what there is.
func TestJobsOfARunThatGoesOn(t *testing.T) {
	tr := newTrio(t)
	if err := tr.makerEnv(t, false, makers).begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := map[string]int{}
	for role, a := range tr {
		before[role] = len(a.written())
	}
	e := tr.makerEnv(t, true, makers)
	if err := e.makeJobs(t.Context()); err != nil || len(e.shards[0]) != 2 || len(e.Observers()) != 2 || len(e.Readers()) != 2 {
		t.Errorf("%v, %v", e.shards, err)
	}
	tr[scenario.Kafka].jobs = map[string]map[string]any{}
	e = tr.makerEnv(t, true, makers)
	if err := e.takeUp(t.Context()); err == nil || !strings.Contains(err.Error(), "Job observers-00000007 is there no more") {
		t.Errorf("%v", err)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for role, a := range tr {
		if w := a.written(); len(w) != before[role] {
			t.Errorf("%s: %v", role, w)
		}
	}
}

// sim down removes the Jobs of runs that are over, in clusters whose file allows Jobs, and no others; sim status counts them.
func TestDownRemovesJobsOfRunsThatAreOver(t *testing.T) {
	job := func(name, run string) map[string]any {
		return map[string]any{"apiVersion": "batch/v1", "kind": "Job", "metadata": map[string]any{"name": name, "namespace": scenario.Kafka, "labels": map[string]any{"triad.dev/shards": run}}}
	}
	for allowed, edit := range map[bool]func(string) string{true: makers, false: nil} {
		tr := newTrio(t)
		tr[scenario.Datacenter].leases = map[string]map[string]any{
			"triad-run-7": lease("triad-run-7", ours("7"), time.Now().Add(-time.Hour)), "triad-run-8": lease("triad-run-8", ours("8"), time.Now()),
		}
		k := tr[scenario.Kafka]
		for name, run := range map[string]string{"observers-00000007": "00000007", "observers-00000008": "00000008", "somebodys": "x"} {
			k.jobs[name] = job(name, run)
		}
		s, _ := tr.system(t, Options{Logger: slog.New(slog.DiscardHandler)}, edit)
		st, _ := fakeStore(t)
		s.openStore = func() (*store, error) { return st, nil }
		left, err := s.Leftovers(t.Context())
		found := 0
		for _, l := range left {
			found += l.Jobs
		}
		if err != nil || len(left) != 2 || found != map[bool]int{true: 2}[allowed] {
			t.Errorf("allowed %v: %+v, %v", allowed, left, err)
		}
		s.confirmed = []string{"prod-datacenter", "prod-monitoring"}
		want := []string{"observers-00000007", "observers-00000008", "somebodys"}
		if allowed {
			s.confirmed, want = append(s.confirmed, "prod-kafka"), want[1:]
		}
		if err := s.Down(t.Context()); err != nil {
			t.Error(err)
		}
		if got := k.jobNames(); !slices.Equal(got, want) {
			t.Errorf("allowed %v: %v are there, want %v", allowed, got, want)
		}
		if left, err := s.marks(t.Context()); err != nil || len(left) != 1 {
			t.Errorf("%+v, %v", left, err)
		}
	}
}

// What pods of a run write and see has their clocks: those of the shards and of the observers are compared, and not those of nodes that they need not be on.
func TestTheClocksAreThoseOfThePods(t *testing.T) {
	ahead := func(by time.Duration) pod.Remote {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			answer(w, http.StatusOK, map[string]any{"time": time.Now().Add(by)})
		}))
		t.Cleanup(srv.Close)
		return pod.Remote{Name: by.String(), URL: srv.URL, Client: srv.Client()}
	}
	e := &env{observers: []pod.Remote{ahead(3 * time.Second), ahead(5 * time.Second)}, shards: map[int][]agent.Remote{0: {agent.Remote(ahead(-time.Minute))}}}
	for role, want := range map[string]time.Duration{scenario.Kafka: 4 * time.Second, scenario.Datacenter: -time.Minute} {
		offset, bound, err := e.clock(t.Context(), role)
		if err != nil || offset.Round(500*time.Millisecond) != want || role == scenario.Kafka && bound < time.Second {
			t.Errorf("%s: %v, give or take %v; want %v: %v", role, offset, bound, want, err)
		}
	}
}
