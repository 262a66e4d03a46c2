package agent

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"triad/internal/evidence"
	"triad/internal/pod"
)

// Remote is an agent in a pod, as the harness speaks to it; its ledger gets the name of the pod.
type Remote pod.Remote

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
		err = fmt.Errorf("%w: generator %s has no plan of this run any more: it was restarted, or another run was made since; what it sent cannot be known", evidence.ErrNotResumable, r.Name)
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

func (r Remote) call(ctx context.Context, method, path string, in, out any) error {
	if err := pod.Remote(r).Call(ctx, method, path, in, out); err != nil {
		return fmt.Errorf("generator %w", err)
	}
	return nil
}

// Fetch brings the agent's ledger, histograms and series of a run into the evidence. A stream that ends early is an error.
func (r Remote) Fetch(ctx context.Context, run uint32, w *evidence.Writer) error {
	dir, err := os.MkdirTemp("", "triad-ledger-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := pod.Remote(r).Fetch(ctx, fmt.Sprintf("/evidence?run=%d", run), dir); err != nil {
		return err
	}
	name := evidence.PointSent + r.Name
	files, err := filepath.Glob(filepath.Join(dir, agentFiles+"*"))
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := os.Rename(f, filepath.Join(dir, name+filepath.Ext(f))); err != nil {
			return err
		}
	}
	return w.Import(dir, name)
}
