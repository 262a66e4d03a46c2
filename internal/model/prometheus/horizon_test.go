package prometheus

import (
	"context"
	"math"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"triad/internal/observe/promapi"
)

func TestHorizon(t *testing.T) {
	const h = time.Hour
	cases := []struct {
		name              string
		retention, window time.Duration
		all               bool
		want              time.Duration
		reason            string
	}{
		{"one cut off, defaults", 4 * h, 1 * h, false, 1 * h, "refuses"},
		{"one cut off, wide window", 4 * h, 6 * h, false, 4 * h, "keeps unsent samples for 4h"},
		{"one cut off, equal", 2 * h, 2 * h, false, 2 * h, "would accept"},
		{"all cut off, defaults", 4 * h, 1 * h, true, 4 * h, "drain no more than 1h"},
		{"all cut off, wide window", 4 * h, 6 * h, true, 4 * h, "scrapes nothing itself"},
		{"no retention", 0, 1 * h, false, 0, "0s"},
		{"negative", -h, -h, false, 0, "0s"},
	}
	for _, c := range cases {
		got, reason := Horizon(c.retention, c.window, c.all)
		if got != c.want || !strings.Contains(reason, c.reason) {
			t.Errorf("%s: %v (%s), want %v with %q", c.name, got, reason, c.want, c.reason)
		}
	}
}

// TestCutRule replays the truncations that Prometheus 3.16 made, one each 10 s (testdata/real/README.md): which segments went, and when.
func TestCutRule(t *testing.T) {
	first, last := 0, 0
	got := map[int][2]int{}
	for at := 10; at <= 140; at += 10 {
		if upTo, ok := cut(first, last); ok {
			got[at] = [2]int{first, upTo}
			first = upTo + 1
		}
		last++
	}
	for at, want := range map[int][2]int{40: {0, 1}, 60: {2, 3}, 80: {4, 5}, 100: {6, 7}, 120: {8, 9}, 140: {10, 11}} {
		if got[at] != want {
			t.Errorf("at %d s segments %v went, want %v", at, got[at], want)
		}
	}
	if len(got) != 6 {
		t.Errorf("truncations that removed something: %v", got)
	}
}

func TestLogHorizon(t *testing.T) {
	c := AgentConfig{TruncateFrequency: 2 * time.Hour, SegmentSize: 128 << 20, RetentionMax: 4 * time.Hour}
	if low, high := c.LogHorizon(0); low != 6*time.Hour || high != 10*time.Hour {
		t.Errorf("quiet log: %v to %v, want 6h to 10h", low, high)
	}
	if d, why := c.Retention(0); d != 4*time.Hour || !strings.Contains(why, "max-time") {
		t.Errorf("quiet retention %v (%s)", d, why)
	}
	// With many segments between truncations each leaves a third of what it finds, which settles at half a period.
	low, high := c.LogHorizon(math.Inf(1))
	if low < 55*time.Minute || low > 65*time.Minute || high < 2*time.Hour {
		t.Errorf("busy log: %v to %v, want from about 1h", low, high)
	}
	if d, why := c.Retention(math.Inf(1)); d != low || !strings.Contains(why, "truncation") {
		t.Errorf("busy retention %v (%s)", d, why)
	}
	// In between the answer is not monotonic: segments of unequal length are counted alike by the two-thirds rule.
	for _, rate := range []float64{1e6, 1e5, 5e4, 2e4, 1e4, 1e3} {
		if l, h := c.LogHorizon(rate); l < 55*time.Minute || l > 6*time.Hour || h < l || h > 10*time.Hour {
			t.Errorf("at %v B/s %v to %v", rate, l, h)
		}
	}
}

// horizonWorld is two agents in front of one receiver, each over a link of its own.
type horizonWorld struct {
	api    promapi.Client
	gates  [2]*gate
	roots  [2]string
	agents [2]*Agent
}

func newHorizonWorld(t *testing.T, base string) *horizonWorld {
	w := &horizonWorld{api: promapi.Client{Base: base, HTTP: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}}
	for i, cluster := range []string{"datacenter", "kafka"} {
		cfg := strings.ReplaceAll(agentYAML("100ms", newTarget(t), strings.TrimPrefix(base, "http://"),
			"{batch_send_deadline: 50ms, min_backoff: 5ms, max_backoff: 10ms, max_samples_per_send: 14, max_shards: 1}"), "datacenter", cluster)
		w.gates[i], w.roots[i] = &gate{}, t.TempDir()
		w.agents[i], _ = startAgent(t, w.roots[i], cfg, w.gates[i])
	}
	return w
}

func (w *horizonWorld) stored(t *testing.T, i int) promapi.Series {
	t.Helper()
	s, err := w.api.Raw(context.Background(), `triad_synthetic_total{cluster="`+[]string{"datacenter", "kafka"}[i]+`"}`, time.Now().Add(-10*time.Minute), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if len(s) == 0 {
		return promapi.Series{}
	}
	return s[0]
}

// outage cuts the given agents off and returns what is missing of each afterwards.
func (w *horizonWorld) outage(t *testing.T, d time.Duration, which ...int) (cut, heal time.Time, lost [2][]int64) {
	t.Helper()
	for i := range w.agents {
		if w.gates[i].isCut() {
			continue
		}
		eventually(t, 10*time.Second, "samples flow", func() bool { return time.Since(newest(w.stored(t, i))) < time.Second })
	}
	cut = time.Now()
	for _, i := range which {
		w.gates[i].set(true)
	}
	time.Sleep(d)
	heal = time.Now()
	for _, i := range which {
		w.gates[i].set(false)
	}
	for i := range w.agents {
		if w.gates[i].isCut() {
			continue
		}
		eventually(t, 20*time.Second, "drained", func() bool { return newest(w.stored(t, i)).After(heal.Add(500 * time.Millisecond)) })
		for _, at := range missingFrom(t, w.roots[i], w.stored(t, i)) {
			if at >= cut.Add(-time.Second).UnixMilli() {
				lost[i] = append(lost[i], at)
			}
		}
	}
	return cut, heal, lost
}

// TestHorizonAgainstReceivers cuts one agent and then all of them off, inside and beyond the acceptance window of the receiver: of the model
// with a window of 2 s, and of a real one with a window of 10 s when TRIAD_REAL_PROMETHEUS_SHORT names it (--storage.tsdb.min-block-duration=20s).
func TestHorizonAgainstReceivers(t *testing.T) {
	long(t)
	t.Parallel()
	check := func(t *testing.T, base string, window time.Duration) {
		w := newHorizonWorld(t, base)
		inside, beyond := window*6/10, window*7/4

		_, _, lost := w.outage(t, inside, 0)
		if len(lost[0])+len(lost[1]) != 0 {
			t.Errorf("one cut off inside the window: %d and %d samples lost", len(lost[0]), len(lost[1]))
		}

		cut, heal, lost := w.outage(t, beyond, 0)
		if len(lost[1]) != 0 {
			t.Errorf("the agent that was not cut off lost %d samples", len(lost[1]))
		}
		if len(lost[0]) == 0 {
			t.Fatal("one cut off beyond the window lost nothing")
		}
		// Lost is what was older than the window when the link healed, and what shared a request with it: requests of 14 samples of 7 series
		// carry two scrapes.
		from, to := time.UnixMilli(lost[0][0]), time.UnixMilli(lost[0][len(lost[0])-1])
		if from.Before(cut.Add(-400*time.Millisecond)) || from.After(cut.Add(600*time.Millisecond)) {
			t.Errorf("loss begins %v after the cut", from.Sub(cut))
		}
		if edge := heal.Add(-window); to.Before(edge.Add(-700*time.Millisecond)) || !to.Before(heal) {
			// The edge moves on with the clock until the first request gets through, which takes its time on a busy machine.
			t.Errorf("loss ends %v after the edge of the window", to.Sub(edge))
		}
		if n := metric(t, w.agents[0].Addr(), "prometheus_remote_storage_samples_failed_total"); n < float64(len(lost[0])) {
			t.Errorf("%v samples counted as failed, %d of one series are lost", n, len(lost[0]))
		}

		_, _, lost = w.outage(t, beyond, 0, 1)
		if len(lost[0])+len(lost[1]) != 0 {
			t.Errorf("all cut off beyond the window: %d and %d samples lost, want none", len(lost[0]), len(lost[1]))
		}

		// The condition of that answer: whoever drains first moves the newest sample for all.
		w.gates[1].set(true)
		_, heal, _ = w.outage(t, beyond, 0)
		w.gates[1].set(false)
		eventually(t, 20*time.Second, "the second has drained", func() bool { return newest(w.stored(t, 1)).After(heal.Add(500 * time.Millisecond)) })
		if len(missingFrom(t, w.roots[1], w.stored(t, 1))) == 0 {
			t.Error("the agent that drained later than the window lost nothing")
		}
	}
	t.Run("model", func(t *testing.T) {
		t.Parallel()
		r, _ := startReceiver(t, t.TempDir(), "", "--storage.tsdb.min-block-duration=4s")
		if w := r.cfg.AcceptanceWindow(); w != 2*time.Second {
			t.Fatalf("window %v", w)
		}
		// Requests that take a while make the two agents drain side by side, as a backlog of hours does.
		r.Inject(Fault{Delay: 20 * time.Millisecond})
		check(t, "http://"+r.Addr().String(), 2*time.Second)
	})
	t.Run("real", func(t *testing.T) {
		base := os.Getenv("TRIAD_REAL_PROMETHEUS_SHORT")
		if base == "" {
			t.Skip("TRIAD_REAL_PROMETHEUS_SHORT names no real receiver")
		}
		check(t, base, 10*time.Second)
	})
}
