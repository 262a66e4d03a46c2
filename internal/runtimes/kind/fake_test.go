//go:build !embedded_only

package kind

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"triad/internal/images"
	"triad/internal/kube"
)

// shellEngine is an engine whose nodes are shells on this machine, below a folder of their own; programs are what they have on their path
// beside the machine's. As with the real one, a shell outlives the client that started it; late is how long the first one takes to begin.
func shellEngine(t *testing.T, late string, programs map[string]string) (r *Runtime, dir string) {
	t.Helper()
	if _, err := exec.LookPath("setsid"); err != nil {
		t.Skip("no setsid here")
	}
	dir = t.TempDir()
	engine := `#!/bin/sh
case "$1" in
ps) echo node; exit ;;
container) echo '[{"Name": "/node", "State": {"Status": "running"}, "Config": {"Labels": {}}, "Mounts": [{"Destination": "` + ownerMark + `"}]}]'; exit ;;
esac
in=$(mktemp "` + dir + `/in.XXXXXX")
sed 's#/run/triad#` + dir + `/run#g' > "$in"
if [ -e "` + dir + `/first" ]; then late=0; else late=` + late + `; : > "` + dir + `/first"; fi
setsid sh -c 'sleep '$late'; exec sh -s' < "$in" > "$in.out" 2>&1 &
wait $!
rc=$?
cat "$in.out"
exit $rc
`
	all := map[string]string{"docker": engine, "systemd-run": "#!/bin/sh\n", "systemctl": "#!/bin/sh\n"}
	for name, text := range programs {
		all[name] = "#!/bin/sh\ndir='" + dir + "'\n" + text
	}
	for name, text := range all {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return &Runtime{engine: images.Engine{Bin: filepath.Join(dir, "docker")}, opts: Options{StateDir: dir, Clusters: []string{Monitoring}}, clients: map[string]*kube.Client{}}, dir
}

// caseEngine puts a program in the engine's place that answers by a shell case over its arguments.
func caseEngine(t *testing.T, cases string) images.Engine {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "docker")
	if err := os.WriteFile(bin, []byte("#!/bin/sh\ncase \"$*\" in\n"+cases+"\n*) echo \"unexpected: $*\" >&2; exit 64;;\nesac\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return images.Engine{Bin: bin}
}

// fakeAPI is just enough of an API server for objects that are read, applied by one manager, listed and deleted, and for logs.
type fakeAPI struct {
	mu      sync.Mutex
	kinds   map[string]map[string]string // group and version -> plural -> kind
	objects map[string]map[string]any    // path -> object
	logs    map[string]string            // "namespace/pod/container", and "/previous" behind it
	owned   map[string]string            // path -> path of what it goes with
	applied func(o map[string]any)       // what a controller makes of an object that is applied; nil: nothing
	writes  []string                     // what was asked that changes something
}

// newFakeAPI serves some kinds, "v1 configmaps ConfigMap", and returns a client.
func newFakeAPI(t *testing.T, kinds ...string) (*fakeAPI, *kube.Client) {
	t.Helper()
	f := &fakeAPI{kinds: map[string]map[string]string{}, objects: map[string]map[string]any{}}
	for _, k := range kinds {
		w := strings.Fields(k)
		if f.kinds[w[0]] == nil {
			f.kinds[w[0]] = map[string]string{}
		}
		f.kinds[w[0]][w[1]] = w[2]
	}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: " + srv.URL + "}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\ncurrent-context: c\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := kube.Open(file, "c")
	if err != nil {
		t.Fatal(err)
	}
	return f, c
}

// put places an object as if somebody had applied it.
func (f *fakeAPI) put(o kube.Object) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.objects[f.path(o.GetAPIVersion(), o.GetKind(), o.GetNamespace(), o.GetName())] = o.Object
}

func (f *fakeAPI) path(apiVersion, kind, namespace, name string) string {
	for plural, k := range f.kinds[apiVersion] {
		if k == kind {
			return f.root(apiVersion) + "/namespaces/" + namespace + "/" + plural + "/" + name
		}
	}
	return ""
}

func (f *fakeAPI) root(apiVersion string) string {
	if apiVersion == "v1" {
		return "/api/v1"
	}
	return "/apis/" + apiVersion
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	answer := func(v any) { _ = json.NewEncoder(w).Encode(v) }
	o, there := f.objects[r.URL.Path]
	if r.Method != http.MethodGet {
		f.writes = append(f.writes, r.Method+" "+r.URL.Path)
	}
	switch {
	case r.URL.Path == "/api":
		answer(map[string]any{"kind": "APIVersions", "versions": []string{"v1"}})
		return
	case r.URL.Path == "/apis":
		groups := []any{}
		for gv := range f.kinds {
			if name, version, ok := strings.Cut(gv, "/"); ok {
				v := map[string]any{"groupVersion": gv, "version": version}
				groups = append(groups, map[string]any{"name": name, "versions": []any{v}, "preferredVersion": v})
			}
		}
		answer(map[string]any{"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
		return
	case r.Method == http.MethodPatch:
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if f.applied != nil {
			f.applied(body)
		}
		f.objects[r.URL.Path] = body
		answer(body)
		return
	case strings.HasSuffix(r.URL.Path, "/log"):
		parts := strings.Split(r.URL.Path, "/") // /api/v1/namespaces/<n>/pods/<p>/log
		key := strings.Join([]string{parts[4], parts[6], r.URL.Query().Get("container")}, "/")
		if r.URL.Query().Get("previous") == "true" {
			key += "/previous"
		}
		text, ok := f.logs[key]
		if !ok {
			w.WriteHeader(http.StatusBadRequest)
			answer(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "BadRequest", "code": 400, "message": "no log " + key})
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte(text))
		return
	case there && r.Method == http.MethodDelete:
		delete(f.objects, r.URL.Path)
		maps.DeleteFunc(f.objects, func(path string, _ map[string]any) bool { return f.owned[path] == r.URL.Path })
		answer(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Success"})
		return
	case there:
		answer(o)
		return
	}
	for gv, kinds := range f.kinds {
		if r.URL.Path == f.root(gv) {
			var list []any
			for plural, kind := range kinds {
				list = append(list, map[string]any{"name": plural, "kind": kind, "namespaced": true, "verbs": []string{"get", "list", "patch", "delete"}})
			}
			answer(map[string]any{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": gv, "resources": list})
			return
		}
		for plural, kind := range kinds {
			if strings.HasPrefix(r.URL.Path, f.root(gv)+"/") && strings.HasSuffix(r.URL.Path, "/"+plural) {
				answer(map[string]any{"kind": kind + "List", "apiVersion": gv, "metadata": map[string]any{}, "items": f.list(gv, r.URL.Path, plural, r.URL.Query().Get("labelSelector"))})
				return
			}
		}
	}
	w.WriteHeader(http.StatusNotFound)
	answer(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404})
}

// list returns the objects of a kind, of all namespaces or of the one in the path, that a selector, "key=value" or "key", matches.
func (f *fakeAPI) list(apiVersion, path, plural, selector string) []any {
	within := f.root(apiVersion) + "/"
	if strings.Contains(path, "/namespaces/") {
		within = path + "/"
	}
	items, paths := []any{}, make([]string, 0, len(f.objects))
	for p := range f.objects {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	for _, p := range paths {
		o := kube.Object{Object: f.objects[p]}
		key, value, exact := strings.Cut(selector, "=")
		label, has := o.GetLabels()[key]
		if strings.HasPrefix(p, within) && strings.Contains(p, "/"+plural+"/") && (selector == "" || has && (!exact || label == value)) {
			items = append(items, o.Object)
		}
	}
	return items
}

// object reads an object from one line of JSON.
func object(t *testing.T, format string, args ...any) kube.Object {
	t.Helper()
	var o kube.Object
	if err := o.UnmarshalJSON(fmt.Appendf(nil, format, args...)); err != nil {
		t.Fatal(err)
	}
	return o
}
