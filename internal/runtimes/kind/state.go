//go:build !embedded_only

package kind

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"
)

// runLock is the file in the state folder that a run holds.
const runLock = "run.lock"

// phase is how far the making of a cluster has come.
type phase string

const (
	phaseCreating phase = "creating" // a create was begun and nothing says that it ended
	phaseReady    phase = "ready"    // all nodes were Ready once
)

// clusterState is what is remembered of a cluster, one file each so that parallel creates share nothing.
type clusterState struct {
	Phase       phase     `json:"phase"`
	NodeImage   string    `json:"node_image"`
	ImageID     string    `json:"image_id"`
	Fingerprint string    `json:"fingerprint"`
	Nodes       int       `json:"nodes"`
	Created     time.Time `json:"created"`
}

func (r *Runtime) clusterDir(cluster string) string {
	return filepath.Join(r.opts.StateDir, r.host(cluster))
}

// KubeconfigPath returns the kubeconfig file of a cluster. It exists while the cluster does.
func (r *Runtime) KubeconfigPath(cluster string) string {
	return filepath.Join(r.clusterDir(cluster), "kubeconfig")
}

// Context returns the name of a cluster's context in its kubeconfig file.
func Context(cluster string) string { return "kind-" + NamePrefix + cluster }

func (r *Runtime) statePath(cluster string) string {
	return filepath.Join(r.clusterDir(cluster), "state.json")
}

// readState returns what is remembered of a cluster; ok is false when nothing is. A file that cannot be read as state counts as
// nothing: what is there is judged by the containers.
func (r *Runtime) readState(cluster string) (st clusterState, ok bool, err error) {
	b, err := os.ReadFile(r.statePath(cluster))
	if errors.Is(err, fs.ErrNotExist) {
		return st, false, nil
	}
	if err != nil {
		return st, false, fmt.Errorf("state of %s: %w", cluster, err)
	}
	if json.Unmarshal(b, &st) != nil {
		return clusterState{}, false, nil //nolint:nilerr // a state that cannot be read is none
	}
	return st, true, nil
}

// writeState replaces a cluster's state in one step: a reader, or a harness started after a crash, sees the old or the new one.
func (r *Runtime) writeState(cluster string, st clusterState) error {
	b, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return fmt.Errorf("state of %s: %w", cluster, err)
	}
	return writeFileAtomic(r.statePath(cluster), append(b, '\n'), 0o600)
}

// deployedImages is the file with the image set of the last deployment.
func deployedImages(stateDir string) string {
	return filepath.Join(stateDir, "images", "deployed.yaml")
}

// keepImages notes the image set of a deployment, for who has to deploy the same again.
func (r *Runtime) keepImages() error {
	b, err := yaml.Marshal(r.opts.Images)
	if err != nil {
		return fmt.Errorf("image set: %w", err)
	}
	return writeFileAtomic(deployedImages(r.opts.StateDir), b, 0o644)
}

func writeFileAtomic(path string, b []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = tmp.Write(b)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// prepareDir makes the folder of a cluster with the mark that is mounted into its nodes.
func (r *Runtime) prepareDir(cluster string) error {
	mark := filepath.Join(r.clusterDir(cluster), "mark")
	if err := os.MkdirAll(mark, 0o755); err != nil {
		return fmt.Errorf("folder of %s: %w", cluster, err)
	}
	if err := os.WriteFile(filepath.Join(mark, "owner"), []byte("triad "+cluster+"\n"), 0o644); err != nil {
		return fmt.Errorf("folder of %s: %w", cluster, err)
	}
	return nil
}

// forget removes everything that is kept about a cluster.
func (r *Runtime) forget(cluster string) error {
	if err := os.RemoveAll(r.clusterDir(cluster)); err != nil {
		return fmt.Errorf("folder of %s: %w", cluster, err)
	}
	return nil
}
