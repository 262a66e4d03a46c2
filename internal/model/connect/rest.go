package connect

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// restHandler is the part of Kafka Connect's REST interface that looks at connectors and changes their state. Creating
// and deleting connectors is the operator's affair and answered 405.
func (m *Model) restHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"version": m.cfg.Version, "commit": "model", "kafka_cluster_id": "model"})
	})
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"status": "healthy", "message": "Worker has completed startup and is ready to handle requests."})
	})
	mux.HandleFunc("GET /connectors", m.listConnectors)
	mux.HandleFunc("POST /connectors", func(w http.ResponseWriter, _ *http.Request) {
		fault(w, http.StatusMethodNotAllowed, "connectors come from KafkaConnector resources")
	})
	one := func(pattern string, h func(w http.ResponseWriter, r *http.Request, c *connector)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			c := m.connectors[r.PathValue("name")]
			if c == nil {
				fault(w, http.StatusNotFound, "Connector "+r.PathValue("name")+" not found")
				return
			}
			h(w, r, c)
		})
	}
	one("GET /connectors/{name}", func(w http.ResponseWriter, _ *http.Request, c *connector) { answer(w, http.StatusOK, c.info()) })
	one("GET /connectors/{name}/config", func(w http.ResponseWriter, _ *http.Request, c *connector) {
		answer(w, http.StatusOK, c.shownSettings())
	})
	one("GET /connectors/{name}/status", func(w http.ResponseWriter, _ *http.Request, c *connector) {
		answer(w, http.StatusOK, c.statusBody())
	})
	one("GET /connectors/{name}/topics", func(w http.ResponseWriter, _ *http.Request, c *connector) {
		answer(w, http.StatusOK, map[string]any{c.cfg.Name: map[string]any{"topics": c.cfg.Topics}})
	})
	one("GET /connectors/{name}/tasks", func(w http.ResponseWriter, _ *http.Request, c *connector) {
		out := []any{}
		for _, t := range c.list() {
			settings := c.shownSettings()
			settings["task.class"] = strings.TrimSuffix(SinkClass, "Connector") + "Task"
			out = append(out, map[string]any{"id": taskID(c, t), "config": settings})
		}
		answer(w, http.StatusOK, out)
	})
	one("GET /connectors/{name}/tasks/{task}/status", func(w http.ResponseWriter, r *http.Request, c *connector) {
		if t := c.byID(w, r); t != nil {
			answer(w, http.StatusOK, c.taskBody(t))
		}
	})
	one("POST /connectors/{name}/tasks/{task}/restart", func(w http.ResponseWriter, r *http.Request, c *connector) {
		if t := c.byID(w, r); t != nil {
			c.restart(func(o *task) bool { return o.id == t.id })
			w.WriteHeader(http.StatusNoContent)
		}
	})
	one("POST /connectors/{name}/restart", func(w http.ResponseWriter, r *http.Request, c *connector) {
		tasks, only := r.URL.Query().Get("includeTasks") == "true", r.URL.Query().Get("onlyFailed") == "true"
		if tasks {
			c.restart(func(t *task) bool { return !only || failed(t) })
		}
		// A plain restart restarts the connector object alone, which holds nothing.
		if !tasks && !only {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		answer(w, http.StatusAccepted, c.statusBody())
	})
	for path, state := range map[string]string{"pause": statePaused, "resume": stateRunning, "stop": stateStopped} {
		one("PUT /connectors/{name}/"+path, func(w http.ResponseWriter, _ *http.Request, c *connector) {
			c.setState(state)
			if state == stateStopped {
				w.WriteHeader(http.StatusNoContent)
				return
			}
			w.WriteHeader(http.StatusAccepted)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fault(w, http.StatusNotFound, "HTTP 404 Not Found") })
	return mux
}

func answer(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error_code":500,"message":"answer not encodable"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

func fault(w http.ResponseWriter, status int, msg string) {
	answer(w, status, map[string]any{"error_code": status, "message": msg})
}

func (m *Model) listConnectors(w http.ResponseWriter, r *http.Request) {
	names := slices.Sorted(maps.Keys(m.connectors))
	expand := r.URL.Query()["expand"]
	if len(expand) == 0 {
		answer(w, http.StatusOK, names)
		return
	}
	out := map[string]any{}
	for _, n := range names {
		each := map[string]any{}
		for _, e := range expand {
			switch e {
			case "status":
				each["status"] = m.connectors[n].statusBody()
			case "info":
				each["info"] = m.connectors[n].info()
			}
		}
		out[n] = each
	}
	answer(w, http.StatusOK, out)
}

func taskID(c *connector, t *task) map[string]any {
	return map[string]any{"connector": c.cfg.Name, "task": t.id}
}

func (c *connector) byID(w http.ResponseWriter, r *http.Request) *task {
	id, err := strconv.Atoi(r.PathValue("task"))
	list := c.list()
	if err != nil || id < 0 || id >= len(list) {
		fault(w, http.StatusNotFound, "No status found for task "+c.cfg.Name+"-"+r.PathValue("task"))
		return nil
	}
	return list[id]
}

func (c *connector) workerID() string {
	if id := c.m.opts.WorkerID; id != "" {
		return id
	}
	return c.m.RESTAddr()
}

// shownSettings is the configuration with its passwords left out.
func (c *connector) shownSettings() map[string]string {
	out := maps.Clone(c.cfg.Settings)
	for k := range out {
		if strings.Contains(k, "password") {
			out[k] = "[hidden]"
		}
	}
	return out
}

func (c *connector) info() map[string]any {
	tasks := []any{}
	for _, t := range c.list() {
		tasks = append(tasks, taskID(c, t))
	}
	return map[string]any{"name": c.cfg.Name, "config": c.shownSettings(), "tasks": tasks, "type": "sink"}
}

func (c *connector) taskBody(t *task) map[string]any {
	state, trace := t.status()
	out := map[string]any{"id": t.id, "state": state, "worker_id": c.workerID(), "version": Version}
	if trace != "" {
		out["trace"] = trace
	}
	return out
}

// Version is the version of the connector that the model follows.
const Version = "15.1.1"

func (c *connector) statusBody() map[string]any {
	tasks := []any{}
	for _, t := range c.list() {
		tasks = append(tasks, c.taskBody(t))
	}
	return map[string]any{
		"name": c.cfg.Name, "type": "sink", "tasks": tasks,
		"connector": map[string]any{"state": c.target(), "worker_id": c.workerID(), "version": Version},
	}
}
