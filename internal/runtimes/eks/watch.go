//go:build !embedded_only

package eks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"sync"
	"time"

	"triad/internal/observe/scrape"
	"triad/internal/runtimes"
	"triad/internal/scenario"
)

// watchEvery is how often the clusters are asked how they are while faults may strike.
const watchEvery = 2 * time.Second

// What the sink's workers say of the real traffic.
const (
	lagMetric  = "kafka_consumer_fetch_manager_records_lag"
	sentMetric = "kafka_connect_sink_task_sink_record_send_total"
)

// vitals are what was seen at one moment.
type vitals struct {
	at             time.Time
	acked, inKafka uint64                        // of the canary
	due            func(before time.Time) uint64 // of the canary, in Kafka by now, and due before a moment; nil: not known
	lag            float64                       // of the sink, all topics
	sent           float64                       // records that the sink has sent since the watch began
}

// watch holds the abort conditions against what is seen. Its state is what the gate asks.
type watch struct {
	abort Abort

	mu       sync.Mutex
	readings []vitals           // of the last within, and one before
	read     time.Time          // when the workers were last read
	sent     float64            // since the watch began
	counters map[string]float64 // of the workers' tasks, as last read
	highLag  time.Time          // since when the lag stands above its limit; zero: it does not
	first    time.Time          // when the first fault struck; zero: none has
	began    vitals             // the first reading
	usual    float64            // records a second that the sink sent before the first fault
	over     string             // why the run was given up
	worst    struct{ overdue, lag, kept float64 }
}

func newWatch(a Abort) *watch {
	w := &watch{abort: a, counters: map[string]float64{}}
	w.worst.kept = 1
	return w
}

// freshTime is how old the last figures of the sink's workers may be when something is struck.
const freshTime = watchEvery + figuresTime

// unfit says why nothing may be struck now; empty: it may. Until real traffic was watched for a while nothing may, nor while it suffers.
func (w *watch) unfit(now time.Time) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	rate := w.rate()
	switch {
	case w.over != "":
		return "the run was given up: " + w.over
	case rate == 0:
		return fmt.Sprintf("no real ingestion was seen for %v: what is not watched is not struck", w.abort.Within)
	case now.Sub(w.read) > freshTime:
		return fmt.Sprintf("the sink's workers were last read %v ago: what is not watched is not struck", now.Sub(w.read).Round(time.Second))
	case !w.highLag.IsZero():
		return fmt.Sprintf("the sink is more than %.0f records behind", w.abort.Lag)
	case !w.first.IsZero() && rate < w.abort.Ingestion*w.usual:
		return fmt.Sprintf("the sink sends %.1f records/s, and %.1f/s before the first fault: it has not come back", rate, w.usual)
	}
	return ""
}

// struck is called before a fault strikes: what the sink sent so far is what it has to keep up.
func (w *watch) struck(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.first.IsZero() {
		return
	}
	w.first = now
	if n := len(w.readings); n > 0 {
		w.usual = (w.readings[n-1].sent - w.began.sent) / w.readings[n-1].at.Sub(w.began.at).Seconds()
	}
}

// rate is what the sink sent over the last within, in records a second; 0 when it was not watched for so long.
func (w *watch) rate() float64 {
	n := len(w.readings)
	if n < 2 {
		return 0
	}
	from, to := w.readings[0], w.readings[n-1]
	if to.at.Sub(from.at) < w.abort.Within.D() {
		return 0
	}
	return (to.sent - from.sent) / to.at.Sub(from.at).Seconds()
}

// workers takes what was read of all workers at once into the reading. A counter that is lower than before belongs to a task that began anew.
func (w *watch) workers(r *vitals, samples []scrape.Sample) {
	for _, s := range samples {
		switch s.Name {
		case lagMetric:
			if !math.IsNaN(s.Value) {
				r.lag += s.Value
			}
		case sentMetric:
			key := s.Labels["instance"] + "/" + s.Labels["connector"] + "/" + s.Labels["task"]
			if last, ok := w.counters[key]; ok {
				if s.Value >= last {
					w.sent += s.Value - last
				} else {
					w.sent += s.Value
				}
			}
			w.counters[key] = s.Value
		}
	}
}

// add takes one reading and returns why the run has to be given up, or nothing. failed is what could not be read.
func (w *watch) add(r vitals, samples []scrape.Sample, failed error) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over != "" {
		return w.over
	}
	if w.read.IsZero() {
		w.read = r.at
	}
	if failed == nil {
		w.read = r.at
		w.workers(&r, samples)
	} else if n := len(w.readings); n > 0 {
		r.lag = w.readings[n-1].lag
	}
	r.sent = w.sent
	if len(w.readings) == 0 {
		w.began = r
	}
	w.readings = append(w.readings, r)
	for len(w.readings) > 2 && r.at.Sub(w.readings[1].at) >= w.abort.Within.D() {
		w.readings = w.readings[1:]
	}
	w.over = w.judge(r, failed)
	return w.over
}

// judge holds the newest reading against every condition.
func (w *watch) judge(r vitals, failed error) string {
	within := w.abort.Within.D()
	if old := w.readings[0]; r.at.Sub(old.at) >= within && old.acked > 0 {
		there := r.inKafka
		if r.due != nil {
			there = r.due(old.at) // what has come since must not stand for what is missing
		}
		part := float64(old.acked-min(old.acked, there)) / float64(old.acked)
		w.worst.overdue = max(w.worst.overdue, part)
		if part > w.abort.Overdue {
			return fmt.Sprintf("%.2f %% of the canary's %d records are not in Kafka %v after they were written; the budget is %g %%", 100*part, old.acked, within, 100*w.abort.Overdue)
		}
	}
	w.worst.lag = max(w.worst.lag, r.lag)
	switch {
	case r.lag <= w.abort.Lag:
		w.highLag = time.Time{}
	case w.highLag.IsZero():
		w.highLag = r.at
	case r.at.Sub(w.highLag) >= within:
		return fmt.Sprintf("the sink is %.0f records behind, and has been more than %.0f behind for %v", r.lag, w.abort.Lag, within)
	}
	if failed != nil && r.at.Sub(w.read) >= within {
		return fmt.Sprintf("the sink's workers could not be read for %v: %v", within, failed)
	}
	// Judged over a window that lies behind the strike, in whole.
	if !w.first.IsZero() && w.usual > 0 && failed == nil && !w.readings[0].at.Before(w.first) && r.at.Sub(w.readings[0].at) >= within {
		kept := w.rate() / w.usual
		w.worst.kept = min(w.worst.kept, kept)
		if kept < w.abort.Ingestion {
			return fmt.Sprintf("the sink sent %.1f records/s over the last %v, %.0f %% of the %.1f/s before the first fault; %.0f %% have to be kept up", w.rate(), within, 100*kept, w.usual, 100*w.abort.Ingestion)
		}
	}
	return ""
}

// summary is the worst that was seen.
func (w *watch) summary() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.readings) == 0 {
		return "nothing was read"
	}
	kept := "not judged"
	if !w.first.IsZero() {
		kept = fmt.Sprintf("at least %.0f %% of %.1f/s", 100*w.worst.kept, w.usual)
	}
	return fmt.Sprintf("overdue at most %.2f %% (limit %g %%), sink at most %.0f records behind (limit %.0f), ingestion %s (limit %.0f %%)",
		100*w.worst.overdue, 100*w.abort.Overdue, w.worst.lag, w.abort.Lag, kept, 100*w.abort.Ingestion)
}

var _ runtimes.Guarded = (*env)(nil)

// Guard watches the real traffic while faults may strike, and returns why the run has to be given up. A run without faults needs none.
func (e *env) Guard(ctx context.Context, arrived func() runtimes.Arrived) (saw string, err error) {
	if len(e.session.Scenario.Faults) == 0 || e.contexts.Faults == nil {
		return "", nil
	}
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		read, cancel := context.WithTimeoutCause(ctx, figuresTime, fmt.Errorf("no answer within %v", figuresTime))
		samples, failed := e.sink(read)
		cancel()
		if ctx.Err() != nil {
			return e.watch.summary(), nil
		}
		a := arrived()
		if why := e.watch.add(vitals{at: time.Now(), acked: a.Acknowledged, inKafka: a.InKafka, due: a.Due}, samples, failed); why != "" {
			return e.watch.summary(), errors.New(why)
		}
		select {
		case <-ctx.Done():
			return e.watch.summary(), nil
		case <-t.C:
		}
	}
}

// sink reads every worker of Connect. One that does not answer makes the reading none: half of a lag looks like a small one.
func (e *env) sink(ctx context.Context) ([]scrape.Sample, error) {
	pods, err := e.pods(ctx, scenario.Monitoring, "kafka-connect")
	if err != nil {
		return nil, err
	}
	if len(pods) == 0 {
		return nil, errors.New("no worker of Connect runs")
	}
	var out []scrape.Sample
	for i := range pods {
		samples, err := e.figures(ctx, scenario.Monitoring, &pods[i])
		if err != nil {
			return nil, err
		}
		found := false
		for _, s := range samples {
			if s.Name == lagMetric || s.Name == sentMetric {
				labels := map[string]string{"instance": pods[i].GetName()}
				maps.Copy(labels, s.Labels)
				s.Labels, found = labels, true
				out = append(out, s)
			}
		}
		if !found && len(pods) == 1 {
			return nil, fmt.Errorf("%s runs no task of a sink", pods[i].GetName())
		}
	}
	return out, nil
}
