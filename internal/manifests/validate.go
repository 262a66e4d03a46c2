package manifests

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"triad/internal/promql"
)

// Problem is one fault of the manifests.
type Problem struct { //nolint:errname // it is one line of a report, and an error only in passing
	File   string // path from the folder that holds manifests, empty when it cannot be told
	Line   int    // 1-based, 0 when it cannot be told
	Object string // cluster/overlay Kind/name, empty when the fault is not in an object
	Msg    string
}

// Error prints file:line: object: message, as far as they are known.
func (p Problem) Error() string {
	var parts []string
	if p.File != "" {
		at := p.File
		if p.Line > 0 {
			at += fmt.Sprintf(":%d", p.Line)
		}
		parts = append(parts, at)
	}
	if p.Object != "" {
		parts = append(parts, p.Object)
	}
	return strings.Join(append(parts, p.Msg), ": ")
}

// Report is the outcome of Validate.
type Report struct {
	Problems []error  // each a Problem, or an error of a file as a whole
	Skipped  []string // what was not checked, and why
	Objects  int      // rendered objects that were looked at
}

// Validate judges everything that can be judged without a cluster: every file of the folder decodes strictly; both overlays of
// every cluster render, with and without each component; every object decodes strictly into Kubernetes' own type or fits the
// schema of its custom resource; names of components, image pins, flows against NetworkPolicies, configuration files (JSON and
// YAML parse, rule files and the queries of dashboards by Prometheus's own parser), what views.yaml says of the queries, and the
// difference of the overlays. definitions is the folder of
// CustomResourceDefinitions; empty skips that part, by name.
func (s Set) Validate(definitionsDir string) Report {
	var r Report
	var defs definitions
	if definitionsDir == "" {
		r.Skipped = append(r.Skipped, "schemas of Strimzi's resources: no folder of definitions (set TRIAD_STRIMZI_CRDS)")
	} else {
		var err error
		if defs, err = loadDefinitions(definitionsDir); err != nil {
			r.Problems = append(r.Problems, err)
		}
	}
	if !builtInKindsChecked {
		r.Skipped = append(r.Skipped, "types of Kubernetes' own kinds: not in the embedded build")
	}
	list, err := s.Images()
	r.add(err)
	assets, err := s.Assets()
	r.add(err)
	if err == nil {
		_, err = list.Made(ImageSet{}, assets)
		r.add(err)
	}
	components, err := s.Components()
	r.add(err)
	_, err = s.Flows(components...)
	r.add(err)
	if len(r.Problems) > 0 {
		return r
	}
	own, err := s.Flows(Added)
	r.add(err)
	allowed, err := s.Allowances()
	r.add(err)
	var differences []Difference
	whole := true
	for _, c := range rendered() {
		plain := map[string][]Object{}
		for _, overlay := range Overlays() {
			plain[overlay] = s.validateOverlay(&r, c, overlay, components, list, defs, own)
			whole = whole && plain[overlay] != nil
		}
		differences = append(differences, Compare(c, plain["kind"], plain["eks"])...)
	}
	if objects, err := s.Render("monitoring", "kind"); err == nil {
		_, err := s.Views(Rendered{Cluster: "monitoring", Overlay: "kind", Objects: objects})
		r.add(err)
	}
	if whole { // else every object of what did not render would be a difference
		r.add(Judge(differences, allowed).Err())
	}
	return r
}

func (r *Report) add(err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		r.Problems = append(r.Problems, joined.Unwrap()...)
	} else if err != nil {
		r.Problems = append(r.Problems, err)
	}
}

// validateOverlay renders one overlay once with every component in it, checks the objects, and renders it once for each component
// that it includes without that one, since a patch may need what another component brings. It returns the objects of the overlay
// as it is.
func (s Set) validateOverlay(r *Report, cluster, overlay string, components []string, list ImageList, defs definitions, flows []Flow) []Object {
	objects, err := s.withOrigins(cluster, overlay).Render(cluster, overlay, components...)
	if err != nil {
		r.add(err)
		return nil
	}
	r.Objects += len(objects)
	for _, c := range components {
		if !s.includes(cluster, overlay, c) {
			continue
		}
		if _, err := s.Render(cluster, overlay, "-"+c); err != nil {
			r.add(fmt.Errorf("without component %s: %w", c, err))
		}
	}
	pinned := list.References()
	for _, o := range objects {
		problem := func(path []string, msg string) {
			file, line := s.origin(o, path)
			if len(path) > 0 && !strings.Contains(msg, path[len(path)-1]) {
				msg = strings.Join(path, ".") + " " + msg
			}
			r.add(Problem{file, line, overlay + "/" + cluster + " " + o.String(), msg})
		}
		findings, known := checkBuiltIn(o)
		if !known && defs != nil {
			if findings, known = defs.check(o); !known {
				problem(nil, "no definition of "+o.APIVersion()+" "+o.Kind())
			}
		}
		for _, f := range findings {
			problem(f.path, f.msg)
		}
		if _, ok := list.Images[o.Component()]; !ok && o.Component() != Platform {
			problem(nil, fmt.Sprintf("label %s is %q, which images.yaml does not know", ComponentLabel, o.Component()))
		}
		eachImage(o, func(_, ref string) string {
			if want := pinned[o.Component()]; overlay == "kind" && ref != want {
				problem([]string{"image"}, fmt.Sprintf("image %s: images.yaml pins %s", ref, want))
			} else if !sameImages(ref, want) {
				problem([]string{"image"}, fmt.Sprintf("image %s: name or tag differs from %s in images.yaml", ref, want))
			}
			return ref
		})
		if o.Kind() == "ConfigMap" {
			for name, text := range o.texts("data") {
				if err := checkFile(name, text); err != nil {
					problem(nil, fmt.Sprintf("file %s: %v", name, err))
				}
			}
		}
	}
	plain, err := s.Render(cluster, overlay)
	if err != nil {
		r.add(err)
		return nil
	}
	for _, m := range ComparePolicies(cluster, overlay, plain, flows) {
		r.add(Problem{"manifests/flows.yaml", 0, overlay + "/" + cluster, m})
	}
	return plain
}

// includes tells whether an overlay has a component of its own accord.
func (s Set) includes(cluster, overlay, component string) bool {
	content, err := s.read(filepath.Join(s.dir, "overlays", overlay, cluster, "kustomization.yaml"))
	ref := s.componentRef(component, cluster)
	return err == nil && ref != "" && strings.Contains(string(content), "- "+ref+"\n")
}

// withOrigins returns a Set whose overlay writes into every object the file that it comes from.
func (s Set) withOrigins(cluster, overlay string) Set {
	file := filepath.Join(s.dir, "overlays", overlay, cluster, "kustomization.yaml")
	content, err := s.read(file)
	if err != nil {
		return s
	}
	return s.with(file, append(slices.Clone(content), []byte("\nbuildMetadata: [originAnnotations]\n")...))
}

// origin returns the file of an object and the line of a field in it, as near as it can be told: the field, else the object.
func (s Set) origin(o Object, path []string) (string, int) {
	var at struct {
		Path         string `yaml:"path"`
		ConfiguredIn string `yaml:"configuredIn"`
	}
	if yaml.Unmarshal([]byte(o.Annotations()["config.kubernetes.io/origin"]), &at) != nil || at.Path == "" && at.ConfiguredIn == "" {
		return "", 0
	}
	if at.Path == "" {
		at.Path = at.ConfiguredIn
	}
	overlayDir := ""
	for _, overlay := range Overlays() {
		if dir := filepath.Join(s.dir, "overlays", overlay, o.cluster()); overlayDir == "" {
			if _, err := s.read(filepath.Join(dir, at.Path)); err == nil {
				overlayDir = dir
			}
		}
	}
	file := filepath.Join(overlayDir, at.Path)
	content, err := s.read(file)
	if err != nil {
		return "", 0
	}
	rel, _ := filepath.Rel(filepath.Dir(s.dir), file)
	dec := yaml.NewDecoder(strings.NewReader(string(content)))
	for {
		var n yaml.Node
		if dec.Decode(&n) != nil || len(n.Content) == 0 {
			return rel, 0
		}
		if root := n.Content[0]; text(root, "kind") == o.Kind() && text(root, "metadata", "name") == o.Name() {
			return rel, lineOf(root, path)
		}
	}
}

// cluster is the one whose overlay an object is looked for in; objects of a cluster as a whole are alike in all of them.
func (o Object) cluster() string {
	if ns := o.Namespace(); slices.Contains(rendered(), ns) {
		return ns
	}
	if slices.Contains(rendered(), o.Name()) {
		return o.Name()
	}
	return Clusters()[0]
}

func child(n *yaml.Node, key string) (k, v *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				return n.Content[i], n.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		var i int
		if _, err := fmt.Sscanf(key, "%d", &i); err == nil && i < len(n.Content) {
			return n.Content[i], n.Content[i]
		}
	}
	return nil, nil
}

func text(n *yaml.Node, keys ...string) string {
	for _, k := range keys {
		if _, n = child(n, k); n == nil {
			return ""
		}
	}
	return n.Value
}

func lineOf(n *yaml.Node, path []string) int {
	line := n.Line
	for _, p := range path {
		k, v := child(n, p)
		if k == nil {
			break
		}
		line, n = k.Line, v
	}
	return line
}

// checkFile parses a file of a ConfigMap by its name.
func checkFile(name, content string) error {
	switch filepath.Ext(name) {
	case ".json":
		var v map[string]any
		if err := json.Unmarshal([]byte(content), &v); err != nil {
			return err
		}
		if _, ok := v["panels"]; ok {
			queries, err := dashboardQueries(name, content)
			if err != nil {
				return err
			}
			return checkPromQL(queries)
		}
	case ".ndjson":
		for i, line := range strings.Split(strings.TrimSpace(content), "\n") {
			if !json.Valid([]byte(line)) {
				return fmt.Errorf("line %d is not JSON", i+1)
			}
		}
	case ".yaml", ".yml":
		var n yaml.Node
		if err := yaml.Unmarshal([]byte(content), &n); err != nil {
			return err
		}
		if isRules(&n) {
			_, err := promql.Rules([]byte(content))
			return err
		}
	}
	return nil
}
