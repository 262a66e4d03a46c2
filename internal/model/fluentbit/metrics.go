package fluentbit

import (
	"context"
	"sync"
	"time"

	"triad/internal/model/promtext"
)

// version is the one whose defaults and metrics are modelled.
const version = "5.0.7"

// storageEvery is how often the real program looks at its storage for the metrics of it.
const storageEvery = 5 * time.Second

// storageView is the last look at the storage.
type storageView struct {
	mu     sync.Mutex
	inputs []inputStorage
	mem    int
	fs     int
	up     int
}

type inputStorage struct {
	name                          string
	over                          bool
	bytes, busyBytes              int64
	chunks, chunksUp, down, busy_ int
}

// healthWindow keeps the failures of the last period.
type healthWindow struct {
	mu     sync.Mutex
	points []healthPoint
}

type healthPoint struct {
	at             time.Time
	errors, failed int64
}

func (h *healthWindow) add(p healthPoint, period time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.points = append(h.points, p)
	for len(h.points) > 1 && p.at.Sub(h.points[0].at) > period {
		h.points = h.points[1:]
	}
}

func (h *healthWindow) good(cfg Health) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.points) == 0 {
		return true
	}
	first, last := h.points[0], h.points[len(h.points)-1]
	return last.errors-first.errors <= int64(cfg.Errors) && last.failed-first.failed <= int64(cfg.RetryFailures)
}

// watch feeds the health check every second and the storage metrics every five.
func (f *FluentBit) watch(ctx context.Context) {
	health := time.NewTicker(time.Second)
	defer health.Stop()
	storage := time.NewTicker(storageEvery)
	defer storage.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-health.C:
			p := healthPoint{at: now}
			for _, o := range f.e.outs {
				p.errors += o.errors.Load()
				p.failed += o.retriesFailed.Load()
			}
			f.health.add(p, f.cfg.Health.Period)
		case <-storage.C:
			f.look()
		}
	}
}

func (f *FluentBit) look() {
	v := &f.storage
	v.mu.Lock()
	defer v.mu.Unlock()
	v.inputs, v.mem, v.fs, v.up = v.inputs[:0], 0, 0, 0
	f.e.mu.Lock()
	defer f.e.mu.Unlock()
	for _, in := range f.e.inputs {
		s := inputStorage{name: in.name}
		for _, c := range in.chunks {
			s.chunks++
			if c.f == nil {
				v.mem++
			} else {
				v.fs++
			}
			// Chunks are up, which is in memory, until the limit on them is reached, but for those that wait for a retry.
			up := c.f == nil || !c.waiting && v.up < f.cfg.MaxChunksUp
			if c.busy {
				s.busy_++
				if up {
					s.busyBytes += c.size
				}
			}
			if up {
				s.chunksUp++
				s.bytes += c.size
				if c.f != nil {
					v.up++
				}
			} else {
				s.down++
			}
		}
		s.over = in.cfg.MemLimit > 0 && s.bytes >= in.cfg.MemLimit
		v.inputs = append(v.inputs, s)
	}
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// metrics is the answer of /api/v2/metrics/prometheus. Histograms of latency and the rates that newer versions add are
// not exposed.
func (f *FluentBit) metrics() []byte {
	var w promtext.Writer
	host := []string{"hostname", f.opts.Hostname}
	w.Counter("fluentbit_uptime", "Number of seconds that Fluent Bit has been running.", float64(int64(time.Since(f.start).Seconds())), host...)
	w.Gauge("fluentbit_process_start_time_seconds", "Start time of the process since unix epoch in seconds.", float64(f.start.Unix()), host...)
	w.Gauge("fluentbit_build_info", "Build version information.", float64(f.start.Unix()), "hostname", f.opts.Hostname, "version", version, "os", "linux")
	w.Counter("fluentbit_hot_reloaded_times", "Collect the count of hot reloaded times.", 0, host...)
	f.inputMetrics(&w)
	for _, fl := range f.e.filters {
		name := []string{"name", fl.cfg.Name}
		w.Counter("fluentbit_filter_records_total", "Total number of new records processed.", float64(fl.records.Load()), name...)
		w.Counter("fluentbit_filter_bytes_total", "Total number of new bytes processed.", float64(fl.bytes.Load()), name...)
		w.Counter("fluentbit_filter_add_records_total", "Total number of new added records.", 0, name...)
		w.Counter("fluentbit_filter_drop_records_total", "Total number of dropped records.", 0, name...)
		w.Counter("fluentbit_filter_drop_bytes_total", "Total number of dropped bytes.", 0, name...)
	}
	for _, o := range f.e.outs {
		f.outputMetrics(&w, o)
	}
	if f.cfg.StorageMetrics {
		f.storageMetrics(&w)
	}
	return w.Bytes()
}

func (f *FluentBit) inputMetrics(w *promtext.Writer) {
	for _, in := range f.e.inputs {
		name := []string{"name", in.name}
		w.Counter("fluentbit_input_bytes_total", "Number of input bytes.", float64(in.bytes.Load()), name...)
		w.Counter("fluentbit_input_records_total", "Number of input records.", float64(in.records.Load()), name...)
		w.Gauge("fluentbit_input_ingestion_paused", "Is the input paused or not?", flag(f.e.paused(in)), name...)
	}
	for _, t := range f.tails {
		name := []string{"name", t.cfg.Name}
		w.Counter("fluentbit_input_files_opened_total", "Total number of opened files", float64(t.opened.Load()), name...)
		for _, c := range []struct {
			name, help string
			v          int64
		}{
			{"files_closed_total", "Total number of closed files", t.closed.Load()},
			{"files_rotated_total", "Total number of rotated files", t.rotated.Load()},
			{"long_line_skipped_total", "Total number of skipped occurences for long lines", t.skippedLines.Load()}, //nolint:misspell // as the real program writes it
		} {
			if c.v > 0 { // not there before the first
				w.Counter("fluentbit_input_"+c.name, c.help, float64(c.v), name...)
			}
		}
	}
}

func (f *FluentBit) outputMetrics(w *promtext.Writer, o *output) {
	name := []string{"name", o.cfg.Name}
	for _, c := range []struct {
		name, help string
		v          int64
	}{
		{"proc_records_total", "Number of processed output records.", o.procRecords.Load()},
		{"proc_bytes_total", "Number of processed output bytes.", o.procBytes.Load()},
		{"errors_total", "Number of output errors.", o.errors.Load()},
		{"retries_total", "Number of output retries.", o.retries.Load()},
		{"retries_failed_total", "Number of abandoned batches because the maximum number of re-tries was reached.", o.retriesFailed.Load()},
		{"dropped_records_total", "Number of dropped records.", o.dropped.Load()},
		{"retried_records_total", "Number of retried records.", o.retried.Load()},
	} {
		w.Counter("fluentbit_output_"+c.name, c.help, float64(c.v), name...)
	}
	open, busy := o.client.Conns()
	w.Gauge("fluentbit_output_upstream_total_connections", "Total Connection count.", float64(open), name...)
	w.Gauge("fluentbit_output_upstream_busy_connections", "Busy Connection count.", float64(busy), name...)
	capacity := 100.0
	if limit := o.cfg.TotalLimit; limit > 0 {
		f.e.mu.Lock()
		capacity = 100 * (1 - float64(o.fsSize)/float64(limit))
		f.e.mu.Unlock()
	}
	w.Gauge("fluentbit_output_chunk_available_capacity_percent", "Available chunk capacity (percent)", capacity, name...)
}

func (f *FluentBit) storageMetrics(w *promtext.Writer) {
	v := &f.storage
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.inputs {
		name := []string{"name", s.name}
		gauge := func(metric, help string, x float64) { w.Gauge("fluentbit_input_storage_"+metric, help, x, name...) }
		gauge("overlimit", "Is the input memory usage overlimit ?.", flag(s.over))
		gauge("memory_bytes", "Memory bytes used by the chunks.", float64(s.bytes))
		gauge("chunks", "Total number of chunks.", float64(s.chunks))
		gauge("chunks_up", "Total number of chunks up in memory.", float64(s.chunksUp))
		gauge("chunks_down", "Total number of chunks down.", float64(s.down))
		gauge("chunks_busy", "Total number of chunks in a busy state.", float64(s.busy_))
		gauge("chunks_busy_bytes", "Total number of bytes used by chunks in a busy state.", float64(s.busyBytes))
	}
	w.Gauge("fluentbit_storage_chunks", "Total number of chunks in the storage layer.", float64(v.mem+v.fs))
	w.Gauge("fluentbit_storage_mem_chunks", "Total number of memory chunks.", float64(v.mem))
	w.Gauge("fluentbit_storage_fs_chunks", "Total number of filesystem chunks.", float64(v.fs))
	w.Gauge("fluentbit_storage_fs_chunks_up", "Total number of filesystem chunks up in memory.", float64(v.up))
	w.Gauge("fluentbit_storage_fs_chunks_down", "Total number of filesystem chunks down.", float64(v.fs-v.up))
}
