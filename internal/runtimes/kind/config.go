//go:build !embedded_only

package kind

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"

	"triad/internal/manifests"
	kindfiles "triad/kind"
)

// DefaultNodeImage is the node image that is used when TRIAD_NODE_IMAGE is not set: the one that the pinned kind library was
// released with, by digest.
const DefaultNodeImage = "kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5"

// Names of the three clusters; a role, a cluster and a namespace have one name.
const (
	Datacenter = "datacenter"
	Kafka      = "kafka"
	Monitoring = "monitoring"
)

// NamePrefix stands before a cluster's name in kind: triad-kafka.
const NamePrefix = "triad-"

// Below this a machine gets one node a cluster: three workers more cost about 1.5 GiB and most of a core when idle.
const (
	smallMachineBytes = 16 << 30
	smallMachineCPUs  = 4
)

// ownerMark is where the state folder's mark is mounted in every node. A container that has the mount is Triad's, whatever happened
// to the state folder.
const ownerMark = "/etc/triad-owner"

// Options says how clusters are made. The zero value is usable: every field has a default.
type Options struct {
	// StateDir holds kubeconfig files, state and images. Default: the user's cache folder, in it "triad". TRIAD_STATE_DIR sets it too.
	StateDir string
	// NodeImage is the kind node image. Default: TRIAD_NODE_IMAGE, else DefaultNodeImage.
	NodeImage string
	// Nodes picks the profile: 1 puts one node in every cluster, 4 keeps the files as they are (three Kafka workers in three zones),
	// 0 decides by TRIAD_KIND_NODES, the node image and the size of the machine.
	Nodes int
	// HostPorts maps a node port to another port of this machine, on 127.0.0.1. Ports that are not named keep their number.
	HostPorts map[int]int
	// Recreate allows clusters of another version or configuration to be deleted and made anew.
	Recreate bool
	// Keep leaves the nodes of a cluster that could not be made as they are.
	Keep bool
	// Clusters to handle. Default: datacenter, kafka and monitoring.
	Clusters []string
	// LogDir receives events and logs when something does not come up: those of nodes that could not be made, else those of everything in the clusters.
	// Default: StateDir/logs.
	LogDir string
	// Images is the image set that swaps the references of the manifests. The zero value swaps nothing.
	Images manifests.ImageSet
	// ImagesAsDeployed takes the image set of the last deployment in place of Images: what is deployed again is to be what was there.
	ImagesAsDeployed bool
	// Topology is three, or one: the parts of the three clusters in a single kind cluster. Default three.
	Topology string
	// Caps are put on the nodes for a run that compares topologies; nil compares nothing.
	Caps *Caps
	// Manifests is the folder of manifests. Default: TRIAD_MANIFESTS, else manifests in the working folder.
	Manifests string
}

// Profile is the number of nodes that clusters get, and why.
type Profile struct {
	Single bool
	Why    string
}

// DefaultStateDir returns TRIAD_STATE_DIR, else the folder triad in the user's cache folder.
func DefaultStateDir() (string, error) {
	if d := os.Getenv("TRIAD_STATE_DIR"); d != "" {
		return d, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("state folder: %w (set TRIAD_STATE_DIR)", err)
	}
	return filepath.Join(cache, "triad"), nil
}

func (o Options) withDefaults() (Options, error) {
	var err error
	if o.StateDir == "" {
		if o.StateDir, err = DefaultStateDir(); err != nil {
			return o, err
		}
	}
	if o.StateDir, err = filepath.Abs(o.StateDir); err != nil {
		return o, fmt.Errorf("state folder: %w", err)
	}
	if o.ImagesAsDeployed {
		if o.Images, err = manifests.LoadImageSet(deployedImages(o.StateDir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return o, fmt.Errorf("images of the last deployment: %w", err)
		}
	}
	if o.NodeImage == "" {
		o.NodeImage = os.Getenv("TRIAD_NODE_IMAGE")
	}
	if o.NodeImage == "" {
		o.NodeImage = DefaultNodeImage
	}
	if len(o.Clusters) == 0 {
		o.Clusters = []string{Datacenter, Kafka, Monitoring}
	}
	if o.LogDir == "" {
		o.LogDir = filepath.Join(o.StateDir, "logs")
	}
	if o.Manifests == "" {
		o.Manifests = os.Getenv("TRIAD_MANIFESTS")
	}
	if o.Manifests == "" {
		o.Manifests = "manifests"
	}
	switch o.Nodes {
	case 0, 1, 4:
	default:
		return o, fmt.Errorf("nodes: %d: want 1 (one node a cluster) or 4 (three Kafka workers)", o.Nodes)
	}
	return o, nil
}

// chooseProfile decides how many nodes the Kafka cluster gets, and says by what.
func (r *Runtime) chooseProfile(ctx context.Context) (Profile, error) {
	n, from := r.opts.Nodes, "asked for"
	if n == 0 {
		switch env := os.Getenv("TRIAD_KIND_NODES"); env {
		case "":
		case "1":
			n, from = 1, "TRIAD_KIND_NODES=1"
		case "4":
			n, from = 4, "TRIAD_KIND_NODES=4"
		default:
			return Profile{}, fmt.Errorf("TRIAD_KIND_NODES=%s: want 1 or 4", env)
		}
	}
	if n != 0 {
		return Profile{Single: n == 1, Why: from}, nil
	}
	if single, err := r.singleNodeImage(ctx); err != nil {
		return Profile{}, err
	} else if single {
		return Profile{Single: true, Why: "the node image has no network for several nodes"}, nil
	}
	if r.info.CPUs < smallMachineCPUs || r.info.MemoryBytes < smallMachineBytes {
		return Profile{Single: true, Why: fmt.Sprintf("the engine has %d CPUs and %d MiB", r.info.CPUs, r.info.MemoryBytes>>20)}, nil
	}
	return Profile{Why: fmt.Sprintf("the engine has %d CPUs and %d MiB", r.info.CPUs, r.info.MemoryBytes>>20)}, nil
}

// singleNodeImage says whether a node image can only make clusters of one node: kind's images carry their network as a DaemonSet
// in default-cni.yaml, and one without it connects no nodes. A label triad.dev/nodes=1 on the image says so too.
func (r *Runtime) singleNodeImage(ctx context.Context) (bool, error) {
	label, err := r.engine.Run(ctx, "image", "inspect", "--format", `{{index .Config.Labels "triad.dev/nodes"}}`, r.opts.NodeImage)
	if err == nil && label == "1" {
		return true, nil
	}
	out, err := r.engine.Run(ctx, "run", "--rm", "--pull=never", "--network=none", "--entrypoint", "cat", r.opts.NodeImage, "/kind/manifests/default-cni.yaml")
	if err != nil {
		if ctx.Err() != nil {
			return false, err
		}
		// An image without the file is not one that kind can use with its default network; creating it says so better.
		return false, nil
	}
	return !strings.Contains(out, "DaemonSet"), nil
}

// clusterConfig returns the kind configuration of a cluster as this machine gets it: the repository's file with the profile, the
// host ports and the owner's mark put in.
func (r *Runtime) clusterConfig(cluster string, p Profile) (*v1alpha4.Cluster, error) {
	b, err := fs.ReadFile(kindfiles.Configs, cluster+".yaml")
	if err != nil {
		return nil, fmt.Errorf("kind/%s.yaml: %w", cluster, err)
	}
	cfg, err := decodeConfig(b)
	if err != nil {
		return nil, fmt.Errorf("kind/%s.yaml: %w", cluster, err)
	}
	return r.shapeConfig(cfg, cluster, p), nil
}

// decodeConfig is stricter than kind's own loader, which takes the first of several documents without a word.
func decodeConfig(b []byte) (*v1alpha4.Cluster, error) {
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	var cfg v1alpha4.Cluster
	if err := dec.Decode(&cfg); err != nil {
		return nil, err
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document")
	}
	if cfg.APIVersion != "kind.x-k8s.io/v1alpha4" || cfg.Kind != "Cluster" {
		return nil, fmt.Errorf("%s %s: want kind.x-k8s.io/v1alpha4 Cluster", cfg.APIVersion, cfg.Kind)
	}
	if len(cfg.Nodes) == 0 || cfg.Nodes[0].Role != v1alpha4.ControlPlaneRole {
		return nil, errors.New("the first node must be the control plane")
	}
	return &cfg, nil
}

func (r *Runtime) shapeConfig(cfg *v1alpha4.Cluster, cluster string, p Profile) *v1alpha4.Cluster {
	cfg.Name = NamePrefix + cluster
	if p.Single {
		cfg.Nodes = cfg.Nodes[:1]
	}
	for i := range cfg.Nodes {
		n := &cfg.Nodes[i]
		n.Image = r.opts.NodeImage
		n.ExtraMounts = append(n.ExtraMounts, v1alpha4.Mount{HostPath: filepath.Join(r.clusterDir(cluster), "mark"), ContainerPath: ownerMark, Readonly: true})
		for j := range n.ExtraPortMappings {
			if host, ok := r.opts.HostPorts[int(n.ExtraPortMappings[j].ContainerPort)]; ok {
				n.ExtraPortMappings[j].HostPort = int32(host)
			}
		}
	}
	return cfg
}

// HostPorts returns the ports of this machine that the configured clusters map, node port -> host port.
func (r *Runtime) HostPorts() (map[int]int, error) {
	out := map[int]int{}
	for _, c := range r.hosts() {
		cfg, err := r.clusterConfig(c, Profile{Single: true})
		if err != nil {
			return nil, err
		}
		for _, m := range cfg.Nodes[0].ExtraPortMappings {
			out[int(m.ContainerPort)] = int(m.HostPort)
		}
	}
	return out, nil
}

// fingerprint identifies a configuration: two clusters with the same one are alike.
func fingerprint(cfg *v1alpha4.Cluster, imageID string) (string, error) {
	b, err := json.Marshal(cfg)
	if err != nil {
		return "", fmt.Errorf("fingerprint of %s: %w", cfg.Name, err)
	}
	h := sha256.New()
	h.Write(b)
	h.Write([]byte(imageID))
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// platform is what images for the nodes have to be built for.
func (r *Runtime) platform() (goos, goarch string) {
	arch := r.info.Arch
	if arch == "" {
		arch = runtime.GOARCH
	}
	return "linux", arch
}
