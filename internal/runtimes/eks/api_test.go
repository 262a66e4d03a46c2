//go:build !embedded_only

package eks

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"triad/internal/runtimes/jobs"
	"triad/internal/scenario"
)

// api is a loopback API server of one cluster: discovery, the reviews of the caller, pods, leases and sets of pods.
type api struct {
	t          *testing.T
	url        string
	user       string
	components []string            // of its pods
	denied     []string            // "verb resource"
	expired    bool                // 401 to everything
	busy       int                 // how many requests are answered 429 first; negative: all
	before     func(*http.Request) // called before a request is looked at; it may wait

	mu     sync.Mutex
	pods   []*owned // beside components: those that a test strikes
	leases map[string]map[string]any
	jobs   map[string]map[string]any // by name
	stuck  bool                      // they are not deleted: 403
	noJobs bool                      // none is made: 403
	writes []string                  // "METHOD path", without reviews
}

func newAPI(t *testing.T, user string, components ...string) *api {
	t.Helper()
	a := &api{t: t, user: user, components: components, leases: map[string]map[string]any{}, jobs: map[string]map[string]any{}}
	srv := httptest.NewServer(a)
	t.Cleanup(srv.Close)
	a.url = srv.URL
	return a
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.before != nil {
		a.before(r)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	review := strings.Contains(r.URL.Path, "selfsubject")
	if r.Method != http.MethodGet && !review {
		a.writes = append(a.writes, r.Method+" "+r.URL.Path)
	}
	if a.expired {
		failed(w, http.StatusUnauthorized, "Unauthorized")
		return
	}
	if a.busy != 0 {
		if a.busy > 0 {
			a.busy--
		}
		w.Header().Set("Retry-After", "1")
		failed(w, http.StatusTooManyRequests, "TooManyRequests")
		return
	}
	leases := "/apis/coordination.k8s.io/v1/namespaces/datacenter/leases"
	switch {
	case r.URL.Path == "/api":
		fmt.Fprint(w, `{"kind":"APIVersions","versions":["v1"]}`)
	case r.URL.Path == "/apis":
		fmt.Fprint(w, `{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"coordination.k8s.io","versions":[{"groupVersion":"coordination.k8s.io/v1","version":"v1"}],"preferredVersion":{"groupVersion":"coordination.k8s.io/v1","version":"v1"}},{"name":"batch","versions":[{"groupVersion":"batch/v1","version":"v1"}]},{"name":"apps","versions":[{"groupVersion":"apps/v1","version":"v1"}]}]}`)
	case r.URL.Path == "/apis/batch/v1":
		fmt.Fprint(w, `{"kind":"APIResourceList","groupVersion":"batch/v1","resources":[{"name":"jobs","namespaced":true,"kind":"Job","verbs":["list"]}]}`)
	case r.URL.Path == "/apis/apps/v1":
		fmt.Fprint(w, `{"kind":"APIResourceList","groupVersion":"apps/v1","resources":[{"name":"deployments","namespaced":true,"kind":"Deployment","verbs":["get"]}]}`)
	case strings.HasSuffix(r.URL.Path, "/deployments/canary-inputgen"):
		answer(w, http.StatusOK, map[string]any{
			"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "canary-inputgen", "namespace": "datacenter"},
			"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{"labels": map[string]any{"app.kubernetes.io/name": "canary-inputgen"}}, "spec": canaryPod()}},
		})
	case strings.Contains(r.URL.Path, "/apis/batch/v1/namespaces/"):
		a.job(w, r)
	case r.URL.Path == "/api/v1":
		fmt.Fprint(w, `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"pods","namespaced":true,"kind":"Pod","verbs":["list","delete"]}]}`)
	case r.URL.Path == "/apis/coordination.k8s.io/v1":
		fmt.Fprint(w, `{"kind":"APIResourceList","groupVersion":"coordination.k8s.io/v1","resources":[{"name":"leases","namespaced":true,"kind":"Lease","verbs":["list"]}]}`)
	case strings.HasSuffix(r.URL.Path, "/selfsubjectreviews"):
		answer(w, http.StatusCreated, map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "status": map[string]any{"userInfo": map[string]any{"username": a.user}}})
	case strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews"):
		a.access(w, r)
	case strings.HasSuffix(r.URL.Path, "/pods"):
		a.listPods(w, r)
	case strings.Contains(r.URL.Path, "/pods/") && r.Method == http.MethodDelete:
		a.deletePod(w, r)
	case r.URL.Path == leases && r.Method == http.MethodPost:
		o := decode(a.t, r)
		name, _ := o["metadata"].(map[string]any)["name"].(string)
		a.leases[name] = o
		answer(w, http.StatusCreated, o)
	case r.URL.Path == leases:
		a.listLeases(w, r)
	case strings.HasPrefix(r.URL.Path, leases+"/") && r.Method == http.MethodPatch:
		name := strings.TrimPrefix(r.URL.Path, leases+"/")
		maps.Copy(a.leases[name], decode(a.t, r))
		answer(w, http.StatusOK, a.leases[name])
	case strings.HasPrefix(r.URL.Path, leases+"/") && r.Method == http.MethodDelete:
		delete(a.leases, strings.TrimPrefix(r.URL.Path, leases+"/"))
		answer(w, http.StatusOK, map[string]any{"apiVersion": "v1", "kind": "Status", "status": "Success"})
	default:
		failed(w, http.StatusNotFound, "NotFound")
	}
}

// canaryPod is the spec of a pod of the generator that stands.
func canaryPod() map[string]any {
	return map[string]any{
		"priorityClassName": "triad-batch",
		"containers":        []any{map[string]any{"name": "canary-inputgen", "image": "registry.example.com/triad/sim:1"}},
	}
}

// job makes, finds, lists and deletes Jobs. Their pods are ready at once.
func (a *api) job(w http.ResponseWriter, r *http.Request) {
	name := path.Base(r.URL.Path)
	switch {
	case r.Method == http.MethodPost && a.noJobs:
		failed(w, http.StatusForbidden, "Forbidden")
	case r.Method == http.MethodPost:
		o := decode(a.t, r)
		name, _ := o["metadata"].(map[string]any)["name"].(string)
		a.jobs[name] = o
		answer(w, http.StatusCreated, o)
	case name == "jobs":
		_, run, _ := strings.Cut(r.URL.Query().Get("labelSelector"), "=")
		items := []any{}
		for _, o := range a.jobs {
			if labels, _ := o["metadata"].(map[string]any)["labels"].(map[string]any); labels[jobs.Label] == run {
				items = append(items, o)
			}
		}
		answer(w, http.StatusOK, map[string]any{"apiVersion": jobs.API, "kind": "JobList", "items": items})
	case a.jobs[name] == nil:
		failed(w, http.StatusNotFound, "NotFound")
	case r.Method == http.MethodDelete && a.stuck:
		failed(w, http.StatusForbidden, "Forbidden")
	case r.Method == http.MethodDelete:
		delete(a.jobs, name)
		answer(w, http.StatusOK, map[string]any{"apiVersion": "v1", "kind": "Status", "status": "Success"})
	default:
		answer(w, http.StatusOK, a.jobs[name])
	}
}

// jobPods are the pods of a Job, each with its index.
func (a *api) jobPods(w http.ResponseWriter, r *http.Request, job string) {
	items := []any{}
	if o := a.jobs[job]; o != nil {
		n, _ := o["spec"].(map[string]any)["completions"].(float64)
		for k := range int(n) {
			items = append(items, map[string]any{
				"apiVersion": "v1", "kind": "Pod",
				"metadata": map[string]any{
					"name": fmt.Sprintf("%s-%d", job, k), "namespace": strings.Split(r.URL.Path, "/")[4], "uid": fmt.Sprint("j", k),
					"labels": map[string]any{"batch.kubernetes.io/job-completion-index": strconv.Itoa(k)},
				},
				"status": map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "True"}}},
			})
		}
	}
	answer(w, http.StatusOK, map[string]any{"apiVersion": "v1", "kind": "PodList", "items": items})
}

func failed(w http.ResponseWriter, code int, reason string) {
	answer(w, code, map[string]any{"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": reason, "message": reason, "code": code})
}

func answer(w http.ResponseWriter, code int, v any) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}

func decode(t *testing.T, r *http.Request) map[string]any {
	var o map[string]any
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	return o
}

func (a *api) access(w http.ResponseWriter, r *http.Request) {
	o := decode(a.t, r)
	attrs, _ := o["spec"].(map[string]any)["resourceAttributes"].(map[string]any)
	what := fmt.Sprint(attrs["verb"], " ", attrs["resource"])
	if s := attrs["subresource"]; s != nil {
		what += "/" + fmt.Sprint(s)
	}
	allowed := true
	for _, d := range a.denied {
		allowed = allowed && d != what
	}
	o["status"] = map[string]any{"allowed": allowed}
	answer(w, http.StatusCreated, o)
}

// owned is a pod with an owner that makes it again: it is gone for some lists, and comes back with another uid.
type owned struct {
	component, name string
	uid             int
	away            int  // how many lists more it is away
	unready         bool // it does not serve
	back            int  // how many lists it is away after it was deleted
	app             string
}

// take keeps a pod out of so many lists, as one that was evicted or whose node was lost; 0: it is there again.
func (a *api) take(name string, lists int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.pods {
		if p.name == name {
			p.away = lists
		}
	}
}

func (a *api) listPods(w http.ResponseWriter, r *http.Request) {
	items := []any{}
	sel := r.URL.Query().Get("labelSelector")
	if job, ok := strings.CutPrefix(sel, "batch.kubernetes.io/job-name="); ok {
		a.jobPods(w, r, job)
		return
	}
	fits := func(component string) bool {
		_, in, ok := strings.Cut(sel, " in (")
		return !ok || slices.Contains(strings.Split(strings.TrimSuffix(in, ")"), ","), component)
	}
	add := func(name, component, app, uid string, ready bool) {
		if fits(component) {
			labels := map[string]any{componentLabel: component, "app.kubernetes.io/name": app}
			items = append(items, map[string]any{
				"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": name, "namespace": strings.Split(r.URL.Path, "/")[4], "uid": uid, "labels": labels}, "spec": canaryPod(),
				"status": map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": map[bool]string{true: "True", false: "False"}[ready]}}},
			})
		}
	}
	for i, c := range a.components {
		add(fmt.Sprintf("%s-%d", c, i), c, c, fmt.Sprint("c", i), true)
	}
	for _, p := range a.pods {
		if p.away > 0 {
			p.away--
			continue
		}
		add(p.name, p.component, p.app, fmt.Sprint("u", p.uid), !p.unready)
	}
	answer(w, http.StatusOK, map[string]any{"apiVersion": "v1", "kind": "PodList", "items": items})
}

func (a *api) deletePod(w http.ResponseWriter, r *http.Request) {
	o := decode(a.t, r)
	pre, _ := o["preconditions"].(map[string]any)
	for _, p := range a.pods {
		if strings.HasSuffix(r.URL.Path, "/"+p.name) && p.away == 0 {
			if pre["uid"] != fmt.Sprint("u", p.uid) || o["gracePeriodSeconds"] != 1.0 {
				a.t.Errorf("%s is deleted with %v", p.name, o)
			}
			p.uid, p.away = p.uid+1, p.back
			answer(w, http.StatusOK, map[string]any{"apiVersion": "v1", "kind": "Status", "status": "Success"})
			return
		}
	}
	failed(w, http.StatusNotFound, "NotFound")
}

// listLeases honours a selector of names and of name=value, as an API server does.
func (a *api) listLeases(w http.ResponseWriter, r *http.Request) {
	items := []any{}
	for _, o := range a.leases {
		meta, _ := o["metadata"].(map[string]any)
		labels, _ := meta["labels"].(map[string]any)
		fits := true
		for part := range strings.SplitSeq(r.URL.Query().Get("labelSelector"), ",") {
			k, v, eq := strings.Cut(part, "=")
			got, ok := labels[k]
			fits = fits && ok && (!eq || got == v)
		}
		if fits {
			items = append(items, o)
		}
	}
	answer(w, http.StatusOK, map[string]any{"apiVersion": leaseAPI, "kind": "LeaseList", "items": items})
}

// written are the requests that would have changed something.
func (a *api) written() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.writes...)
}

// trio are three loopback clusters that look like what they are called.
type trio map[string]*api

func newTrio(t *testing.T) trio {
	return trio{
		scenario.Datacenter: newAPI(t, "arn:aws:sts::111122223333:assumed-role/triad-harness/ann", "fluent-bit", "fluentd", "inputgen", "node-exporter", "prometheus"),
		scenario.Kafka:      newAPI(t, "arn:aws:sts::111122223333:assumed-role/triad-harness/ann", "kafka", "strimzi-operator", "node-exporter", "prometheus"),
		scenario.Monitoring: newAPI(t, "arn:aws:sts::111122223333:assumed-role/triad-harness/ann", "elasticsearch", "kafka-connect", "grafana", "node-exporter", "prometheus"),
	}
}

// system is the runtime on a trio; edit may change the text of its contexts file.
func (tr trio) system(t *testing.T, o Options, edit func(string) string) (*System, *strings.Builder) {
	t.Helper()
	dir := t.TempDir()
	var clusters, users strings.Builder
	for role, a := range tr {
		fmt.Fprintf(&clusters, "- {name: %s, cluster: {server: %q}}\n", role, a.url)
		fmt.Fprintf(&users, "- {name: ctx-%s, context: {cluster: %s, user: me}}\n", role, role)
	}
	write(t, dir, "kubeconfig", "apiVersion: v1\nkind: Config\ncurrent-context: ctx-datacenter\nusers: [{name: me, user: {token: t}}]\nclusters:\n"+clusters.String()+"contexts:\n"+users.String())
	write(t, dir, "password", "secret\n")
	write(t, dir, "ca.crt", "-----BEGIN CERTIFICATE-----\n")
	text := shipped
	if edit != nil {
		text = edit(text)
	}
	var err error
	if o.Contexts, err = LoadContexts(write(t, dir, "eks.yaml", text), false); err != nil {
		t.Fatal(err)
	}
	said := &strings.Builder{}
	o.Out = said
	return New(o), said
}

// shipped is a contexts file as docs/production-safety.md shows it.
const shipped = `apiVersion: triad/v1
clusters:
  datacenter:
    id: prod-datacenter
    kubeconfig: kubeconfig
    context: ctx-datacenter
    allow: [canary]
  kafka:
    id: prod-kafka
    kubeconfig: kubeconfig
    context: ctx-kafka
    login: {user: canary, passwordFile: password, caFile: ca.crt}
  monitoring:
    id: prod-monitoring
    kubeconfig: kubeconfig
    context: ctx-monitoring
    allow: [purge]
`

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// canary is the scenario that is shipped.
func canary(t *testing.T) *scenario.Scenario {
	t.Helper()
	s, err := scenario.Load(filepath.Join("..", "..", "..", "scenarios", "prod-canary.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// lease is one as an API server has it.
func lease(name string, labels map[string]any, began time.Time) map[string]any {
	return map[string]any{
		"apiVersion": leaseAPI, "kind": "Lease", "metadata": map[string]any{"namespace": "datacenter", "name": name, "labels": labels},
		"spec": map[string]any{"holderIdentity": "ann", "acquireTime": began.UTC().Format("2006-01-02T15:04:05.000000Z"), "leaseDurationSeconds": 600},
	}
}
