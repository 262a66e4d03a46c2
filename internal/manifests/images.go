package manifests

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// Image is one pinned image of manifests/images.yaml.
type Image struct {
	Reference string `yaml:"reference"` // repository:tag
	Digest    string `yaml:"digest"`    // sha256:..., empty where not known
	Built     string `yaml:"built"`     // how it is made when it is not pulled
	Of        *Parts `yaml:"of"`        // what sim makes it of, nil when it is pulled or has a way of its own
	Model     bool   `yaml:"model"`     // sim has a model of this program that can stand in for it in its pod
}

// Parts are what an image is made of that no registry has.
type Parts struct {
	Image string `yaml:"image"` // component whose image is below
	Asset string `yaml:"asset"` // of assets.yaml; its one file is a zip archive
	Below string `yaml:"below"` // absolute path of the folder in which the archive is unpacked
}

// Capability is something that an image of a component may lack.
type Capability struct {
	Component string `yaml:"component"`
	Name      string `yaml:"name"`
	File      string `yaml:"file"`       // path in the image, without a leading slash, that is there when the capability is
	StandIn   string `yaml:"stand_in"`   // in place of file: the capability is lacking when this part of an image set is a stand-in
	LeavesOut string `yaml:"leaves_out"` // kustomize component to render without, empty when none
	Reason    string `yaml:"reason"`     // what the report says
}

// ImageList is manifests/images.yaml.
type ImageList struct {
	Images       map[string]Image `yaml:"images"`
	Mentioned    []string         `yaml:"mentioned"`
	Capabilities []Capability     `yaml:"capabilities"`
}

// reference is registry/repository:tag, with an optional digest behind it.
var reference = regexp.MustCompile(`^[a-z0-9][a-z0-9./_-]*(:[0-9]+/[a-z0-9./_-]+)?:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}(@sha256:[0-9a-f]{64})?$`)

// Images reads images.yaml. Every reference must carry a tag other than latest.
func (s Set) Images() (ImageList, error) {
	var l ImageList
	if err := s.strictFile("images.yaml", &l); err != nil {
		return l, err
	}
	var errs []error
	for _, c := range slices.Sorted(maps.Keys(l.Images)) {
		i := l.Images[c]
		if !reference.MatchString(i.Reference) || strings.HasSuffix(i.Reference, ":latest") {
			errs = append(errs, fmt.Errorf("manifests/images.yaml: images.%s: %q is not pinned, want repository:tag", c, i.Reference))
		}
		if i.Digest != "" && !strings.HasPrefix(i.Digest, "sha256:") {
			errs = append(errs, fmt.Errorf("manifests/images.yaml: images.%s: digest %q does not start with sha256:", c, i.Digest))
		}
		if p := i.Of; p != nil {
			if base, ok := l.Images[p.Image]; !ok || base.Built != "" || !path.IsAbs(p.Below) || i.Built == "" || i.Digest != "" {
				errs = append(errs, fmt.Errorf("manifests/images.yaml: images.%s: an image of parts says how it is built, has no digest, and is of an image that is pulled and a folder from the root on", c))
			}
		}
	}
	for _, c := range l.Capabilities {
		if _, ok := l.Images[c.Component]; !ok || c.Name == "" || (c.File == "") == (c.StandIn == "") || c.Reason == "" {
			errs = append(errs, fmt.Errorf("manifests/images.yaml: capability %s/%s: needs a component of images, a name, a file or a stand-in, and a reason", c.Component, c.Name))
		}
	}
	return l, errors.Join(errs...)
}

// Made is an image that has to be made, because no registry has it.
type Made struct {
	Component string
	Ref       string
	Base      string // reference of the image below, that of the image set where it names one
	Asset     Asset
	Below     string
}

// Made returns what has to be made for an image set, sorted: images of parts that the set neither replaces nor calls absent.
func (l ImageList) Made(set ImageSet, assets []Asset) ([]Made, error) {
	var out []Made
	var errs []error
	for _, c := range slices.Sorted(maps.Keys(l.Images)) {
		p := l.Images[c].Of
		if _, swapped := set.Images[c]; p == nil || swapped || slices.Contains(set.Absent, c) {
			continue
		}
		at := slices.IndexFunc(assets, func(a Asset) bool { return a.Name == p.Asset && len(a.Files) == 1 })
		if at < 0 {
			errs = append(errs, fmt.Errorf("manifests/images.yaml: images.%s: manifests/assets.yaml has no asset %q of one file", c, p.Asset))
			continue
		}
		m := Made{Component: c, Ref: l.Images[c].Reference, Base: l.References()[p.Image], Asset: assets[at], Below: p.Below}
		if to, ok := set.Images[p.Image]; ok {
			m.Base = to
		}
		out = append(out, m)
	}
	return out, errors.Join(errs...)
}

// Pinned reads images.yaml of a folder in which the other manifests need not be.
func Pinned(dir string) (ImageList, error) { return Set{dir: dir}.Images() }

// PinnedAssets reads assets.yaml of such a folder.
func PinnedAssets(dir string) ([]Asset, error) { return Set{dir: dir}.Assets() }

// References returns component -> reference as the manifests have it, with the digest where one is known.
func (l ImageList) References() map[string]string {
	out := map[string]string{}
	for c, i := range l.Images {
		out[c] = i.Reference
		if i.Digest != "" {
			out[c] += "@" + i.Digest
		}
	}
	return out
}

// Reductions returns what an image set lacks of a component's capabilities: those that the set itself names (lacks), and those
// for which has says that the file is not in the image. A nil has asks no image.
func (l ImageList) Reductions(set ImageSet, has func(component, file string) bool) []Capability {
	var out []Capability
	for _, c := range l.Capabilities {
		if c.StandIn != "" {
			if slices.Contains(set.StandIns, c.StandIn) {
				out = append(out, c)
			}
			continue
		}
		if slices.Contains(set.Lacks, c.Component+"-"+c.Name) || has != nil && !has(c.Component, c.File) {
			out = append(out, c)
		}
	}
	return out
}

// ImageSet says which images stand for the components in one run.
type ImageSet struct {
	Images   map[string]string `yaml:"images"`    // component -> reference
	StandIns []string          `yaml:"stand_ins"` // components that are not the public program although they answer to its name
	Absent   []string          `yaml:"absent"`    // components for which there is no image
	Lacks    []string          `yaml:"lacks"`     // component-capability, as in images.yaml
}

// LoadImageSet reads an image set file, strictly.
func LoadImageSet(file string) (ImageSet, error) {
	var s ImageSet
	content, err := os.ReadFile(file)
	if err != nil {
		return s, fmt.Errorf("image set: %w", err)
	}
	if err := strict(file, content, &s); err != nil {
		return s, fmt.Errorf("image set: %w", err)
	}
	var errs []error
	for _, c := range slices.Sorted(maps.Keys(s.Images)) {
		if !reference.MatchString(s.Images[c]) {
			errs = append(errs, fmt.Errorf("image set: %s: images.%s: %q is not repository:tag", file, c, s.Images[c]))
		}
		if slices.Contains(s.Absent, c) {
			errs = append(errs, fmt.Errorf("image set: %s: %s has an image and is absent too", file, c))
		}
	}
	return s, errors.Join(errs...)
}

// Swap returns the objects with the images of the set in place of the pinned ones, and a line "component: from -> to" for each
// component that changed, sorted. It replaces the image of every container and of every Strimzi resource by the component of the
// object it is in, and pinned references that stand in environment variables (the Strimzi operator's lists). Objects are copied.
// A component of the set that images.yaml does not know is ignored: image sets carry images of other users too.
func Swap(objects []Object, list ImageList, set ImageSet) ([]Object, []string) {
	pinned := list.References()
	tokens := map[string]string{}
	for c, ref := range pinned {
		if to, ok := set.Images[c]; ok {
			tokens[ref] = to
		}
	}
	swap := func(ref string) string {
		if to, ok := tokens[ref]; ok {
			return to
		}
		return ref
	}
	out := make([]Object, len(objects))
	for i, o := range objects {
		o = Object(clone(map[string]any(o)).(map[string]any))
		eachImage(o, func(_, ref string) string { return swap(ref) })
		eachEnv(o, func(v string) string {
			words := strings.Fields(v)
			for _, w := range words {
				name, ref, found := strings.Cut(w, "=")
				switch {
				case found && swap(ref) != ref:
					v = strings.ReplaceAll(v, w, name+"="+swap(ref))
				case !found && len(words) == 1 && swap(w) != w:
					v = swap(w)
				}
			}
			return v
		})
		out[i] = o
	}
	var changed []string
	for c, to := range set.Images {
		if from, ok := pinned[c]; ok && from != to {
			changed = append(changed, c+": "+from+" -> "+to)
		}
	}
	sort.Strings(changed)
	return out, changed
}

// Used returns the image references that the objects carry, by component, each sorted.
func Used(objects []Object) map[string][]string {
	seen := map[string]map[string]bool{}
	for _, o := range objects {
		eachImage(o, func(_, ref string) string {
			if seen[o.Component()] == nil {
				seen[o.Component()] = map[string]bool{}
			}
			seen[o.Component()][ref] = true
			return ref
		})
	}
	out := map[string][]string{}
	for c, refs := range seen {
		out[c] = slices.Sorted(maps.Keys(refs))
	}
	return out
}

// eachImage calls f with the path and value of every image reference of an object and puts its answer in the place: containers
// of any pod template, and spec.image and spec.kafka.image of Strimzi's resources.
func eachImage(o Object, f func(path, ref string) string) {
	strimzi := strings.HasPrefix(o.APIVersion(), "kafka.strimzi.io/")
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch t := v.(type) {
		case map[string]any:
			ref, isText := t["image"].(string)
			_, named := t["name"].(string)
			if isText && (named || strimzi && (path == ".spec" || path == ".spec.kafka")) {
				t["image"] = f(path+".image", ref)
			}
			for k, e := range t {
				walk(path+"."+k, e)
			}
		case []any:
			for i, e := range t {
				walk(fmt.Sprintf("%s[%d]", path, i), e)
			}
		}
	}
	if o.Kind() == "ConfigMap" || o.Kind() == "Secret" {
		return
	}
	walk("", map[string]any(o))
}

// eachEnv calls f with every literal value of an environment variable and puts its answer in the place.
func eachEnv(o Object, f func(value string) string) {
	var walk func(v any)
	walk = func(v any) {
		switch t := v.(type) {
		case map[string]any:
			if env, ok := t["env"].([]any); ok {
				for _, e := range env {
					m, _ := e.(map[string]any)
					if v, ok := m["value"].(string); ok {
						m["value"] = f(v)
					}
				}
			}
			for _, e := range t {
				walk(e)
			}
		case []any:
			for _, e := range t {
				walk(e)
			}
		}
	}
	walk(map[string]any(o))
}
