package revision

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Resolve returns the commit that a name stands for in the repository around dir, and the tree of dir in it.
func Resolve(ctx context.Context, dir, name string) (commit, tree string, err error) {
	sha, err := git(ctx, dir, "rev-parse", "--verify", "--quiet", "--end-of-options", name+"^{commit}")
	if err != nil {
		return "", "", err
	}
	commit = strings.TrimSpace(string(sha))
	top, err := git(ctx, dir, "rev-parse", "--show-prefix")
	if err != nil {
		return "", "", err
	}
	return commit, commit + ":" + strings.TrimSpace(string(top)), nil
}

// Unpack writes some paths of a tree-ish, as seen from dir, below the folder into, which need not be there yet. A link is an error: it may lead
// out of the folder.
func Unpack(ctx context.Context, dir, treeish, into string, paths ...string) error {
	packed, err := git(ctx, dir, append([]string{"archive", "--format=tar", treeish, "--"}, paths...)...)
	if err != nil {
		return err
	}
	return unpack(bytes.NewReader(packed), into)
}

func git(ctx context.Context, dir string, args ...string) ([]byte, error) {
	c := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("git %s: %w %s", args[0], err, strings.TrimSpace(said.String()))
	}
	return out, nil
}

// unpack writes the folders and plain files of an archive below dir, and nothing outside it.
func unpack(r io.Reader, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	in, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	return errors.Join(unpackTo(in, tar.NewReader(r)), in.Close())
}

func unpackTo(in *os.Root, t *tar.Reader) error {
	for {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		name := filepath.FromSlash(h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			err = in.MkdirAll(name, 0o755)
		case tar.TypeReg:
			err = writeTo(in, name, t)
		case tar.TypeXGlobalHeader: // the revision's name
		default:
			err = fmt.Errorf("neither a folder nor a plain file (type %c)", h.Typeflag)
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %w", h.Name, err)
		}
	}
}

func writeTo(in *os.Root, name string, r io.Reader) error {
	if err := in.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := in.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}
