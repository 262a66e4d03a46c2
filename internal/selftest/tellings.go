package selftest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/manifests"
	"triad/internal/observe/elastic"
	"triad/internal/observe/promapi"
	"triad/internal/run"
	"triad/internal/scenario"
	"triad/internal/view"
)

const head2 = "apiVersion: triad/v1\nname: selftest\ntitle: self-test\n"

// trends: something grows, by more than is allowed, in noise; and nothing does.
func trends(rng *rand.Rand) []telling {
	const (
		text  = head2 + "phases: {warm-up: 10s, before: 60s, during: 400s, after: 30s, drain: 60s}\nload: [{source: service, rate: 4/s}]\nrequires: [trend]\n"
		load  = 500 * time.Second
		every = 10 * time.Second
	)
	own := evidence.Labels{"part": "harness"}
	forwarder := evidence.Labels{"cluster": scenario.Datacenter, "component": "fluentd", "instance": "fluentd-0"}
	line := func(name string, labels evidence.Labels, from, growth, noise float64) []sampleAt {
		var out []sampleAt
		for at := time.Duration(0); at < load; at += every {
			v := from + growth*float64(at)/float64(load) + from*noise*rng.NormFloat64()
			out = append(out, sampleAt{at, evidence.Sample{Name: name, Labels: labels, Value: math.Round(v)}})
		}
		return out
	}
	// Over the four fifths of the load that are judged, so that what is judged is above the allowance by the factor.
	grown := func(allowed, factor float64) float64 { return allowed * factor / 0.8 }
	memory := float64(60<<20) + 1e9*rng.Float64()
	allowed := max(0.05*memory, 40<<20) // in a run this short
	calm := func() []sampleAt { return line(evidence.ResidentSeries, own, memory, 0, 0.005) }
	leak, files, lost := grown(allowed, 1.5+3*rng.Float64()), grown(20, 2+8*rng.Float64()), 0.5+rng.Float64()
	harmless := grown(allowed, 0.75*rng.Float64())
	// A heap that finds its size in the first tenth is no leak; neither is a lasting step down.
	heap := line(evidence.ResidentSeries, own, memory, 0, 0.005)
	for i := range heap {
		if heap[i].at < load/10 {
			heap[i].Value *= float64(heap[i].at+every) / float64(load/10+every)
		}
	}
	say := func(bytes float64) string { return fmt.Sprintf("%.1f MiB", bytes/(1<<20)) }
	return []telling{
		{"clean-memory", "the memory of the harness stays as it is", &tale{yaml: text, samples: calm()}, "trend", check.Pass, check.Pass, nil},
		{"clean-memory-that-warms-up", "the memory finds its size in a tenth of the load", &tale{yaml: text, samples: heap}, "trend", check.Pass, check.Pass, nil},
		{
			"clean-memory-within-bounds", "it grows by " + say(harmless) + ", and " + say(grown(allowed, 1)) + " are allowed",
			&tale{yaml: text, samples: line(evidence.ResidentSeries, own, memory, harmless, 0.005)}, "trend", check.Pass, check.Pass, nil,
		},
		{
			"leak-of-the-harness", "its memory grows by " + say(leak), &tale{yaml: text, samples: line(evidence.ResidentSeries, own, memory, leak, 0.005)},
			"trend", check.Fail, check.Fail,
			[]string{"harness: memory at "},
		},
		{
			"leak-of-a-component", "Fluentd's memory grows by " + say(leak), &tale{yaml: text, samples: append(calm(), line("process_resident_memory_bytes", forwarder, memory, leak, 0.005)...)},
			"trend", check.Fail, check.Fail,
			[]string{"datacenter/fluentd-0: memory at "},
		},
		{
			"leak-of-files", fmt.Sprintf("Fluentd keeps %.0f files open", files), &tale{yaml: text, samples: append(calm(), line("process_open_fds", forwarder, 40, files, 0.01)...)},
			"trend", check.Fail, check.Fail,
			[]string{"datacenter/fluentd-0: open files at "},
		},
		{
			"backlog-that-grows", fmt.Sprintf("the store takes %.1f/s less than the 4/s that are sent", lost),
			&tale{yaml: text, samples: calm(), system: func() system { return system{carries: 4 - lost} }}, "trend", check.Fail, check.Fail,
			[]string{"kafka-search: backlog at "},
		},
	}
}

// alarms: an alert that stays silent, comes late, comes for nothing or stays; and one that does as declared. The alerts are read
// once a second by the code that reads Prometheus.
func alarms(rng *rand.Rand) []telling {
	const (
		text = head2 + "phases: {warm-up: 2s, before: 20s, during: 60s, after: 60s, drain: 30s}\nload: [{source: service, rate: 20/s}]\n" +
			"faults: [{kind: es-down, at: during, for: 40s}]\nrecoverWithin: 90s\n" +
			"alerts: [{name: ElasticsearchDown, labels: {cluster: monitoring}, fires: 20s, clears: 20s}]\n"
		from, to = 22 * time.Second, 62 * time.Second
		end      = 150 * time.Second
		limit    = 20 * time.Second
	)
	// Within a limit, and beyond it: more than the second between two readings away from it.
	within := func() time.Duration { return 2*time.Second + time.Duration(rng.Int64N(int64(limit-4*time.Second))) }
	beyond := func() time.Duration { return limit + 2*time.Second + time.Duration(rng.Int64N(int64(10*time.Second))) }
	type life struct {
		name     string
		from, to time.Duration // firing; it was pending for a second before
	}
	make := func(health string, lives ...life) *tale {
		t := &tale{yaml: text, system: func() system { return system{away: [2]time.Duration{from, to}} }}
		t.fault("es-down", from, to)
		observer := func(at time.Duration, state string) {
			t.events = append(t.events, evidence.Event{At: at, Kind: evidence.EventObserver, Name: evidence.PointAlerts, State: state})
		}
		observer(0, "ready")
		for _, name := range []string{"ElasticsearchDown", "KafkaBrokerMissing"} {
			t.events = append(t.events, evidence.Event{Kind: evidence.EventRule, Name: name, State: health, Attrs: map[string]string{"type": "alerting", "group": "selftest"}})
		}
		var f promapi.Follower
		begin := time.Unix(1_000_000, 0)
		for at := time.Duration(0); at < end; at += time.Second {
			var list []promapi.Alert
			for _, l := range lives {
				if at < l.from-time.Second || at >= l.to {
					continue
				}
				a := promapi.Alert{Labels: map[string]string{"alertname": l.name, "cluster": scenario.Monitoring, "severity": "page"}, State: promapi.Pending, ActiveAt: begin.Add(l.from - time.Second)}
				if at >= l.from {
					a.State = promapi.Firing
				}
				list = append(list, a)
			}
			for _, c := range f.Read(at, at+20*time.Millisecond, list) {
				t.events = append(t.events, run.AlertEvent(c))
			}
		}
		observer(end, "done")
		return t
	}
	fires, clears := within(), within()
	late, stays := beyond(), beyond()
	good := life{"ElasticsearchDown", from + fires, to + clears}
	false1 := 24*time.Second + time.Duration(rng.Int64N(int64(60*time.Second)))
	ends := false1 + 3*time.Second
	return []telling{
		{"clean-alerts", fmt.Sprintf("it fires after %.1f s and clears after %.1f s", fires.Seconds(), clears.Seconds()), make("ok", good), "alerts", check.Pass, check.Pass, []string{"nothing else fired"}},
		{"alert-stays-silent", "the declared alert never fires", make("ok"), "alerts", check.Fail, check.Fail, []string{"ElasticsearchDown for es-down stayed silent"}},
		{
			"alert-comes-late", fmt.Sprintf("it fires after %.1f s, allowed are 20", late.Seconds()), make("ok", life{"ElasticsearchDown", from + late, to + clears}), "alerts", check.Fail, check.Fail,
			[]string{"ElasticsearchDown for es-down fired ", "after the injection, allowed 20s"},
		},
		{
			"alert-stays", fmt.Sprintf("it clears after %.1f s, allowed are 20", stays.Seconds()), make("ok", life{"ElasticsearchDown", from + fires, to + stays}), "alerts", check.Fail, check.Fail,
			[]string{"ElasticsearchDown for es-down cleared ", "after the fault was gone, allowed 20s"},
		},
		{
			"alert-gives-up", "it clears while the fault lasts", make("ok", life{"ElasticsearchDown", from + fires, to - 3*time.Second}), "alerts", check.Fail, check.Fail,
			[]string{"ElasticsearchDown for es-down cleared at ", "and its fault lasted until"},
		},
		{
			"alert-for-nothing", fmt.Sprintf("another alert fires at %.0f s", false1.Seconds()), make("ok", good, life{"KafkaBrokerMissing", false1, ends}), "alerts", check.Fail, check.Fail,
			[]string{"KafkaBrokerMissing{cluster=monitoring} fired at ", "nothing declares it"},
		},
		{"rules-not-evaluated", "no rule is evaluated, and no alert comes", make("err"), "alerts", check.Inconclusive, check.Inconclusive, []string{"rules that were not evaluated"}},
	}
}

// rollouts: a roll that leaves something behind, renderings that differ undeclared, a change that is none; and one that is as it should be.
func rollouts(rng *rand.Rand) []telling {
	const text = head2 + "phases: {warm-up: 2s, before: 10s, during: 20s, after: 20s, drain: 30s}\nload: [{source: service, rate: 20/s}]\nfaults: [{kind: roll-out, at: during, for: 5s}]\nrequires: [rollback]\n"
	count := func() int { return 1 + rng.IntN(9) }
	objects := 100 + rng.IntN(100)
	make := func(undeclared, before, changed, drift, left int) *tale {
		t := &tale{yaml: text}
		t.fault("roll-out", 12*time.Second, 18*time.Second)
		stage := func(at time.Duration, name, good, bad string, wrong int, attrs map[string]int) {
			e := evidence.Event{At: at, Kind: evidence.EventRollout, Name: name, State: good, Attrs: map[string]string{}}
			if wrong > 0 {
				e.State, e.Detail = bad, fmt.Sprintf("%d objects that nobody expects", wrong)
			}
			for k, v := range attrs {
				e.Attrs[k] = strconv.Itoa(v)
			}
			if name != evidence.RolloutRendered {
				e.Attrs["fault"], e.Attrs["to"] = "roll-out", "component roll-forward"
			}
			t.events = append(t.events, e)
		}
		stage(0, evidence.RolloutRendered, evidence.RolloutAsDeclared, evidence.RolloutUndeclared, undeclared, map[string]int{"allowed": 61, "undeclared": undeclared})
		stage(12*time.Second, evidence.RolloutBefore, evidence.RolloutSame, evidence.RolloutDrift, before, map[string]int{"objects": objects, "drift": before})
		stage(14*time.Second, evidence.RolloutForward, evidence.RolloutThere, evidence.RolloutMissing, 0, map[string]int{"objects": objects + 4, "changed": changed, "missing": 0})
		stage(19*time.Second, evidence.RolloutAfter, evidence.RolloutSame, evidence.RolloutDrift, drift+left, map[string]int{"objects": objects, "drift": drift, "left": left})
		return t
	}
	undeclared, before, drift, left := count(), count(), count(), count()
	return []telling{
		{"clean-rollback", "everything is as rendered again", make(0, 0, 5, 0, 0), "rollback", check.Pass, check.Pass, []string{fmt.Sprintf("all %d objects are as rendered again", objects)}},
		{"renderings-differ", fmt.Sprintf("kind and EKS differ in %d undeclared places", undeclared), make(undeclared, 0, 5, 0, 0), "rollback", check.Fail, check.Fail, []string{fmt.Sprintf("differ in %d places as nothing declares", undeclared)}},
		{"drift-before-the-roll", fmt.Sprintf("%d live objects are not as rendered", before), make(0, before, 5, 0, 0), "rollback", check.Fail, check.Fail, []string{"before roll-out the clusters were not what is rendered"}},
		{"not-rolled-back", fmt.Sprintf("%d objects keep the change", drift), make(0, 0, 5, drift, 0), "rollback", check.Fail, check.Fail, []string{"rolled back left something else than what is rendered"}},
		{"object-left-behind", fmt.Sprintf("%d new objects stay", left), make(0, 0, 5, 0, left), "rollback", check.Fail, check.Fail, []string{"rolled back left something else than what is rendered"}},
		{"change-that-is-none", "what is rolled out changes nothing", make(0, 0, 0, 0, 0), "rollback", check.Inconclusive, check.Inconclusive, []string{"changes nothing"}},
	}
}

// additions: a cluster that nobody sees, one that changed something elsewhere, one that nobody looked at; and one that needs its agent alone.
func additions(rng *rand.Rand) []telling {
	const text = head2 + "phases: {warm-up: 2s, before: 10s, during: 30s, after: 20s, drain: 30s}\nload: [{source: service, rate: 20/s}]\nfaults: [{kind: cluster-add, at: during, for: 20s}]\nrequires: [scalability]\n"
	make := func(targets int, seconds float64, changed int, looked bool) *tale {
		t := &tale{yaml: text}
		t.fault("cluster-add", 12*time.Second, 34*time.Second)
		series := evidence.Event{At: 20 * time.Second, Kind: evidence.EventAdded, Name: evidence.AddedSeries, State: evidence.AddedAnswered, Attrs: map[string]string{
			"fault": "cluster-add", "cluster": "edge", "targets": strconv.Itoa(targets), "seconds": fmt.Sprintf("%.1f", seconds), "total": "60",
		}}
		if targets == 0 {
			series.State, series.Detail = evidence.AddedSilent, "no series with cluster=edge"
		}
		t.events = append(t.events, series)
		if !looked {
			return t
		}
		elsewhere := evidence.Event{At: 30 * time.Second, Kind: evidence.EventAdded, Name: evidence.AddedElsewhere, State: evidence.AddedUnchanged, Attrs: map[string]string{
			"fault": "cluster-add", "objects": "140", "changed": strconv.Itoa(changed), "flows": "metrics-edge",
		}}
		if changed > 0 {
			elsewhere.State, elsewhere.Detail = evidence.AddedChanged, "monitoring: ConfigMap prometheus"
		}
		t.events = append(t.events, elsewhere)
		return t
	}
	seconds, changed, targets := 1+20*rng.Float64(), 1+rng.IntN(9), 1+rng.IntN(5)
	said := fmt.Sprintf("answered %.1f s after its agent was deployed", seconds)
	return []telling{
		{"clean-added-cluster", fmt.Sprintf("%d targets answer after %.1f s, nothing else changes", targets, seconds), make(targets, seconds, 0, true), "scalability", check.Pass, check.Pass, []string{said, "none of 140 objects"}},
		{"added-cluster-not-seen", "its series never answer", make(0, 0, 0, true), "scalability", check.Fail, check.Fail, []string{"the series of edge did not answer"}},
		{"added-cluster-changes-others", fmt.Sprintf("%d objects of other clusters change", changed), make(targets, seconds, changed, true), "scalability", check.Fail, check.Fail, []string{fmt.Sprintf("%d things changed in the other clusters", changed)}},
		{"others-not-looked-at", "nobody looks at the other clusters", make(targets, seconds, 0, false), "scalability", check.Inconclusive, check.Inconclusive, []string{"not looked at"}},
	}
}

// blindSpots asks every query of the shipped dashboards, of data sources that have something for each of them but for one query that
// lacks a cluster, is empty, or is refused.
func blindSpots(ctx context.Context, rng *rand.Rand, shown view.Shown) ([]telling, error) {
	const text = head2 + "phases: {warm-up: 2s, before: 20s, drain: 30s}\nload: [{source: service, rate: 20/s}]\ndashboards: before+5s\n"
	var metrics, shared, logs []string // expressions that must have an answer
	for _, q := range shown.Queries {
		switch {
		case q.Quiet != "":
		case q.Datasource == "elasticsearch":
			logs = append(logs, q.Expr)
		default:
			metrics = append(metrics, q.Expr)
			if len(q.Clusters) > 1 {
				shared = append(shared, q.Expr)
			}
		}
	}
	if len(shared) == 0 || len(logs) == 0 {
		return nil, fmt.Errorf("the dashboards have %d queries over clusters and %d over logs: nothing to hide", len(shared), len(logs))
	}
	make := func(s sources) (*tale, error) {
		s.shown = shown
		t := &tale{yaml: text}
		client := &http.Client{Transport: s}
		search, err := elastic.NewClient(elastic.Access{URL: "http://elasticsearch.invalid:9200", Transport: s})
		if err != nil {
			return nil, err
		}
		a := view.Asker{Prometheus: promapi.Client{Base: "http://prometheus.invalid", HTTP: client}, Search: search, Via: view.Grafana}
		for _, r := range a.Ask(ctx, shown, time.Unix(1_000_000, 0)) {
			e := r.Event()
			e.At = 7 * time.Second
			t.events = append(t.events, e)
		}
		return t, nil
	}
	one := shared[rng.IntN(len(shared))]
	i := slices.IndexFunc(shown.Queries, func(q manifests.Query) bool { return q.Expr == one && q.Quiet == "" && len(q.Clusters) > 1 })
	hidden := shown.Queries[i]
	cluster := hidden.Clusters[rng.IntN(len(hidden.Clusters))]
	empty, log, refused := metrics[rng.IntN(len(metrics))], logs[rng.IntN(len(logs))], metrics[rng.IntN(len(metrics))]
	var out []telling
	for _, x := range []struct {
		kind, truth string
		sources     sources
		want        check.Verdict
		says        []string
	}{
		{"clean-dashboards", "every panel has something from every cluster", sources{}, check.Pass, []string{"through one Grafana"}},
		{"cluster-missing-in-a-panel", "nothing from " + cluster + " in " + hidden.Name(), sources{hide: one, cluster: cluster}, check.Fail, []string{hidden.Name() + " is partial: nothing from " + cluster}},
		{"empty-panel", "no series for " + empty, sources{hide: empty}, check.Fail, []string{" is empty: no series (" + empty + ")"}},
		{"empty-panel-of-logs", "no documents for " + log, sources{hide: log}, check.Fail, []string{" is empty: no documents (" + log + ")"}},
		{"query-refused", "Prometheus refuses " + refused, sources{refuse: refused}, check.Fail, []string{" is refused: "}},
		{"data-source-away", "Prometheus does not answer", sources{away: true}, check.Inconclusive, []string{"gave no answer"}},
	} {
		t, err := make(x.sources)
		if err != nil {
			return nil, err
		}
		out = append(out, telling{x.kind, x.truth, t, "one-view", x.want, x.want, x.says})
	}
	return out, nil
}

// sources answer as Prometheus and Elasticsearch do, for every query that is shown.
type sources struct {
	shown   view.Shown
	hide    string // expression that has no answer
	cluster string // or that lacks this cluster
	refuse  string
	away    bool
}

// RoundTrip answers one query.
func (s sources) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		if err := r.Body.Close(); err != nil {
			return nil, err
		}
	}
	status, answer := http.StatusOK, ""
	if strings.HasSuffix(r.URL.Path, "_msearch") {
		answer = s.documents(string(body))
	} else {
		if s.away {
			return nil, fmt.Errorf("connection refused")
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		expr := r.FormValue("query")
		if expr == s.refuse {
			status, answer = http.StatusUnprocessableEntity, `{"status":"error","errorType":"execution","error":"many-to-many matching not allowed"}`
		} else {
			answer = s.matrix(expr)
		}
	}
	return &http.Response{
		StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"X-Elastic-Product": {"Elasticsearch"}, "Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(answer)), ContentLength: int64(len(answer)), Request: r,
	}, nil
}

// matrix has one series for each cluster that some query with this expression must show.
func (s sources) matrix(expr string) string {
	var rows []string
	for _, q := range s.shown.Queries {
		if q.Expr != expr || q.Datasource == "elasticsearch" {
			continue
		}
		for _, c := range append([]string{"any"}, q.Clusters...) {
			if expr == s.hide && (s.cluster == "" || s.cluster == c) {
				continue
			}
			rows = append(rows, fmt.Sprintf(`{"metric":{"cluster":%q},"values":[[999990,"1"]]}`, c))
		}
	}
	return `{"status":"success","data":{"resultType":"matrix","result":[` + strings.Join(rows, ",") + `]}}`
}

// documents says how many there are. The query is inside a body; one that has no query string asks for an index or for everything.
func (s sources) documents(body string) string {
	n := 7
	if quoted, err := json.Marshal(s.hide); err == nil && s.hide != "" && strings.Contains(body, string(quoted)) {
		n = 0
	}
	if in, ok := strings.CutPrefix(s.hide, "_index:"); ok && strings.Contains(body, strconv.Quote(in)) {
		n = 0
	}
	if s.hide == "*" && !strings.Contains(body, "query_string") && strings.Contains(body, strconv.Quote(s.shown.Index)) {
		n = 0
	}
	return fmt.Sprintf(`{"responses":[{"status":200,"hits":{"total":{"value":%d}},"_shards":{"failed":0}}]}`, n)
}

// limitOf is what bounds a system that is searched for its capacity.
type limitOf struct {
	kind, truth string
	system      func(rate float64) system
	// What must be said: a capacity between lo and hi, or that the harness was the limit above lo.
	lo, hi  float64
	harness bool
}

// capacities searches systems whose capacity is known, with the search, the tries and the judge of a real one.
func (rep *Report) capacities(ctx context.Context, o Options, round int, rng *rand.Rand) error {
	const (
		from, to  = 20.0, 640.0
		precision = 0.1
		growth    = 0.05 // of the gate: a rate above the capacity by less than this is carried within the gate
	)
	text := fmt.Sprintf("%sphases: {warm-up: 2s, before: 5s, drain: 120s}\nload: [{source: service, rate: %v/s, streams: 2}]\n"+
		"search: {source: service, from: %v/s, to: %v/s, step: 10s, precision: 10%%, gate: [\"e2e_latency{source=service} p(99) < 10s\", lost == 0, \"backlog_growth < %v\"]}\nrequires: [evidence, load, loss, capacity]\n",
		head2, from, from, to, growth)
	// Between one and a half times the lowest rate and three quarters of the highest, evenly over ratios.
	bound := 1.5 * from * math.Pow(to/(2*from), rng.Float64())
	in := func(rate float64) bool { return rate > bound }
	step := func(at time.Duration) bool { return at >= 7*time.Second && at < 17*time.Second }
	for _, x := range []limitOf{
		{"capacity-of-the-system", fmt.Sprintf("the store takes %.0f/s", bound), func(float64) system { return system{carries: bound} }, bound, bound / (1 - growth), false},
		{"rate-that-loses", fmt.Sprintf("above %.0f/s records are lost", bound), func(rate float64) system {
			lost := false
			return system{loses: func(at time.Duration) bool {
				now := in(rate) && step(at) && !lost
				lost = lost || now
				return now
			}}
		}, bound, bound, false},
		{"generator-is-the-limit", fmt.Sprintf("above %.0f/s the generator is late", bound), func(rate float64) system {
			return system{lag: func(at time.Duration) time.Duration {
				if in(rate) && step(at) {
					return 3 * time.Second
				}
				return 0
			}}
		}, bound, bound, true},
		{"machine-is-the-limit", fmt.Sprintf("above %.0f/s no processor is left, and the store takes %.0f/s", bound, bound), func(rate float64) system {
			return system{carries: bound, cores: func(at time.Duration) float64 {
				if in(rate) && step(at) {
					return taleCPUs
				}
				return taleCores
			}}
		}, bound, bound / (1 - growth), true},
		{"clean-no-limit", fmt.Sprintf("all %.0f/s of the search are carried", to), func(float64) system { return system{} }, to, math.Inf(1), false},
	} {
		if err := rep.search(ctx, o, round, text, x); err != nil {
			return fmt.Errorf("%s: %w", x.kind, err)
		}
	}
	return nil
}

// edge is how near to the limit of a system a rate may lie that cannot be judged: over ten seconds, the growth of a backlog is known to
// less than half of this.
const edge = 0.01

func (rep *Report) search(ctx context.Context, o Options, round int, text string, x limitOf) error {
	s, err := scenario.Parse("selftest.yaml", []byte(text))
	if err != nil {
		return err
	}
	var tries []evidence.Try
	var res *check.Result
	for rate, more := check.NextTry(s.Search, nil); more; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		y, err := s.Probe(scenario.Rate(rate)).YAML()
		if err != nil {
			return err
		}
		t := tale{yaml: string(y), header: func(h *evidence.Header) { h.Tries = tries }, system: func() system { return x.system(rate) }}
		if res, err = t.tell(filepath.Join(o.Dir, fmt.Sprintf("tale-%d-%s-%d", round, x.kind, len(tries)+1))); err != nil {
			return err
		}
		if res.Capacity == nil || len(res.Capacity.Tries) != len(tries)+1 {
			return fmt.Errorf("a try of %v/s is not in the result", rate)
		}
		tries = append(tries, res.Capacity.Tries[len(tries)].Evidence())
		if more = res.Capacity.Next != nil; more {
			rate = *res.Capacity.Next
		}
	}
	rep.searched(round, x, s.Search, res)
	return nil
}

// searched compares what a search says with the limit that the system had.
func (rep *Report) searched(round int, x limitOf, s *scenario.Search, res *check.Result) {
	c := Case{Kind: x.kind, Round: round, Truth: x.truth}
	wrong := func(format string, args ...any) { c.Wrong = append(c.Wrong, fmt.Sprintf(format, args...)) }
	for _, k := range res.Checks {
		if k.Name == "capacity" {
			c.Reported = string(k.Verdict) + ": " + k.Detail
		}
	}
	got, found := verdictOf(res, "capacity"), res.Capacity
	if !x.harness && found.Upper == check.UpperNoData && got == check.Inconclusive && slices.ContainsFunc(found.Tries, func(t check.Try) bool {
		return t.Verdict == check.Inconclusive && math.Abs(t.Rate/x.hi-1) < edge
	}) {
		// A rate that lies on the limit itself cannot be told from it.
		c.Detected = found.Passed != nil && *found.Passed <= x.hi && found.Failed == nil
		rep.Cases = append(rep.Cases, c)
		return
	}
	want := check.Pass
	if x.harness || math.IsInf(x.hi, 1) {
		want = check.Inconclusive
	}
	if got != want {
		wrong("check capacity is %s, want %s", got, want)
	}
	switch {
	case found.Passed == nil:
		wrong("no rate passed, and %.0f/s are carried", x.lo)
	case *found.Passed > x.hi:
		wrong("%.0f/s passed, and no more than %.0f/s are carried", *found.Passed, x.hi)
	case *found.Passed < x.lo/(1+float64(s.Precision))/(1+float64(s.Precision)):
		wrong("%.0f/s passed, and %.0f/s are carried", *found.Passed, x.lo)
	}
	switch {
	case x.harness:
		if found.Upper != check.UpperHarness || found.Failed != nil {
			wrong("the upper end is said to be %q, and it was the harness", found.Upper)
		}
	case math.IsInf(x.hi, 1):
		if found.Upper != check.UpperBound || found.Failed != nil {
			wrong("the upper end is said to be %q, and there was none", found.Upper)
		}
	case found.Failed == nil:
		wrong("no rate failed, and %.0f/s are too many", x.hi)
	case *found.Failed < x.lo:
		wrong("%.0f/s failed, and %.0f/s are carried", *found.Failed, x.lo)
	}
	c.Detected = len(c.Wrong) == 0
	rep.Cases = append(rep.Cases, c)
}
