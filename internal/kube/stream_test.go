//go:build !embedded_only

package kube

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
)

// TestStreamsFallBack: a server, or a right, that has no websocket for a pod is asked again with the older protocol, and its answer counts.
func TestStreamsFallBack(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.Method+" "+r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:])
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","message":"may not ` + r.Method + `","reason":"Forbidden","code":403}`))
	}))
	t.Cleanup(srv.Close)
	c, err := newClient("test", &rest.Config{Host: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	for stream, try := range map[string]func() error{
		"portforward": func() error {
			_, err := c.openStream(t.Context(), "ns", "pod")
			return err
		},
		"exec": func() error {
			_, err := c.Output(t.Context(), "ns", "pod", "", "true")
			return err
		},
	} {
		mu.Lock()
		asked = nil
		mu.Unlock()
		err := try()
		mu.Lock()
		if want := []string{"GET " + stream, "POST " + stream}; !slices.Equal(asked, want) {
			t.Errorf("%s: asked %v, want %v", stream, asked, want)
		}
		mu.Unlock()
		if err == nil || !strings.Contains(err.Error(), "may not POST") {
			t.Errorf("%s: %v", stream, err)
		}
	}
}
