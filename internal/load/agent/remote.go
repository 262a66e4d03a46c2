package agent

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"triad/internal/evidence"
)

// Remote is an agent in a pod, as the harness speaks to it.
type Remote struct {
	Name   string // of the pod: its ledger gets the name
	URL    string
	Client *http.Client
	// Gone reports that the agent's pod is there no more, and its ledger with it; nil: it stays where it is.
	Gone func(ctx context.Context) bool
}

// Begin tells the agent its plan, in place of one that it may still have.
func (r Remote) Begin(ctx context.Context, p Plan) error {
	if err := r.Stop(ctx); err != nil {
		return err
	}
	return r.call(ctx, http.MethodPost, "/run", p, nil)
}

// UnderWay demands that the agent still has the plan of a run that goes on, whether it is done with it or not.
func (r Remote) UnderWay(ctx context.Context, run uint32) error {
	st, err := r.Status(ctx)
	if err == nil && st.Run != run {
		err = fmt.Errorf("generator %s has no plan of this run any more: it was restarted, or another run was made since; what it sent cannot be known", r.Name)
	}
	return err
}

// Stop ends the agent's run; none under way is no error.
func (r Remote) Stop(ctx context.Context) error {
	return r.call(ctx, http.MethodPost, "/stop", nil, nil)
}

// Status asks how far the agent is.
func (r Remote) Status(ctx context.Context) (Status, error) {
	var st Status
	err := r.call(ctx, http.MethodGet, "/status", nil, &st)
	return st, err
}

// call sends a value as JSON and decodes the answer.
func (r Remote) call(ctx context.Context, method, path string, in, out any) error {
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
		return fmt.Errorf("generator %s: %w", r.Name, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		msg, _ := io.ReadAll(io.LimitReader(res.Body, 500))
		return fmt.Errorf("generator %s: HTTP %d: %s", r.Name, res.StatusCode, strings.TrimSpace(string(msg)))
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(out)
}

// Fetch brings the agent's ledger, histograms and series of a run into the evidence. A tar stream that ends early is an error.
func (r Remote) Fetch(ctx context.Context, run uint32, w *evidence.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/evidence?run=%d", r.URL, run), http.NoBody)
	if err != nil {
		return err
	}
	res, err := r.Client.Do(req)
	if err != nil {
		return fmt.Errorf("ledger of %s: %w", r.Name, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("ledger of %s: HTTP %d", r.Name, res.StatusCode)
	}
	dir, err := os.MkdirTemp("", "triad-ledger-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	name := evidence.PointSent + r.Name
	for t := tar.NewReader(res.Body); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("ledger of %s: %w", r.Name, err)
		}
		b, err := io.ReadAll(t)
		if err != nil {
			return fmt.Errorf("ledger of %s: %w", r.Name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+filepath.Ext(h.Name)), b, 0o600); err != nil {
			return err
		}
	}
	return w.Import(dir, name)
}
