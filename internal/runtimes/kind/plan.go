//go:build !embedded_only

package kind

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"

	"triad/internal/images"
	"triad/internal/manifests"
)

// overlay is the overlay of the manifests that this runtime deploys.
const overlay = "kind"

// ownComponent is the component that is Triad's own program in every run.
const ownComponent = "inputgen"

// DeployOptions says what to deploy. The zero value deploys the three clusters as the manifests have them.
type DeployOptions struct {
	// Set is the manifests, with a scenario's settings in them. Zero opens Options.Manifests.
	Set manifests.Set
	// Components are kustomize components to add, such as "observer".
	Components []string
	// Clusters to deploy into. Default: those of Options.
	Clusters []string
	// Alone leaves every other cluster as it is: no packet filter rule is touched there, and its secrets are used, not made.
	Alone bool
}

// Plan is what a deployment consists of. It is worked out before anything is changed, and a report can name everything in it.
type Plan struct {
	Clusters   []string
	Objects    map[string][]manifests.Object // cluster -> what is applied, without what is generated
	Images     map[string][]string           // cluster -> references that its nodes need, sorted
	Models     []string                      // components that Triad's own model stands in for
	StandIns   []string                      // components that are not the public program although they carry its name
	LeftOut    []string                      // components that are not there at all
	Reductions []manifests.Capability        // what images lack, and what was left out for it
	Swapped    []string                      // "component: from -> to"
	Flows      []manifests.Flow
	Own        images.Own

	applied sync.Map            // cluster -> YAML of everything that was applied, without the values of Secrets
	sources map[string]string   // reference in a node -> reference in the engine
	places  map[string][]string // component -> clusters whose manifests run it, left out or not
	made    []manifests.Made    // images that are made where they are needed
	noCurl  bool                // index templates are sent by the harness
}

// Plan renders the manifests, swaps their images, and says what is real, a model, or left out. It builds Triad's own image and pulls
// what has to be looked into; it changes no cluster.
func (r *Runtime) Plan(ctx context.Context, o DeployOptions) (*Plan, error) {
	set := o.Set
	if set.Dir() == "" {
		var err error
		if set, err = manifests.Open(r.opts.Manifests); err != nil {
			return nil, err
		}
	}
	list, err := set.Images()
	if err != nil {
		return nil, err
	}
	p := &Plan{Clusters: o.Clusters, Objects: map[string][]manifests.Object{}, Images: map[string][]string{}, StandIns: r.opts.Images.StandIns, sources: map[string]string{}}
	if len(p.Clusters) == 0 {
		p.Clusters = r.opts.Clusters
	}
	assets, err := set.Assets()
	if err != nil {
		return nil, err
	}
	if p.made, err = list.Made(r.opts.Images, assets); err != nil {
		return nil, err
	}
	if p.Flows, err = set.Flows(o.Components...); err != nil {
		return nil, err
	}
	program, err := images.OwnProgram()
	if err != nil {
		return nil, err
	}
	_, arch := r.platform()
	if p.Own, err = images.BuildOwn(ctx, program, arch, filepath.Join(r.opts.StateDir, "images")); err != nil {
		return nil, err
	}
	swaps := p.imageSet(list, r.opts.Images)
	if err := r.reduce(ctx, p, list); err != nil {
		return nil, err
	}
	components := r.components(o.Components)
	for _, red := range p.Reductions {
		if red.LeavesOut != "" {
			components = append(components, "-"+red.LeavesOut)
		}
		p.noCurl = p.noCurl || red.Name == "curl"
	}
	if components, err = knownComponents(set, components); err != nil {
		return nil, err
	}
	for _, c := range p.Clusters {
		objects, err := set.Render(c, overlay, components...)
		if err != nil {
			return nil, err
		}
		objects = p.leaveOut(c, objects)
		objects, p.Swapped = manifests.Swap(objects, list, swaps)
		p.Objects[c] = objects
		for _, refs := range manifests.Used(objects) {
			p.Images[c] = append(p.Images[c], refs...)
		}
		if c == Kafka { // for the pods that runs make beside the brokers
			p.Images[c] = append(p.Images[c], p.Own.Ref)
		}
		sort.Strings(p.Images[c])
		p.Images[c] = slices.Compact(p.Images[c])
	}
	return p, nil
}

// leaveOut returns the objects of a cluster without the components that are left out, and notes where each component has its place.
func (p *Plan) leaveOut(cluster string, objects []manifests.Object) []manifests.Object {
	if p.places == nil {
		p.places = map[string][]string{}
	}
	for name := range manifests.Used(objects) { // another cluster may have a Service of its name
		p.places[name] = append(p.places[name], cluster)
	}
	objects, _ = manifests.Without(objects, p.LeftOut...)
	return objects
}

// standsIn are the clusters of a stand-in. One that no object names, such as a plug-in inside of an image, is where the component is whose
// capability it takes away.
func (p *Plan) standsIn(name string) []string {
	if at := p.places[name]; len(at) > 0 {
		return at
	}
	for _, c := range p.Reductions {
		if c.StandIn == name {
			return p.places[c.Component]
		}
	}
	return nil
}

// knownComponents drops "-name" for components that the manifests do not have: there is nothing to leave out.
func knownComponents(set manifests.Set, components []string) ([]string, error) {
	known, err := set.Components()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(components, func(c string) bool { return c[0] == '-' && !slices.Contains(known, c[1:]) }), nil
}

// imageSet works out which reference every component gets, and what becomes of absent ones.
func (p *Plan) imageSet(list manifests.ImageList, set manifests.ImageSet) manifests.ImageSet {
	out := manifests.ImageSet{Images: map[string]string{}}
	for c, ref := range list.References() {
		if to, ok := set.Images[c]; ok {
			ref = to
		}
		switch {
		case c == ownComponent:
			out.Images[c] = p.Own.Ref
			continue
		case slices.Contains(set.Absent, c) && list.Images[c].Model:
			out.Images[c] = p.Own.Ref
			p.Models = append(p.Models, c)
			continue
		case slices.Contains(set.Absent, c):
			p.LeftOut = append(p.LeftOut, c)
			continue
		}
		in := images.NodeRef(ref)
		out.Images[c] = in
		p.sources[in] = ref
	}
	sort.Strings(p.Models)
	sort.Strings(p.LeftOut)
	return out
}

// reduce looks into the images for what they may lack. Only components that are real are asked.
func (r *Runtime) reduce(ctx context.Context, p *Plan, list manifests.ImageList) error {
	_, arch := r.platform()
	files := map[string][]string{}
	for _, c := range list.Capabilities {
		if c.File == "" {
			continue
		}
		files[c.Component] = append(files[c.Component], c.File)
	}
	have := map[string]map[string]bool{}
	var errs []error
	for _, c := range slices.Sorted(maps.Keys(files)) {
		if slices.Contains(p.LeftOut, c) || slices.Contains(p.Models, c) {
			continue
		}
		ref := list.References()[c]
		if to, ok := r.opts.Images.Images[c]; ok {
			ref = to
		}
		src, err := images.Resolve(ctx, r.engine, arch, []string{ref}, r.progress)
		if err == nil {
			have[c], err = r.hasFiles(ctx, src[0], files[c])
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	p.Reductions = list.Reductions(r.opts.Images, func(component, file string) bool {
		h, asked := have[component]
		return !asked || h[file]
	})
	return errors.Join(errs...)
}

// hasFiles asks an image which files it has, once for each image: the answer is kept by the image's id.
func (r *Runtime) hasFiles(ctx context.Context, src images.Source, paths []string) (map[string]bool, error) {
	file := filepath.Join(r.opts.StateDir, "images", "files-"+strings.TrimPrefix(src.ID, "sha256:")+".json")
	known := map[string]bool{}
	if b, err := os.ReadFile(file); err == nil && json.Unmarshal(b, &known) == nil &&
		!slices.ContainsFunc(paths, func(p string) bool { _, asked := known[p]; return !asked }) {
		return known, nil
	}
	have, err := images.HasFiles(ctx, r.engine, src.Ref, paths...)
	if err != nil {
		return nil, err
	}
	for _, p := range paths {
		have[p] = have[p] //nolint:staticcheck // false is an answer too, and has to be written down
	}
	b, err := json.Marshal(have)
	if err != nil {
		return nil, fmt.Errorf("contents of %s: %w", src.Ref, err)
	}
	return have, writeFileAtomic(file, b, 0o644)
}

// Lines says in words what is not the real thing, for the first lines of a run and its report. Empty means that everything is real.
func (p *Plan) Lines() []string {
	var out []string
	for _, c := range p.Models {
		out = append(out, c+": Triad's own model, in its pod")
	}
	for _, c := range p.StandIns {
		out = append(out, c+": a stand-in, not the public program")
	}
	for _, c := range p.LeftOut {
		out = append(out, c+": absent, left out")
	}
	for _, c := range p.Reductions {
		out = append(out, fmt.Sprintf("%s: %s", c.Component, c.Reason))
	}
	return out
}
