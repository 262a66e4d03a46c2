//go:build !embedded_only

package kind

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/yaml"

	"triad/internal/kube"
	"triad/internal/manifests"
)

const (
	assetTimeout    = 2 * time.Minute
	assetMaxBytes   = 8 << 20 // the largest Strimzi definition is below one megabyte
	archiveTimeout  = 15 * time.Minute
	archiveMaxBytes = 512 << 20 // the sink's archive has some tens of megabytes
)

// contentAnnotation carries the checksum of what an object was made of, so that it is applied again only when that has changed.
const contentAnnotation = "triad.dev/content"

// newAssets returns the objects of the pinned assets that a cluster does not have yet with the same content. Ten large definitions
// take seconds to apply on a busy machine, and never change.
func (r *Runtime) newAssets(ctx context.Context, c *kube.Client, set manifests.Set, cluster string) ([]kube.Object, error) {
	objects, err := r.assetObjects(ctx, set, cluster)
	if err != nil || len(objects) == 0 {
		return nil, err
	}
	live, err := c.List(ctx, "apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "")
	if err != nil {
		return nil, err
	}
	have := map[string]string{}
	for i := range live {
		have[live[i].GetName()] = live[i].GetAnnotations()[contentAnnotation]
	}
	return slices.DeleteFunc(objects, func(o kube.Object) bool {
		return o.GetKind() == "CustomResourceDefinition" && have[o.GetName()] == o.GetAnnotations()[contentAnnotation]
	}), nil
}

// assetObjects returns the objects of the pinned assets that a cluster needs, from the folder that the asset's variable names, or
// from the cache, or from their URLs. A download is used only when its checksum is the pinned one.
func (r *Runtime) assetObjects(ctx context.Context, set manifests.Set, cluster string) ([]kube.Object, error) {
	assets, err := set.Assets()
	if err != nil {
		return nil, err
	}
	var out []kube.Object
	for _, a := range assets {
		if !slices.Contains(a.Clusters, cluster) {
			continue
		}
		for _, f := range a.Files {
			b, err := r.assetFile(ctx, a, f)
			if err != nil {
				return nil, fmt.Errorf("asset %s: %w", a.Name, err)
			}
			objs, err := decodeObjects(b)
			if err != nil {
				return nil, fmt.Errorf("asset %s: %s: %w", a.Name, path.Base(f.URL), err)
			}
			content := checksum(b)[:16]
			for i := range objs {
				objs[i].SetAnnotations(mergeMap(objs[i].GetAnnotations(), contentAnnotation, content))
			}
			out = append(out, objs...)
		}
	}
	return out, nil
}

func (r *Runtime) assetFile(ctx context.Context, a manifests.Asset, f manifests.AssetFile) ([]byte, error) {
	name := path.Base(f.URL)
	if dir := os.Getenv(a.Env); dir != "" {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("%w (%s names the folder)", err, a.Env)
		}
		return b, nil
	}
	if f.SHA256 == "" {
		return nil, fmt.Errorf("%s has no checksum: set %s to a folder with it", name, a.Env)
	}
	b, sum, err := r.fetch(ctx, f.URL, f.SHA256, assetTimeout, assetMaxBytes)
	if err != nil {
		return nil, fmt.Errorf("%w (or set %s to a folder with it)", err, a.Env)
	}
	if sum != f.SHA256 {
		return nil, fmt.Errorf("%s has the checksum %s, pinned is %s", f.URL, sum, f.SHA256)
	}
	return b, nil
}

// cachedAsset is where a file of this content is kept.
func (r *Runtime) cachedAsset(url, sum string) string {
	return filepath.Join(r.opts.StateDir, "assets", sum+"-"+path.Base(url))
}

// fetch returns a file and its checksum: from the cache what has the wanted one, else from its URL. What is fetched is kept under the checksum that it
// has, so that nothing else is ever taken for it; whoever calls compares. want may be empty.
func (r *Runtime) fetch(ctx context.Context, url, want string, timeout time.Duration, most int64) (b []byte, sum string, err error) {
	if want != "" {
		if b, err := os.ReadFile(r.cachedAsset(url, want)); err == nil && checksum(b) == want {
			return b, want, nil
		}
	}
	if b, err = download(ctx, url, timeout, most); err != nil {
		return nil, "", err
	}
	sum = checksum(b)
	_ = writeFileAtomic(r.cachedAsset(url, sum), b, 0o644) // without it the file is fetched again
	return b, sum, nil
}

func checksum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// download refuses what is larger than most: a file that is cut off has a checksum too.
func download(ctx context.Context, url string, timeout time.Duration, most int64) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%s: not there within %s", url, timeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("%s: is larger than %d MiB", url, most>>20)
	}
	return b, nil
}

// decodeObjects reads all documents of a YAML file.
func decodeObjects(b []byte) ([]kube.Object, error) {
	dec := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(b), 4096)
	var out []kube.Object
	for {
		var o kube.Object
		err := dec.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if len(o.Object) > 0 {
			out = append(out, o)
		}
	}
}
