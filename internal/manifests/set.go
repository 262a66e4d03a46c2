package manifests

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// Clusters are the three roles, which are also the names of the clusters and of the namespace in each.
func Clusters() []string { return []string{"datacenter", "kafka", "monitoring"} }

// Added is the cluster that scenario add-cluster brings up beside the three: an agent and nothing else. Its one flow is that of
// Flows("edge").
const Added = "edge"

// rendered are all clusters that have manifests.
func rendered() []string { return append(Clusters(), Added) }

// Overlays are the places for which the bases are built.
func Overlays() []string { return []string{"kind", "eks"} }

// Set is the folder of manifests, with the changes that a scenario's settings made for one run. The zero value is not usable;
// Open makes one. A Set may be used by several goroutines at once.
type Set struct {
	dir   string
	files map[string][]byte // cleaned absolute path -> content that stands in for the one on disk
}

// Open returns the manifests below dir. It fails when dir is not such a folder.
func Open(dir string) (Set, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Set{}, fmt.Errorf("manifests: %w", err)
	}
	// kustomize compares cleaned paths without links; so do the replaced files.
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return Set{}, fmt.Errorf("manifests: %w", err)
	}
	for _, c := range Clusters() {
		f := filepath.Join(abs, "base", c, "kustomization.yaml")
		if _, err := os.Stat(f); err != nil {
			return Set{}, fmt.Errorf("manifests: %s is not the folder of manifests: %w", dir, err)
		}
	}
	return Set{dir: abs}, nil
}

// Dir returns the absolute path of the folder.
func (s Set) Dir() string { return s.dir }

// Replace returns a Set in which the text old is new in the configuration file of that name (such as "fluentd.yaml"), for a
// scenario's settings. The file is looked for below base, first in folders called config; the name may have folders in front when
// it is not unique. Text that is not there, or a name that fits none or several files, is an error.
func (s Set) Replace(config, old, new string) (Set, error) {
	var hits []string
	root := filepath.Join(s.dir, "base")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if rel, _ := filepath.Rel(s.dir, path); rel == config || strings.HasSuffix(rel, "/"+config) {
			hits = append(hits, path)
		}
		return nil
	})
	if err != nil {
		return s, fmt.Errorf("setting of %s: %w", config, err)
	}
	// The resource that mounts a configuration often has its name: fluentd.yaml is a StatefulSet too.
	if configs := slices.DeleteFunc(slices.Clone(hits), func(h string) bool { return filepath.Base(filepath.Dir(h)) != "config" }); len(hits) > 1 && len(configs) > 0 {
		hits = configs
	}
	if len(hits) != 1 {
		for i := range hits {
			hits[i], _ = filepath.Rel(s.dir, hits[i])
		}
		return s, fmt.Errorf("setting of %s: %d files of that name below manifests/base %v, want one", config, len(hits), hits)
	}
	content, err := s.read(hits[0])
	if err != nil {
		return s, fmt.Errorf("setting of %s: %w", config, err)
	}
	if old == "" || !bytes.Contains(content, []byte(old)) {
		return s, fmt.Errorf("setting of %s: the text %q is not in the file", config, old)
	}
	return s.with(hits[0], bytes.ReplaceAll(content, []byte(old), []byte(new))), nil
}

func (s Set) with(path string, content []byte) Set {
	out := Set{dir: s.dir, files: maps.Clone(s.files)}
	if out.files == nil {
		out.files = map[string][]byte{}
	}
	out.files[path] = content
	return out
}

func (s Set) read(path string) ([]byte, error) {
	if b, ok := s.files[path]; ok {
		return b, nil
	}
	return os.ReadFile(path)
}

// Components returns the names of the kustomize components that Render takes, sorted.
func (s Set) Components() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "components"))
	if err != nil {
		return nil, fmt.Errorf("components: %w", err)
	}
	var out []string
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(s.dir, "components", e.Name(), "kustomization.yaml")); err == nil {
			out = append(out, e.Name())
			continue
		}
		// A component that differs between clusters has a folder for each.
		if sub, _ := filepath.Glob(filepath.Join(s.dir, "components", e.Name(), "*", "kustomization.yaml")); len(sub) > 0 {
			out = append(out, e.Name())
		}
	}
	sort.Strings(out)
	return out, nil
}

// Render builds one cluster's overlay ("kind" or "eks") and returns its objects in the order of the files. Each named component
// is added (such as "observer"); a name with "-" in front leaves out a component that the overlay includes (such as
// "-elasticsearch-security", for a server without that module). A component that has nothing for this cluster adds nothing.
func (s Set) Render(cluster, overlay string, components ...string) ([]Object, error) {
	if !slices.Contains(rendered(), cluster) {
		return nil, fmt.Errorf("render: unknown cluster %q, there are %s", cluster, strings.Join(rendered(), ", "))
	}
	if !slices.Contains(Overlays(), overlay) {
		return nil, fmt.Errorf("render: unknown overlay %q, there are %s", overlay, strings.Join(Overlays(), ", "))
	}
	root := filepath.Join(s.dir, "overlays", overlay, cluster)
	set := s
	if len(components) > 0 {
		file := filepath.Join(root, "kustomization.yaml")
		content, err := s.edit(file, cluster, components)
		if err != nil {
			return nil, fmt.Errorf("render %s/%s: %w", overlay, cluster, err)
		}
		set = s.with(file, content)
	}
	objects, err := set.build(root)
	if err != nil {
		return nil, fmt.Errorf("render %s/%s: %w", overlay, cluster, err)
	}
	return objects, nil
}

// edit returns the kustomization with components added or taken out.
func (s Set) edit(file, cluster string, components []string) ([]byte, error) {
	content, err := s.read(file)
	if err != nil {
		return nil, err
	}
	var k map[string]any
	if err := yaml.Unmarshal(content, &k); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	known, err := s.Components()
	if err != nil {
		return nil, err
	}
	list, _ := k["components"].([]any)
	for _, c := range components {
		name, out := strings.CutPrefix(c, "-")
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("unknown component %q, there are %s", name, strings.Join(known, ", "))
		}
		ref := s.componentRef(name, cluster)
		at := slices.IndexFunc(list, func(e any) bool { return e == ref })
		switch {
		case ref == "" || out && at < 0 || !out && at >= 0:
		case out:
			list = slices.Delete(list, at, at+1)
		default:
			list = append(list, ref)
		}
	}
	k["components"] = list
	return yaml.Marshal(k)
}

// componentRef is how an overlay names a component, empty when the component has nothing for the cluster.
func (s Set) componentRef(name, cluster string) string {
	for _, rel := range []string{name, name + "/" + cluster} {
		if _, err := os.Stat(filepath.Join(s.dir, "components", rel, "kustomization.yaml")); err == nil {
			return "../../../components/" + rel
		}
	}
	return ""
}

func (s Set) build(root string) ([]Object, error) {
	result, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(diskWith{filesys.MakeFsOnDisk(), s.files}, root)
	if err != nil {
		return nil, err
	}
	out := make([]Object, 0, result.Size())
	var errs []error
	for _, r := range result.Resources() {
		m, err := r.Map()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, Object(normalise(m).(map[string]any)))
	}
	return out, errors.Join(errs...)
}

// diskWith is the disk with some files replaced. kustomize reads files only by ReadFile.
type diskWith struct {
	filesys.FileSystem
	files map[string][]byte
}

func (d diskWith) ReadFile(path string) ([]byte, error) {
	if b, ok := d.files[filepath.Clean(path)]; ok {
		return b, nil
	}
	return d.FileSystem.ReadFile(path)
}
