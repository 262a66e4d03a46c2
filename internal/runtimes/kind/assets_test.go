//go:build !embedded_only

package kind

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"triad/internal/manifests"
)

// served is a file behind a URL that counts how often it was fetched.
type served struct {
	content string
	fetched atomic.Int32
	*httptest.Server
}

func serve(t *testing.T, content string) *served {
	t.Helper()
	s := &served{content: content}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.fetched.Add(1)
		_, _ = w.Write([]byte(s.content))
	}))
	t.Cleanup(s.Close)
	return s
}

func TestAssetOfAnotherChecksumIsRefused(t *testing.T) {
	s := serve(t, "kind: Other\n")
	r := &Runtime{opts: Options{StateDir: t.TempDir()}}
	a := manifests.Asset{Name: "definitions", Env: "TRIAD_TEST_NO_FOLDER"}
	f := manifests.AssetFile{URL: s.URL + "/crd.yaml", SHA256: checksum([]byte("kind: Wanted\n"))}
	_, err := r.assetFile(t.Context(), a, f)
	if err == nil || !strings.Contains(err.Error(), f.SHA256) || !strings.Contains(err.Error(), checksum([]byte(s.content))) {
		t.Fatalf("error %v: want both checksums", err)
	}
	// What was refused is not in the way of what is right.
	s.content = "kind: Wanted\n"
	if b, err := r.assetFile(t.Context(), a, f); err != nil || string(b) != s.content {
		t.Errorf("the right file: %q, %v", b, err)
	}
	if _, err := r.assetFile(t.Context(), a, manifests.AssetFile{URL: f.URL}); err == nil || !strings.Contains(err.Error(), a.Env) {
		t.Errorf("without a checksum: %v, want the variable that helps", err)
	}
}

func TestAssetsAreFetchedOnce(t *testing.T) {
	s := serve(t, "kind: Wanted\n")
	r := &Runtime{opts: Options{StateDir: t.TempDir()}}
	a := manifests.Asset{Name: "definitions", Env: "TRIAD_TEST_FOLDER"}
	f := manifests.AssetFile{URL: s.URL + "/crd.yaml", SHA256: checksum([]byte(s.content))}
	get := func(want int32) {
		t.Helper()
		b, err := r.assetFile(t.Context(), a, f)
		if err != nil || string(b) != "kind: Wanted\n" || s.fetched.Load() != want {
			t.Errorf("%q, %v, fetched %d times, want %d", b, err, s.fetched.Load(), want)
		}
	}
	get(1)
	get(1)
	// A cache that was damaged is fetched again, and mended.
	if err := os.WriteFile(r.cachedAsset(f.URL, f.SHA256), []byte("kind: Damaged\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	get(2)
	get(2)
	s.Close()
	get(2)
	// A folder that is named goes before the cache.
	t.Setenv(a.Env, t.TempDir())
	if _, err := r.assetFile(t.Context(), a, f); err == nil || !strings.Contains(err.Error(), a.Env) {
		t.Errorf("a folder without the file: %v", err)
	}
	if err := os.WriteFile(filepath.Join(os.Getenv(a.Env), "crd.yaml"), []byte("kind: Wanted\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	get(2)
}

func TestDownloadRefuses(t *testing.T) {
	s := serve(t, "0123456789")
	if b, err := download(t.Context(), s.URL, time.Minute, 10); err != nil || len(b) != 10 {
		t.Errorf("a file of the largest size: %d bytes, %v", len(b), err)
	}
	if _, err := download(t.Context(), s.URL, time.Minute, 9); err == nil {
		t.Error("a file that is too large was taken, cut off")
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	defer gone.Close()
	if _, err := download(t.Context(), gone.URL, time.Minute, 100); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a page that says 404 was taken: %v", err)
	}
}
