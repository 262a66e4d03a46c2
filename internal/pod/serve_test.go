package pod

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A time that came in an order is counted from by the monotonic clock, and is the same time.
func TestHere(t *testing.T) {
	for _, ago := range []time.Duration{-time.Hour, 0, time.Hour} {
		b, err := json.Marshal(time.Now().Add(ago))
		if err != nil {
			t.Fatal(err)
		}
		var at time.Time
		if err := json.Unmarshal(b, &at); err != nil {
			t.Fatal(err)
		}
		here := Here(at)
		if strings.Contains(at.String(), " m=") || !strings.Contains(here.String(), " m=") || !here.Equal(at) {
			t.Errorf("%v is here %v", at, here)
		}
	}
}

// What a night has written takes longer to fetch than the client waits for an answer: whoever fetches says how long it may take.
func TestFetchTakesItsTime(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		out := tar.NewWriter(w)
		for _, b := range []string{"a", "b", "c"} {
			if out.WriteHeader(&tar.Header{Name: b, Mode: 0o644, Size: 1}) != nil {
				return
			}
			_, _ = out.Write([]byte(b)) // the reader is gone when this fails
			w.(http.Flusher).Flush()
			time.Sleep(100 * time.Millisecond)
		}
		_ = out.Close()
	}))
	defer srv.Close()
	r := Remote{Name: "a", URL: srv.URL, Client: &http.Client{Timeout: 150 * time.Millisecond, Transport: srv.Client().Transport}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	if err := r.Fetch(ctx, "/", dir); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "c")); err != nil || string(b) != "c" {
		t.Errorf("%q, %v", b, err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.Fetch(short, "/", t.TempDir()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("behind its deadline: %v", err)
	}
	if err := r.Fetch(t.Context(), "/", t.TempDir()); err == nil {
		t.Error("without a deadline the client's does not hold")
	}
}
