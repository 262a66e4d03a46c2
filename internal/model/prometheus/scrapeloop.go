package prometheus

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"triad/internal/observe/scrape"
)

// Target is one endpoint that a runtime gives a job in place of what service discovery would find.
type Target struct {
	// Address is host:port; Options.Dial may map it to where the model listens.
	Address string
	// Labels are final labels of the target, or, when any of them begins with __meta_, what discovery would have given: then
	// relabel_configs is applied to them. __scheme__, __metrics_path__, job and instance may be set here.
	Labels map[string]string

	static bool // from static_configs: relabel_configs is applied
}

// sink takes the samples of one scrape.
type sink interface {
	appendScrape(samples []scraped) (refused refusals, err error)
}

// scraped is one sample on its way from a target to storage.
type scraped struct {
	labels Labels
	point
}

// refusals counts samples that storage did not take.
type refusals struct{ duplicate, outOfOrder int }

// scraper runs one loop per target.
type scraper struct {
	jobs    []ScrapeJob
	given   map[string][]Target
	sink    sink
	files   files
	dial    dialer
	timing  Timing
	logger  *slog.Logger
	metrics *scrapeMetrics
	// paused, when it returns true, makes due scrapes not happen, as in a process that is away.
	paused func() bool
}

// endpoint is one target after relabelling.
type endpoint struct {
	job    *ScrapeJob
	url    string
	labels Labels // with job and instance, without reserved ones
	client *http.Client
}

func (s *scraper) endpoints() ([]endpoint, error) {
	var out []endpoint
	for i := range s.jobs {
		j := &s.jobs[i]
		t, err := j.HTTP.transport(s.files, s.dial)
		if err != nil {
			return nil, fmt.Errorf("scrape job %s: %w", j.Name, err)
		}
		client := &http.Client{Transport: t}
		n := 0
		for _, target := range s.targets(j) {
			e, ok := j.endpoint(target)
			if !ok {
				continue
			}
			e.client = client
			out = append(out, e)
			n++
		}
		s.metrics.targets.WithLabelValues(j.Name).Set(float64(n))
	}
	return out, nil
}

// targets are those given by the runtime, else those of static_configs.
func (s *scraper) targets(j *ScrapeJob) []Target {
	if given, ok := s.given[j.Name]; ok {
		return given
	}
	var out []Target
	for _, g := range j.Static {
		for _, a := range g.Targets {
			out = append(out, Target{Address: a, Labels: g.Labels, static: true})
		}
	}
	return out
}

func (j *ScrapeJob) endpoint(t Target) (endpoint, bool) {
	m := map[string]string{"job": j.Name, "__address__": t.Address, "__scheme__": j.Scheme, "__metrics_path__": j.Path}
	for k, v := range j.Params {
		if len(v) > 0 {
			m["__param_"+k] = v[0]
		}
	}
	discovered := t.static
	for k, v := range t.Labels {
		discovered = discovered || strings.HasPrefix(k, "__meta_")
		set(m, k, v)
	}
	if discovered && !relabel(m, j.relabel) {
		return endpoint{}, false
	}
	if m["__address__"] == "" {
		return endpoint{}, false
	}
	if m["instance"] == "" {
		m["instance"] = m["__address__"]
	}
	q := url.Values{}
	maps.Copy(q, j.Params)
	for k, v := range m {
		if name, ok := strings.CutPrefix(k, "__param_"); ok {
			q[name] = append([]string{v}, q[name][min(1, len(q[name])):]...)
		}
	}
	u := url.URL{Scheme: m["__scheme__"], Host: m["__address__"], Path: m["__metrics_path__"], RawQuery: q.Encode()}
	maps.DeleteFunc(m, func(k, _ string) bool { return strings.HasPrefix(k, "__") })
	return endpoint{job: j, url: u.String(), labels: LabelsFrom(m)}, true
}

// run scrapes until ctx ends. No end-of-run stale markers are written: the real program writes none when the process stops.
func (s *scraper) run(ctx context.Context) error {
	ends, err := s.endpoints()
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(s.timing.ScrapeStart):
	}
	var wg sync.WaitGroup
	for _, e := range ends {
		wg.Go(func() { s.loop(ctx, e) })
	}
	wg.Wait()
	for _, e := range ends {
		e.client.CloseIdleConnections()
	}
	return nil
}

// offset spreads targets over the interval at a place that depends on the target alone, so that a restarted process scrapes
// at the same phase.
func (e endpoint) offset(now time.Time) time.Duration {
	h := fnv.New64a()
	h.Write([]byte(e.labels.key()))
	h.Write([]byte(e.url))
	iv := int64(e.job.Interval)
	next := iv - now.UnixNano()%iv + int64(h.Sum64()%uint64(iv))
	if next > iv {
		next -= iv
	}
	return time.Duration(next)
}

func (s *scraper) loop(ctx context.Context, e endpoint) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(e.offset(time.Now())):
	}
	tick := time.NewTicker(e.job.Interval)
	defer tick.Stop()
	aligned := time.Now().Round(0)
	// The real program moves a scrape that comes at most this late to its due time.
	tolerance := min(e.job.Interval/100, 2*time.Millisecond)
	state := &loopState{endpoint: e, previous: map[string]Labels{}}
	for ctx.Err() == nil {
		at := time.Now().Round(0)
		for at.Sub(aligned) >= e.job.Interval {
			aligned = aligned.Add(e.job.Interval)
		}
		if at.Sub(aligned) <= tolerance {
			at = aligned
		}
		if s.paused == nil || !s.paused() {
			s.scrapeOnce(ctx, state, at)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// loopState is what one target's loop remembers: the series of the last scrape, for stale markers.
type loopState struct {
	endpoint
	previous map[string]Labels
	healthy  bool
}

var errSampleLimit = errors.New("sample limit exceeded")

func (s *scraper) scrapeOnce(ctx context.Context, st *loopState, at time.Time) {
	begin := time.Now()
	raw, err := s.fetch(ctx, st)
	took := time.Since(begin)
	if ctx.Err() != nil {
		return
	}
	ms := at.UnixMilli()
	batch, current, kept := st.samples(raw, ms)
	if err == nil && st.job.SampleLimit > 0 && kept > st.job.SampleLimit {
		err = errSampleLimit
		s.metrics.overLimit.Inc()
	}
	up := 1.0
	if err != nil {
		up, batch, current = 0, nil, map[string]Labels{}
		s.logger.Debug("scrape failed", "url", st.url, "err", err)
	}
	added := 0
	for k := range current {
		if _, ok := st.previous[k]; !ok {
			added++
		}
	}
	for _, k := range slices.Sorted(maps.Keys(st.previous)) {
		if _, ok := current[k]; !ok {
			batch = append(batch, scraped{st.previous[k], point{ms, staleNaN()}})
		}
	}
	st.previous, st.healthy = current, err == nil
	for _, r := range []struct {
		name  string
		value float64
	}{
		{"up", up},
		{"scrape_duration_seconds", took.Seconds()},
		{"scrape_samples_scraped", float64(len(raw))},
		{"scrape_samples_post_metric_relabeling", float64(kept)},
		{"scrape_series_added", float64(added)},
	} {
		m := st.labels.Map()
		m[metricName] = r.name
		batch = append(batch, scraped{LabelsFrom(m), point{ms, r.value}})
	}
	refused, err := s.sink.appendScrape(batch)
	s.metrics.duplicates.Add(float64(refused.duplicate))
	s.metrics.outOfOrder.Add(float64(refused.outOfOrder))
	if err != nil {
		s.logger.Error("scrape not stored", "url", st.url, "err", err)
	}
}

// samples turns an exposition into samples with the target's labels, and the set of series that the next scrape must have again.
func (st *loopState) samples(raw []scrape.Sample, ms int64) (batch []scraped, current map[string]Labels, kept int) {
	current = make(map[string]Labels, len(raw))
	for _, r := range raw {
		m := make(map[string]string, len(r.Labels)+len(st.labels)+1)
		for k, v := range r.Labels {
			set(m, k, v)
		}
		m[metricName] = r.Name
		for _, l := range st.labels {
			own, clash := m[l.Name]
			if clash && st.job.HonorLabels {
				continue
			}
			if clash {
				m["exported_"+l.Name] = own
			}
			m[l.Name] = l.Value
		}
		if !relabel(m, st.job.metricRelabel) || m[metricName] == "" {
			continue
		}
		kept++
		ls := LabelsFrom(m)
		t := ms
		if r.TimeMS != 0 && st.job.HonorTimestamps {
			t = r.TimeMS
		} else {
			// Series with timestamps of their own get no stale markers.
			current[ls.key()] = ls
		}
		batch = append(batch, scraped{ls, point{t, r.Value}})
	}
	return batch, current, kept
}

func (s *scraper) fetch(ctx context.Context, st *loopState) ([]scrape.Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, st.job.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, st.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", scrape.Accept)
	req.Header.Set("User-Agent", "Prometheus/3.16.0")
	req.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", strconv.FormatFloat(st.job.Timeout.Seconds(), 'f', -1, 64))
	if err := st.job.HTTP.authorize(s.files, req); err != nil {
		return nil, err
	}
	resp, err := st.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("server returned HTTP status %s", resp.Status)
	}
	return scrape.Parse(io.LimitReader(resp.Body, 64<<20), resp.Header.Get("Content-Type"))
}
