//go:build !embedded_only

package kind

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"triad/internal/kube"
)

const (
	logsTimeout  = 90 * time.Second // for everything that a failed up reads; 60 pods take seconds on an idle machine
	logsParallel = 8                // logs that are read at once
	logLines     = 20000            // of a container, the last ones: what it said when it failed
	logBytes     = 4 << 20          // of a container, the last ones too
	logsBytes    = 256 << 20        // of all containers; those of pods that are not ready come first
	logsKept     = 3                // folders of failed ups
	// upLogs begins the name of the folder of a failed up.
	upLogs = "up-"
	// causesFile is what to read first in a folder of logs.
	causesFile = "causes.txt"
)

// Up brings everything up, on a machine that can carry it (PreflightError): clusters, images, packet filter rules for the declared flows, and the real systems, and returns the plan
// that it carried out. It is safe to call again: what is there is kept, what differs is changed. When something does not become ready, events and logs
// of everything are below Options.LogDir, and the error says where.
func (r *Runtime) Up(ctx context.Context, o DeployOptions) (*Plan, error) {
	p, err := r.up(ctx, o)
	if leavesLogs(ctx, err) {
		err = r.withLogs(ctx, err)
	}
	return p, err
}

// leavesLogs says whether what an up ended with can be explained by what is in the clusters: it is not what was refused before anything was touched, nor
// that somebody has ended it.
func leavesLogs(ctx context.Context, err error) bool {
	return err != nil && !errors.Is(ctx.Err(), context.Canceled) && !errors.Is(err, ErrForeign) && !errors.Is(err, ErrDifferent) && !errors.As(err, new(*PreflightError))
}

// withLogs collects what a failed up has left to read and adds the place to its error.
func (r *Runtime) withLogs(ctx context.Context, err error) error {
	if len(r.reachable()) == 0 {
		return err
	}
	if ctx.Err() != nil { // its deadline: who waits for it still wants to know
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, logsTimeout, fmt.Errorf("not read within %s", logsTimeout))
	defer cancel()
	dir := filepath.Join(r.opts.LogDir, upLogs+time.Now().UTC().Format("20060102T150405"))
	r.progress("logs", kube.StateStart, "")
	file := filepath.Join(dir, causesFile)
	state, said := kube.StateDone, dir
	if cerr := errors.Join(r.collect(ctx, dir, err), pruneLogs(r.opts.LogDir)); cerr != nil {
		first, _, _ := strings.Cut(cerr.Error(), "\n")
		state, said = kube.StateFail, fmt.Sprintf("%s (not all of it: %s)", dir, first)
	}
	r.progress("logs", state, said)
	return fmt.Errorf("%w\n  events and logs of everything, the likely cause first: %s", err, file)
}

// pruneLogs leaves the newest folders of failed ups.
func pruneLogs(dir string) error {
	old, err := filepath.Glob(filepath.Join(dir, upLogs+"*")) // sorted by name, which is the time
	if err != nil || len(old) <= logsKept {
		return err
	}
	var errs []error
	for _, d := range old[:len(old)-logsKept] {
		errs = append(errs, os.RemoveAll(d))
	}
	return errors.Join(errs...)
}

// reachable are the kind clusters that there is a kubeconfig for, which is as long as they are Triad's and there.
func (r *Runtime) reachable() []string {
	return slices.DeleteFunc(r.hosts(), func(h string) bool {
		_, err := os.Stat(r.KubeconfigPath(h))
		return err != nil
	})
}

// survey is what there is to collect of a cluster.
type survey struct {
	cluster   string
	client    *kube.Client
	pods      []kube.Object
	events    map[string][]kube.Event // by namespace
	diagnoses map[string]kube.Diagnosis
	err       error
}

// collect writes causes, events and logs of every namespace of all clusters below dir; why is the error that led to it, or nil. What could not be read is
// in the error, and what could be is there.
func (r *Runtime) collect(ctx context.Context, dir string, why error) error {
	hosts := r.reachable()
	found := make([]survey, len(hosts))
	var wg sync.WaitGroup
	for i, h := range hosts {
		wg.Go(func() {
			c, err := r.Client(h)
			if err != nil {
				found[i] = survey{cluster: h, err: err}
				return
			}
			found[i] = look(ctx, c, h)
		})
	}
	wg.Wait()
	return write(ctx, dir, found, why)
}

// look reads everything of a cluster but the logs.
func look(ctx context.Context, c *kube.Client, cluster string) survey {
	s := survey{cluster: cluster, client: c, events: map[string][]kube.Event{}, diagnoses: map[string]kube.Diagnosis{}}
	var eventsErr error
	if s.pods, s.err = c.List(ctx, "v1", "Pod", "", ""); s.err == nil {
		var events []kube.Event
		events, eventsErr = c.Events(ctx, "")
		for _, e := range events {
			s.events[e.Namespace] = append(s.events[e.Namespace], e)
		}
	}
	namespaces := map[string]bool{}
	for i := range s.pods {
		namespaces[s.pods[i].GetNamespace()] = true
	}
	for ns := range s.events {
		namespaces[ns] = true
	}
	for ns := range namespaces {
		s.diagnoses[ns] = c.Diagnose(ctx, ns, "")
	}
	s.err = errors.Join(s.err, eventsErr)
	return s
}

// write puts down what was found, the causes first: if time runs out, they are there.
func write(ctx context.Context, dir string, found []survey, why error) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("logs: %w", err)
	}
	errs := []error{os.WriteFile(filepath.Join(dir, causesFile), []byte(causes(found, why)), 0o644)}
	var mu sync.Mutex
	note := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, err)
	}
	var all room
	type job struct {
		s   *survey
		pod *kube.Object
	}
	var jobs, ready []job // those of pods that are ready come last
	for i := range found {
		s := &found[i]
		note(s.err)
		for ns, events := range s.events {
			var b bytes.Buffer
			for _, e := range events {
				fmt.Fprintln(&b, e)
			}
			folder := filepath.Join(dir, s.cluster, ns)
			note(errors.Join(os.MkdirAll(folder, 0o755), os.WriteFile(filepath.Join(folder, "events.txt"), b.Bytes(), 0o644)))
		}
		for j := range s.pods {
			if podReady(&s.pods[j]) {
				ready = append(ready, job{s, &s.pods[j]})
			} else {
				jobs = append(jobs, job{s, &s.pods[j]})
			}
		}
	}
	var g errgroup.Group
	g.SetLimit(logsParallel)
	for _, j := range append(jobs, ready...) {
		g.Go(func() error {
			note(podLogs(ctx, j.s.client, j.pod, filepath.Join(dir, j.s.cluster, j.pod.GetNamespace()), &all))
			return nil
		})
	}
	_ = g.Wait() // every error was noted
	return errors.Join(errs...)
}

// causes is the text of causesFile: the likely cause, what failed, and what each namespace looks like, those that point to a cause first.
func causes(found []survey, why error) string {
	type place struct {
		name string
		kube.Diagnosis
	}
	var places []place
	for _, s := range found {
		if s.err != nil {
			places = append(places, place{s.cluster, kube.Diagnosis{Cause: s.err.Error()}})
		}
		for ns, d := range s.diagnoses {
			places = append(places, place{s.cluster + "/" + ns, d})
		}
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(cmp.Compare(a.Rank, b.Rank), cmp.Compare(a.name, b.name)) })
	likely := "nothing points to one"
	var notReady *kube.NotReadyError
	switch {
	case errors.As(why, &notReady) && notReady.Cause != "": // as it was when the wait ended
		likely = notReady.Cluster + ": " + notReady.Cause
	case len(places) > 0 && places[0].Cause != "":
		likely = places[0].name + ": " + places[0].Cause
	}
	var b strings.Builder
	fmt.Fprintf(&b, "likely cause: %s\n", likely)
	if why != nil {
		fmt.Fprintf(&b, "\nwhat failed:\n%v\n", why)
	}
	for _, p := range places {
		fmt.Fprintf(&b, "\n%s: %s\n", p.name, cmp.Or(p.Cause, "nothing wrong"))
		for _, l := range p.Evidence {
			fmt.Fprintf(&b, "  %s\n", l)
		}
	}
	return b.String()
}

// podReady says whether a pod is ready, or has ended as it should.
func podReady(pod *kube.Object) bool {
	phase, _, _ := unstructured.NestedString(pod.Object, "status", "phase")
	return phase == "Succeeded" || kube.SaysReady(pod)
}

// podLogs writes the logs of all containers of a pod, init containers too, and of the instance before the last restart, as long as there is room.
// A container that never ran has none.
func podLogs(ctx context.Context, c *kube.Client, pod *kube.Object, dir string, room *room) error {
	var errs []error
	for _, field := range []string{"initContainerStatuses", "containerStatuses"} {
		list, _, _ := unstructured.NestedSlice(pod.Object, "status", field)
		for _, e := range list {
			st, _ := e.(map[string]any)
			name := str(st["name"])
			_, ran, _ := unstructured.NestedMap(st, "lastState", "terminated")
			_, runs, _ := unstructured.NestedMap(st, "state", "running")
			_, ended, _ := unstructured.NestedMap(st, "state", "terminated")
			file := filepath.Join(dir, pod.GetName()+"."+name)
			if ran {
				errs = append(errs, saveLog(ctx, c, pod, kube.LogOptions{Container: name, Previous: true, Tail: logLines}, file+".previous.log", room))
			}
			// One that waits for its next start has as its log that of the last.
			if runs || ended {
				errs = append(errs, saveLog(ctx, c, pod, kube.LogOptions{Container: name, Tail: logLines}, file+".log", room))
			}
		}
	}
	return errors.Join(errs...)
}

// room is what all logs share; that it is used up is said once.
type room struct {
	used atomic.Int64
	said sync.Once
}

func saveLog(ctx context.Context, c *kube.Client, pod *kube.Object, o kube.LogOptions, path string, room *room) error {
	if room.used.Load() >= logsBytes {
		var err error
		room.said.Do(func() {
			err = fmt.Errorf("logs from that of %s/%s on are left out: there are %d MiB already", pod.GetNamespace(), pod.GetName(), logsBytes>>20)
		})
		return err
	}
	b, cut, err := readLog(ctx, c, pod, o)
	// Of a container that starts again and again the kubelet throws the log away before it tells of the next, which says the same and is collected.
	if err == nil && o.Previous && bytes.HasPrefix(b, []byte("unable to retrieve container logs")) {
		return nil
	}
	if b == nil && err != nil {
		return err
	}
	if cut {
		b = append(fmt.Appendf(nil, "[the last %d KiB]\n", logBytes>>10), b...)
	}
	room.used.Add(int64(len(b)))
	return errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, b, 0o644))
}

// readLog is the end of a log.
func readLog(ctx context.Context, c *kube.Client, pod *kube.Object, o kube.LogOptions) (b []byte, cut bool, err error) {
	r, err := c.Logs(ctx, pod.GetNamespace(), pod.GetName(), o)
	if err != nil {
		return nil, false, err
	}
	defer r.Close()
	return lastOf(r, logBytes)
}

// lastOf reads r to its end and returns its last n bytes, and whether there were more. It holds at most twice as many.
func lastOf(r io.Reader, n int) (b []byte, cut bool, err error) {
	chunk := make([]byte, 32<<10)
	for {
		k, err := r.Read(chunk)
		b = append(b, chunk[:k]...)
		end := err != nil
		if len(b) > n && (end || len(b) > 2*n-len(chunk)) {
			b, cut = append(b[:0], b[len(b)-n:]...), true
		}
		if errors.Is(err, io.EOF) {
			return b, cut, nil
		}
		if end {
			return b, cut, err
		}
	}
}
