//go:build !embedded_only

package kind

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"triad/internal/kube"
	"triad/internal/manifests"
	"triad/internal/preflight"
)

// PreflightError says why this machine cannot carry the clusters, each finding with the command that makes it good.
type PreflightError struct{ Findings []preflight.Finding }

// Error prints a line for each finding, and one for its command.
func (e *PreflightError) Error() string {
	var b strings.Builder
	b.WriteString("this machine cannot carry the clusters yet:")
	for _, f := range e.Findings {
		fmt.Fprintf(&b, "\n  %s: %s\n    %s", f.Check, f.Detail, f.Fix)
	}
	b.WriteString("\nno clusters are needed with --runtime embedded")
	return b.String()
}

// Preflight looks whether this machine can carry the clusters of the options with the images of their image set. Ports that Triad's own
// clusters hold are not in the way.
func (r *Runtime) Preflight(ctx context.Context) ([]preflight.Finding, error) {
	need, _, err := r.needs(ctx)
	if err != nil {
		return nil, err
	}
	return preflight.Run(ctx, need), nil
}

// needs are what the clusters ask of the machine, and whether all of them run already. A cluster of the same name that is somebody else's is an
// error: what it holds of the machine is not what is in the way.
func (r *Runtime) needs(ctx context.Context) (need preflight.Needs, running bool, err error) {
	profile, err := r.chooseProfile(ctx)
	if err != nil {
		return need, false, err
	}
	nodes, node, running := 0, "", true
	held := map[int]bool{}
	for _, c := range r.hosts() {
		cfg, err := r.clusterConfig(c, profile)
		if err != nil {
			return need, false, err
		}
		nodes += len(cfg.Nodes)
		a, err := r.assess(ctx, c, "", 0)
		if err == nil {
			err = a.foreign()
		}
		if err != nil {
			return need, false, err
		}
		running = running && a.Condition == Running && len(a.Nodes) == len(cfg.Nodes)
		for _, n := range a.Nodes {
			if n.State == "running" {
				node = n.Name
			}
			for _, addr := range n.HostPorts {
				if _, port, err := net.SplitHostPort(addr); err == nil {
					if v, err := strconv.Atoi(port); err == nil {
						held[v] = true
					}
				}
			}
		}
	}
	need = preflight.DefaultNeeds(nodes)
	need.Node, need.HeldPorts, need.NodeImage = node, held, r.opts.NodeImage
	if need.Ports, err = r.HostPorts(); err != nil {
		return need, false, err
	}
	need.Images, need.Made, err = r.images()
	return need, running, err
}

// images are the references that have to be in the engine, and how it is found out whether those can be made that are in no registry.
func (r *Runtime) images() (refs []string, looks map[string]preflight.Look, err error) {
	list, err := manifests.Pinned(r.opts.Manifests)
	if err != nil {
		return nil, nil, err
	}
	made, err := r.pinnedMade()
	if err != nil {
		return nil, nil, err
	}
	looks = map[string]preflight.Look{}
	for _, m := range made {
		looks[m.Ref] = func(ctx context.Context) (detail, fix string) { return r.canMake(ctx, m) }
	}
	for c, ref := range list.References() {
		if c == ownComponent || slices.Contains(r.opts.Images.Absent, c) {
			continue
		}
		if to, ok := r.opts.Images.Images[c]; ok {
			ref = to
		}
		refs = append(refs, ref)
	}
	slices.Sort(refs)
	return slices.Compact(refs), looks, nil
}

// ready looks at the machine before anything is pulled, made or started, and pulls the node image where it is not there. That takes minutes, at whose
// end nobody wants to hear that a port is taken: what needs no node image is asked before, and all of it behind, because the image decides how many
// nodes there are and is where the kernel is tried.
func (r *Runtime) ready(ctx context.Context) error {
	id, err := r.engine.ImageID(ctx, r.opts.NodeImage)
	if err != nil {
		return err
	}
	if err := r.carries(ctx, id != ""); err != nil || id != "" {
		return err
	}
	if err := r.ensureNodeImage(ctx); err != nil {
		return err
	}
	return r.carries(ctx, true)
}

// carries is the preflight of clusters that are to be made or started. Where every node runs nothing is asked: the machine carries them.
func (r *Runtime) carries(ctx context.Context, nodeImage bool) error {
	need, running, err := r.needs(ctx)
	if err != nil || running {
		return err
	}
	if !nodeImage {
		need.NodeImage = ""
	}
	r.progress("preflight", kube.StateStart, "")
	findings := preflight.Run(ctx, need)
	if bad := preflight.Bad(findings); len(bad) > 0 {
		err := &PreflightError{bad}
		r.progress("preflight", kube.StateFail, fmt.Sprintf("%d of %d things are not as they have to be", len(bad), len(findings)))
		return err
	}
	said := []string{fmt.Sprintf("%d things looked at", len(findings))}
	for _, f := range findings {
		if !f.OK {
			said = append(said, fmt.Sprintf("%s: %s (%s)", f.Check, f.Detail, f.Fix))
		}
	}
	r.progress("preflight", kube.StateDone, strings.Join(said, "; "))
	return nil
}
