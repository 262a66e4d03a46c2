//go:build !embedded_only

package images

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// OwnRepository is the name of Triad's own image, without a tag: the tag is made from its content.
const OwnRepository = "docker.io/triad/sim"

// ownProgram is where the sim program lies in its image.
const ownProgram = "usr/local/bin/sim"

// ownUser is the user of the image when a pod names none: not root, and no one's name.
const ownUser = "65532:65532"

// StandInPaths are the further names of the sim program in its image: those under which the manifests start the programs that it can
// stand in for. Started under one of them it runs that program's model.
func StandInPaths() []string {
	return []string{"fluent-bit/bin/fluent-bit", "usr/local/bin/fluentd", "usr/local/bundle/bin/fluentd", "usr/bin/fluentd"}
}

// Own is Triad's own image as an archive on disk.
type Own struct {
	Ref     string // docker.io/triad/sim:<first 12 digits of the content's hash>
	ID      string // digest of the image's configuration: equal content, equal id
	Archive string // docker archive that an engine and a node can load
}

// ErrNotForNodes says that a program cannot run in the nodes: it is for another system or architecture, or not static.
var ErrNotForNodes = errors.New("program does not run in the nodes")

// BuildOwn makes Triad's own image out of a static Linux program (usually the running sim) without a container build: one layer with
// the program, hard links to it at StandInPaths, and an empty /tmp. The same program gives the same image, byte for byte; an archive
// that is there already is used. dir is the folder for archives.
func BuildOwn(ctx context.Context, program, goarch, dir string) (Own, error) {
	if err := checkProgram(program, goarch); err != nil {
		return Own{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Own{}, fmt.Errorf("own image: %w", err)
	}
	layer, err := ownLayer(ctx, program, dir)
	if err != nil {
		return Own{}, fmt.Errorf("own image: %w", err)
	}
	defer func() { _ = os.Remove(layer.path) }()
	img, err := ownImage(layer, goarch)
	if err != nil {
		return Own{}, fmt.Errorf("own image: %w", err)
	}
	id, err := img.ConfigName()
	if err != nil {
		return Own{}, fmt.Errorf("own image: %w", err)
	}
	own := Own{Ref: OwnRepository + ":" + id.Hex[:12], ID: id.String(), Archive: filepath.Join(dir, "sim-"+id.Hex[:12]+".tar")}
	if _, err := os.Stat(own.Archive); err == nil {
		return own, nil
	}
	tag, err := name.NewTag(own.Ref)
	if err != nil {
		return Own{}, fmt.Errorf("own image: %w", err)
	}
	tmp, err := os.CreateTemp(dir, ".archive-*")
	if err != nil {
		return Own{}, fmt.Errorf("own image: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	err = errors.Join(tarball.Write(tag, img, tmp), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), own.Archive)
	}
	if err != nil {
		return Own{}, fmt.Errorf("own image: %w", err)
	}
	return own, nil
}

// checkProgram refuses what would start in no pod, with a sentence instead of an exec format error in a pod's log.
func checkProgram(program, goarch string) error {
	fix := fmt.Sprintf("build one with `CGO_ENABLED=0 GOOS=linux GOARCH=%s go build -o sim-linux ./cmd/sim` and set TRIAD_SIM_BINARY=sim-linux", goarch)
	f, err := elf.Open(program)
	if err != nil {
		var format *elf.FormatError
		if errors.As(err, &format) || errors.Is(err, io.EOF) {
			return fmt.Errorf("%s: %w: it is not a Linux program; %s", program, ErrNotForNodes, fix)
		}
		return fmt.Errorf("own image: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	if want, ok := machines[goarch]; ok && f.Machine != want {
		return fmt.Errorf("%s: %w: it is built for %s, the nodes are %s; %s", program, ErrNotForNodes, f.Machine, goarch, fix)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s: %w: it is not static; %s", program, ErrNotForNodes, fix)
		}
	}
	return nil
}

func ownImage(layer *fileLayer, goarch string) (v1.Image, error) {
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", goarch
	cfg.Created = v1.Time{Time: time.Unix(0, 0).UTC()}
	cfg.Config = v1.Config{
		Entrypoint: []string{"/" + ownProgram},
		User:       ownUser,
		WorkingDir: "/",
		Env:        []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp"},
		Labels:     map[string]string{"triad.dev/stands-in-for": "fluent-bit,fluentd"},
	}
	return mutate.ConfigFile(img, cfg)
}

// ownLayer is the layer with the program.
func ownLayer(ctx context.Context, program, dir string) (*fileLayer, error) {
	src, err := os.Open(program)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return nil, err
	}
	return writeLayer(dir, func(tw *tar.Writer) error { return fillLayer(ctx, tw, src, info.Size()) })
}

// writeLayer writes a layer's tar to a file in dir and takes its digest on the way.
func writeLayer(dir string, fill func(*tar.Writer) error) (*fileLayer, error) {
	out, err := os.CreateTemp(dir, ".layer-*")
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	tw := tar.NewWriter(io.MultiWriter(out, h))
	err = errors.Join(fill(tw), tw.Close(), out.Close())
	if err != nil {
		_ = os.Remove(out.Name())
		return nil, err
	}
	written, err := os.Stat(out.Name())
	if err != nil {
		return nil, err
	}
	return &fileLayer{path: out.Name(), size: written.Size(), diffID: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}}, nil
}

// fillLayer writes the entries in a fixed order with fixed times and owners: that is what makes the image reproducible.
func fillLayer(ctx context.Context, tw *tar.Writer, program io.Reader, size int64) error {
	var dirs []string
	for _, f := range append([]string{ownProgram}, StandInPaths()...) {
		for d := path.Dir(f); d != "."; d = path.Dir(d) {
			dirs = append(dirs, d)
		}
	}
	slices.Sort(dirs)
	for _, d := range slices.Compact(dirs) {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: d + "/", Mode: 0o755, Format: tar.FormatUSTAR}); err != nil {
			return err
		}
	}
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777, Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: ownProgram, Mode: 0o755, Size: size, Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	if _, err := io.Copy(tw, readerFunc(func(b []byte) (int, error) {
		if err := context.Cause(ctx); err != nil {
			return 0, err
		}
		return program.Read(b)
	})); err != nil {
		return err
	}
	for _, f := range StandInPaths() {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeLink, Name: f, Linkname: ownProgram, Mode: 0o755, Format: tar.FormatUSTAR}); err != nil {
			return err
		}
	}
	return nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// fileLayer is an uncompressed layer in a file. Nothing is sent over a network, so compressing a hundred megabytes would only cost time.
type fileLayer struct {
	path   string
	size   int64
	diffID v1.Hash
}

var _ v1.Layer = (*fileLayer)(nil)

func (l *fileLayer) Digest() (v1.Hash, error)             { return l.diffID, nil }
func (l *fileLayer) DiffID() (v1.Hash, error)             { return l.diffID, nil }
func (l *fileLayer) Compressed() (io.ReadCloser, error)   { return os.Open(l.path) }
func (l *fileLayer) Uncompressed() (io.ReadCloser, error) { return os.Open(l.path) }
func (l *fileLayer) Size() (int64, error)                 { return l.size, nil }
func (l *fileLayer) MediaType() (types.MediaType, error)  { return types.DockerUncompressedLayer, nil }

// OwnProgram returns the program that Triad's own image is made of: TRIAD_SIM_BINARY, else the running program.
func OwnProgram() (string, error) {
	if p := os.Getenv("TRIAD_SIM_BINARY"); p != "" {
		if _, err := os.Stat(p); err != nil {
			return "", fmt.Errorf("TRIAD_SIM_BINARY: %w", err)
		}
		return p, nil
	}
	p, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("own program: %w", err)
	}
	if p, err = filepath.EvalSymlinks(p); err != nil {
		return "", fmt.Errorf("own program: %w", err)
	}
	return p, nil
}

// ownKept is how long an archive of another build stays: whoever made it may be about to load it.
const ownKept = 24 * time.Hour

// PruneOwn removes the archives beside keep that older builds of the program left there more than a day ago, nearly a hundred megabytes each.
func PruneOwn(keep Own) error {
	dir := filepath.Dir(keep.Archive)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("own image: %w", err)
	}
	var errs []error
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if !strings.HasPrefix(e.Name(), "sim-") || name == keep.Archive {
			continue
		}
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > ownKept {
			errs = append(errs, os.Remove(name))
		}
	}
	return errors.Join(errs...)
}
