//go:build !embedded_only

package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/kind/pkg/cluster/nodes"
	"sigs.k8s.io/kind/pkg/cluster/nodeutils"
)

const (
	pullParallel = 3
	pullTimeout  = 15 * time.Minute // for one image over a slow line
	loadTimeout  = 10 * time.Minute // for all images of one node
	// loadParallel is for nodes: unpacking is bound by disk and by one core each.
	loadParallel = 3
	// idLabel carries the engine's id of an image in the node's image store. The store itself knows only the digest of a manifest that
	// it made up while importing, and not every node image has crictl to ask for more.
	idLabel = "triad.dev/id"
)

// Source is an image that can be put into nodes.
type Source struct {
	Ref     string // as the engine knows it
	NodeRef string // as pods name it
	ID      string // equal ids, equal content
	Archive string // docker archive to load from; "" takes it from the engine
}

// FromOwn returns Triad's own image as a source.
func FromOwn(o Own) Source {
	return Source{Ref: o.Ref, NodeRef: o.Ref, ID: o.ID, Archive: o.Archive}
}

// Resolve makes sure that the engine has every image, pulling what is missing, and returns them as sources. progress may be nil.
func Resolve(ctx context.Context, e Engine, goarch string, refs []string, progress func(step, state, detail string)) ([]Source, error) {
	out := make([]Source, len(refs))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(pullParallel)
	for i, ref := range refs {
		g.Go(func() error {
			s, err := resolveOne(gctx, e, goarch, ref, progress)
			out[i] = s
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

func resolveOne(ctx context.Context, e Engine, goarch, ref string, progress func(step, state, detail string)) (Source, error) {
	s := Source{Ref: ref, NodeRef: NodeRef(ref)}
	id, err := e.ImageID(ctx, ref)
	if err != nil {
		return s, fmt.Errorf("image %s: %w", ref, err)
	}
	if id == "" {
		if progress != nil {
			progress("images", "info", "pulling "+ref)
		}
		pctx, cancel := context.WithTimeoutCause(ctx, pullTimeout, fmt.Errorf("not pulled within %s", pullTimeout))
		_, err := e.Run(pctx, "pull", "--quiet", "--platform", "linux/"+goarch, ref)
		cancel()
		if err != nil {
			return s, fmt.Errorf("image %s: %w (an image set can name another one: --images FILE or TRIAD_IMAGES)", ref, err)
		}
		if id, err = e.ImageID(ctx, ref); err != nil {
			return s, fmt.Errorf("image %s: %w", ref, err)
		}
	}
	s.ID = id
	if s.NodeRef != ref {
		// An archive holds tags only: an image that is known by its digest gets one.
		if _, err := e.Run(ctx, "tag", ref, s.NodeRef); err != nil {
			return s, fmt.Errorf("image %s: %w", ref, err)
		}
		s.Ref = s.NodeRef
	}
	return s, nil
}

// Loaded says what loading did for one node.
type Loaded struct {
	Node    string
	Loaded  []string // references that were put in
	Present int      // references that were there with the same content
	Took    time.Duration
}

// Load puts images into nodes and leaves out what a node has with the same content. Nodes are worked on in parallel, three at a
// time; each gets what it lacks from the engine as one stream.
func Load(ctx context.Context, e Engine, info EngineInfo, want map[nodes.Node][]Source) ([]Loaded, error) {
	out := make(chan Loaded, len(want))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(loadParallel)
	for node, sources := range want {
		g.Go(func() error {
			l, err := loadNode(gctx, e, info, node, sources)
			if err != nil {
				return fmt.Errorf("images into node %s: %w", node, err)
			}
			out <- l
			return nil
		})
	}
	err := g.Wait()
	close(out)
	var all []Loaded
	for l := range out {
		all = append(all, l)
	}
	return all, err
}

func loadNode(ctx context.Context, e Engine, info EngineInfo, node nodes.Node, sources []Source) (Loaded, error) {
	started := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, loadTimeout, fmt.Errorf("not loaded within %s", loadTimeout))
	defer cancel()
	have, err := nodeImages(ctx, e, node.String())
	if err != nil {
		return Loaded{}, err
	}
	l := Loaded{Node: node.String()}
	var fromEngine []Source
	for _, s := range sources {
		switch {
		case have[s.NodeRef] == s.ID:
			l.Present++
		case s.Archive != "":
			if err := loadArchive(node, s.Archive); err != nil {
				return l, err
			}
			if err := mark(ctx, e, node.String(), s); err != nil {
				return l, err
			}
			l.Loaded = append(l.Loaded, s.NodeRef)
		default:
			fromEngine = append(fromEngine, s)
		}
	}
	if len(fromEngine) > 0 {
		if err := loadFromEngine(ctx, e, info, node, fromEngine); err != nil {
			return l, err
		}
		for _, s := range fromEngine {
			if err := mark(ctx, e, node.String(), s); err != nil {
				return l, err
			}
			l.Loaded = append(l.Loaded, s.NodeRef)
		}
	}
	l.Took = time.Since(started)
	return l, nil
}

func loadArchive(node nodes.Node, archive string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	return nodeutils.LoadImageArchive(node, f)
}

// loadFromEngine streams the engine's archive into the node. kind's loader takes no context, but it ends when its input does.
func loadFromEngine(ctx context.Context, e Engine, info EngineInfo, node nodes.Node, sources []Source) error {
	args := saveArgs(e, info)
	for _, s := range sources {
		args = append(args, s.Ref)
	}
	r, w := io.Pipe()
	saved := make(chan error, 1)
	go func() {
		err := e.Pipe(ctx, nil, w, args...)
		_ = w.CloseWithError(err)
		saved <- err
	}()
	err := nodeutils.LoadImageArchive(node, r)
	_ = r.CloseWithError(errors.New("loading has ended"))
	if serr := <-saved; serr != nil && (err != nil || ctx.Err() != nil) {
		return serr
	}
	return err
}

// saveArgs are the words before the references of a command that writes a docker archive to its standard output.
func saveArgs(e Engine, info EngineInfo) []string {
	args := []string{"save"}
	if info.Containerd {
		// This kind of store knows images of several platforms of which it has one; without this the archive names all of them.
		args = append(args, "--platform", "linux/"+info.Arch)
	}
	if e.Name() == "podman" {
		args = append(args, "--format", "docker-archive", "--multi-image-archive")
	}
	return args
}

func mark(ctx context.Context, e Engine, node string, s Source) error {
	_, err := e.Run(ctx, "exec", node, "ctr", "-n", "k8s.io", "images", "label", storeName(s.NodeRef), idLabel+"="+s.ID)
	if err != nil {
		return fmt.Errorf("image %s: %w", s.NodeRef, err)
	}
	return nil
}

// nodeImages returns what a node has of Triad's loading: reference -> the engine's id.
func nodeImages(ctx context.Context, e Engine, node string) (map[string]string, error) {
	var out bytes.Buffer
	if err := e.Pipe(ctx, nil, &out, "exec", node, "ctr", "-n", "k8s.io", "images", "ls"); err != nil {
		return nil, err
	}
	return parseNodeImages(out.String()), nil
}

func parseNodeImages(table string) map[string]string {
	have := map[string]string{}
	for line := range strings.SplitSeq(table, "\n") {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		for label := range strings.SplitSeq(fields[len(fields)-1], ",") {
			if id, ok := strings.CutPrefix(label, idLabel+"="); ok {
				have[fields[0]] = id
				have[shortName(fields[0])] = id
			}
		}
	}
	return have
}

// storeName is the full name under which a node's store keeps a reference, as Docker's short names are spelled out.
func storeName(ref string) string {
	first, _, hasSlash := strings.Cut(ref, "/")
	switch {
	case !hasSlash:
		ref = "docker.io/library/" + ref
	case !strings.ContainsAny(first, ".:") && first != "localhost":
		ref = "docker.io/" + ref
	}
	if !strings.Contains(ref[strings.LastIndex(ref, "/")+1:], ":") {
		ref += ":latest"
	}
	return ref
}

// shortName undoes storeName for names of Docker Hub.
func shortName(ref string) string {
	ref = strings.TrimPrefix(ref, "docker.io/")
	return strings.TrimPrefix(ref, "library/")
}
