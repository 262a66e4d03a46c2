//go:build !embedded_only

package kind

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"triad/internal/fault"
	"triad/internal/kube"
	"triad/internal/observe/elastic"
)

// watchedStore is a store that looks at its disk: what is blocked below the flood stage it lets go of, and above it blocks.
type watchedStore struct {
	flooded, blocked bool
	docs             map[string]bool
	did              []string
}

func (s *watchedStore) look() { s.blocked = s.flooded }

func (s *watchedStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var settings map[string]any
	_ = json.Unmarshal(body, &settings)
	switch {
	case r.URL.Path == "/_cluster/settings":
		s.did = append(s.did, "watermarks")
		all, _ := settings["transient"].(map[string]any)
		s.flooded = all["cluster.routing.allocation.disk.watermark.flood_stage"] == "1%"
	case strings.HasSuffix(r.URL.Path, "/_settings"):
		s.did = append(s.did, "block")
		s.blocked = settings["index.blocks.read_only_allow_delete"] == true
	case r.Method == http.MethodDelete:
		delete(s.docs, r.URL.Path)
	case s.blocked:
		w.WriteHeader(http.StatusTooManyRequests)
	default:
		s.docs[r.URL.Path] = true
	}
}

// blocking is an environment with such a store, and what does to it what a node has asked for.
func blocking(t *testing.T) (e *env, s *watchedStore, undone func()) {
	t.Helper()
	r, dir := shellEngine(t, "0", map[string]string{"curl": `cat >> "$dir/asked"`})
	api, client := newFakeAPI(t, "v1 services Service")
	api.put(object(t, `{"apiVersion":"v1","kind":"Service","metadata":{"namespace":%q,"name":%q},"spec":{"clusterIP":"192.0.2.1"}}`, Monitoring, storeName))
	s = &watchedStore{docs: map[string]bool{}}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	e = &env{Runtime: r, clients: map[string]*kube.Client{Monitoring: client}, elastic: elastic.Access{URL: srv.URL, Transport: &http.Transport{DisableKeepAlives: true}}}
	return e, s, func() {
		t.Helper()
		asked, err := os.ReadFile(filepath.Join(dir, "asked"))
		if err != nil {
			t.Fatal(err)
		}
		path := ""
		for line := range strings.Lines(string(asked)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
			text, _ := strconv.Unquote(value)
			switch key {
			case "url":
				path = strings.TrimPrefix(text, "http://192.0.2.1:9200")
			case "data":
				if status, _, err := e.ask(t.Context(), http.MethodPut, path, text); err != nil || status != http.StatusOK {
					t.Fatalf("undo: HTTP %d, %v", status, err)
				}
			}
		}
	}
}

// A store that looks at its disk does not let go of the block before its time, and nothing of the proofs stays in it.
func TestBlockStays(t *testing.T) {
	for kind, inject := range map[string]func(e *env) (fault.Active, error){
		"es-read-only": func(e *env) (fault.Active, error) { return e.BlockStore(t.Context(), time.Minute) },
		"es-disk-full": func(e *env) (fault.Active, error) { return e.FillDisk(t.Context(), time.Minute) },
	} {
		t.Run(kind, func(t *testing.T) {
			e, s, undone := blocking(t)
			f, err := inject(e)
			if err != nil {
				t.Fatal(err)
			}
			if n, seen, err := f.Hits(t.Context()); err != nil || (n > 0) != (kind == "es-read-only") {
				t.Errorf("at once: %d hits, %s, %v", n, seen, err)
			}
			s.look()
			if n, seen, err := f.Hits(t.Context()); err != nil || n == 0 {
				t.Errorf("when the store has looked: %d hits, %s, %v", n, seen, err)
			}
			if gone, err := f.Gone(t.Context()); gone || err != nil {
				t.Errorf("gone while it is on: %v, %v", gone, err)
			}
			if err := f.Heal(t.Context()); err != nil {
				t.Fatal(err)
			}
			undone()
			if kind == "es-read-only" && strings.Join(s.did, " ") != "watermarks block watermarks block" {
				// The other way round the store could block again in between.
				t.Errorf("done and undone in this order: %q", s.did)
			}
			s.look()
			if gone, err := f.Gone(t.Context()); !gone || err != nil {
				t.Errorf("healed: gone %v, %v", gone, err)
			}
			if _, _, err := f.Hits(t.Context()); err != nil {
				t.Error(err)
			}
			if s.flooded || s.blocked || len(s.docs) > 0 {
				t.Errorf("left in the store: %+v", s)
			}
		})
	}
}
