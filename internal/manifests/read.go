package manifests

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// Rendered is one cluster's objects with readers for the parameters in them. The embedded runtime models a cluster from these
// alone; a parameter is never read from a file of the repository, since an overlay or a setting may have changed it.
type Rendered struct {
	Cluster string
	Overlay string
	Objects []Object
}

// RenderAll renders every cluster of an overlay; see Render for components.
func (s Set) RenderAll(overlay string, components ...string) (map[string]Rendered, error) {
	out := map[string]Rendered{}
	for _, c := range Clusters() {
		objects, err := s.Render(c, overlay, components...)
		if err != nil {
			return nil, err
		}
		out[c] = Rendered{Cluster: c, Overlay: overlay, Objects: objects}
	}
	return out, nil
}

// ConfigFile returns one file of a ConfigMap, such as ("fluentd", "fluentd.yaml"). The name is that of the generator, without
// the hash that kustomize appends.
func (r Rendered) ConfigFile(name, key string) (string, error) {
	files, err := r.ConfigFiles(name)
	if err != nil {
		return "", err
	}
	text, ok := files[key]
	if !ok {
		return "", fmt.Errorf("%s: ConfigMap %s: no file %q", r.Cluster, name, key)
	}
	return text, nil
}

// ConfigFiles returns all files of a ConfigMap by name.
func (r Rendered) ConfigFiles(name string) (map[string]string, error) {
	o, err := Find(r.Objects, "ConfigMap", name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.Cluster, err)
	}
	return o.texts("data"), nil
}

// Resources returns the objects of a kind, such as KafkaTopic, in the order of the manifests.
func (r Rendered) Resources(kind string) []Object {
	var out []Object
	for _, o := range r.Objects {
		if o.Kind() == kind {
			out = append(out, o)
		}
	}
	return out
}

// ResourcesYAML returns the objects of the given kinds as one YAML text, documents separated by "---".
func (r Rendered) ResourcesYAML(kinds ...string) (string, error) {
	var b strings.Builder
	for _, o := range r.Objects {
		if !slices.Contains(kinds, o.Kind()) {
			continue
		}
		y, err := o.YAML()
		if err != nil {
			return "", err
		}
		if b.Len() > 0 {
			b.WriteString("---\n")
		}
		b.Write(y)
	}
	if b.Len() == 0 {
		return "", fmt.Errorf("%s: no resource of kind %s in the manifests", r.Cluster, strings.Join(kinds, ", "))
	}
	return b.String(), nil
}

// Workload is what runs a component: its pods' number and one container.
type Workload struct {
	Kind, Name string
	Replicas   int // desired pods; 1 for a DaemonSet, whose number is that of the nodes
	Container  string
	Image      string
	Command    []string
	Args       []string
	Env        map[string]string // literal values only
}

// Workload returns the Deployment, StatefulSet, DaemonSet or Job of that name and its first container.
func (r Rendered) Workload(name string) (Workload, error) {
	for _, o := range r.Objects {
		if o.Name() != name || !slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet", "Job"}, o.Kind()) {
			continue
		}
		w := Workload{Kind: o.Kind(), Name: name, Replicas: 1, Env: map[string]string{}}
		if n, ok := o.Field("spec", "replicas"); ok {
			if i, ok := n.(int64); ok {
				w.Replicas = int(i)
			}
		}
		v, _ := o.Field("spec", "template", "spec", "containers")
		list, _ := v.([]any)
		if len(list) == 0 {
			return w, fmt.Errorf("%s: %s has no container", r.Cluster, o)
		}
		c, _ := list[0].(map[string]any)
		w.Container, _ = c["name"].(string)
		w.Image, _ = c["image"].(string)
		w.Command, w.Args = words(c["command"]), words(c["args"])
		env, _ := c["env"].([]any)
		for _, e := range env {
			m, _ := e.(map[string]any)
			n, _ := m["name"].(string)
			if value, ok := m["value"].(string); ok {
				w.Env[n] = value
			}
		}
		return w, nil
	}
	return Workload{}, fmt.Errorf("%s: no workload %q in the manifests", r.Cluster, name)
}

func words(v any) []string {
	list, _ := v.([]any)
	var out []string
	for _, e := range list {
		if s, ok := e.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// Prometheus returns the configuration file and the container arguments of a cluster's Prometheus: the agent in datacenter,
// kafka and an added cluster, the receiver in monitoring. External labels are expanded as the program does it (TRIAD_CLUSTER is the cluster).
func (r Rendered) Prometheus() (config string, args []string, err error) {
	name := "prometheus-agent"
	if r.Cluster == "monitoring" {
		name = "prometheus"
	}
	w, err := r.Workload(name)
	if err != nil {
		return "", nil, err
	}
	config, err = r.ConfigFile(name, "prometheus.yaml")
	if err != nil {
		return "", nil, err
	}
	return strings.ReplaceAll(config, "${TRIAD_CLUSTER}", r.Cluster), w.Args, nil
}

// Mounted returns the files of the ConfigMaps that a workload mounts, by their path in its first container.
func (r Rendered) Mounted(workload string) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, o := range r.Objects {
		if o.Name() != workload || !slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet", "Job"}, o.Kind()) {
			continue
		}
		v, _ := o.Field("spec", "template", "spec", "volumes")
		volumes, _ := v.([]any)
		maps := map[string]string{} // volume -> ConfigMap
		for _, e := range volumes {
			m, _ := e.(map[string]any)
			cm, _ := m["configMap"].(map[string]any)
			name, _ := m["name"].(string)
			maps[name], _ = cm["name"].(string)
		}
		v, _ = o.Field("spec", "template", "spec", "containers")
		containers, _ := v.([]any)
		if len(containers) == 0 {
			return nil, fmt.Errorf("%s: %s has no container", r.Cluster, o)
		}
		first, _ := containers[0].(map[string]any)
		mounts, _ := first["volumeMounts"].([]any)
		for _, e := range mounts {
			m, _ := e.(map[string]any)
			name, _ := m["name"].(string)
			at, _ := m["mountPath"].(string)
			if maps[name] == "" {
				continue
			}
			for _, cm := range r.Objects {
				if cm.Kind() == "ConfigMap" && cm.Name() == maps[name] {
					for file, text := range cm.texts("data") {
						out[path.Join(at, file)] = []byte(text)
					}
				}
			}
		}
		return out, nil
	}
	return nil, fmt.Errorf("%s: no workload %q in the manifests", r.Cluster, workload)
}

// IndexTemplate is what the manifests give Elasticsearch for the indices of one topic.
type IndexTemplate struct {
	Name            string
	Patterns        []string
	RefreshInterval time.Duration
	Mappings        json.RawMessage // of the component templates that it is composed of; nil when there are none
}

// SetupCall is one call that prepares Elasticsearch: PUT body to path.
type SetupCall struct {
	Name  string // order--path, as the file is called
	Path  string // below the server's URL, with a leading slash
	Alias string // not empty: call only when this alias does not exist yet
	Body  string
}

// SetupCalls returns what the Job elasticsearch-setup sends, in its order, for deploying code that has to send it itself.
func (r Rendered) SetupCalls() ([]SetupCall, error) {
	var out []SetupCall
	for _, o := range r.Objects {
		if o.Kind() != "ConfigMap" {
			continue
		}
		for name, body := range o.texts("data") {
			order, path, found := strings.Cut(strings.TrimSuffix(name, ".json"), "--")
			if !found || !strings.HasSuffix(name, ".json") || strings.Trim(order, "0123456789") != "" {
				continue
			}
			call := SetupCall{Name: name, Path: "/" + strings.ReplaceAll(path, "--", "/"), Body: body}
			if rest, ok := strings.CutPrefix(call.Path, "/alias/"); ok {
				var index string
				if call.Alias, index, found = strings.Cut(rest, "/"); !found {
					return nil, fmt.Errorf("%s: %s: %s: want alias--<alias>--<index>", r.Cluster, o, name)
				}
				call.Path = "/" + index
			}
			out = append(out, call)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no ConfigMap with calls for Elasticsearch", r.Cluster)
	}
	slices.SortFunc(out, func(a, b SetupCall) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// IndexTemplateFor returns the index template whose patterns fit an index, with its refresh interval. A template without an
// explicit refresh_interval is an error: searchable latency would rest on who searched last.
func (r Rendered) IndexTemplateFor(index string) (IndexTemplate, error) {
	calls, err := r.SetupCalls()
	if err != nil {
		return IndexTemplate{}, err
	}
	parts := map[string]json.RawMessage{}
	for _, c := range calls {
		if name, ok := strings.CutPrefix(c.Path, "/_component_template/"); ok {
			var doc struct {
				Template struct {
					Mappings json.RawMessage `json:"mappings"`
				} `json:"template"`
			}
			if err := json.Unmarshal([]byte(c.Body), &doc); err != nil {
				return IndexTemplate{}, fmt.Errorf("%s: %s: %w", r.Cluster, c.Name, err)
			}
			parts[name] = doc.Template.Mappings
		}
	}
	for _, c := range calls {
		name, ok := strings.CutPrefix(c.Path, "/_index_template/")
		if !ok {
			continue
		}
		var doc struct {
			Patterns []string `json:"index_patterns"`
			Composed []string `json:"composed_of"`
			Template struct {
				Settings struct {
					Index struct {
						Refresh string `json:"refresh_interval"`
					} `json:"index"`
				} `json:"settings"`
			} `json:"template"`
		}
		if err := json.Unmarshal([]byte(c.Body), &doc); err != nil {
			return IndexTemplate{}, fmt.Errorf("%s: %s: %w", r.Cluster, c.Name, err)
		}
		if !slices.ContainsFunc(doc.Patterns, func(p string) bool { return fits(p, index) }) {
			continue
		}
		t := IndexTemplate{Name: name, Patterns: doc.Patterns}
		if t.RefreshInterval, err = time.ParseDuration(doc.Template.Settings.Index.Refresh); err != nil || t.RefreshInterval <= 0 {
			return t, fmt.Errorf("%s: %s: refresh_interval %q: want a duration such as 1s", r.Cluster, c.Name, doc.Template.Settings.Index.Refresh)
		}
		for _, p := range doc.Composed {
			if m := parts[p]; m != nil {
				t.Mappings = m
			}
		}
		return t, nil
	}
	return IndexTemplate{}, fmt.Errorf("%s: no index template for index %q", r.Cluster, index)
}

// fits tells whether a name matches a pattern in which * stands for anything.
func fits(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	if !strings.HasPrefix(name, parts[0]) {
		return false
	}
	name = name[len(parts[0]):]
	for i, p := range parts[1:] {
		if i == len(parts)-2 {
			return strings.HasSuffix(name, p)
		}
		at := strings.Index(name, p)
		if at < 0 {
			return false
		}
		name = name[at+len(p):]
	}
	return true
}
