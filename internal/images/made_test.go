//go:build !embedded_only

package images

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// baseArchive is an image of one layer as an engine saves it, its layer compressed or not.
func baseArchive(t *testing.T, compressed bool) []byte {
	t.Helper()
	dir := t.TempDir()
	plain, err := writeLayer(dir, func(tw *tar.Writer) error {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "opt/kafka/bin/connect", Mode: 0o755, Size: 4}); err != nil {
			return err
		}
		_, err := tw.Write([]byte("bin\n"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var layer v1.Layer = plain
	if compressed {
		if layer, err = tarball.LayerFromOpener(plain.Uncompressed, tarball.WithMediaType(types.DockerLayer)); err != nil {
			t.Fatal(err)
		}
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", "arm64"
	cfg.Config = v1.Config{User: "1001", WorkingDir: "/opt/kafka", Env: []string{"KAFKA_HOME=/opt/kafka"}, Labels: map[string]string{"of": "the base"}}
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := tarball.Write(name.MustParseReference("far/kafka:1"), img, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// zipOf makes an archive of the given files, in the given order.
func zipOf(t *testing.T, modified time.Time, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range files {
		h := &zip.FileHeader{Name: f, Modified: modified, Method: zip.Deflate}
		h.SetMode(0o640)
		if strings.HasSuffix(f, "@") {
			h.SetMode(os.ModeSymlink | 0o777)
		}
		w, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(f, "/") {
			if _, err := w.Write([]byte("content of " + f)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestMakeIsTheBaseAndTheArchive(t *testing.T) {
	for _, compressed := range []bool{false, true} {
		e := newFakeEngine(t)
		e.put(t, "far/kafka:1", baseArchive(t, compressed))
		dir := t.TempDir()
		build := func(z []byte) []byte {
			t.Helper()
			r := Recipe{Ref: "made/here:1", Base: "far/kafka:1", Zip: z, Below: "/opt/kafka/plugins", MadeOf: "base sum"}
			if err := Make(t.Context(), e.Engine, EngineInfo{Arch: "arm64"}, r, dir); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(e.file("loaded"))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		first := build(zipOf(t, time.Unix(1e9, 0), "sink-1/", "sink-1/lib/b.jar", "sink-1/lib/a.jar", "sink-1/manifest.json"))
		second := build(zipOf(t, time.Unix(2e9, 0), "sink-1/manifest.json", "sink-1/lib/a.jar", "sink-1/lib/b.jar"))
		if !bytes.Equal(first, second) {
			t.Errorf("compressed %v: the same files in another order and of another time give another image", compressed)
		}
		img, err := tarball.ImageFromPath(e.file("loaded"), nil)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Config.User != "1001" || cfg.Architecture != "arm64" || cfg.Config.WorkingDir != "/opt/kafka" || len(cfg.Config.Env) != 1 {
			t.Errorf("compressed %v: the base's configuration is lost: %+v", compressed, cfg)
		}
		if diff := cmp.Diff(map[string]string{"of": "the base", MadeOfLabel: "base sum"}, cfg.Config.Labels); diff != "" {
			t.Errorf("compressed %v: labels (-want +got):\n%s", compressed, diff)
		}
		if got, err := MadeOf(t.Context(), e.Engine, "made/here:1"); err != nil || got != "base sum" {
			t.Errorf("compressed %v: made of %q, %v", compressed, got, err)
		}
		want := []map[string]string{
			{"opt/kafka/bin/connect": "755 bin\n"},
			{
				"opt/kafka/plugins/sink-1/": "755 ", "opt/kafka/plugins/sink-1/lib/": "755 ",
				"opt/kafka/plugins/sink-1/lib/a.jar":     "644 content of sink-1/lib/a.jar",
				"opt/kafka/plugins/sink-1/lib/b.jar":     "644 content of sink-1/lib/b.jar",
				"opt/kafka/plugins/sink-1/manifest.json": "644 content of sink-1/manifest.json",
			},
		}
		if diff := cmp.Diff(want, layersOf(t, img)); diff != "" {
			t.Errorf("compressed %v: layers (-want +got):\n%s", compressed, diff)
		}
		if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
			t.Errorf("compressed %v: left behind: %v, %v", compressed, left, err)
		}
	}
}

// layersOf are the files of each layer: mode and content. A digest that does not fit its layer is an error.
func layersOf(t *testing.T, img v1.Image) []map[string]string {
	t.Helper()
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]string
	for i, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		if h, _, err := v1.SHA256(bytes.NewReader(b)); err != nil || h != cfg.RootFS.DiffIDs[i] {
			t.Errorf("layer %d has the digest %v (%v), the configuration says %v", i, h, err, cfg.RootFS.DiffIDs[i])
		}
		files := map[string]string{}
		tr := tar.NewReader(bytes.NewReader(b))
		for {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			if h.Uid != 0 || h.Gid != 0 || h.ModTime.Unix() != 0 && i == 1 {
				t.Errorf("%s: owner %d:%d, time %s", h.Name, h.Uid, h.Gid, h.ModTime)
			}
			files[h.Name] = octal(h.Mode) + " " + string(content)
		}
		out = append(out, files)
	}
	return out
}

func octal(mode int64) string {
	return string([]byte{'0' + byte(mode>>6&7), '0' + byte(mode>>3&7), '0' + byte(mode&7)})
}

func TestCheckPluginsRefuses(t *testing.T) {
	good := zipOf(t, time.Unix(0, 0), "sink/lib/a.jar")
	if err := CheckPlugins(good); err != nil {
		t.Errorf("a good archive: %v", err)
	}
	for what, b := range map[string][]byte{
		"cut off":      good[:len(good)-30],
		"no archive":   []byte("<html>moved</html>"),
		"no program":   zipOf(t, time.Unix(0, 0), "sink/README"),
		"leads out":    zipOf(t, time.Unix(0, 0), "sink/lib/a.jar", "../../../etc/passwd"),
		"from inside":  zipOf(t, time.Unix(0, 0), "sink/lib/a.jar", "sink/../../x"),
		"from root":    zipOf(t, time.Unix(0, 0), "sink/lib/a.jar", "/etc/passwd"),
		"removes":      zipOf(t, time.Unix(0, 0), "sink/lib/a.jar", "sink/.wh.b"),
		"link":         zipOf(t, time.Unix(0, 0), "sink/lib/a.jar", "sink/link@"),
		"other slants": zipOf(t, time.Unix(0, 0), "sink/lib/a.jar", `sink\lib\b.jar`),
	} {
		if err := CheckPlugins(b); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

func TestMakeSaysWhatIsWrong(t *testing.T) {
	e := newFakeEngine(t)
	e.put(t, "far/kafka:1", []byte("no archive"))
	r := Recipe{Ref: "made/here:1", Base: "far/kafka:1", Zip: zipOf(t, time.Unix(0, 0), "a.jar"), Below: "/opt/kafka/plugins"}
	for what, r := range map[string]Recipe{"base": r, "ref": {Ref: "made/other:1", Base: "far/good:1", Zip: r.Zip, Below: r.Below}} {
		e.put(t, "far/good:1", baseArchive(t, false))
		err := Make(t.Context(), e.Engine, EngineInfo{}, r, t.TempDir())
		if err == nil || !strings.Contains(err.Error(), r.Ref) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
