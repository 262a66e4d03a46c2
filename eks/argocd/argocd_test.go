package argocd

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"triad/internal/manifests"
)

const (
	root   = "../.."
	ownGit = "https://git.example.com/platform/triad.git"
	prefix = "argocd.argoproj.io/"
)

type metadata struct {
	Name        string            `yaml:"name"`
	Namespace   string            `yaml:"namespace"`
	Annotations map[string]string `yaml:"annotations"`
}

// application is all that an Application here may say: a key that is not in it fails the tests, finalizers among them.
type application struct {
	APIVersion string   `yaml:"apiVersion"`
	Kind       string   `yaml:"kind"`
	Metadata   metadata `yaml:"metadata"`
	Spec       struct {
		Project string `yaml:"project"`
		Source  struct {
			RepoURL        string `yaml:"repoURL"`
			TargetRevision string `yaml:"targetRevision"`
			Path           string `yaml:"path"`
			Chart          string `yaml:"chart"`
			Directory      struct {
				Include string `yaml:"include"`
			} `yaml:"directory"`
			Helm struct {
				ReleaseName  string         `yaml:"releaseName"`
				ValuesObject map[string]any `yaml:"valuesObject"`
			} `yaml:"helm"`
		} `yaml:"source"`
		Destination destination `yaml:"destination"`
		SyncPolicy  struct {
			Automated struct {
				Prune      *bool `yaml:"prune"`
				SelfHeal   *bool `yaml:"selfHeal"`
				AllowEmpty *bool `yaml:"allowEmpty"`
			} `yaml:"automated"`
			SyncOptions []string `yaml:"syncOptions"`
			Retry       struct {
				Limit   int `yaml:"limit"`
				Backoff struct {
					Duration    string `yaml:"duration"`
					Factor      int    `yaml:"factor"`
					MaxDuration string `yaml:"maxDuration"`
				} `yaml:"backoff"`
			} `yaml:"retry"`
		} `yaml:"syncPolicy"`
	} `yaml:"spec"`
}

type destination struct {
	Name      string `yaml:"name"`
	Namespace string `yaml:"namespace"`
}

type groupKind struct {
	Group string `yaml:"group"`
	Kind  string `yaml:"kind"`
}

type project struct {
	APIVersion string   `yaml:"apiVersion"`
	Kind       string   `yaml:"kind"`
	Metadata   metadata `yaml:"metadata"`
	Spec       struct {
		Description                string        `yaml:"description"`
		SourceRepos                []string      `yaml:"sourceRepos"`
		Destinations               []destination `yaml:"destinations"`
		ClusterResourceWhitelist   []groupKind   `yaml:"clusterResourceWhitelist"`
		NamespaceResourceBlacklist []groupKind   `yaml:"namespaceResourceBlacklist"`
	} `yaml:"spec"`
}

func strict(t *testing.T, file string, into any) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		t.Fatalf("%s: more than one document", file)
	}
}

// all returns the Applications by name, and the project.
func all(t *testing.T) (map[string]application, project) {
	t.Helper()
	files, err := filepath.Glob("apps/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files in apps: %v", len(files), err)
	}
	apps := map[string]application{}
	var p project
	for _, f := range files {
		if filepath.Base(f) == "project.yaml" {
			strict(t, f, &p)
			continue
		}
		var a application
		strict(t, f, &a)
		if a.Metadata.Name != strings.TrimSuffix(filepath.Base(f), ".yaml") {
			t.Errorf("%s: the Application is named %s", f, a.Metadata.Name)
		}
		apps[a.Metadata.Name] = a
	}
	return apps, p
}

func wave(t *testing.T, annotations map[string]string) int {
	t.Helper()
	s, ok := annotations[prefix+"sync-wave"]
	if !ok {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("sync-wave %q", s)
	}
	return n
}

func TestApplications(t *testing.T) {
	apps, p := all(t)
	for name, a := range apps {
		s := a.Spec
		if a.APIVersion != "argoproj.io/v1alpha1" || a.Kind != "Application" || a.Metadata.Namespace != "argocd" || s.Project != p.Metadata.Name {
			t.Errorf("%s: not an Application of the project: %+v", name, a)
		}
		if !slices.Contains(p.Spec.SourceRepos, s.Source.RepoURL) {
			t.Errorf("%s: the project does not allow %s", name, s.Source.RepoURL)
		}
		if !slices.Contains(p.Spec.Destinations, s.Destination) {
			t.Errorf("%s: the project does not allow %+v", name, s.Destination)
		}
		if v := s.Source.TargetRevision; v == "" || v == "HEAD" || s.Source.RepoURL != ownGit && strings.ContainsAny(v, "*x><~^") {
			t.Errorf("%s: revision %q is not pinned", name, v)
		}
		auto := s.SyncPolicy.Automated
		if auto.Prune == nil || auto.SelfHeal == nil || !*auto.SelfHeal || auto.AllowEmpty == nil || *auto.AllowEmpty {
			t.Errorf("%s: says not of all three whether it prunes, heals (yes) and may become empty (no)", name)
		}
		if !slices.Contains(s.SyncPolicy.SyncOptions, "PruneLast=true") {
			t.Errorf("%s: prunes before what replaces it is healthy", name)
		}
		if strings.HasPrefix(name, "definitions-") && *auto.Prune {
			t.Errorf("%s: prunes definitions, and with them every topic", name)
		}
		if s.Source.RepoURL != ownGit {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, s.Source.Path)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(build(t, filepath.Join(root, s.Source.Path))) == 0 {
			t.Errorf("%s: builds nothing", name)
		}
	}
	if k, m, d := wave(t, apps["kafka"].Metadata.Annotations), wave(t, apps["monitoring"].Metadata.Annotations), wave(t, apps["datacenter"].Metadata.Annotations); k >= m || m >= d {
		t.Errorf("waves: kafka %d, monitoring %d, datacenter %d", k, m, d)
	}
	for name, a := range apps {
		if !slices.Contains(manifests.Clusters(), name) && wave(t, a.Metadata.Annotations) >= wave(t, apps["kafka"].Metadata.Annotations) {
			t.Errorf("%s: comes after what needs it", name)
		}
	}
	if !slices.Contains(p.Spec.NamespaceResourceBlacklist, groupKind{"", "PersistentVolumeClaim"}) ||
		slices.ContainsFunc(p.Spec.ClusterResourceWhitelist, func(g groupKind) bool { return g.Kind == "PersistentVolume" || g.Kind == "*" }) {
		t.Error("the project lets Argo CD touch volumes")
	}
	var top application
	strict(t, "root.yaml", &top)
	if top.Spec.Source.Path != "eks/argocd/apps" || top.Spec.Source.RepoURL != ownGit || *top.Spec.SyncPolicy.Automated.Prune {
		t.Errorf("root: %+v", top.Spec)
	}
}

func build(t *testing.T, dir string) []manifests.Object {
	t.Helper()
	result, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	var out []manifests.Object
	for _, r := range result.Resources() {
		b, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		// Not into an Object at once: inner maps would become Objects too.
		var m map[string]any
		if err := yaml.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

func built(t *testing.T, cluster string) []manifests.Object {
	t.Helper()
	return build(t, filepath.Join("clusters", cluster))
}

// credentials are the kinds that come beside the overlay.
var credentials = []string{"SecretStore", "ExternalSecret", "PushSecret"}

func rendered(t *testing.T, cluster string) []manifests.Object {
	t.Helper()
	set, err := manifests.Open(filepath.Join(root, "manifests"))
	if err != nil {
		t.Fatal(err)
	}
	objects, err := set.Render(cluster, "eks")
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// plain is an object's text without Argo CD's annotations.
func plain(t *testing.T, o manifests.Object) string {
	t.Helper()
	b, err := o.YAML()
	if err != nil {
		t.Fatal(err)
	}
	var copied map[string]any
	if err := yaml.Unmarshal(b, &copied); err != nil {
		t.Fatal(err)
	}
	meta := copied["metadata"].(map[string]any)
	if annotations, ok := meta["annotations"].(map[string]any); ok {
		for k := range annotations {
			if k == prefix+"sync-wave" || k == prefix+"sync-options" {
				delete(annotations, k)
			}
		}
		if len(annotations) == 0 {
			delete(meta, "annotations")
		}
	}
	b, err = yaml.Marshal(copied)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestArgoBuildsWhatIsRendered(t *testing.T) {
	for _, cluster := range manifests.Clusters() {
		want, got := map[string]string{}, map[string]string{}
		for _, o := range rendered(t, cluster) {
			want[o.String()] = plain(t, o)
		}
		extra := 0
		for _, o := range built(t, cluster) {
			if slices.Contains(credentials, o.Kind()) {
				extra++
				continue
			}
			got[o.String()] = plain(t, o)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: rendered (-) and built for Argo CD (+):\n%s", cluster, diff)
		}
		if extra < 2 || len(got) < 20 {
			t.Errorf("%s: %d objects and %d credentials", cluster, len(got), extra)
		}
	}
}

func TestWhatKeepsDataIsKept(t *testing.T) {
	keepers := []string{"Namespace", "StorageClass", "StatefulSet", "Kafka", "KafkaNodePool", "KafkaTopic", "KafkaUser"}
	seen := map[string]int{}
	for _, cluster := range manifests.Clusters() {
		for _, o := range built(t, cluster) {
			options := strings.Split(o.Annotations()[prefix+"sync-options"], ",")
			kept := slices.Contains(options, "Prune=false") && slices.Contains(options, "Delete=false")
			if slices.Contains(keepers, o.Kind()) {
				seen[o.Kind()]++
				if !kept {
					t.Errorf("%s: %s can be pruned or deleted", cluster, o)
				}
			}
			switch o.Kind() {
			case "PersistentVolumeClaim", "PersistentVolume":
				t.Errorf("%s: %s is in git: what is in git can be pruned", cluster, o)
			case "StorageClass":
				if policy, _ := o.Field("reclaimPolicy"); policy != "Retain" {
					t.Errorf("%s: %s: reclaimPolicy %v", cluster, o, policy)
				}
				if encrypted, _ := o.Field("parameters", "encrypted"); encrypted != "true" {
					t.Errorf("%s: %s: encrypted is %v: its volumes are not", cluster, o, encrypted)
				}
			case "StatefulSet":
				// Absent is Retain.
				if policy, ok := o.Field("spec", "persistentVolumeClaimRetentionPolicy"); ok {
					t.Errorf("%s: %s: claims go with it: %v", cluster, o, policy)
				}
			case "KafkaNodePool":
				b, _ := o.YAML()
				if bytes.Contains(b, []byte("deleteClaim: true")) || !bytes.Contains(b, []byte("deleteClaim: false")) {
					t.Errorf("%s: %s: claims go with it", cluster, o)
				}
			}
		}
	}
	for _, k := range keepers {
		if seen[k] == 0 {
			t.Errorf("no %s was looked at", k)
		}
	}
	if seen["KafkaTopic"] < 7 {
		t.Errorf("%d topics", seen["KafkaTopic"])
	}
}

func TestWaves(t *testing.T) {
	workloads := []string{"Deployment", "StatefulSet", "DaemonSet", "Job", "Kafka", "KafkaConnect"}
	before := []string{"Namespace", "ServiceAccount", "ConfigMap", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "NetworkPolicy", "PriorityClass", "StorageClass", "SecretStore", "ExternalSecret"}
	order := map[string][]string{
		"datacenter": {"StatefulSet/fluentd", "DaemonSet/fluent-bit", "Deployment/service-inputgen"},
		"kafka":      {"Deployment/strimzi-cluster-operator", "Kafka/triad", "KafkaTopic/service-topic", "PushSecret/fluentd"},
		"monitoring": {"Deployment/strimzi-cluster-operator", "StatefulSet/elasticsearch", "KafkaConnector/logs-to-elasticsearch", "Deployment/grafana"},
	}
	for _, cluster := range manifests.Clusters() {
		waves := map[string]int{}
		first, last := 1<<30, -1<<30
		for _, o := range built(t, cluster) {
			w := wave(t, o.Annotations())
			waves[o.String()] = w
			if slices.Contains(workloads, o.Kind()) {
				first = min(first, w)
			}
			// A credential may come in the wave of the operator, which needs none.
			if slices.Contains(before, o.Kind()) && o.Kind() != "ExternalSecret" {
				last = max(last, w)
			}
			if o.Kind() == "ExternalSecret" && w >= 0 {
				t.Errorf("%s: %s comes in wave %d, pods need it in 0", cluster, o, w)
			}
		}
		if last >= first {
			t.Errorf("%s: what pods run with comes in wave %d, the first of them in %d", cluster, last, first)
		}
		for i := 1; i < len(order[cluster]); i++ {
			a, b := order[cluster][i-1], order[cluster][i]
			wa, oka := waves[a]
			wb, okb := waves[b]
			if !oka || !okb || wa >= wb {
				t.Errorf("%s: %s in wave %d (%v), %s in wave %d (%v)", cluster, a, wa, oka, b, wb, okb)
			}
		}
	}
}

// The definitions that Argo CD takes from Strimzi's repository are those that assets.yaml pins.
func TestDefinitionsArePinnedTheSame(t *testing.T) {
	apps, _ := all(t)
	set, err := manifests.Open(filepath.Join(root, "manifests"))
	if err != nil {
		t.Fatal(err)
	}
	assets, err := set.Assets()
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(assets, func(a manifests.Asset) bool { return a.Name == "strimzi-crds" })
	if at < 0 {
		t.Fatal("assets.yaml has no strimzi-crds")
	}
	asset := assets[at]
	for _, cluster := range asset.Clusters {
		s := apps["definitions-"+cluster].Spec.Source
		if s.TargetRevision != asset.Version {
			t.Errorf("%s: version %s, assets.yaml has %s", cluster, s.TargetRevision, asset.Version)
		}
		for _, f := range asset.Files {
			want := strings.TrimPrefix(s.RepoURL, "https://github.com/") + "/" + s.TargetRevision + "/" + s.Path + "/"
			dir, file, _ := strings.Cut(strings.TrimPrefix(f.URL, "https://raw.githubusercontent.com/"), s.Path+"/")
			if dir+s.Path+"/" != want {
				t.Errorf("%s: %s is not below %s", cluster, f.URL, want)
			}
			if ok, err := filepath.Match(s.Directory.Include, file); err != nil || !ok {
				t.Errorf("%s: %s does not fit %s", cluster, file, s.Directory.Include)
			}
		}
	}
}
