//go:build !embedded_only

package kind

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triad/internal/images"
)

func TestClusterConfig(t *testing.T) {
	r := &Runtime{opts: Options{StateDir: "/state", NodeImage: "node:1", HostPorts: map[int]int{30094: 40094}, Clusters: []string{Datacenter, Kafka, Monitoring}}}
	full, err := r.clusterConfig(Kafka, Profile{})
	if err != nil {
		t.Fatal(err)
	}
	zones := map[string]int{}
	for _, n := range full.Nodes[1:] {
		zones[n.Labels["topology.kubernetes.io/zone"]]++
	}
	if diff := cmp.Diff(map[string]int{"local-a": 1, "local-b": 1, "local-c": 1}, zones); diff != "" {
		t.Errorf("zones of the Kafka workers (-want +got):\n%s", diff)
	}
	for _, c := range r.opts.Clusters {
		cfg, err := r.clusterConfig(c, Profile{Single: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(cfg.Nodes) != 1 || cfg.Name != "triad-"+c || cfg.Nodes[0].Image != "node:1" {
			t.Errorf("%s: %d nodes, name %s, image %s", c, len(cfg.Nodes), cfg.Name, cfg.Nodes[0].Image)
		}
		if m := cfg.Nodes[0].ExtraMounts; len(m) != 1 || m[0].ContainerPath != ownerMark || m[0].HostPath != "/state/"+c+"/mark" || !m[0].Readonly {
			t.Errorf("%s: mounts %+v", c, m)
		}
		if cfg.Networking.ServiceSubnet != "" || cfg.Networking.PodSubnet != "" {
			t.Errorf("%s: subnets %+v: the rules for flows rely on kind's defaults", c, cfg.Networking)
		}
		patches := strings.Join(cfg.KubeadmConfigPatches, "\n")
		if !strings.Contains(patches, "containerLogMaxSize: 10Mi") || !strings.Contains(patches, "containerLogMaxFiles: 5") {
			t.Errorf("%s: kubelet patches %q", c, patches)
		}
		for _, p := range cfg.Nodes[0].ExtraPortMappings {
			if p.ListenAddress != "127.0.0.1" {
				t.Errorf("%s: port %d listens on %q", c, p.ContainerPort, p.ListenAddress)
			}
		}
	}
	ports, err := r.HostPorts()
	if err != nil {
		t.Fatal(err)
	}
	want := map[int]int{30940: 30940, 30094: 40094, 30100: 30100, 30101: 30101, 30102: 30102, 30920: 30920, 30909: 30909, 30993: 30993}
	if diff := cmp.Diff(want, ports); diff != "" {
		t.Errorf("host ports (-want +got):\n%s", diff)
	}
	if _, err := r.clusterConfig("nowhere", Profile{}); err == nil {
		t.Error("a cluster without a file of its own must be an error")
	}
	fourth, err := r.clusterConfig("edge", Profile{Single: true})
	if err != nil || fourth.Name != "triad-edge" || len(fourth.Nodes[0].ExtraPortMappings) != 0 {
		t.Errorf("fourth cluster: %+v, %v", fourth, err)
	}
}

// The choice is the user's, then the node image's, then the machine's; what it was made by is said.
func TestChooseProfile(t *testing.T) {
	const (
		network = "run*cat*default-cni.yaml) echo 'kind: DaemonSet';;"
		bare    = "run*cat*default-cni.yaml) echo 'kind: ConfigMap';;"
		none    = "run*cat*default-cni.yaml) echo 'No such file' >&2; exit 1;;"
		label   = "image*triad.dev/nodes*node:1) echo 1;;"
		plain   = "image*triad.dev/nodes*node:1) echo;;"
		absent  = "image*triad.dev/nodes*node:1) echo 'No such image' >&2; exit 1;;"
	)
	large, slow, small := images.EngineInfo{CPUs: 4, MemoryBytes: 16 << 30}, images.EngineInfo{CPUs: 3, MemoryBytes: 64 << 30}, images.EngineInfo{CPUs: 64, MemoryBytes: 16<<30 - 1}
	for _, tc := range []struct {
		name   string
		nodes  int
		env    string
		engine string
		info   images.EngineInfo
		single bool
		why    string
	}{
		{"a large machine", 0, "", plain + network, large, false, "4 CPUs and 16384 MiB"},
		{"few processors", 0, "", plain + network, slow, true, "3 CPUs"},
		{"little memory", 0, "", plain + network, small, true, "16383 MiB"},
		{"an image that says so", 0, "", label + network, large, true, "node image"},
		{"an image without a network", 0, "", plain + bare, large, true, "node image"},
		{"an image without the file", 0, "", plain + none, large, false, "4 CPUs"},
		{"an image that is not there", 0, "", absent + none, large, false, "4 CPUs"},
		{"variable, one", 0, "1", "", large, true, "TRIAD_KIND_NODES=1"},
		{"variable, four", 0, "4", "", small, false, "TRIAD_KIND_NODES=4"},
		{"asked for, one", 1, "4", "", large, true, "asked for"},
		{"asked for, four", 4, "1", "", small, false, "asked for"},
	} {
		t.Setenv("TRIAD_KIND_NODES", tc.env)
		r := &Runtime{opts: Options{NodeImage: "node:1", Nodes: tc.nodes}, engine: caseEngine(t, tc.engine), info: tc.info}
		p, err := r.chooseProfile(t.Context())
		if err != nil || p.Single != tc.single || !strings.Contains(p.Why, tc.why) {
			t.Errorf("%s: one node %v because %q (%v), want %v because %q", tc.name, p.Single, p.Why, err, tc.single, tc.why)
		}
	}
	t.Setenv("TRIAD_KIND_NODES", "3")
	if _, err := (&Runtime{}).chooseProfile(t.Context()); err == nil || !strings.Contains(err.Error(), "want 1 or 4") {
		t.Errorf("TRIAD_KIND_NODES=3: %v", err)
	}
}

func TestFingerprintFollowsWhatMatters(t *testing.T) {
	print := func(o Options, p Profile, id string) string {
		o.StateDir = "/state"
		cfg, err := (&Runtime{opts: o}).clusterConfig(Kafka, p)
		if err != nil {
			t.Fatal(err)
		}
		f, err := fingerprint(cfg, id)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	base := print(Options{NodeImage: "a"}, Profile{}, "id")
	if again := print(Options{NodeImage: "a"}, Profile{}, "id"); again != base {
		t.Errorf("the same configuration has two fingerprints: %s, %s", base, again)
	}
	for name, other := range map[string]string{
		"image":     print(Options{NodeImage: "b"}, Profile{}, "id"),
		"image id":  print(Options{NodeImage: "a"}, Profile{}, "id2"),
		"nodes":     print(Options{NodeImage: "a"}, Profile{Single: true}, "id"),
		"host port": print(Options{NodeImage: "a", HostPorts: map[int]int{30094: 1}}, Profile{}, "id"),
	} {
		if other == base {
			t.Errorf("another %s has the same fingerprint", name)
		}
	}
}

func TestDecodeConfigIsStrict(t *testing.T) {
	for name, text := range map[string]string{
		"unknown field":    "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodez: []\n",
		"second document":  "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes: [{role: control-plane}]\n---\n{}\n",
		"other version":    "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha3\nnodes: [{role: control-plane}]\n",
		"no control plane": "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes: [{role: worker}]\n",
		"empty":            "",
	} {
		if _, err := decodeConfig([]byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestJudge(t *testing.T) {
	node := func(state string, owned bool) Node { return Node{State: state, Owned: owned} }
	ready := clusterState{Phase: phaseReady, Nodes: 1, Fingerprint: "f"}
	for _, tc := range []struct {
		name  string
		nodes []Node
		st    clusterState
		known bool
		want  Condition
	}{
		{"nothing", nil, clusterState{}, false, Absent},
		{"nothing, remembered", nil, ready, true, Absent},
		{"running", []Node{node("running", true)}, ready, true, Running},
		{"stopped", []Node{node("exited", true)}, ready, true, Stopped},
		{"paused", []Node{node("paused", true)}, ready, true, Frozen},
		{"interrupted", []Node{node("running", true)}, clusterState{Phase: phaseCreating, Nodes: 1, Fingerprint: "f"}, true, HalfMade},
		{"a node is missing", []Node{node("running", true)}, clusterState{Phase: phaseReady, Nodes: 4, Fingerprint: "f"}, true, HalfMade},
		{"state lost", []Node{node("running", true)}, clusterState{}, false, HalfMade},
		{"another version", []Node{node("running", true)}, clusterState{Phase: phaseReady, Nodes: 1, Fingerprint: "g"}, true, Different},
		{"somebody else's", []Node{node("running", false)}, ready, true, Foreign},
		{"of another state folder", []Node{{State: "running", Owned: true, Elsewhere: "/other"}}, clusterState{}, false, Foreign},
		{"of another state folder, ours knows the name", []Node{{State: "running", Owned: true, Elsewhere: "/other"}}, ready, true, Foreign},
		{"somebody else's, stopped", []Node{node("exited", false)}, clusterState{}, false, Foreign},
	} {
		got, detail := judge("kafka", tc.nodes, tc.st, tc.known, "f", 1)
		if got != tc.want || detail == "" {
			t.Errorf("%s: %s (%s), want %s", tc.name, got, detail, tc.want)
		}
	}
}

func TestParseNodes(t *testing.T) {
	nodes, err := parseNodes([]byte(`[
	{"Name":"/triad-kafka-worker","Image":"sha256:1","State":{"Status":"running"},"Config":{"Labels":{"io.x-k8s.kind.role":"worker"}},
	 "NetworkSettings":{"Networks":{"kind":{"IPAddress":"172.18.0.3","Gateway":"172.18.0.1"}},"Ports":{}}},
	{"Name":"/triad-kafka-control-plane","Image":"sha256:1","State":{"Status":"paused"},"Config":{"Labels":{"io.x-k8s.kind.role":"control-plane"}},
	 "Mounts":[{"Destination":"/etc/triad-owner","Source":"/x"}],
	 "NetworkSettings":{"Networks":{"kind":{"IPAddress":"172.18.0.2","Gateway":"172.18.0.1","GlobalIPv6Address":"fc00::2"}},
	  "Ports":{"30094/tcp":[{"HostIp":"127.0.0.1","HostPort":"30094"}],"6443/tcp":null}}}]`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Node{
		{Name: "triad-kafka-control-plane", Role: "control-plane", State: "paused", IPv4: "172.18.0.2", IPv6: "fc00::2", Gateway: "172.18.0.1", ImageID: "sha256:1", Owned: true, mark: "/x", HostPorts: map[int]string{30094: "127.0.0.1:30094"}},
		{Name: "triad-kafka-worker", Role: "worker", State: "running", IPv4: "172.18.0.3", Gateway: "172.18.0.1", ImageID: "sha256:1", HostPorts: map[int]string{}},
	}
	if diff := cmp.Diff(want, nodes, cmp.AllowUnexported(Node{})); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
}

// TestElsewhere holds that a cluster which another state folder knows is not taken for a half-made one: it was once deleted that way.
func TestElsewhere(t *testing.T) {
	other, lost, ours := t.TempDir(), t.TempDir(), t.TempDir()
	for _, d := range []string{other, lost, ours} {
		if err := os.MkdirAll(filepath.Join(d, Kafka, "mark"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{other, ours} {
		if err := os.WriteFile(filepath.Join(d, Kafka, "state.json"), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mark := func(d string) string { return filepath.Join(d, Kafka, "mark") }
	for _, tc := range []struct{ name, mark, want string }{
		{"another that lives", mark(other), other},
		{"another, seen through a virtual machine", "/host_mnt" + mark(other), other},
		{"another that is lost", mark(lost), ""},
		{"ours", mark(ours), ""},
		{"none", "", ""},
	} {
		if got := elsewhere(tc.mark, mark(ours)); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}
