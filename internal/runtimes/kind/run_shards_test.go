//go:build !embedded_only

package kind

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

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"triad/internal/evidence"
	"triad/internal/kube"
	"triad/internal/manifests"
	"triad/internal/runtimes"
	"triad/internal/scenario"
)

// jobs is a loopback API server with Jobs, each of which has two ready pods at once.
type jobs struct {
	mu     sync.Mutex
	there  map[string]bool
	writes []string
}

func (j *jobs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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
			items = append(items, fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p%d","namespace":"kafka","labels":{%q:"%d"}},"status":{"conditions":[{"type":"Ready","status":"True"}]}}`, k, shardIndex, k))
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
		name                     string
		there, goesOn, generated bool
		writes                   []string
		refused                  bool
	}{
		{name: "new", generated: true, writes: []string{"POST jobs", "DELETE observers-00000007"}},
		{name: "goes on", there: true, goesOn: true, generated: true, writes: []string{"DELETE observers-00000007"}},
		{name: "cannot go on now", there: true, goesOn: true},
		{name: "the Job is gone", goesOn: true, refused: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := &jobs{there: map[string]bool{"observers-00000007": c.there}}
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
			e := &env{
				session: runtimes.Session{Scenario: &scenario.Scenario{Observers: 2}, Run: 7, GoesOn: c.goesOn},
				clients: map[string]*kube.Client{Kafka: client}, jobs: map[string][]kube.Ref{}, generated: c.generated,
			}
			job := e.indexedJob(Kafka, "observers", 2, map[string]any{})
			pods, err := e.makePods(t.Context(), Kafka, &job, 2)
			if c.refused != errors.Is(err, evidence.ErrNotResumable) || c.refused == (err == nil) || !c.refused && (len(pods) != 2 || pods[1].Name != "p1") {
				t.Errorf("%+v, %v", pods, err)
			}
			if err := e.endShards(t.Context()); err != nil {
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
		"phases: {before: 1m}\nload: [{source: service, rate: 100/s}]\n":   shardSlack,
		"phases: {before: 1h}\nload: [{source: service, rate: 10000/s}]\n": shardSlack + 55*time.Minute,
	} {
		s, err := scenario.Parse("t.yaml", []byte("apiVersion: triad/v1\nname: t\ntitle: t\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		if got := slack(s).Round(time.Minute); got != want { // arrivals are drawn
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// Pods of a run go before the system under test when a node runs short, by the class that the manifests have for it. Its name stands in both.
func TestPodsOfARunHaveAPriority(t *testing.T) {
	set, err := manifests.Open("../../../manifests")
	if err != nil {
		t.Fatal(err)
	}
	for want, cluster := range map[string]string{batchClass: Kafka, "": ""} {
		plan := &Plan{Objects: map[string][]manifests.Object{}}
		if cluster != "" {
			if plan.Objects[cluster], err = set.Render(cluster, overlay); err != nil {
				t.Fatal(err)
			}
		}
		e := &env{plan: plan, session: runtimes.Session{Scenario: &scenario.Scenario{}, Run: 7}}
		job, pod := e.beside(Kafka, "kafka", "observers", 2, []any{"observer"}, nil, "", ""), e.probePod(Kafka, "inside", "1", "a:1")
		for what, spec := range map[string][]string{"job": {"spec", "template", "spec", "priorityClassName"}, "pod": {"spec", "priorityClassName"}} {
			got, _, err := unstructured.NestedString(map[string]map[string]any{"job": job.Object, "pod": pod.Object}[what], spec...)
			if err != nil || got != want {
				t.Errorf("%s: class %q, want %q (%v)", what, got, want, err)
			}
		}
	}
}
