//go:build !embedded_only

package kind

import (
	"context"
	"net"
	"slices"
	"strconv"

	"triad/internal/preflight"
)

// Preflight looks whether this machine can carry the clusters of the options with the images of a plan. A nil plan asks for the node
// image alone. Ports that Triad's own clusters hold are not in the way.
func (r *Runtime) Preflight(ctx context.Context, p *Plan) ([]preflight.Finding, error) {
	profile, err := r.chooseProfile(ctx)
	if err != nil {
		return nil, err
	}
	nodes := 0
	held := map[int]bool{}
	need := preflight.Needs{}
	for _, c := range r.hosts() {
		cfg, err := r.clusterConfig(c, profile)
		if err != nil {
			return nil, err
		}
		nodes += len(cfg.Nodes)
		there, err := r.Nodes(ctx, c)
		if err != nil {
			return nil, err
		}
		for _, n := range there {
			if n.Owned && n.Elsewhere == "" && n.State == "running" && need.Node == "" {
				need.Node = n.Name
			}
			for _, addr := range n.HostPorts {
				if _, port, err := net.SplitHostPort(addr); err == nil && n.Owned && n.Elsewhere == "" {
					if v, err := strconv.Atoi(port); err == nil {
						held[v] = true
					}
				}
			}
		}
	}
	running := need.Node
	need = preflight.DefaultNeeds(nodes)
	need.Node, need.HeldPorts, need.NodeImage = running, held, r.opts.NodeImage
	if need.Ports, err = r.HostPorts(); err != nil {
		return nil, err
	}
	if p != nil {
		for _, refs := range p.Images {
			for _, ref := range refs {
				if src := p.sources[ref]; src != "" && !slices.Contains(need.Images, src) {
					need.Images = append(need.Images, src)
				}
			}
		}
		slices.Sort(need.Images)
	}
	return preflight.Run(ctx, need), nil
}
