//go:build !embedded_only

package images

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
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

// MadeOfLabel is on an image that was made here and says of what, so that one of other parts is told from it.
const MadeOfLabel = "triad.dev/made-of"

const (
	makeTimeout   = 15 * time.Minute // for reading an image of several hundred megabytes out of the engine and putting it in again
	unpackedBytes = 1 << 30          // the sink's archive unpacks to less than a tenth of it
)

// Recipe is an image that is made of another one and a zip archive of Kafka Connect's plugins.
type Recipe struct {
	Ref    string // name that the engine gives it
	Base   string // image below, which the engine has
	Zip    []byte
	Below  string // absolute path of the folder in which the archive is unpacked
	MadeOf string // value of MadeOfLabel
}

// Make makes an image without a container build and loads it into the engine: the layers and the configuration of the base, and one layer
// with the archive's files, owned by root and readable by everybody. The same base and archive give the same image. dir is a folder for what lies on
// disk meanwhile, about the size of the base.
func Make(ctx context.Context, e Engine, info EngineInfo, r Recipe, dir string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, makeTimeout, fmt.Errorf("not made within %s", makeTimeout))
	defer cancel()
	wrap := func(err error) error { return fmt.Errorf("image %s: %w", r.Ref, err) }
	tag, err := name.NewTag(r.Ref)
	if err != nil {
		return wrap(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return wrap(err)
	}
	layer, err := pluginLayer(r, dir)
	if err != nil {
		return wrap(err)
	}
	defer func() { _ = os.Remove(layer.path) }()
	saved, err := os.CreateTemp(dir, ".base-*")
	if err != nil {
		return wrap(err)
	}
	defer func() { _ = os.Remove(saved.Name()) }()
	if err := errors.Join(e.Pipe(ctx, nil, saved, append(saveArgs(e, info), r.Base)...), saved.Close()); err != nil {
		return wrap(err)
	}
	base, err := tarball.ImageFromPath(saved.Name(), nil)
	if err != nil {
		return wrap(fmt.Errorf("archive of %s: %w", r.Base, err))
	}
	img, err := onTop(base, layer, r.MadeOf)
	if err != nil {
		return wrap(err)
	}
	pr, pw := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := tarball.Write(tag, img, pw)
		_ = pw.CloseWithError(err)
		written <- err
	}()
	err = e.Pipe(ctx, pr, nil, "load", "--quiet")
	_ = pr.CloseWithError(errors.New("loading has ended"))
	if werr := <-written; err == nil {
		err = werr
	}
	if err != nil {
		return wrap(err)
	}
	id, err := e.ImageID(ctx, r.Ref)
	if err == nil && id == "" {
		err = errors.New("loaded, and the engine does not know it under this name")
	}
	if err != nil {
		return wrap(err)
	}
	return nil
}

// onTop is the base with one layer more.
func onTop(base v1.Image, layer v1.Layer, madeOf string) (v1.Image, error) {
	below, err := base.Layers()
	if err != nil {
		return nil, err
	}
	img := empty.Image
	for _, l := range append(slices.Clone(below), layer) {
		plain, err := asPlain(l)
		if err != nil {
			return nil, err
		}
		if img, err = mutate.AppendLayers(img, plain); err != nil {
			return nil, err
		}
	}
	made, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg, err := base.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg = cfg.DeepCopy()
	cfg.RootFS = made.RootFS
	cfg.History = append(cfg.History, v1.History{Created: cfg.Created, CreatedBy: "triad", Comment: madeOf})
	if cfg.Config.Labels == nil {
		cfg.Config.Labels = map[string]string{}
	}
	cfg.Config.Labels[MadeOfLabel] = madeOf
	return mutate.ConfigFile(img, cfg)
}

// plainLayer hands a layer on as it is, where the library would compress it three times to know its size and digest.
type plainLayer struct {
	v1.Layer
	diffID v1.Hash
	size   int64
}

func asPlain(l v1.Layer) (v1.Layer, error) {
	if f, ok := l.(*fileLayer); ok {
		return f, nil
	}
	id, err := l.DiffID()
	if err != nil {
		return nil, err
	}
	r, err := l.Uncompressed()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	size, err := io.Copy(io.Discard, r)
	return plainLayer{l, id, size}, err
}

func (l plainLayer) Digest() (v1.Hash, error)            { return l.diffID, nil }
func (l plainLayer) DiffID() (v1.Hash, error)            { return l.diffID, nil }
func (l plainLayer) Compressed() (io.ReadCloser, error)  { return l.Uncompressed() }
func (l plainLayer) Size() (int64, error)                { return l.size, nil }
func (l plainLayer) MediaType() (types.MediaType, error) { return types.DockerUncompressedLayer, nil }

// CheckPlugins says why an archive cannot be unpacked as plugins of Kafka Connect: it is cut off, holds names that lead out of its folder, links, or
// no program.
func CheckPlugins(archive []byte) error {
	_, err := pluginFiles(archive)
	return err
}

// pluginFiles returns the files of an archive, sorted by their names.
func pluginFiles(archive []byte) ([]*zip.File, error) {
	z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return nil, err
	}
	var files []*zip.File
	jars, size := 0, uint64(0)
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		base := path.Base(f.Name)
		if path.IsAbs(f.Name) || path.Clean(f.Name) != f.Name || strings.HasPrefix(f.Name, "../") || strings.Contains(f.Name, "\\") || strings.HasPrefix(base, ".wh.") || !f.Mode().IsRegular() {
			return nil, fmt.Errorf("%q is no plain file below the archive's folder", f.Name)
		}
		if size += min(f.UncompressedSize64, unpackedBytes+1); size > unpackedBytes {
			return nil, fmt.Errorf("it unpacks to more than %d MiB", unpackedBytes>>20)
		}
		if strings.HasSuffix(base, ".jar") {
			jars++
		}
		files = append(files, f)
	}
	if jars == 0 {
		return nil, errors.New("it holds no .jar")
	}
	slices.SortFunc(files, func(a, b *zip.File) int { return strings.Compare(a.Name, b.Name) })
	return files, nil
}

// pluginLayer unpacks the archive into a layer with a fixed order, fixed times and owners: that is what makes the image reproducible. The folders
// above are those of the base, which keep their owners.
func pluginLayer(r Recipe, dir string) (*fileLayer, error) {
	files, err := pluginFiles(r.Zip)
	if err != nil {
		return nil, err
	}
	root := strings.TrimPrefix(path.Clean(r.Below), "/")
	var dirs []string
	for _, f := range files {
		for d := path.Dir(f.Name); d != "."; d = path.Dir(d) {
			dirs = append(dirs, d)
		}
	}
	slices.Sort(dirs)
	return writeLayer(dir, func(tw *tar.Writer) error {
		for _, d := range slices.Compact(dirs) {
			if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: path.Join(root, d) + "/", Mode: 0o755, Format: tar.FormatPAX}); err != nil {
				return err
			}
		}
		for _, f := range files {
			if err := addFile(tw, path.Join(root, f.Name), f); err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
		}
		return nil
	})
}

func addFile(tw *tar.Writer, name string, f *zip.File) error {
	src, err := f.Open()
	if err != nil {
		return err
	}
	defer src.Close()
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(f.UncompressedSize64), Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err = io.Copy(tw, src) // a file that is longer than it says does not fit into its header
	return err
}

// MadeOf returns what an image of the engine says of its making: "" when the engine has it and it was not made here.
func MadeOf(ctx context.Context, e Engine, ref string) (string, error) {
	return e.Run(ctx, "image", "inspect", "--format", `{{index .Config.Labels "`+MadeOfLabel+`"}}`, ref)
}
