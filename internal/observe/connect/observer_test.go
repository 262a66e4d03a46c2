package connect

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triad/internal/evidence"
)

// kept keeps events as text.
type kept struct {
	mu    sync.Mutex
	lines []string
}

func (k *kept) Add(e evidence.Event) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	line := fmt.Sprintf("%s %s %s", e.Kind, e.Name, e.State)
	for _, a := range []string{"was", "worker", "restarts"} {
		if v := e.Attrs[a]; v != "" {
			line += " " + a + "=" + v
		}
	}
	if e.Detail != "" && e.Kind == evidence.EventConnector {
		line += ": " + e.Detail
	}
	k.lines = append(k.lines, line)
	return nil
}

func (k *kept) take() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.lines
	k.lines = nil
	return l
}

func answer(tasks ...string) string {
	return `{"s":{"status":{"name":"s","connector":{"state":"RUNNING","worker_id":"a:8083"},"tasks":[` + strings.Join(tasks, ",") + `],"type":"sink"}}}`
}

func task(id int, state, worker, trace string) string {
	if trace != "" {
		trace = fmt.Sprintf(`,"trace":%q`, trace)
	}
	return fmt.Sprintf(`{"id":%d,"state":%q,"worker_id":%q%s}`, id, state, worker, trace)
}

func TestChangesOnly(t *testing.T) {
	var body string
	status := http.StatusOK
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.String() != "/connectors?expand=status" || r.Method != http.MethodGet {
			t.Errorf("asked for %s %s", r.Method, r.URL)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	defer srv.Close()
	k := &kept{}
	o, err := New(Config{Workers: []Worker{{"http://127.0.0.1:1", srv.Client()}, {srv.URL + "/", srv.Client()}}, Evidence: k, Now: func() time.Duration { return 0 }})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name   string
		status int
		body   string
		want   []string
	}{
		{"first answer", 200, answer(task(0, "RUNNING", "a:8083", ""), task(1, "RUNNING", "b:8083", "")), []string{
			"observer connect ready", "connector s RUNNING worker=a:8083", "connector s/0 RUNNING worker=a:8083", "connector s/1 RUNNING worker=b:8083",
		}},
		{"nothing new", 200, answer(task(0, "RUNNING", "a:8083", ""), task(1, "RUNNING", "b:8083", "")), nil},
		{"a task fails", 200, answer(task(0, "FAILED", "a:8083", "org.X: Exiting\n\tat y\nCaused by: java.Z: refused\n\tat z\n"), task(1, "RUNNING", "b:8083", "")), []string{
			"connector s/0 FAILED was=RUNNING worker=a:8083: org.X: Exiting; Caused by: java.Z: refused",
		}},
		{"the group rebalances", 409, `{"error_code":409}`, []string{"observer connect lost"}},
		{"still", 409, `{"error_code":409}`, nil},
		{"not JSON", 200, `<html>`, nil},
		{"restarted, the other one elsewhere", 200, answer(task(0, "RUNNING", "a:8083", ""), task(1, "RUNNING", "a:8083", "")), []string{
			"observer connect back", "connector s/0 RUNNING was=FAILED worker=a:8083 restarts=1", "connector s/1 RUNNING was=RUNNING worker=a:8083 restarts=1",
		}},
		{"paused", 200, answer(task(0, "PAUSED", "a:8083", ""), task(1, "RUNNING", "a:8083", "")), []string{"connector s/0 PAUSED was=RUNNING worker=a:8083"}},
		{"resumed is not restarted", 200, answer(task(0, "RUNNING", "a:8083", ""), task(1, "RUNNING", "a:8083", "")), []string{"connector s/0 RUNNING was=PAUSED worker=a:8083"}},
		{"one task fewer", 200, answer(task(0, "RUNNING", "a:8083", "")), []string{"connector s/1 GONE was=RUNNING"}},
		{"deleted", 200, `{}`, []string{"connector s GONE was=RUNNING", "connector s/0 GONE was=RUNNING"}},
	} {
		status, body = step.status, step.body
		if err := o.once(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(step.want, k.take()); d != "" {
			t.Errorf("%s: -want +got\n%s", step.name, d)
		}
	}
}

func TestEndOfRunIsNoFinding(t *testing.T) {
	k := &kept{}
	o, err := New(Config{Workers: []Worker{{"http://127.0.0.1:1", http.DefaultClient}}, Evidence: k, Now: func() time.Duration { return 0 }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if got := k.take(); got != nil {
		t.Errorf("events %v", got)
	}
	if _, err := New(Config{}); err == nil {
		t.Error("an observer without workers was made")
	}
}
