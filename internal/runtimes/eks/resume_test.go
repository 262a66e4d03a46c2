//go:build !embedded_only

package eks

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"triad/internal/evidence"
	"triad/internal/load/agent"
	"triad/internal/runtimes"
	"triad/internal/scenario"
)

// leases7 is where the mark of run 7 lies.
const leases7 = "/apis/coordination.k8s.io/v1/namespaces/datacenter/leases/triad-run-7"

func ours(run string) map[string]any { return map[string]any{partOfLabel: "triad", runLabel: run} }

// goesOn lets a run pass whose load began a minute ago.
func goesOn(t *testing.T, tr trio, sc *scenario.Scenario, o Options, edit func(string) string) (*System, *strings.Builder) {
	t.Helper()
	s, said := tr.system(t, o, edit)
	if err := s.Allow(t.Context(), sc, time.Now().Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	return s, said
}

// A run that goes on has its mark and makes none: it says anew how long it lasts. Where there is none, or another run is under way, nothing is
// written.
func TestARunThatGoesOnFindsItsMark(t *testing.T) {
	confirmed := Options{Confirmed: []string{"prod-datacenter", "prod-monitoring"}}
	for _, tc := range []struct {
		name   string
		leases map[string]map[string]any
		want   string // empty: it goes on
		final  bool   // it is of no use to try again
	}{
		{name: "under way still", leases: map[string]map[string]any{"triad-run-7": lease("triad-run-7", ours("7"), time.Now().Add(-2*time.Minute))}},
		{name: "its time is over", leases: map[string]map[string]any{"triad-run-7": lease("triad-run-7", ours("7"), time.Now().Add(-time.Hour))}},
		{name: "beside a dead one", leases: map[string]map[string]any{
			"triad-run-7": lease("triad-run-7", ours("7"), time.Now()), "triad-run-8": lease("triad-run-8", ours("8"), time.Now().Add(-time.Hour)),
		}},
		{name: "taken out", leases: map[string]map[string]any{}, want: "its mark, Lease triad-run-7 in datacenter, is there no more: sim down took out", final: true},
		{name: "a mark that is another run's", leases: map[string]map[string]any{"triad-run-8": lease("triad-run-8", ours("8"), time.Now().Add(-time.Hour))}, want: "its mark, Lease triad-run-7", final: true},
		{name: "another is under way", leases: map[string]map[string]any{
			"triad-run-7": lease("triad-run-7", ours("7"), time.Now().Add(-time.Hour)), "triad-run-8": lease("triad-run-8", ours("8"), time.Now()),
		}, want: "triad-run-8 of ann is under way"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tr, sc := newTrio(t), canary(t)
			dc := tr[scenario.Datacenter]
			dc.leases = tc.leases
			s, _ := goesOn(t, tr, sc, confirmed, nil)
			_, err := s.Rejoin(t.Context(), runtimes.Session{Scenario: sc, Run: 7, GoesOn: true})
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) || errors.Is(err, evidence.ErrNotResumable) != tc.final {
					t.Errorf("%v, want %s", err, tc.want)
				}
				if w := dc.written(); len(w) > 0 {
					t.Errorf("written: %v", w)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if w := dc.written(); !slices.Equal(w, []string{"PATCH " + leases7}) {
				t.Errorf("written: %v", w)
			}
			all, err := s.marks(t.Context())
			i := slices.IndexFunc(all, func(m Mark) bool { return m.Run == 7 })
			if err != nil || i < 0 {
				t.Fatal(all, err)
			}
			// A minute of the load is over.
			until := time.Until(all[i].Began.Add(all[i].Lasts))
			if want := sc.Phases.LoadTime() - time.Minute + sc.Phases.Drain.D() + slack; until < want-10*time.Second || until > want+time.Second || s.found.Name != "triad-run-7" {
				t.Errorf("its mark ends in %v, want %v", until, want)
			}
		})
	}
}

// Everything is asked again: what was let pass as a new run, or not at all, does not go on.
func TestAResumedRunIsAskedAgain(t *testing.T) {
	tr, sc := newTrio(t), canary(t)
	tr[scenario.Datacenter].leases = map[string]map[string]any{"triad-run-7": lease("triad-run-7", ours("7"), time.Now())}
	session := runtimes.Session{Scenario: sc, Run: 7, GoesOn: true}
	s, _ := tr.system(t, Options{}, nil)
	if _, err := s.Rejoin(t.Context(), session); err == nil || !strings.Contains(err.Error(), "not confirmed") {
		t.Errorf("nothing was asked: %v", err)
	}
	if err := s.Allow(t.Context(), sc, time.Now().Add(-time.Minute)); err == nil || !strings.Contains(err.Error(), "nothing was written") {
		t.Errorf("nobody confirmed: %v", err)
	}
	if _, err := s.Rejoin(t.Context(), session); err == nil {
		t.Error("a run that nobody confirmed goes on")
	}
	if w := tr[scenario.Datacenter].written(); len(w) > 0 {
		t.Errorf("written: %v", w)
	}
	// It makes no mark, so it needs no right to.
	tr[scenario.Datacenter].denied = []string{"create leases"}
	_, said := goesOn(t, tr, sc, Options{Confirmed: []string{"prod-datacenter", "prod-monitoring"}}, nil)
	for _, w := range []string{"find the run's Lease", "write on: at most 1200 lines in all", "prod-monitoring", "WRITE"} {
		if !strings.Contains(said.String(), w) {
			t.Errorf("what would be done does not say %q:\n%s", w, said)
		}
	}
}

// The window has to hold what is left of a run with faults, and abort conditions have to stand in the file.
func TestFaultsOfAResumedRunNeedTheWindow(t *testing.T) {
	now := time.Now().UTC()
	sc := failover(t)
	all := sc.Phases.LoadTime() + sc.Phases.Drain.D()
	window := func(closes time.Duration) string {
		return limits(now.Add(-time.Hour).Format(time.RFC3339), now.Add(closes).Format(time.RFC3339), "30s", 0.02)
	}
	for _, tc := range []struct{ name, limits, want string }{
		{"it holds the rest", window(all - 30*time.Second), ""},
		{"it closes before", window(all - 2*time.Minute), "the maintenance window closes at"},
		{"none", "", "has no faults: a scenario that breaks something needs a maintenance window and abort conditions"},
	} {
		tr := newTrio(t)
		s, said := tr.system(t, Options{Confirmed: []string{"prod-datacenter", "prod-kafka", "prod-monitoring"}}, func(f string) string {
			return strings.Replace(strings.Replace(f, "    login: {user: canary", "    allow: [broker-kill]\n    login: {user: canary", 1), "clusters:", tc.limits+"clusters:", 1)
		})
		err := s.Allow(t.Context(), sc, now.Add(-time.Minute))
		if (tc.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", tc.name, err, tc.want)
		}
		if tc.want == "" && !strings.Contains(said.String(), "not when it was due before the run goes on") {
			t.Errorf("what would be done does not say that faults which are over do not strike:\n%s", said)
		}
	}
}

// generator is one that has the plan of a run, and notes what it is told.
type generator struct {
	mu   sync.Mutex
	run  uint32
	told []string
}

func (g *generator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.Method == http.MethodPost {
		g.told = append(g.told, r.URL.Path)
	}
	answer(w, http.StatusOK, agent.Status{Run: g.run})
}

// Generators that have the run are taken up and told nothing. When one has it no more, those that have are stopped, and one that has another run's
// plan is left to that.
func TestGeneratorsAreTakenUp(t *testing.T) {
	sc, err := scenario.Parse("two.yaml", []byte("apiVersion: triad/v1\nname: two\ntitle: x\nphases: {warm-up: 1s, before: 1s, drain: 1s}\nload: [{source: canary, rate: 40/s, streams: 2, instances: 2}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := evidence.Create(filepath.Join(t.TempDir(), "run"), evidence.Header{ID: "run", Run: 7, Scenario: sc.Name, Runtime: "eks", Streams: sc.Streams(), HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}, sc)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close("")
	for second, want := range map[uint32][2][]string{7: {}, 8: {{"/stop"}, nil}} {
		gens := [2]*generator{{run: 7}, {run: second}}
		e := &env{session: runtimes.Session{Scenario: sc, Run: 7, GoesOn: true}}
		for i, g := range gens {
			srv := httptest.NewServer(g)
			defer srv.Close()
			e.generators = append(e.generators, agent.Remote{Name: fmt.Sprintf("canary-inputgen-%d", i), URL: srv.URL, Client: srv.Client()})
		}
		if err := e.underWay(t.Context()); errors.Is(err, evidence.ErrNotResumable) != (second == 8) || (err == nil) != (second == 7) || len(gens[0].told)+len(gens[1].told) > 0 {
			t.Errorf("asked before: %v, told %v, %v", err, gens[0].told, gens[1].told)
		}
		gen, err := e.Generate(t.Context(), runtimes.LoadPlan{Start: time.Now().Add(-time.Hour), Evidence: w, GoesOn: true})
		if (err == nil) != (second == 7) || err != nil && !strings.Contains(err.Error(), "canary-inputgen-1 has no plan of this run any more") {
			t.Errorf("%v", err)
		}
		if err == nil {
			if err := gen.Wait(t.Context()); err != nil {
				t.Error(err)
			}
		}
		for i, g := range gens {
			if !slices.Equal(g.told, want[i]) {
				t.Errorf("second has run %d: generator %d was told %v, want %v", second, i, g.told, want[i])
			}
		}
	}
}

// A run that could not go on keeps its mark as it was: it may be tried again, and sim down finds what it left. One that did ends as every run.
func TestTheMarkOfARunThatGoesOn(t *testing.T) {
	for _, tc := range []struct {
		name                      string
		goesOn, generated, purged bool
		want                      []string
	}{
		{"new, and it did not come to its load", false, false, false, []string{"DELETE " + leases7}},
		{"it could not go on", true, false, false, nil},
		{"it has left something", true, true, false, []string{"PATCH " + leases7}},
		{"nothing is left", true, true, true, []string{"DELETE " + leases7}},
	} {
		tr := newTrio(t)
		dc := tr[scenario.Datacenter]
		dc.leases = map[string]map[string]any{"triad-run-7": lease("triad-run-7", ours("7"), time.Now())}
		s, _ := tr.system(t, Options{}, nil)
		if err := s.open(); err != nil {
			t.Fatal(err)
		}
		all, err := s.marks(t.Context())
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		e := &env{System: s, session: runtimes.Session{Run: 7, GoesOn: tc.goesOn}, mark: all[0], generated: tc.generated, purged: tc.purged}
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if w := dc.written(); !slices.Equal(w, tc.want) {
			t.Errorf("%s: written %v, want %v", tc.name, w, tc.want)
		}
	}
}
