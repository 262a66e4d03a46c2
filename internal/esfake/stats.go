package esfake

import (
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"
)

func (s *Server) health(_ http.ResponseWriter, r *http.Request) (any, *apiError) {
	list, err := s.resolve(r.PathValue("index"), false)
	if err != nil {
		return nil, err
	}
	n := len(list)
	return map[string]any{
		"cluster_name": s.opts.ClusterName, "status": "green", "timed_out": false, "number_of_nodes": 1,
		"number_of_data_nodes": 1, "active_primary_shards": n, "active_shards": n, "relocating_shards": 0,
		"initializing_shards": 0, "unassigned_shards": 0, "delayed_unassigned_shards": 0, "number_of_pending_tasks": 0,
		"number_of_in_flight_fetch": 0, "task_max_waiting_in_queue_millis": 0, "active_shards_percent_as_number": 100.0,
	}, nil
}

// numbers are the figures of one index that stats and cat show.
type numbers struct {
	docs, deleted              int
	bytes                      int64
	indexed, removed, failed   int64
	refreshes, searches        int64
	name, uuid, shards, copies string
}

func (ix *index) numbers(now time.Time) numbers {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.tick(now)
	return numbers{
		docs: ix.shown, deleted: int(ix.visible) - ix.shown, bytes: ix.arena.used,
		indexed: ix.counts.indexed, removed: ix.counts.deleted, failed: ix.counts.failed,
		refreshes: ix.counts.refreshes, searches: ix.counts.searches.Load(),
		name: ix.name, uuid: ix.uuid, shards: ix.settings.flat["index.number_of_shards"], copies: ix.settings.flat["index.number_of_replicas"],
	}
}

func (n numbers) section() map[string]any {
	return map[string]any{
		"docs":     map[string]any{"count": n.docs, "deleted": n.deleted},
		"store":    map[string]any{"size_in_bytes": n.bytes, "total_data_set_size_in_bytes": n.bytes, "reserved_in_bytes": 0},
		"indexing": map[string]any{"index_total": n.indexed, "delete_total": n.removed, "index_failed": n.failed},
		"search":   map[string]any{"query_total": n.searches},
		"refresh":  map[string]any{"total": n.refreshes},
	}
}

func (n *numbers) add(m numbers) {
	n.docs += m.docs
	n.deleted += m.deleted
	n.bytes += m.bytes
	n.indexed += m.indexed
	n.removed += m.removed
	n.failed += m.failed
	n.refreshes += m.refreshes
	n.searches += m.searches
}

func (s *Server) stats(_ http.ResponseWriter, r *http.Request) (any, *apiError) {
	list, err := s.resolve(r.PathValue("index"), ignoreUnavailable(r.URL.Query()))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	var all numbers
	each := map[string]any{}
	for _, ix := range list {
		n := ix.numbers(now)
		all.add(n)
		each[n.name] = map[string]any{"uuid": n.uuid, "health": "green", "status": "open", "primaries": n.section(), "total": n.section()}
	}
	return map[string]any{
		"_shards": shards(len(list)),
		"_all":    map[string]any{"primaries": all.section(), "total": all.section()},
		"indices": each,
	}, nil
}

func (s *Server) nodesStats(http.ResponseWriter, *http.Request) (any, *apiError) {
	list, err := s.resolve("", true)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	var all numbers
	for _, ix := range list {
		all.add(ix.numbers(now))
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	return map[string]any{
		"_nodes": map[string]any{"total": 1, "successful": 1, "failed": 0}, "cluster_name": s.opts.ClusterName,
		"nodes": map[string]any{"esfake-0": map[string]any{
			"name": "esfake-0", "timestamp": now.UnixMilli(), "roles": []string{"data", "ingest", "master"},
			"indices": all.section(),
			"jvm":     map[string]any{"mem": map[string]any{"heap_used_in_bytes": mem.HeapAlloc}},
			"thread_pool": map[string]any{"write": map[string]any{
				"threads": runtime.NumCPU(), "queue": 0, "active": s.bulksActive.Load(),
				"rejected": s.bulksRejected.Load(), "largest": runtime.NumCPU(), "completed": s.bulks.Load(),
			}},
		}},
	}, nil
}

func (s *Server) catIndices(w http.ResponseWriter, r *http.Request) (any, *apiError) {
	list, err := s.resolve(r.PathValue("index"), ignoreUnavailable(r.URL.Query()))
	if err != nil {
		return nil, err
	}
	columns := []string{"health", "status", "index", "uuid", "pri", "rep", "docs.count", "docs.deleted", "store.size", "pri.store.size"}
	if h := r.URL.Query().Get("h"); h != "" {
		columns = strings.Split(h, ",")
	}
	now := time.Now()
	rows := make([]map[string]any, 0, len(list))
	for _, ix := range list {
		n := ix.numbers(now)
		size := catBytes(n.bytes)
		if r.URL.Query().Get("bytes") == "b" {
			size = strconv.FormatInt(n.bytes, 10)
		}
		all := map[string]string{
			"health": "green", "status": "open", "index": n.name, "uuid": n.uuid, "pri": n.shards, "rep": n.copies,
			"docs.count": strconv.Itoa(n.docs), "docs.deleted": strconv.Itoa(n.deleted), "store.size": size, "pri.store.size": size,
		}
		row := map[string]any{}
		for _, c := range columns {
			row[c] = all[c]
		}
		rows = append(rows, row)
	}
	if r.URL.Query().Get("format") == "json" {
		return rows, nil
	}
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	for _, row := range rows {
		cells := make([]string, len(columns))
		for i, c := range columns {
			cells[i], _ = row[c].(string)
		}
		_, _ = fmt.Fprintln(w, strings.Join(cells, " "))
	}
	return nil, nil
}

// catBytes writes a size as the cat API does ("1.5kb").
func catBytes(n int64) string {
	units := []string{"b", "kb", "mb", "gb", "tb"}
	v, u := float64(n), 0
	for v >= 1024 && u < len(units)-1 {
		v /= 1024
		u++
	}
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0") + units[u]
}
