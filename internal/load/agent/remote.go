package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
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

// faultParam is what faults act, in a question for the status: once for each, and once without a name where none does.
const faultParam = "fault"

// Status asks how far the agent is.
func (r Remote) Status(ctx context.Context) (Status, error) { return r.status(ctx, "/status") }

// Tell is Status, and says what faults act.
func (r Remote) Tell(ctx context.Context, faults []string) (Status, error) {
	if len(faults) == 0 {
		faults = []string{""}
	}
	return r.status(ctx, "/status?"+url.Values{faultParam: faults}.Encode())
}

func (r Remote) status(ctx context.Context, path string) (Status, error) {
	var st Status
	err := r.call(ctx, http.MethodGet, path, nil, &st)
	return st, err
}

func (r Remote) call(ctx context.Context, method, path string, in, out any) error {
	if err := pod.Remote(r).Call(ctx, method, path, in, out); err != nil {
		return fmt.Errorf("generator %w", err)
	}
	return nil
}

// Grow appends what the agent's ledger of a run has more than a copy.
func (r Remote) Grow(ctx context.Context, run uint32, copied *os.File) error {
	have, err := copied.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/ledger?run=%d", r.URL, run), http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	res, err := r.Client.Do(req)
	if err != nil {
		return fmt.Errorf("ledger of %s: %w", r.Name, err)
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusPartialContent:
		_, err = io.Copy(copied, res.Body) // what is cut off comes the next time
		return err
	case http.StatusRequestedRangeNotSatisfiable: // it has no more
		return nil
	}
	return fmt.Errorf("ledger of %s: HTTP %d", r.Name, res.StatusCode)
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
	name := r.point()
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

// point is the agent's ledger in the evidence.
func (r Remote) point() string { return evidence.PointSent + r.Name }

// importCopy brings a copy of the agent's ledger into the evidence: what a pod that is gone had written by then.
func (r Remote) importCopy(copied *os.File, w *evidence.Writer) error {
	dir, err := os.MkdirTemp("", "triad-ledger-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	into, err := os.Create(filepath.Join(dir, r.point()+".led"))
	if err != nil {
		return err
	}
	n := int64(0)
	if _, err = copied.Seek(0, io.SeekStart); err == nil {
		n, err = io.Copy(into, copied)
	}
	if err == nil && n == 0 {
		err = errors.New("nothing was copied yet")
	}
	if err = errors.Join(err, into.Close()); err != nil {
		return err
	}
	return w.Import(dir, r.point())
}
