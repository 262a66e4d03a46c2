package evidence

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	manifestsDir = "manifests"
	manifestsExt = ".yaml.gz"
	// maxManifests bounds what is unpacked of one file: ten times what the largest cluster has.
	maxManifests = 8 << 20
)

// Manifests writes the objects of each cluster as they were applied, or as parameters were read from them: one compressed
// YAML stream a cluster. They are sealed with the rest.
func (w *Writer) Manifests(byCluster map[string][]byte) error {
	for cluster, y := range byCluster {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err := z.Write(y)
		if err = errors.Join(err, z.Close()); err != nil {
			return fmt.Errorf("manifests of %s: %w", cluster, err)
		}
		if err := w.WriteFile(manifestsDir+"/"+cluster+manifestsExt, b.Bytes()); err != nil {
			w.mu.Lock()
			w.broken = err
			w.mu.Unlock()
			return err
		}
	}
	return nil
}

// ReadManifests returns what Manifests wrote into a run directory, by cluster; none for runs that are older than it.
func ReadManifests(dir string) (map[string][]byte, error) {
	files, err := filepath.Glob(filepath.Join(dir, manifestsDir, "*"+manifestsExt))
	if err != nil {
		return nil, fmt.Errorf("manifests: %w", err)
	}
	out := map[string][]byte{}
	for _, f := range files {
		b, err := unpack(f)
		if err != nil {
			return nil, fmt.Errorf("%s/%s: %w", manifestsDir, filepath.Base(f), err)
		}
		out[strings.TrimSuffix(filepath.Base(f), manifestsExt)] = b
	}
	return out, nil
}

func unpack(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(z, maxManifests+1))
	if err == nil && len(b) > maxManifests {
		err = fmt.Errorf("more than %d bytes: %w", maxManifests, fs.ErrInvalid)
	}
	return b, err
}
