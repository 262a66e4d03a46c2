package prometheus

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	triad "triad/internal/model"
	"triad/internal/observe/promapi"
	"triad/internal/observe/scrape"
)

func parseBody(resp *http.Response) ([]scrape.Sample, error) {
	return scrape.Parse(resp.Body, resp.Header.Get("Content-Type"))
}

const counterSel = `triad_synthetic_total{job="inputgen"}`

func newest(s promapi.Series) time.Time {
	if len(s.Samples) == 0 {
		return time.Time{}
	}
	return s.Samples[len(s.Samples)-1].Time
}

// logged reads the times of a series from an agent's log, which is the truth about what was scraped.
func logged(t *testing.T, root, name string) []int64 {
	t.Helper()
	dir := filepath.Join(root, "data-agent", "wal")
	idx, err := listSegments(dir)
	if err != nil {
		t.Fatal(err)
	}
	refs := map[uint64]bool{}
	var out []int64
	for _, i := range idx {
		// The newest frame may be half written.
		_, err := replaySegment(filepath.Join(dir, segmentName(i)), func(rec []byte) error {
			series, samples, err := decodeRecord(rec)
			for _, s := range series {
				refs[s.ref] = s.labels.Get(metricName) == name
			}
			for _, s := range samples {
				// A scrape that timed out on a busy machine leaves a stale marker, which no query returns.
				if refs[s.ref] && !isStale(s.value) {
					out = append(out, s.t)
				}
			}
			return err
		})
		if err != nil && !errors.Is(err, errTornRecord) {
			t.Fatal(err)
		}
	}
	return out
}

// missing returns the logged times that the receiver does not have, up to the newest that it has.
func missing(t *testing.T, root string, r *Receiver) []int64 {
	t.Helper()
	return missingFrom(t, root, one(t, r, counterSel, time.Now().Add(-time.Hour), time.Now()))
}

func missingFrom(t *testing.T, root string, got promapi.Series) []int64 {
	t.Helper()
	have := map[int64]bool{}
	for _, s := range got.Samples {
		have[s.Time.UnixMilli()] = true
	}
	var out []int64
	for _, at := range logged(t, root, "triad_synthetic_total") {
		if !have[at] && at <= newest(got).UnixMilli() {
			out = append(out, at)
		}
	}
	return out
}

// coverage asks for the counter from the first stored sample to now and measures holes.
func coverage(t *testing.T, r *Receiver, from, to time.Time, step time.Duration) promapi.Coverage {
	t.Helper()
	s := one(t, r, counterSel, from, to)
	if len(s.Samples) == 0 {
		t.Fatal("no samples at all")
	}
	return promapi.Gaps(s, promapi.Window{Start: s.Samples[0].Time, End: newest(s), Step: step})
}

func TestSamplesArriveWithLabels(t *testing.T) {
	t.Parallel()
	tgt := newTarget(t)
	r, _ := startReceiver(t, t.TempDir(), "")
	startAgent(t, t.TempDir(), agentYAML("100ms", tgt, r.Addr().String(), ""), nil)
	begin := time.Now()
	eventually(t, 5*time.Second, "two samples", func() bool { return len(one(t, r, counterSel, begin.Add(-time.Minute), time.Now()).Samples) >= 2 })
	s := one(t, r, counterSel, begin.Add(-time.Minute), time.Now())
	for k, v := range map[string]string{"cluster": "datacenter", "instance": "inputgen-0", "job": "inputgen"} {
		if s.Labels[k] != v {
			t.Errorf("label %s = %q, want %q", k, s.Labels[k], v)
		}
	}
	for _, name := range []string{"up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_samples_post_metric_relabeling", "scrape_series_added"} {
		if got := raw(t, r, name+`{instance="inputgen-0"}`, begin.Add(-time.Minute), time.Now()); len(got) != 1 {
			t.Errorf("%s: %d series", name, len(got))
		}
	}
}

func TestStaleMarkers(t *testing.T) {
	t.Parallel()
	tgt := newTarget(t)
	r, _ := startReceiver(t, t.TempDir(), "")
	startAgent(t, t.TempDir(), agentYAML("50ms", tgt, r.Addr().String(), ""), nil)
	c := api(r)
	present := func(q string) bool {
		s, err := c.Query(context.Background(), q, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return len(s) == 1
	}
	eventually(t, 5*time.Second, "series present", func() bool { return present("passing") && present("triad_synthetic_total") })
	tgt.gone.Store(true)
	eventually(t, 5*time.Second, "vanished series is stale long before the look-back", func() bool { return !present("passing") })
	if !present("triad_synthetic_total") {
		t.Error("the other series went with it")
	}
	tgt.broken.Store(true)
	eventually(t, 5*time.Second, "failed scrape ends all series", func() bool { return !present("triad_synthetic_total") })
	eventually(t, 5*time.Second, "up is 0", func() bool {
		s, err := c.Query(context.Background(), "up", time.Now())
		return err == nil && len(s) == 1 && s[0].Samples[0].Value == 0
	})
	if n := len(raw(t, r, "passing", time.Now().Add(-time.Minute), time.Now())); n != 1 {
		t.Errorf("old samples of the vanished series: %d series", n)
	}
}

func TestLinkCutInsideTheHorizonLeavesNoHole(t *testing.T) {
	t.Parallel()
	tgt := newTarget(t)
	r, _ := startReceiver(t, t.TempDir(), "")
	g := &gate{}
	root := t.TempDir()
	a, _ := startAgent(t, root, agentYAML("100ms", tgt, r.Addr().String(), ""), g)
	begin := time.Now().Add(-time.Minute)
	eventually(t, 5*time.Second, "first samples", func() bool { return len(one(t, r, counterSel, begin, time.Now()).Samples) >= 3 })
	cut := time.Now()
	g.set(true)
	time.Sleep(2500 * time.Millisecond)
	if at := newest(one(t, r, counterSel, begin, time.Now())); at.After(cut.Add(200 * time.Millisecond)) {
		t.Fatalf("sample of %v arrived over a cut link", at.Sub(cut))
	}
	if n := metric(t, a.Addr(), "prometheus_remote_storage_samples_retried_total"); n == 0 {
		t.Error("nothing was retried")
	}
	heal := time.Now()
	g.set(false)
	eventually(t, 10*time.Second, "backlog drained", func() bool {
		return newest(one(t, r, counterSel, begin, time.Now())).After(heal.Add(300 * time.Millisecond))
	})
	if m := missing(t, root, r); len(m) != 0 {
		t.Errorf("%d samples missing: %v", len(m), m)
	}
	if n := len(logged(t, root, "triad_synthetic_total")); n < 20 {
		t.Errorf("only %d samples scraped", n)
	}
	// At most the request that was in flight: it may have been stored without an answer, and then it is refused when it comes again.
	if n := metric(t, a.Addr(), "prometheus_remote_storage_samples_failed_total"); n > 50 {
		t.Errorf("%v samples failed", n)
	}
}

// TestReceiverFaults: down, refusing and slow receivers cost nothing inside the horizon, and each fault counts its hits.
func TestReceiverFaults(t *testing.T) {
	long(t)
	t.Parallel()
	for name, f := range map[string]Fault{
		"down":        {Down: true},
		"unavailable": {Status: http.StatusServiceUnavailable},
		"throttled":   {Status: http.StatusTooManyRequests, RetryAfter: time.Second},
		"slow":        {Delay: 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tgt := newTarget(t)
			r, _ := startReceiver(t, t.TempDir(), "")
			root := t.TempDir()
			a, _ := startAgent(t, root, agentYAML("100ms", tgt, r.Addr().String(),
				"{batch_send_deadline: 50ms, min_backoff: 20ms, max_backoff: 100ms, retry_on_http_429: true}"), nil)
			begin := time.Now().Add(-time.Minute)
			eventually(t, 5*time.Second, "first samples", func() bool { return len(one(t, r, counterSel, begin, time.Now()).Samples) >= 2 })
			i := r.Inject(f)
			time.Sleep(1200 * time.Millisecond)
			if i.Hits() == 0 {
				t.Error("the fault did not bite")
			}
			i.Remove()
			i.Remove()
			heal := time.Now()
			eventually(t, 10*time.Second, "drained", func() bool {
				return newest(one(t, r, counterSel, begin, time.Now())).After(heal.Add(200 * time.Millisecond))
			})
			if m := missing(t, root, r); len(m) != 0 {
				t.Errorf("%d samples missing: %v", len(m), m)
			}
			hits := i.Hits()
			time.Sleep(100 * time.Millisecond)
			if i.Hits() != hits {
				t.Error("a removed fault still bites")
			}
			if n := metric(t, a.Addr(), "prometheus_remote_storage_samples_failed_total"); n != 0 && !f.Down {
				t.Errorf("%v samples failed", n)
			}
		})
	}
}

func TestThrottleWithoutRetryLosesTheBatch(t *testing.T) {
	t.Parallel()
	tgt := newTarget(t)
	r, _ := startReceiver(t, t.TempDir(), "")
	i := r.Inject(Fault{Status: http.StatusTooManyRequests})
	a, _ := startAgent(t, t.TempDir(), agentYAML("50ms", tgt, r.Addr().String(), ""), nil)
	eventually(t, 5*time.Second, "given up", func() bool { return metric(t, a.Addr(), "prometheus_remote_storage_samples_failed_total") > 0 })
	if n := metric(t, a.Addr(), "prometheus_remote_storage_samples_retried_total"); n != 0 || i.Hits() == 0 {
		t.Errorf("retried %v, hits %d", n, i.Hits())
	}
}

// TestKilledAgentLosesWhatItHadNotSent is what the real program does (testdata/real/README.md): the log survives, series and all, but of
// its samples only those younger than the new process are sent.
func TestKilledAgentLosesWhatItHadNotSent(t *testing.T) {
	t.Parallel()
	tgt := newTarget(t)
	r, _ := startReceiver(t, t.TempDir(), "")
	g := &gate{}
	root := t.TempDir()
	cfg := agentYAML("100ms", tgt, r.Addr().String(), "")
	_, p := startAgent(t, root, cfg, g)
	begin := time.Now().Add(-time.Minute)
	eventually(t, 5*time.Second, "first samples", func() bool { return len(one(t, r, counterSel, begin, time.Now()).Samples) >= 3 })
	cut := time.Now()
	g.set(true)
	time.Sleep(1000 * time.Millisecond)
	p.stop(t, triad.ErrKilled)
	reborn := time.Now()
	b, _ := startAgent(t, root, cfg, g)
	if n := metric(t, b.Addr(), "prometheus_agent_active_series"); n < 7 {
		t.Errorf("%v series replayed, want those of one target", n)
	}
	if n := metric(t, b.Addr(), "prometheus_agent_clean_start"); n != 0 {
		t.Error("a killed process counted as ended in order")
	}
	time.Sleep(700 * time.Millisecond)
	g.set(false)
	heal := time.Now()
	eventually(t, 10*time.Second, "drained", func() bool { return newest(one(t, r, counterSel, begin, time.Now())).After(heal) })
	lost := missing(t, root, r)
	if len(lost) < 3 {
		t.Fatalf("%d samples lost, want those between cut and kill", len(lost))
	}
	// What was in flight at the cut may or may not have got through; all that the dead process had scraped after is lost, and nothing that the
	// new one scraped.
	if first := time.UnixMilli(lost[0]); first.Before(cut.Add(-300*time.Millisecond)) || first.After(cut.Add(300*time.Millisecond)) {
		t.Errorf("loss begins %v after the cut", first.Sub(cut))
	}
	if last := time.UnixMilli(lost[len(lost)-1]); !last.Before(reborn) {
		t.Errorf("loss ends %v after the restart", last.Sub(reborn))
	}
	for _, at := range logged(t, root, "triad_synthetic_total") {
		if at >= lost[0] && at < reborn.UnixMilli() && !slices.Contains(lost, at) {
			t.Errorf("sample of %v before the restart arrived", reborn.Sub(time.UnixMilli(at)))
		}
	}
}

func TestOrderlyEndFlushes(t *testing.T) {
	t.Parallel()
	tgt := newTarget(t)
	r, _ := startReceiver(t, t.TempDir(), "")
	root := t.TempDir()
	// A deadline so long that nothing is sent before the end.
	cfg := agentYAML("50ms", tgt, r.Addr().String(), "{batch_send_deadline: 1h, max_samples_per_send: 10000}")
	a, p := startAgent(t, root, cfg, nil)
	eventually(t, 5*time.Second, "samples pending", func() bool { return metric(t, a.Addr(), "prometheus_remote_storage_samples_pending") > 30 })
	begin := time.Now().Add(-time.Minute)
	if n := len(raw(t, r, counterSel, begin, time.Now())); n != 0 {
		t.Fatal("sent before the deadline")
	}
	p.stop(t, nil)
	if n := len(one(t, r, counterSel, begin, time.Now()).Samples); n < 3 {
		t.Errorf("%d samples flushed", n)
	}
	b, _ := startAgent(t, root, cfg, nil)
	if n := metric(t, b.Addr(), "prometheus_agent_clean_start"); n != 1 {
		t.Error("an orderly end was not remembered")
	}
}

// TestOutageBeyondTheLogLosesTheRange: the reader stands in the segment of the beginning of the outage; when the segment after it has been
// removed, everything until the reader has started anew is lost, and no counter says so.
func TestOutageBeyondTheLogLosesTheRange(t *testing.T) {
	long(t)
	t.Parallel()
	tgt := newTarget(t)
	r, _ := startReceiver(t, t.TempDir(), "")
	g := &gate{}
	const frequency = 300 * time.Millisecond
	a, _ := startAgent(t, t.TempDir(), agentYAML("20ms", tgt, r.Addr().String(), "{batch_send_deadline: 20ms, min_backoff: 10ms, max_backoff: 20ms, capacity: 10, max_samples_per_send: 10, max_shards: 1}"),
		g, "--storage.agent.wal-truncate-frequency=300ms", "--storage.agent.retention.min-time=100ms", "--storage.agent.retention.max-time=1h")
	begin := time.Now().Add(-time.Minute)
	_, longest := a.cfg.LogHorizon(0)
	if longest != 5*frequency {
		t.Fatalf("longest horizon %v, want 5 truncations", longest)
	}
	eventually(t, 5*time.Second, "samples flow over several truncations", func() bool { return metric(t, a.Addr(), "prometheus_agent_checkpoint_creations_total") >= 2 })
	cut := time.Now()
	g.set(true)
	time.Sleep(longest + 3*frequency)
	g.set(false)
	heal := time.Now()
	eventually(t, 10*time.Second, "samples flow again", func() bool {
		return newest(one(t, r, counterSel, begin, time.Now())).After(heal.Add(500 * time.Millisecond))
	})
	c := coverage(t, r, begin, time.Now(), 20*time.Millisecond)
	var hole promapi.Gap
	for _, x := range c.Gaps {
		if x.Length() > hole.Length() {
			hole = x
		}
	}
	// The segment of the cut is read to its end, so the hole begins within one truncation period of it; it ends with the reader's new start,
	// one retry wait after the failure.
	if hole.From.Before(cut.Add(-200*time.Millisecond)) || hole.From.After(cut.Add(frequency+200*time.Millisecond)) {
		t.Errorf("hole begins %v after the cut", hole.From.Sub(cut))
	}
	if hole.To.Before(heal) || hole.To.After(heal.Add(quick().WatcherRetry+1500*time.Millisecond)) {
		t.Errorf("hole ends %v after healing", hole.To.Sub(heal))
	}
	// The request in flight at the cut may have been stored without an answer; sent again it is refused as out of order, and counted.
	for n, most := range map[string]float64{"prometheus_remote_storage_samples_failed_total": 10, "prometheus_remote_storage_samples_dropped_total": 0} {
		if v := metric(t, a.Addr(), n); v > most {
			t.Errorf("%s = %v; the real program counts none of these", n, v)
		}
	}
	// The loss shows as a difference of counters only.
	in, out := metric(t, a.Addr(), "prometheus_remote_storage_samples_in_total"), metric(t, a.Addr(), "prometheus_remote_storage_samples_total")-
		metric(t, a.Addr(), "prometheus_remote_storage_samples_retried_total")
	if lost := in - out; lost < float64(hole.Missing) {
		t.Errorf("in - sent = %v, though %d samples of one series are missing", lost, hole.Missing)
	}
}

func TestSampleAgeLimitIsCounted(t *testing.T) {
	long(t)
	t.Parallel()
	tgt := newTarget(t)
	r, _ := startReceiver(t, t.TempDir(), "")
	g := &gate{}
	a, _ := startAgent(t, t.TempDir(), agentYAML("50ms", tgt, r.Addr().String(),
		"{batch_send_deadline: 50ms, min_backoff: 20ms, max_backoff: 50ms, capacity: 10, max_samples_per_send: 10, max_shards: 1, sample_age_limit: 500ms}"), g)
	begin := time.Now().Add(-time.Minute)
	eventually(t, 5*time.Second, "first samples", func() bool { return len(one(t, r, counterSel, begin, time.Now()).Samples) >= 2 })
	g.set(true)
	time.Sleep(1500 * time.Millisecond)
	g.set(false)
	heal := time.Now()
	eventually(t, 10*time.Second, "samples flow again", func() bool {
		return newest(one(t, r, counterSel, begin, time.Now())).After(heal.Add(200 * time.Millisecond))
	})
	if n := metric(t, a.Addr(), "prometheus_remote_storage_samples_dropped_total"); n == 0 {
		t.Error("no sample was too old")
	}
	if c := coverage(t, r, begin, time.Now(), 50*time.Millisecond); c.LongestGap < 700*time.Millisecond || c.LongestGap > 1500*time.Millisecond {
		t.Errorf("hole of %v, want about the outage less the limit", c.LongestGap)
	}
}

// TestReceiverKeepsWhatItAcknowledged kills the receiver and starts it on the same files.
func TestReceiverKeepsWhatItAcknowledged(t *testing.T) {
	t.Parallel()
	tgt := newTarget(t)
	root := t.TempDir()
	r, p := startReceiver(t, root, "")
	addr := r.Addr().String()
	agentRoot := t.TempDir()
	startAgent(t, agentRoot, agentYAML("50ms", tgt, addr, ""), nil)
	begin := time.Now().Add(-time.Minute)
	eventually(t, 5*time.Second, "ten samples", func() bool { return len(one(t, r, counterSel, begin, time.Now()).Samples) >= 10 })
	before := one(t, r, counterSel, begin, time.Now())
	p.stop(t, triad.ErrKilled)
	time.Sleep(500 * time.Millisecond)
	r2, _ := startReceiver(t, root, "", "--web.listen-address="+addr)
	after := one(t, r2, counterSel, begin, newest(before))
	if len(after.Samples) < len(before.Samples) {
		t.Errorf("%d samples before the kill, %d after", len(before.Samples), len(after.Samples))
	}
	reborn := time.Now()
	eventually(t, 10*time.Second, "samples flow again", func() bool {
		return newest(one(t, r2, counterSel, begin, time.Now())).After(reborn.Add(200 * time.Millisecond))
	})
	if m := missing(t, agentRoot, r2); len(m) != 0 {
		t.Errorf("%d samples missing: %v", len(m), m)
	}
}

func TestReceiverScrapesItself(t *testing.T) {
	t.Parallel()
	tgt := newTarget(t)
	r, _ := startReceiver(t, t.TempDir(), fmt.Sprintf("scrape_configs: [{job_name: own, scrape_interval: 50ms, static_configs: [{targets: ['%s']}]}]", tgt.addr()))
	begin := time.Now().Add(-time.Minute)
	sel := `triad_synthetic_total{job="own"}`
	eventually(t, 5*time.Second, "own samples", func() bool { return len(one(t, r, sel, begin, time.Now()).Samples) > 3 })
	i := r.Inject(Fault{Down: true})
	time.Sleep(100 * time.Millisecond)
	n := tgt.scrapes.Load()
	time.Sleep(300 * time.Millisecond)
	if tgt.scrapes.Load() != n {
		t.Error("an absent receiver scraped")
	}
	i.Remove()
	eventually(t, 5*time.Second, "scrapes again", func() bool { return tgt.scrapes.Load() > n })
}

// TestShardsGrowWithABacklog: a receiver that takes long makes the calculation ask for more shards; each series stays in order and whole.
func TestShardsGrowWithABacklog(t *testing.T) {
	long(t)
	t.Parallel()
	tgt := newTarget(t)
	r, _ := startReceiver(t, t.TempDir(), "")
	root := t.TempDir()
	a, _ := startAgent(t, root, agentYAML("50ms", tgt, r.Addr().String(), "{batch_send_deadline: 50ms, max_samples_per_send: 4, capacity: 40, max_shards: 5}"), nil,
		// Resharding flushes, too, and gives up what the deadline leaves.
		"--storage.remote.flush-deadline=20s")
	f := r.Inject(Fault{Delay: 150 * time.Millisecond})
	most := 0.0
	eventually(t, 10*time.Second, "more shards", func() bool {
		most = max(most, metric(t, a.Addr(), "prometheus_remote_storage_shards"))
		return most >= 3
	})
	f.Remove()
	heal := time.Now()
	begin := heal.Add(-time.Minute)
	eventually(t, 10*time.Second, "drained", func() bool {
		return newest(one(t, r, counterSel, begin, time.Now())).After(heal.Add(200 * time.Millisecond))
	})
	if m := missing(t, root, r); len(m) != 0 || most > 5 {
		t.Errorf("%d samples missing, at most %v shards", len(m), most)
	}
}

// TestRepeatedRequestCountsAsFailed: a request that was stored without an answer and holds two samples of one series is refused when it comes again.
// So prometheus_remote_storage_samples_failed_total is an upper bound of the loss, not the loss.
func TestRepeatedRequestCountsAsFailed(t *testing.T) {
	t.Parallel()
	r, _ := startReceiver(t, t.TempDir(), "")
	url := "http://" + r.Addr().String()
	base := time.Now()
	two := write("two samples of one series", w("__name__=s", 0, "1", 1.0, "2"))
	if status, answer := two.do(t, base, url); status != http.StatusNoContent {
		t.Fatal(status, answer)
	}
	if status, answer := two.do(t, base, url); status != http.StatusBadRequest || answer != "out of order sample" {
		t.Errorf("%d %s", status, answer)
	}
	if n := len(one(t, r, "s", base.Add(-time.Minute), base.Add(time.Minute)).Samples); n != 2 {
		t.Errorf("%d samples stored", n)
	}
}
