package fluentd

import (
	"context"
	"time"

	"triad/internal/model/promtext"
)

// monitor copies the values of the outputs at the interval of a monitor source, as the plugin does: what is scraped is
// never younger than the last copy, and nothing is there before the first.
func (f *Fluentd) monitor(ctx context.Context, m *Monitor) {
	t := time.NewTicker(m.Interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		var text []byte
		if m == f.cfg.OutputMonitor {
			text = f.outputStatus(m)
		} else {
			text = f.bufferStatus()
		}
		f.snapMu.Lock()
		if m == f.cfg.OutputMonitor {
			f.output = text
		} else {
			f.status = text
		}
		f.snapMu.Unlock()
	}
}

// bufferStatus is what prometheus_monitor exposes.
func (f *Fluentd) bufferStatus() []byte {
	var w promtext.Writer
	for _, o := range f.outputs {
		s := o.buf.stats()
		l := []string{"plugin_id", o.cfg.ID, "plugin_category", "output", "type", o.cfg.Plugin}
		w.Gauge("fluentd_status_buffer_queue_length", "Current buffer queue length.", float64(s.queueLength), l...)
		w.Gauge("fluentd_status_buffer_total_bytes", "Current total size of queued buffers.", float64(s.stageSize+s.queueSize), l...)
		w.Gauge("fluentd_status_retry_count", "Current retry counts.", float64(o.numErrors.Load()), l...)
	}
	return w.Bytes()
}

// outputStatus is what prometheus_output_monitor exposes. Since Fluentd 1.14 the retry count is the number of errors.
func (f *Fluentd) outputStatus(m *Monitor) []byte {
	const prefix = "fluentd_output_status_"
	var w promtext.Writer
	for _, o := range f.outputs {
		s := o.buf.stats()
		l := []string{"plugin_id", o.cfg.ID, "type", o.cfg.Plugin}
		gauge := func(name, help string, v float64) { w.Gauge(prefix+name, help, v, l...) }
		count := func(name, help string, v int64) {
			if m.Counters {
				w.Counter(prefix+name, help, float64(v), l...)
			} else {
				gauge(name, help, float64(v))
			}
		}
		total := s.stageSize + s.queueSize
		gauge("buffer_total_bytes", "Current total size of stage and queue buffers.", float64(total))
		gauge("buffer_stage_length", "Current length of stage buffers.", float64(s.stageLength))
		gauge("buffer_stage_byte_size", "Current total size of stage buffers.", float64(s.stageSize))
		gauge("buffer_queue_length", "Current length of queue buffers.", float64(s.queueLength))
		gauge("buffer_queue_byte_size", "Current total size of queue buffers.", float64(s.queueSize))
		// One digit after the point, as in_monitor_agent rounds it.
		ratio := float64(int64((1-float64(total)/float64(o.cfg.Buffer.TotalLimit))*1000+0.5)) / 10
		gauge("buffer_available_space_ratio", "Ratio of available space in buffer.", ratio)
		count("retry_count", "Current retry counts.", o.numErrors.Load())
		count("num_errors", "Current number of errors.", o.numErrors.Load())
		count("emit_count", "Current emit counts.", o.emitCount.Load())
		count("emit_records", "Current emit records.", o.emitRecords.Load())
		count("write_count", "Current write counts.", o.writeCount.Load())
		gauge("rollback_count", "Current rollback counts.", float64(o.rollbacks.Load()))
		count("flush_time_count", "Total flush time.", o.flushMillis.Load())
		count("slow_flush_count", "Current slow flush counts.", o.slowFlushes.Load())
		wait := 0.0 // from the first failure to the next retry
		o.mu.Lock()
		if o.retry != nil {
			wait = o.retry.next.Sub(o.retry.start).Seconds()
		}
		o.mu.Unlock()
		gauge("retry_wait", "Current retry wait", wait)
	}
	return w.Bytes()
}
