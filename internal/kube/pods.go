//go:build !embedded_only

package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"
)

// LogOptions says which part of a container's log to read. The zero value is everything of a pod's only container.
type LogOptions struct {
	Container string
	Previous  bool          // of the instance before the last restart
	Tail      int64         // the last n lines; 0 is all
	Since     time.Duration // not older than; 0 is all; at least one second
	Follow    bool          // until the context ends
}

// Logs opens a container's log. The caller closes it.
func (c *Client) Logs(ctx context.Context, namespace, pod string, o LogOptions) (io.ReadCloser, error) {
	lo := &corev1.PodLogOptions{Container: o.Container, Previous: o.Previous, Follow: o.Follow}
	if o.Tail > 0 {
		lo.TailLines = &o.Tail
	}
	if o.Since > 0 {
		s := max(1, int64(o.Since/time.Second))
		lo.SinceSeconds = &s
	}
	r, err := c.core.Get().Resource("pods").Namespace(namespace).Name(pod).SubResource("log").VersionedParams(lo, scheme.ParameterCodec).Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("log of %s/%s on %s: %w", namespace, pod, c.name, err)
	}
	return r, nil
}

// Event is one Kubernetes event, in the parts that people read.
type Event struct {
	Namespace                     string
	Type, Reason, Object, Message string
	Count                         int64
	Last                          time.Time
}

// String returns the event in one line.
func (e Event) String() string {
	return fmt.Sprintf("%s %s %s: %s (%d times)", e.Last.UTC().Format(time.TimeOnly), e.Reason, e.Object, e.Message, e.Count)
}

// Events returns the events of a namespace, the newest first. An empty namespace means all.
func (c *Client) Events(ctx context.Context, namespace string) ([]Event, error) {
	items, err := c.List(ctx, "v1", "Event", namespace, "")
	if err != nil {
		return nil, err
	}
	out := make([]Event, 0, len(items))
	for i := range items {
		o := items[i].Object
		str := func(path ...string) string { s, _, _ := unstructured.NestedString(o, path...); return s }
		e := Event{Namespace: str("metadata", "namespace"), Type: str("type"), Reason: str("reason"), Message: str("message"), Object: str("involvedObject", "kind") + " " + str("involvedObject", "name"), Count: 1}
		if n, ok, _ := unstructured.NestedInt64(o, "count"); ok && n > 0 {
			e.Count = n
		}
		for _, f := range []string{"lastTimestamp", "eventTime", "firstTimestamp"} {
			if t, err := time.Parse(time.RFC3339, str(f)); err == nil {
				e.Last = t
				break
			}
		}
		out = append(out, e)
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Last.After(out[j].Last) })
	return out, nil
}

// ExitError is a command in a pod that ran and did not exit with 0.
type ExitError struct {
	Code   int
	Stderr string
}

// Error returns the code and the end of what was written to standard error.
func (e *ExitError) Error() string {
	s := strings.TrimSpace(e.Stderr)
	if len(s) > 1000 {
		s = "..." + s[len(s)-1000:]
	}
	return strings.TrimRight(fmt.Sprintf("exit code %d: %s", e.Code, s), ": ")
}

// Exec runs a command in a container of a pod and copies stdin (may be nil) in and standard output (may be nil) out. It uses a
// websocket, and SPDY where the server or a proxy in between does not take that. An empty container is the pod's first. A command
// that ends with another code than 0 gives an *ExitError.
func (c *Client) Exec(ctx context.Context, namespace, pod, container string, stdin io.Reader, stdout io.Writer, command ...string) error {
	u := c.core.Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").VersionedParams(&corev1.PodExecOptions{
		Container: container, Command: command, Stdin: stdin != nil, Stdout: true, Stderr: true,
	}, scheme.ParameterCodec).URL()
	ws, err := remotecommand.NewWebSocketExecutor(c.config, "GET", u.String())
	if err != nil {
		return fmt.Errorf("exec in %s/%s on %s: %w", namespace, pod, c.name, err)
	}
	spdy, err := remotecommand.NewSPDYExecutor(c.config, "POST", u)
	if err != nil {
		return fmt.Errorf("exec in %s/%s on %s: %w", namespace, pod, c.name, err)
	}
	executor, err := remotecommand.NewFallbackExecutor(ws, spdy, upgradeRefused)
	if err != nil {
		return fmt.Errorf("exec in %s/%s on %s: %w", namespace, pod, c.name, err)
	}
	if stdout == nil {
		stdout = io.Discard
	}
	var stderr bytes.Buffer
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: stdin, Stdout: stdout, Stderr: &stderr})
	if code, ok := errors.AsType[utilexec.CodeExitError](err); ok {
		err = &ExitError{Code: code.Code, Stderr: stderr.String()}
	}
	if err != nil {
		return fmt.Errorf("exec %s in %s/%s on %s: %w", command[0], namespace, pod, c.name, withCause(ctx, err))
	}
	return nil
}

// Output is Exec without input, returning the standard output as text.
func (c *Client) Output(ctx context.Context, namespace, pod, container string, command ...string) (string, error) {
	var out bytes.Buffer
	err := c.Exec(ctx, namespace, pod, container, nil, &out, command...)
	return out.String(), err
}

// upgradeRefused says whether a stream failed because the way to the server does not carry websockets, or because whoever asks may not open one:
// a websocket takes the right to get, the older protocol the right to create. The errors of client-go are of k8s.io/streaming.
func upgradeRefused(err error) bool {
	return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
}
