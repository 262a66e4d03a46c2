//go:build !embedded_only

package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// Target is what a connection into a cluster ends at: a pod, or a ready pod behind a Service. One of Pod and Service is set.
type Target struct {
	Namespace, Pod, Service string
}

// String returns "pod/namespace/name" or "service/namespace/name".
func (t Target) String() string {
	if t.Pod != "" {
		return "pod/" + t.Namespace + "/" + t.Pod
	}
	return "service/" + t.Namespace + "/" + t.Service
}

// Dial opens a connection to a port of a pod or Service through the API server, without a local port. Every call looks up the pod
// anew and has a stream of its own, so a client that dials again after its pod was replaced reaches the new one; nothing has to be
// kept open or closed but the connection. Dial does not wait for the pod to accept: when nothing listens there, the first Read
// returns the reason. For a Service, port is the Service's port.
func (c *Client) Dial(ctx context.Context, t Target, port int) (net.Conn, error) {
	pod := t.Pod
	if pod == "" {
		var err error
		if pod, port, err = c.backend(ctx, t, port); err != nil {
			return nil, err
		}
	}
	conn, err := c.openStream(ctx, t.Namespace, pod)
	if err != nil {
		return nil, fmt.Errorf("connection to %s port %d on %s: %w", t, port, c.name, err)
	}
	return startForward(conn, t.Namespace+"/"+pod, port)
}

// DialContext is Dial for http.Transport and the like. Addresses are "service.namespace:port", or "name.namespace.pod:port" for a pod.
func (c *Client) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	host, p, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", address, err)
	}
	port, err := strconv.Atoi(p)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", address, err)
	}
	parts := strings.Split(host, ".")
	switch {
	case len(parts) == 3 && parts[2] == "pod":
		return c.Dial(ctx, Target{Namespace: parts[1], Pod: parts[0]}, port)
	case len(parts) >= 2:
		return c.Dial(ctx, Target{Namespace: parts[1], Service: parts[0]}, port)
	}
	return nil, fmt.Errorf("address %q: want service.namespace:port or name.namespace.pod:port", address)
}

// HTTP returns a client whose requests go into the cluster: hosts are as in DialContext. Its connections are closed with
// CloseIdleConnections.
func (c *Client) HTTP(timeout time.Duration) *http.Client {
	return &http.Client{Timeout: timeout, Transport: &http.Transport{DialContext: c.DialContext, MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second}}
}

// PodURL is the address of a pod's port for a client of HTTP.
func PodURL(pod, namespace string, port int) string {
	return fmt.Sprintf("http://%s.%s.pod:%d", pod, namespace, port)
}

// PodReady reports whether a pod is ready and not about to go.
func PodReady(pod *Object) bool { return SaysReady(pod) && pod.GetDeletionTimestamp() == nil }

// SaysReady reports whether an object's condition Ready is true, whether it is being deleted or not.
func SaysReady(o *Object) bool { return condition(o, "Ready").status == "True" }

// backend picks a ready pod of a Service and the pod's port behind the Service's port.
func (c *Client) backend(ctx context.Context, t Target, port int) (string, int, error) {
	svc, err := c.Get(ctx, Ref{"v1", "Service", t.Namespace, t.Service})
	if err != nil {
		return "", 0, err
	}
	selector, _, _ := unstructured.NestedStringMap(svc.Object, "spec", "selector")
	if len(selector) == 0 {
		return "", 0, fmt.Errorf("%s on %s: has no selector", t, c.name)
	}
	pods, err := c.List(ctx, "v1", "Pod", t.Namespace, selectorString(selector))
	if err != nil {
		return "", 0, err
	}
	for i := range pods {
		if !PodReady(&pods[i]) {
			continue
		}
		target, err := targetPort(svc, &pods[i], port)
		if err != nil {
			return "", 0, fmt.Errorf("%s on %s: %w", t, c.name, err)
		}
		return pods[i].GetName(), target, nil
	}
	return "", 0, fmt.Errorf("%s on %s: none of its %d pods is ready", t, c.name, len(pods))
}

func selectorString(labels map[string]string) string {
	parts := make([]string, 0, len(labels))
	for k, v := range labels {
		parts = append(parts, k+"="+v)
	}
	sort.Strings(parts)
	return strings.Join(parts, ",")
}

// targetPort follows a Service's port to the number that the pod listens on, which the Service may give by name.
func targetPort(svc, pod *Object, port int) (int, error) {
	ports, _, _ := unstructured.NestedSlice(svc.Object, "spec", "ports")
	for _, e := range ports {
		m, _ := e.(map[string]any)
		if n, _, _ := unstructured.NestedInt64(m, "port"); int(n) != port {
			continue
		}
		switch tp := m["targetPort"].(type) {
		case int64:
			return int(tp), nil
		case string:
			return namedPort(pod, tp)
		}
		return port, nil
	}
	return 0, fmt.Errorf("has no port %d", port)
}

func namedPort(pod *Object, name string) (int, error) {
	containers, _, _ := unstructured.NestedSlice(pod.Object, "spec", "containers")
	for _, e := range containers {
		m, _ := e.(map[string]any)
		ports, _, _ := unstructured.NestedSlice(m, "ports")
		for _, p := range ports {
			pm, _ := p.(map[string]any)
			if pm["name"] == name {
				n, _, _ := unstructured.NestedInt64(pm, "containerPort")
				return int(n), nil
			}
		}
	}
	return 0, fmt.Errorf("pod %s has no port named %s", pod.GetName(), name)
}

// openStream makes one upgraded connection to the kubelet of a pod. The dialer knows no context: a call that comes back after the
// context has ended closes what it opened.
func (c *Client) openStream(ctx context.Context, namespace, pod string) (httpstream.Connection, error) {
	u := c.podURL(namespace, pod, "portforward")
	ws, err := portforward.NewSPDYOverWebsocketDialer(u, c.config)
	if err != nil {
		return nil, err
	}
	transport, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		return nil, err
	}
	dialer := portforward.NewFallbackDialer(ws, spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", u), upgradeRefused)
	type result struct {
		conn httpstream.Connection
		err  error
	}
	done := make(chan result, 1)
	go func() {
		conn, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
		done <- result{conn, err}
	}()
	select {
	case r := <-done:
		return r.conn, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.conn != nil {
				_ = r.conn.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

// forwarded is the caller's end of a forwarded connection. Its deadlines are those of the pipe behind it.
type forwarded struct {
	net.Conn
	remote addr
	mu     sync.Mutex
	reason error // what the kubelet said about the other end, when it said something
}

type addr string

func (a addr) Network() string { return "kube" }
func (a addr) String() string  { return string(a) }

// RemoteAddr names the pod and port.
func (f *forwarded) RemoteAddr() net.Addr { return f.remote }

// Read returns the kubelet's reason in place of a bare end of file when the pod's end could not be reached.
func (f *forwarded) Read(b []byte) (int, error) {
	n, err := f.Conn.Read(b)
	if errors.Is(err, io.EOF) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.reason != nil {
			return n, f.reason
		}
	}
	return n, err
}

// startForward opens the two streams of a forwarded port and copies between the data stream and a pipe. It ends when either side
// closes, and takes the connection with it.
func startForward(conn httpstream.Connection, pod string, port int) (net.Conn, error) {
	headers := http.Header{}
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	headers.Set(corev1.PortHeader, strconv.Itoa(port))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	errStream, err := conn.CreateStream(headers)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("error stream of %s:%d: %w", pod, port, err)
	}
	_ = errStream.Close() // nothing is written to it
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := conn.CreateStream(headers)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("data stream of %s:%d: %w", pod, port, err)
	}
	near, far := net.Pipe()
	f := &forwarded{Conn: near, remote: addr(fmt.Sprintf("%s:%d", pod, port))}
	refused := make(chan struct{})
	go func() {
		defer close(refused)
		b, _ := io.ReadAll(io.LimitReader(errStream, 4<<10))
		if len(b) > 0 {
			f.mu.Lock()
			f.reason = fmt.Errorf("connection to %s:%d: %s", pod, port, strings.TrimSpace(string(b)))
			f.mu.Unlock()
			_ = conn.Close()
		}
	}()
	go func() {
		_, _ = io.Copy(data, far)
		_ = data.Close() // the caller has closed: tell the pod, and let the other direction end by itself
	}()
	go func() {
		_, _ = io.Copy(far, data)
		_ = data.Reset() // what was not sent must not keep the error stream from ending
		select {
		case <-refused:
		case <-time.After(time.Second):
		}
		_ = far.Close()
		_ = conn.Close()
	}()
	return f, nil
}
