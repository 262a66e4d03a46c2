package pod

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// maxOrder bounds an order in bytes: the largest is a scenario with its streams.
const maxOrder = 8 << 20

// Remote is a program in a pod, as the harness speaks to it.
type Remote struct {
	Name   string // of the pod
	URL    string
	Client *http.Client
	// Gone reports that the pod is there no more, and what it had with it; nil: it stays where it is.
	Gone func(ctx context.Context) bool
}

// Call sends in as JSON, nothing when it is nil, and decodes the answer into out, unless that is nil. An answer other than 200 is an error with
// its text.
func (r Remote) Call(ctx context.Context, method, path string, in, out any) error {
	body := io.Reader(http.NoBody)
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.URL+path, body)
	if err != nil {
		return err
	}
	res, err := r.Client.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", r.Name, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %w", r.Name, refusal(res))
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		return fmt.Errorf("%s: %w", r.Name, err)
	}
	return nil
}

func refusal(res *http.Response) error {
	msg, _ := io.ReadAll(io.LimitReader(res.Body, 500))
	return fmt.Errorf("HTTP %d: %s", res.StatusCode, strings.TrimSpace(string(msg)))
}

// Fetch writes the folder that a path answers with below dir. Where ctx has a deadline it is the only one: that of the client is for an answer, and
// what a long run has written takes longer than any answer.
func (r Remote) Fetch(ctx context.Context, path, dir string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL+path, http.NoBody)
	if err != nil {
		return err
	}
	client := *r.Client
	if _, ok := ctx.Deadline(); ok {
		client.Timeout = 0
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("files of %s: %w", r.Name, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("files of %s: %w", r.Name, refusal(res))
	}
	for t := tar.NewReader(res.Body); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && !filepath.IsLocal(h.Name) {
			err = fmt.Errorf("%q leads out of the folder", h.Name)
		}
		if err == nil {
			err = write(filepath.Join(dir, filepath.FromSlash(h.Name)), t)
		}
		if err != nil {
			return fmt.Errorf("files of %s: %w", r.Name, err)
		}
	}
}

func write(path string, from io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}

// Answer answers with v as JSON.
func Answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the peer is gone when this fails
}

// Order decodes an order strictly: an unknown key is of another build. When it is none, it was answered and false is returned.
func Order(w http.ResponseWriter, r *http.Request, into any) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrder))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		http.Error(w, "plan: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

// Send answers with the files of a folder whose names keep takes, by their paths in it. A folder without any is answered with 404, and a stream
// that ends early has no end mark, so that the reader notices.
func Send(w http.ResponseWriter, dir string, keep func(name string) bool) error {
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err == nil && keep(filepath.ToSlash(name)) {
			names = append(names, name)
		}
		return err
	})
	if len(names) == 0 {
		http.Error(w, "no such run here", http.StatusNotFound)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	w.Header().Set("Content-Type", "application/x-tar")
	t := tar.NewWriter(w)
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = t.WriteHeader(&tar.Header{Name: filepath.ToSlash(name), Mode: 0o644, Size: int64(len(b))})
		}
		if err == nil {
			_, err = t.Write(b)
		}
		if err != nil {
			return err
		}
	}
	return t.Close()
}
