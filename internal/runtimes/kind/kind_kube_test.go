//go:build !embedded_only

package kind

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"triad/internal/kube"
)

// TestKindKube tries what the kube package does with streams and labels on a real API server.
func TestKindKube(t *testing.T) {
	r, _ := upTestPair(t)
	ctx := t.Context()
	c := must[*kube.Client](t)(r.Client(Monitoring))
	t.Run("exec", func(t *testing.T) {
		out, err := c.Output(ctx, Monitoring, "elasticsearch-0", "elasticsearch", "sh", "-c", "echo from inside")
		if err != nil || strings.TrimSpace(out) != "from inside" {
			t.Errorf("output %q, %v", out, err)
		}
		var echoed strings.Builder
		if err := c.Exec(ctx, Monitoring, "elasticsearch-0", "elasticsearch", strings.NewReader("to and fro"), &echoed, "cat"); err != nil || echoed.String() != "to and fro" {
			t.Errorf("echo %q, %v", echoed.String(), err)
		}
		_, err = c.Output(ctx, Monitoring, "elasticsearch-0", "elasticsearch", "sh", "-c", "echo why >&2; exit 7")
		var exit *kube.ExitError
		if !errors.As(err, &exit) || exit.Code != 7 || !strings.Contains(exit.Stderr, "why") {
			t.Errorf("exit: %v", err)
		}
	})
	t.Run("logs and events", func(t *testing.T) {
		l, err := c.Logs(ctx, Monitoring, "elasticsearch-0", kube.LogOptions{Container: "elasticsearch", Tail: 3})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		b, err := io.ReadAll(l)
		if err != nil || strings.Count(string(b), "\n") != 3 {
			t.Errorf("log: %d lines, %v", strings.Count(string(b), "\n"), err)
		}
		if _, err := c.Events(ctx, Monitoring); err != nil {
			t.Error(err)
		}
	})
	t.Run("forward", func(t *testing.T) {
		h := c.HTTP(10 * time.Second)
		defer h.CloseIdleConnections()
		resp, err := h.Get("http://alertmanager.monitoring:9093/-/ready")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("alertmanager: %s", resp.Status)
		}
		uid := func() string {
			o, err := c.Get(ctx, kube.Ref{APIVersion: "v1", Kind: "Pod", Namespace: Monitoring, Name: "alertmanager-0"})
			if err != nil {
				return ""
			}
			return string(o.GetUID())
		}
		// The pod is replaced: the next connection reaches its successor.
		old := uid()
		if err := c.Delete(ctx, []kube.Ref{{APIVersion: "v1", Kind: "Pod", Namespace: Monitoring, Name: "alertmanager-0"}}, 5*time.Second); err == nil {
			t.Log("the pod was gone at once")
		}
		within(t, 2*time.Minute, "the next pod answers", func() (bool, string) {
			h.CloseIdleConnections()
			if now := uid(); now == "" || now == old {
				return false, "the pod is the old one"
			}
			resp, err := h.Get("http://alertmanager.monitoring:9093/-/ready")
			if err != nil {
				return false, err.Error()
			}
			_ = resp.Body.Close()
			return resp.StatusCode == 200, resp.Status
		})
		conn, err := c.Dial(ctx, kube.Target{Namespace: Monitoring, Pod: "elasticsearch-0"}, 1)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "refused") {
			t.Errorf("a port that nobody listens on: %v", err)
		}
	})
	t.Run("labels", func(t *testing.T) {
		cm := kube.NewConfigMap(Monitoring, "triad-test", map[string]string{"a": "b"})
		cm.SetLabels(map[string]string{"triad.dev/test": "labels"})
		if err := c.Apply(ctx, []kube.Object{cm}, nil); err != nil {
			t.Fatal(err)
		}
		refs, err := c.DeleteLabelled(ctx, Monitoring, "triad.dev/test=labels", time.Minute)
		if err != nil || len(refs) != 1 || refs[0].Kind != "ConfigMap" {
			t.Errorf("deleted %v, %v", refs, err)
		}
		if _, err := c.Get(ctx, kube.RefOf(&cm)); !kube.IsNotFound(err) {
			t.Errorf("after the deletion: %v", err)
		}
	})
}
