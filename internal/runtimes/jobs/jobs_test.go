//go:build !embedded_only

package jobs

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"triad/internal/evidence"
	"triad/internal/kube"
	"triad/internal/runtimes"
	"triad/internal/scenario"
)

// server is a loopback API server with Jobs, each of which has two ready pods at once.
type server struct {
	mu     sync.Mutex
	there  map[string]bool
	writes []string
}

func (j *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	j.mu.Lock()
	defer j.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	name := path.Base(r.URL.Path)
	if r.Method != http.MethodGet {
		j.writes = append(j.writes, r.Method+" "+name)
	}
	switch {
	case r.URL.Path == "/api":
		fmt.Fprint(w, `{"kind":"APIVersions","versions":["v1"]}`)
	case r.URL.Path == "/apis":
		fmt.Fprint(w, `{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"batch","versions":[{"groupVersion":"batch/v1","version":"v1"}],"preferredVersion":{"groupVersion":"batch/v1","version":"v1"}}]}`)
	case r.URL.Path == "/api/v1":
		fmt.Fprint(w, `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"pods","namespaced":true,"kind":"Pod","verbs":["list"]}]}`)
	case r.URL.Path == "/apis/batch/v1":
		fmt.Fprint(w, `{"kind":"APIResourceList","groupVersion":"batch/v1","resources":[{"name":"jobs","namespaced":true,"kind":"Job","verbs":["get","create","delete"]}]}`)
	case name == "pods":
		var items []string
		for k := range 2 {
			items = append(items, fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p%d","namespace":"kafka","labels":{%q:"%d"}},"status":{"conditions":[{"type":"Ready","status":"True"}]}}`, k, index, k))
		}
		fmt.Fprintf(w, `{"apiVersion":"v1","kind":"PodList","items":[%s]}`, strings.Join(items, ","))
	case r.Method == http.MethodPost:
		j.there["observers-00000007"] = true
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"observers-00000007","namespace":"kafka"}}`)
	case !j.there[name]:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"apiVersion":"v1","kind":"Status","status":"Failure","reason":"NotFound","code":404}`)
	default:
		if r.Method == http.MethodDelete {
			delete(j.there, name)
		}
		fmt.Fprintf(w, `{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":%q,"namespace":"kafka"}}`, name)
	}
}

// A run makes a Job and removes it. One that goes on makes none, finds its own, and leaves it until its generators are taken up, because it may be
// tried again; where its own is gone, it does not go on.
func TestAJobIsMadeOnce(t *testing.T) {
	for _, c := range []struct {
		name                 string
		there, goesOn, taken bool
		writes               []string
		refused              bool
	}{
		{name: "new", taken: true, writes: []string{"POST jobs", "DELETE observers-00000007"}},
		{name: "goes on", there: true, goesOn: true, taken: true, writes: []string{"DELETE observers-00000007"}},
		{name: "cannot go on now", there: true, goesOn: true},
		{name: "is interrupted before its load", writes: []string{"POST jobs", "DELETE observers-00000007"}},
		{name: "the Job is gone", goesOn: true, refused: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := &server{there: map[string]bool{"observers-00000007": c.there}}
			srv := httptest.NewServer(j)
			t.Cleanup(srv.Close)
			file := filepath.Join(t.TempDir(), "kubeconfig")
			text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: %q}}]\nusers: [{name: u, user: {token: t}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n", srv.URL)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			client, err := kube.Open(file, "")
			if err != nil {
				t.Fatal(err)
			}
			set := &Set{
				Session: runtimes.Session{Scenario: &scenario.Scenario{Observers: 2}, Run: 7, GoesOn: c.goesOn}, Clients: map[string]*kube.Client{scenario.Kafka: client},
			}
			job := set.BesideBrokers("observers", 2, "observer", "observer")
			pods, err := set.Make(t.Context(), scenario.Kafka, &job)
			if c.refused != errors.Is(err, evidence.ErrNotResumable) || c.refused == (err == nil) || !c.refused && (len(pods) != 2 || pods[1].Name != "p1") {
				t.Errorf("%+v, %v", pods, err)
			}
			set.Taken = c.taken
			if err := set.End(t.Context()); err != nil {
				t.Error(err)
			}
			if !slices.Equal(j.writes, c.writes) {
				t.Errorf("written: %v, want %v", j.writes, c.writes)
			}
		})
	}
}

// The pods of a run are there until their ledgers are fetched, which is behind the last reading.
func TestSlack(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"phases: {before: 1m}\nload: [{source: service, rate: 100/s}]\n":   slack,
		"phases: {before: 1h}\nload: [{source: service, rate: 10000/s}]\n": slack + 55*time.Minute,
	} {
		s, err := scenario.Parse("t.yaml", []byte("apiVersion: triad/v1\nname: t\ntitle: t\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		if got := (Longest(s) - s.Phases.LoadTime() - s.Phases.Drain.D()).Round(time.Minute); got != want { // arrivals are drawn
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
