//go:build !embedded_only

package eks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"triad/internal/kube"
	"triad/internal/manifests"
	"triad/internal/runtimes"
	"triad/internal/scenario"
)

// Options of the runtime.
type Options struct {
	Contexts *Contexts
	// Confirmed are ids of clusters that were confirmed on the command line.
	Confirmed []string
	// Ask asks a person and returns what was typed; nil: nobody sits there.
	Ask func(question string) (string, error)
	Out io.Writer // for what would be done
	// Pinned are the images of the manifests, by component: what runs another one is not called real.
	Pinned manifests.ImageList
	Logger *slog.Logger
}

// System is the three clusters behind the contexts.
type System struct {
	contexts  *Contexts
	confirmed []string
	ask       func(string) (string, error)
	out       io.Writer
	pinned    manifests.ImageList
	logger    *slog.Logger
	clients   map[string]*kube.Client // by role
	allowed   *scenario.Scenario      // the one run that was let pass
	began     time.Time               // when its load began, when it goes on; zero: it is new
	found     Mark                    // of a run that goes on
	openStore func() (*store, error)  // the way through the API server; a test has a store of its own
}

var (
	_ runtimes.Runtime  = (*System)(nil)
	_ runtimes.Rejoiner = (*System)(nil)
)

// New returns the runtime. Nothing is read or asked before Allow.
func New(o Options) *System {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &System{contexts: o.Contexts, confirmed: o.Confirmed, ask: o.Ask, out: o.Out, pinned: o.Pinned, logger: o.Logger}
	s.openStore = s.throughTheAPI
	return s
}

// Name is eks.
func (s *System) Name() string { return "eks" }

// Up brings nothing up: it demands that this very scenario was let pass.
func (s *System) Up(_ context.Context, session runtimes.Session) error {
	if s.allowed == nil || s.allowed != session.Scenario {
		return &RefusedError{"the run was not confirmed"}
	}
	return nil
}

// Rejoin finds the mark of a run that goes on. There is nothing to heal: a pod that was held down nobody holds any more, and its owner makes it
// again.
func (s *System) Rejoin(ctx context.Context, session runtimes.Session) ([]string, error) {
	if err := s.Up(ctx, session); err != nil {
		return nil, err
	}
	var err error
	s.found, err = s.mark(ctx, session)
	return nil, err
}

// CollectLogs collects nothing: logs of clusters that are not Triad's are not copied to where the harness runs.
func (s *System) CollectLogs(context.Context, string) error { return nil }

// Left is a run that was marked and whose mark is still there.
type Left struct {
	Mark
	Documents uint64 // of the run, in the store
	Jobs      int    // that were made for it, where the file lets some be made
}

// Leftovers lists the runs that have not taken everything out again. It only reads.
func (s *System) Leftovers(ctx context.Context) ([]Left, error) {
	if err := s.guard(ctx, s.contexts.listing()); err != nil {
		return nil, err
	}
	return s.leftovers(ctx)
}

func (s *System) leftovers(ctx context.Context) ([]Left, error) {
	marks, err := s.marks(ctx)
	if err != nil {
		return nil, err
	}
	store, err := s.openStore()
	if err != nil {
		return nil, err
	}
	var out []Left
	for _, m := range marks {
		docs, err := store.documents(ctx, m.Run)
		if err != nil {
			return nil, err
		}
		n, err := s.left(ctx, m.Run)
		if err != nil {
			return nil, err
		}
		out = append(out, Left{m, uint64(len(docs)), n})
	}
	return out, nil
}

// Down takes out what runs have left behind: their Jobs, their documents, then their marks. It touches nothing else, and no run that is still under way.
func (s *System) Down(ctx context.Context) error {
	if err := s.guard(ctx, s.contexts.removing()); err != nil {
		return err
	}
	left, err := s.leftovers(ctx)
	if err != nil {
		return err
	}
	store, err := s.openStore()
	if err != nil {
		return err
	}
	if len(left) == 0 {
		fmt.Fprintln(s.out, "nothing is left of any run")
	}
	var errs []error
	for _, l := range left {
		if l.Live() {
			fmt.Fprintf(s.out, "%s: still under way: left alone\n", l.Name)
			continue
		}
		if err := s.sweep(ctx, l.Run); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", l.Name, err))
			continue
		}
		out, err := store.purge(ctx, l.Run)
		l.Late -= min(l.Late, out.records)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", l.Name, err))
		case out.left > 0:
			errs = append(errs, fmt.Errorf("%s: %d documents came or stayed while they were taken out; its mark stays, try again", l.Name, out.left))
		case l.Late > 0 && time.Now().Before(l.Until):
			err := s.end(ctx, l.Mark)
			errs = append(errs, errors.Join(err, fmt.Errorf("%s: %d documents taken out; %d records of it are on their way still, and may come until %s: its mark stays, try again",
				l.Name, out.removed, l.Late, l.Until.Format(time.RFC3339))))
		default:
			if err := s.unmark(ctx, l.Mark); err != nil {
				errs = append(errs, err)
				continue
			}
			fmt.Fprintf(s.out, "%s: %d documents taken out, mark removed\n", l.Name, out.removed)
		}
	}
	return errors.Join(errs...)
}

// host is the name of the harness's machine, for people who find a mark.
func host() string {
	h, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return h
}
