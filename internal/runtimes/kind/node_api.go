//go:build !embedded_only

package kind

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"triad/internal/kube"
)

// storeName is the Service by which a node of monitoring reaches Elasticsearch. Its address stays when the pod is replaced.
const storeName = "elasticsearch"

// storeUndo is how a node changes Elasticsearch without the harness: a request that is tried until it is taken. A store that is away
// at that moment is tried again by the timer of the undo, which repeats until the script comes to its end.
func (e *env) storeUndo(ctx context.Context, method, path, body string) (string, error) {
	svc, err := e.clients[Monitoring].Get(ctx, kube.Ref{APIVersion: "v1", Kind: "Service", Namespace: Monitoring, Name: storeName})
	if err != nil {
		return "", fmt.Errorf("address of the store: %w", err)
	}
	spec, _ := svc.Object["spec"].(map[string]any)
	ip, _ := spec["clusterIP"].(string)
	if ip == "" || ip == "None" {
		return "", fmt.Errorf("service %s has no address", storeName)
	}
	a := e.Search()
	scheme, _, _ := strings.Cut(a.URL, ":")
	// The configuration goes in by standard input: a password has no place in a list of processes.
	user := ""
	if a.Username != "" {
		user = fmt.Sprintf("user = %q\n", a.Username+":"+a.Password)
	}
	return fmt.Sprintf(`taken=
for i in 1 2 3 4 5 6; do
  if curl -sSfk -m 2 -o /dev/null -K - <<'ASK'
request = %s
url = "%s://%s:9200%s"
header = "Content-Type: application/json"
data = %q
%sASK
  then taken=yes; break; fi
  sleep 0.5
done
[ -n "$taken" ] || exit 1`, method, scheme, ip, path, body, user), nil
}

// apiFault is a change made through an API: its undo lies in a node before the change is made.
type apiFault struct {
	*Runtime
	id, node, target string
	hits             func(ctx context.Context) (uint64, string, error)
	gone             func(ctx context.Context) (bool, error) // beside the undo having run
	seen             uint64
	detail           string
}

// armAPI puts an undo into the first node of a cluster, with its timer. inject is the change where the node makes it, else nothing.
func (r *Runtime) armAPI(ctx context.Context, cluster, target, inject, undo string, last time.Duration) (*apiFault, error) {
	nodes, err := r.runningNodes(ctx, cluster)
	if err != nil {
		return nil, err
	}
	id, err := newFaultID()
	if err != nil {
		return nil, err
	}
	f := &apiFault{Runtime: r, id: id, node: names(nodes)[0], target: target}
	return f, r.armed(ctx, f.node, id, inject, undo, last)
}

// Target says what was changed.
func (f *apiFault) Target() string { return f.target }

// Hits keeps the last proof: the figures may be gone with the fault.
func (f *apiFault) Hits(ctx context.Context) (uint64, string, error) {
	n, detail, err := f.hits(ctx)
	if err == nil && n > f.seen {
		f.seen, f.detail = n, detail
	}
	return f.seen, f.detail, err
}

// Heal takes the proof while the fault is still on, and runs the undo.
func (f *apiFault) Heal(ctx context.Context) error {
	_, _, _ = f.Hits(ctx)
	return f.disarm(ctx, f.node, f.id)
}

// Gone looks whether the undo has run, and then whether the effect is over.
func (f *apiFault) Gone(ctx context.Context) (bool, error) {
	left, err := f.leftIn(ctx, []string{f.node}, f.id)
	if err != nil || left.Hits > 0 {
		return false, err
	}
	if f.gone == nil {
		return true, nil
	}
	return f.gone(ctx)
}

// change makes the change of an armed fault; when that fails, whatever came of it is undone.
func (f *apiFault) change(ctx context.Context, fn func(ctx context.Context) error) error {
	err := fn(ctx)
	if err == nil {
		return nil
	}
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), nodeTimeout)
	defer cancel()
	return errors.Join(err, f.disarm(undo, f.node, f.id))
}

// setting is a change of Elasticsearch's settings, and what undoes it.
type setting struct{ path, on, off string }

// storeSettings changes settings of Elasticsearch for a time, and undoes them in the same order.
func (e *env) storeSettings(ctx context.Context, target string, last time.Duration, settings ...setting) (*apiFault, error) {
	undos := make([]string, len(settings))
	for i, s := range settings {
		var err error
		if undos[i], err = e.storeUndo(ctx, http.MethodPut, s.path, s.off); err != nil {
			return nil, err
		}
	}
	f, err := e.armAPI(ctx, Monitoring, target, "", strings.Join(undos, "\n"), last)
	if err != nil {
		return nil, err
	}
	return f, f.change(ctx, func(ctx context.Context) error {
		for _, s := range settings {
			status, answer, err := e.ask(ctx, http.MethodPut, s.path, s.on)
			if err == nil && status != http.StatusOK {
				err = fmt.Errorf("elasticsearch settings: HTTP %d: %.300s", status, answer)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
