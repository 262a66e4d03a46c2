package report

import (
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/scenario"
	"triad/internal/schedule"
	"triad/internal/stats"
)

const faultScenario = `apiVersion: triad/v1
name: double-trouble
title: a broker dies, then the link to <monitoring> is cut
claims: [C1, C3]
seed: 7
phases: {warm-up: 5s, before: 15s, during: 25s, after: 20s, drain: 60s}
load:
  - {source: service, rate: 150/s, streams: 6, instances: 2}
  - {source: system-auth, rate: 25/s}
  - {source: control, rate: 25/s}
faults:
  - {kind: broker-kill, target: leader, at: during+2s}
  - {kind: link-cut, from: kafka, to: monitoring, at: during+16s, for: 6s}
thresholds:
  - "lost == 0"
  - "kafka_latency{phase=during} p(99) < 15s"
  - "e2e_latency{source=service, phase=after} p(99) < 2s"
`

var created = time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)

func header(s *scenario.Scenario) evidence.Header {
	return evidence.Header{
		ID: "20261123-093000-" + s.Name + "-embedded", Run: 4711, Scenario: s.Name, Runtime: "embedded", Why: "no container engine answers", Seed: s.Seed,
		Commit: "0123456789abcdef0123456789abcdef01234567", Version: "0.1.0", Command: []string{"sim", "run", s.Name, "--runtime", "embedded", "--seed", "7"},
		Created: created, Start: created.Add(3 * time.Second), Host: evidence.Host{OS: "linux", Arch: "amd64", Kernel: "6.1.0", Go: "go1.26.8", CPUs: 2, MemoryBytes: 8 << 30},
		Streams: s.Streams(), Windows: s.Phases.Windows(), PollEvery: 4, HistWindow: time.Second, PulseEvery: 100 * time.Millisecond,
		Components: []evidence.Component{
			{Cluster: "datacenter", Name: "inputgen", Fidelity: evidence.Real, Note: "Triad's own generator, in process"},
			{Cluster: "datacenter", Name: "fluent-bit", Fidelity: evidence.Model},
			{Cluster: "datacenter", Name: "fluentd", Fidelity: evidence.Model},
			{Cluster: "kafka", Name: "kafka", Fidelity: evidence.Model, Note: "kfake with a model of KRaft failover"},
			{Cluster: "monitoring", Name: "kafka-connect", Fidelity: evidence.Model},
			{Cluster: "monitoring", Name: "elasticsearch", Fidelity: evidence.StandIn, Image: "triad/sim:0.1.0"},
			{Cluster: "monitoring", Name: "grafana", Fidelity: evidence.Absent, Note: "no model"},
		},
		NotModelled: []string{"fluentd.yaml:31 buffer.compress=gzip: chunks are not compressed", "fluent-bit.yaml:12 service.scheduler.cap=30: back-off has its default cap"},
		Limits: []string{
			"Latency and throughput are those of models in one Go process; they are not those of Kafka, Fluentd or Elasticsearch.",
			"Brokers have no replication: loss of acknowledged records inside Kafka cannot happen here.",
		},
		Buffers: []evidence.Buffer{
			{Hop: "collect", Component: "fluent-bit", Bytes: 64 << 20, Instances: 1, Full: "drop-oldest", Gauge: "fluentbit_output_chunk_available_capacity_percent", Source: "fluent-bit.yaml storage.total_limit_size"},
			{Hop: "forward", Component: "fluentd", Bytes: 512 << 10, Instances: 1, Full: "block", Gauge: `fluentd_output_status_buffer_total_bytes{component="fluentd"}`, Source: "fluentd.yaml buffer.total_limit_size"},
		},
		Metrics: &evidence.MetricsPath{AgentRetention: 4 * time.Hour, ReceiverWindow: 2 * time.Hour, ScrapeInterval: time.Second},
	}
}

// faultRun writes the evidence of a run in which a broker dies at 22 s and the link from kafka to monitoring is cut from 36 s to
// 42 s. Twelve records of stream 2 get lost in front of Kafka, eight are in Kafka twice.
func faultRun(t testing.TB) *evidence.Run {
	t.Helper()
	s, err := scenario.Parse("double-trouble.yaml", []byte(faultScenario))
	if err != nil {
		t.Fatal(err)
	}
	w, err := evidence.Create(filepath.Join(t.TempDir(), "run"), header(s), s)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const sec = time.Second
	end := s.Phases.LoadTime()
	rng := rand.New(rand.NewPCG(1, 2))
	pulses := map[string]*evidence.Pulse{}
	for _, p := range []string{"ledger", evidence.PointKafka, evidence.PointSearch} {
		pulses[p] = evidence.NewPulse(w.Series, p, 100*time.Millisecond)
	}
	sent, err := w.Ledger(evidence.PointSent + "0")
	must(err)
	kafka, err := w.Ledger(evidence.PointKafka)
	must(err)
	search, err := w.Ledger(evidence.PointSearch)
	must(err)
	must(sent.Intent(end))
	record := func(metric, source, topic, bound string, due, d time.Duration) {
		k, err := w.Hists.Key(evidence.HistKey{Metric: metric, Source: source, Topic: topic, Bound: bound})
		must(err)
		w.Hists.Record(k, due, d)
	}
	jitter := func(max time.Duration) time.Duration { return time.Duration(rng.Int64N(int64(max))) }
	for _, st := range w.Header().Streams {
		sch := schedule.New(s, st)
		for {
			seq := sch.Seq()
			due, ok := sch.Next()
			if !ok {
				break
			}
			lag, block := jitter(300*time.Microsecond), 20*time.Microsecond+jitter(80*time.Microsecond)
			if due >= 33*sec && due < 34*sec && st.Source == "service" {
				block += 34*sec - due // the generator's disk stalls for a second
			}
			sent.Mark(evidence.Acked, st.ID, seq)
			pulses["ledger"].Add(st.Source, due+lag+block, 1)
			record("generator_lag", st.Source, "", evidence.Exact, due, lag)
			held := block
			if st.Source == "control" && due >= 25*sec && due < 25*sec+200*time.Millisecond {
				held = 5 * sec // it waits for a broker; no service does
			}
			record("target_block", st.Source, "", evidence.Exact, due, held)
			record("send_corrected", st.Source, "", evidence.Exact, due, lag+block)
			record("send_uncorrected", st.Source, "", evidence.Exact, due, min(block, 100*time.Microsecond))
			if st.ID == 2 && seq >= 740 && seq < 752 {
				continue // lost
			}
			at := due + lag + block + 60*time.Millisecond + jitter(240*time.Millisecond)
			if st.ID%3 == 0 && at >= 22*sec && at < 31*sec { // its partition has no leader
				at = 31*sec + (at-22*sec)/6 + jitter(200*time.Millisecond)
			}
			kafka.Mark(evidence.Seen, st.ID, seq)
			pulses[evidence.PointKafka].Add(st.Source, at, 1)
			record("kafka_latency", st.Source, st.Topic, evidence.Exact, due, at-due)
			if st.ID == 0 && seq >= 560 && seq < 568 {
				kafka.Mark(evidence.Duplicate, st.ID, seq)
			}
			at += 100*time.Millisecond + jitter(900*time.Millisecond)
			if at >= 36*sec && at < 42*sec {
				at = 42*sec + (at-36*sec)/3 + jitter(900*time.Millisecond)
			}
			search.Mark(evidence.Seen, st.ID, seq)
			pulses[evidence.PointSearch].Add(st.Source, at, 1)
			if seq%4 == 0 {
				record("e2e_latency", st.Source, st.Topic, evidence.Lower, due, at-due-jitter(200*time.Millisecond))
				record("e2e_latency", st.Source, st.Topic, evidence.Upper, due, at-due)
			}
		}
	}
	must(sent.Flush(end))
	must(kafka.Flush(end))
	must(search.Flush(end + 3*sec))
	for _, p := range []string{"ledger", evidence.PointKafka, evidence.PointSearch} {
		must(pulses[p].Flush(0, true))
	}
	gauges(t, w, end+3*sec)
	phases := map[string]time.Duration{}
	for _, win := range s.Phases.Windows() {
		phases[win.Name] = win.From
	}
	for _, e := range []evidence.Event{
		{At: 0, Kind: evidence.EventObserver, Name: "kafka", State: "ready"},
		{At: 0, Kind: evidence.EventPhase, Name: scenario.WarmUp},
		{At: phases[scenario.Before], Kind: evidence.EventPhase, Name: scenario.Before},
		{At: phases[scenario.During], Kind: evidence.EventPhase, Name: scenario.During},
		{At: 22 * sec, Kind: evidence.EventFault, Name: "broker-kill", State: evidence.FaultInjected, Hits: 1, Attrs: map[string]string{"struck": "broker 2"}},
		{At: 22*sec + 200*time.Millisecond, Kind: evidence.EventFault, Name: "broker-kill", State: evidence.FaultBit, Hits: 14, Detail: "the leader of service-topic/1 is away"},
		{At: 31 * sec, Kind: evidence.EventFault, Name: "broker-kill", State: evidence.FaultHealed, Hits: 14},
		{At: 31*sec + 400*time.Millisecond, Kind: evidence.EventFault, Name: "broker-kill", State: evidence.FaultGone, Hits: 14},
		{At: 36 * sec, Kind: evidence.EventFault, Name: "link-cut", State: evidence.FaultInjected, Hits: 1},
		{At: 36*sec + 100*time.Millisecond, Kind: evidence.EventFault, Name: "link-cut", State: evidence.FaultBit, Hits: 31, Detail: "31 connections refused"},
		{At: 42 * sec, Kind: evidence.EventFault, Name: "link-cut", State: evidence.FaultHealed, Hits: 31},
		{At: 42*sec + 300*time.Millisecond, Kind: evidence.EventFault, Name: "link-cut", State: evidence.FaultGone, Hits: 31},
		{At: phases[scenario.After], Kind: evidence.EventPhase, Name: scenario.After},
		{At: 0, Kind: evidence.EventSkip, Name: "security-isolation", Detail: "embedded has no network between clusters"},
		{At: end, Kind: evidence.EventStop},
		{At: end, Kind: evidence.EventDrain, State: "begin"},
		{At: end + 3*sec, Kind: evidence.EventDrain, State: "done"},
		{At: end + 3*sec, Kind: evidence.EventRecon, Name: "kafka", State: "done"},
		{At: end + 3*sec, Kind: evidence.EventRecon, Name: "search", State: "done"},
	} {
		must(w.Events.Add(e))
	}
	must(w.Close(""))
	r, err := evidence.Open(w.Dir)
	must(err)
	return r
}

// gauges writes what is scraped each second.
func gauges(t testing.TB, w *evidence.Writer, end time.Duration) {
	t.Helper()
	for at := time.Duration(0); at < end; at += time.Second {
		x := at.Seconds()
		stuck, lag := 0.0, 40.0
		if x >= 22 && x < 34 {
			stuck = 70e3 * min(x-22, (34-x)*2)
		}
		if x >= 36 && x < 46 {
			lag = 40 + 200*min(x-36, (46-x)*2)
		}
		samples := []evidence.Sample{
			{Name: "fluentbit_output_chunk_available_capacity_percent", Labels: evidence.Labels{"cluster": "datacenter", "component": "fluent-bit"}, Value: 100 * (1 - (20e3+3e3*float64(int(x)%5))/(64<<20))},
			{Name: "fluentd_output_status_buffer_total_bytes", Labels: evidence.Labels{"cluster": "datacenter", "component": "fluentd"}, Value: 30e3 + stuck},
			{Name: evidence.LagSeries, Labels: evidence.Labels{"topic": "service-topic", "group": "connect-elasticsearch"}, Value: lag},
			{Name: evidence.StallSeries, Labels: evidence.Labels{}, Value: 0.001 + 0.0005*float64(int(x)%3)},
			{Name: evidence.QuerySeries, Labels: evidence.Labels{"cluster": "monitoring"}, Value: 0.004 + 0.001*float64(int(x)%4)},
			{Name: evidence.UpSeries, Labels: evidence.Labels{"cluster": "kafka", "component": "kafka", "instance": "broker-2"}, Value: map[bool]float64{true: 0, false: 1}[x >= 22 && x < 31]},
			{Name: evidence.CPUSeries, Labels: evidence.Labels{"part": "harness"}, Value: 0.3},
		}
		if x == 36 {
			samples = append(samples, evidence.Sample{Name: evidence.GapSeries, Labels: evidence.Labels{"cluster": "kafka", "instance": "a"}, Value: 6})
		}
		if err := w.Series.Add(at, samples...); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Series.Add(end, evidence.Sample{Name: evidence.IncrementsSeries, Labels: evidence.Labels{"cluster": "kafka", "instance": "a"}, Value: 6},
		evidence.Sample{Name: evidence.IncrementsSeries, Labels: evidence.Labels{"cluster": "datacenter", "instance": "a"}, Value: 0}); err != nil {
		t.Fatal(err)
	}
}

// faultResult is a result as a judge gives it for faultRun, with one of everything.
//
//go:fix inline
func faultResult(r *evidence.Run) *check.Result {
	u := func(v uint64) *uint64 { return new(v) }
	sec := func(s float64) *int64 { return new(int64(s * 1e9)) }
	rests := []string{"datacenter/fluent-bit (model)", "datacenter/fluentd (model)", "kafka/kafka (model)", "monitoring/kafka-connect (model)", "monitoring/elasticsearch (stand-in)"}
	loss := "12 of 13000 records got lost between the generator and Kafka: 12 in hop forward (inferred); due between 29.6 s and 30.0 s; for example tq_3mv_2_kk, tq_3mv_2_kp, tq_3mv_2_kv"
	res := &check.Result{
		SchemaVersion: check.ResultSchema, Run: r.Header.ID, Scenario: r.Scenario.Name, Title: r.Scenario.Title, Runtime: "embedded", Seed: 7,
		Verdict: check.Fail, Expected: "fail", Summary: "The system did not keep its promise: " + loss + ".",
		Reasons: []string{"loss: fail: " + loss, "lost == 0: fail: 12 records", "fault-isolation: inconclusive: monitoring: query time: only 3 and 4 independent figures, fewer than 5"},
		Checks: []check.Check{
			{Name: "evidence", Verdict: check.Pass, Value: new(0.0), Limit: new(0.0), Unit: "problems", Detail: "closed, every checksum right, every observer there to the end", Always: true},
			{Name: "load", Verdict: check.Pass, Value: new(1.0), Limit: new(0.999), Unit: "share of schedule", Detail: "13000 of 13000 records attempted, in time", Always: true},
			{Name: "faults", Verdict: check.Pass, Value: new(45.0), Unit: "hits", Detail: "broker-kill, link-cut: bit and gone, 45 hits", Always: true},
			{Name: "loss", Claim: "C3", Verdict: check.Fail, Value: new(12.0), Limit: new(0.0), Unit: "records", Detail: loss, Rests: rests, Always: true},
			{Name: "duplicates", Claim: "C3", Verdict: check.Pass, Value: new(8.0), Unit: "records", Detail: "8 records a second time in Kafka, 0 a second time in the store, 0 of these made behind Kafka; at-least-once allows it", Rests: rests, Always: true},
			{Name: "recovery", Claim: "C3", Verdict: check.Invalid, Value: new(9.2), Unit: "s", Detail: "in phase during the machine was saturated in 6 of 25 seconds (else: drained after 4.8 s)", Rests: rests},
			{Name: "fault-isolation", Claim: "C1", Verdict: check.Inconclusive, Value: new(0.08), Limit: new(0.25), Unit: "share worse", Detail: "monitoring: query time: only 3 and 4 independent figures, fewer than 5", Rests: rests},
			{Name: "security-isolation", Claim: "C4", Verdict: check.Skipped, Detail: "embedded has no network between clusters"},
			{Name: "one-view", Claim: "C7", Verdict: check.Inconclusive, Value: new(0.0), Limit: new(0.0), Unit: "queries", Detail: "no Grafana here: the data sources were asked directly", Rests: append(slices.Clip(rests), "monitoring/grafana (absent)")},
			{Name: "lost == 0", Verdict: check.Fail, Value: new(12.0), Limit: new(0.0), Unit: "records", Detail: "12 records", Rests: rests, Gate: true},
			{Name: "kafka_latency{phase=during} p(99) < 15s", Verdict: check.Pass, Value: new(9.13), Limit: new(15.0), Unit: "s", Detail: "9.13 s of 5000 records", Rests: rests, Gate: true},
			{Name: "e2e_latency{source=service, phase=after} p(99) < 2s", Verdict: check.Pass, Value: new(1.31), Limit: new(2.0), Unit: "s", Detail: "1.12 s to 1.31 s of 750 records", Rests: rests, Gate: true},
		},
		Hops: []check.Hop{
			{Name: "generate", In: u(13000), Out: u(13000), Buffered: u(0), Lost: u(0), Duplicated: u(0), Certainty: check.ExactC, Evidence: []string{"ledgers of the generators, before and after each write"}},
			{Name: "collect", In: u(11375), Out: u(11375), Buffered: u(0), Lost: u(0), Duplicated: u(0), Certainty: check.ExactC, Evidence: []string{"fluentbit_input_records_total"}},
			{Name: "forward", In: u(11375), Buffered: u(0), Lost: u(12), LostMin: u(0), LostMax: u(12), Certainty: check.Inferred, Evidence: []string{"fluentd_output_status_emit_records", "fluentd_output_status_rollback_count"}},
			{Name: "broker", Out: u(12988), LostMin: u(0), LostMax: u(12), Duplicated: u(8), Certainty: check.Bounded, Evidence: []string{"Kafka observer reading every partition"}},
			{Name: "sink", In: u(12988), Out: u(12988), Buffered: u(0), DeadLettered: u(0), Lost: u(0), Duplicated: u(0), Certainty: check.ExactC, Evidence: []string{"Kafka observer", "dead-letter observer"}},
			{Name: "search", In: u(12988), Out: u(12988), Buffered: u(0), Lost: u(0), Duplicated: u(0), Certainty: check.ExactC, Evidence: []string{"final reconciliation of the store"}},
		},
		Segments: []check.Segment{
			{Name: "generate", In: 13000, Out: 13000, Ranges: []check.Range{}, Hops: []string{"generate"}},
			{
				Name: "ledger-kafka", In: 13000, Out: 12988, Lost: 12, Hops: []string{"collect", "forward", "broker"},
				Ranges:     []check.Range{{Stream: 2, Source: "service", Topic: "service-topic", Lo: 740, Hi: 751, From: 29600 * time.Millisecond, To: 30040 * time.Millisecond, Hop: "forward", Samples: []string{"tq_3mv_2_kk", "tq_3mv_2_kp", "tq_3mv_2_kv"}}},
				Duplicates: []check.Range{{Stream: 0, Source: "service", Topic: "service-topic", Lo: 560, Hi: 567, From: 22400 * time.Millisecond, To: 22680 * time.Millisecond, Samples: []string{"tq_3mv_0_fk"}}},
			},
			{Name: "kafka-search", In: 12988, Out: 12988, Ranges: []check.Range{}, Hops: []string{"sink", "search"}},
		},
		Streams: []check.StreamCount{
			{Stream: 2, Source: "service", Topic: "service-topic", Counts: check.Counts{Acknowledged: 1625, SeenKafka: 1613, Seen: 1613, Lost: 12}},
			{Stream: 0, Source: "service", Topic: "service-topic", Counts: check.Counts{Acknowledged: 1625, SeenKafka: 1625, Seen: 1625, BrokerDup: 8}},
		},
		Totals: check.Counts{Scheduled: 13000, Attempted: 13000, Sent: 13000, Acknowledged: 13000, SeenKafka: 12988, Seen: 12988, Lost: 12, BrokerDup: 8, SinkRewrite: 31},
		Recovery: check.Recovery{
			Noticed: sec(0.2), FirstGood: sec(0.1), Drained: sec(4.8), InBand: sec(6), Resolution: 1e8, InBandResolution: 1e9,
			DrainRate: new(310.4), LiveRate: new(200.0), PeakRate: new(534.0), Fault: "link-cut",
			Faults: []check.FaultRecovery{
				{Fault: "broker-kill", Relief: sec(22), Noticed: sec(0.2), FirstGood: sec(0.1), Drained: sec(21), InBand: sec(26), Before: "link-cut", AtLeast: sec(14), Verdict: check.Pass, Detail: "drained after 21 s"},
				{Fault: "link-cut", Relief: sec(42), Noticed: sec(0.1), FirstGood: sec(0.1), Drained: sec(4.8), InBand: sec(6), Verdict: check.Invalid, Detail: "the machine was saturated"},
			},
		},
		Capacity: &check.Capacity{
			Source: "service", Passed: new(1000.0), Failed: new(1100.0), Upper: check.UpperGate, AtLeast: 500, Precision: 0.1, Step: 10e9, Why: "1000/s passed, 1100/s failed (e2e_latency{source=service} p(99) < 10s: found between 12s and 14s)",
			Tries: []check.Try{
				{Run: "20261123T092500-double-trouble-embedded", Rate: 500, Verdict: check.Pass, Gates: gates(0.8, 1.1, check.Pass, 0.001)},
				{Run: "20261123T092600-double-trouble-embedded", Rate: 2000, Verdict: check.Invalid, Why: "the generator was late", Gates: gates(28, 30, check.Invalid, 0.4)},
				{Run: "20261123T092700-double-trouble-embedded", Rate: 1100, Verdict: check.Fail, Why: "12 s to 14 s", Gates: gates(12, 14, check.Fail, 0.09)},
				{Run: "20261123T092800-double-trouble-embedded", Rate: 1050, Verdict: check.Inconclusive, Why: "the limit lies inside", Gates: gates(9, 11, check.Inconclusive, 0.04)},
				{Run: r.Header.ID, Rate: 1000, Verdict: check.Pass, Gates: gates(2.2, 2.4, check.Pass, 0.002)},
			},
		},
		Trends: []check.Trend{
			{What: "memory", Of: "harness", Unit: "bytes", Points: 24, Span: 240e9, Level: new(180e6), Growth: new(40e6), GrowthLo: new(36e6), GrowthHi: new(44e6), PerHour: new(600e6), Limit: new(16e6), Verdict: check.Fail, Detail: "memory at 171.7 MiB: +38.1 MiB in 4 m 0 s"},
			{What: "open files", Of: "kafka/broker-1", Unit: "files", Points: 24, Span: 240e9, Level: new(50.0), Growth: new(-1.0), GrowthLo: new(-2.0), GrowthHi: new(0.0), PerHour: new(-15.0), Limit: new(8.0), Verdict: check.Pass, Detail: "open files at 50"},
			{What: "backlog", Of: "ledger-kafka", Unit: "records", Points: 4, Verdict: check.Inconclusive, Detail: "4 intervals of calm are too few to tell a trend, it takes 12"},
		},
		Buffers: []check.BufferFill{
			{Hop: "forward", Component: "fluentd", Limit: "512KiB in 1 instances", Peak: new(590e3), Unit: "bytes", FillRate: new(70e3), Horizon: sec(7.5), Certainty: check.Bounded, Sentence: "At 175 records a second it is full and holds back what is in front of it after 7.5 s, in the buffer of fluentd (hop forward, 512KiB in 1 instances; when full: block)."},
			{Hop: "broker", Component: "service-topic", Limit: "168h0m0s", Unit: "seconds", Horizon: sec(7 * 86400), Certainty: check.ExactC, Sentence: "Retention: a record is deleted after 7 d 0 h, read or not."},
			{Hop: "collect", Component: "fluent-bit", Limit: "64MiB in 1 instances", Peak: new(32e3), Unit: "bytes", Certainty: check.Inferred, Sentence: "How long the buffer lasts is not known: there is no measured rate."},
		},
		Influence: []check.Influence{
			{Fault: "kafka", Victim: "datacenter", Metric: "time that a write of a service takes", Before: new(0.0001), While: new(0.00011), Effect: new(0.1), P: new(0.2), Verdict: check.Pass, Detail: "time that a write of a service takes: 0.0001 before, 0.00011 while the fault acted; within the tolerance of 25 % (p 0.2, 15 and 9 independent figures)"},
			{Fault: "kafka", Victim: "monitoring", Metric: "query time", Before: new(0.005), While: new(0.0054), Effect: new(0.08), P: new(0.4), Verdict: check.Inconclusive, Detail: "query time: only 3 and 4 independent figures, fewer than 5"},
			{Fault: "kafka", Victim: "monitoring", Metric: "throughput of the control stream in the store", Before: new(25.0), While: new(14.0), Effect: new(0.44), P: new(0.001), Verdict: check.Fail, Detail: "throughput of the control stream in the store: 25 before, 14 while the fault acted; worse by 44 %, tolerance 25 %"},
		},
		Faults: []check.Fault{
			{Name: "broker-kill", Kind: "broker-kill", Target: "broker 2", Cluster: "kafka", InjectedAt: sec(22), BitAt: sec(22.2), HealedAt: sec(31), GoneAt: sec(31.4), Hits: 14, Detail: "the leader of service-topic/1 is away"},
			{Name: "link-cut", Kind: "link-cut", Target: "kafka->monitoring", InjectedAt: sec(36), BitAt: sec(36.1), HealedAt: sec(42), GoneAt: sec(42.3), Hits: 31, Detail: "31 connections refused"},
		},
		Skipped: []check.Skip{{What: "security-isolation", Why: "embedded has no network between clusters"}}, Limits: r.Header.Limits, Judged: created.Add(2 * time.Minute),
		Throughput: []check.Throughput{{Point: "ledger", Phase: "before", Mean: 200, Min: 199, Max: 201}},
		Config:     map[string]string{"load.service.rate": "150/s", "kafka.session_timeout": "9s"},
	}
	res.Latency = latencies(r)
	return res
}

// gates are those of a try: a latency, a loss and the growth of the backlog.
func gates(lo, hi float64, v check.Verdict, growth float64) []check.TryGate {
	return []check.TryGate{
		{Gate: "e2e_latency{source=service} p(99) < 10s", Verdict: v, Lo: &lo, Hi: &hi, Limit: 10, Unit: "s", Detail: "found"},
		{Gate: "lost == 0", Verdict: check.Pass, Lo: new(0.0), Hi: new(0.0), Unit: "records"},
		{Gate: "backlog_growth < 0.05", Verdict: map[bool]check.Verdict{true: check.Pass, false: v}[growth < 0.05], Lo: new(growth - 0.01), Hi: &growth, Limit: 0.05, Unit: "ratio"},
	}
}

// latencies are the table of the judge, from the evidence.
func latencies(r *evidence.Run) []check.Latency {
	var out []check.Latency
	for _, m := range []string{"e2e_latency", "kafka_latency", "send_corrected", "send_uncorrected", "target_block"} {
		for _, phase := range []string{scenario.Before, scenario.During, scenario.After} {
			for _, source := range []string{check.PhaseAll, "control", "service", "system-auth"} {
				var x, up stats.Hist
				var w scenario.Window
				for _, v := range r.Header.Windows {
					if v.Name == phase {
						w = v
					}
				}
				r.Hists(func(k evidence.HistKey, from time.Duration, h *stats.Hist) error {
					if k.Metric != m || from < w.From || from >= w.To || source != check.PhaseAll && k.Source != source {
						return nil
					}
					if k.Bound == evidence.Upper {
						up.Merge(h)
					} else {
						x.Merge(h)
					}
					return nil
				})
				q := func(h *stats.Hist, q float64) int64 { v, _ := h.Quantile(q); return int64(v) }
				l := check.Latency{Metric: m, Phase: phase, Source: source, Count: x.Count(), P50: q(&x, .5), P90: q(&x, .9), P99: q(&x, .99), P999: q(&x, .999), Max: q(&x, 1)}
				if up.Count() > 0 {
					l.P50Upper, l.P90Upper, l.P99Upper, l.P999Upper, l.MaxUpper = new(q(&up, .5)), new(q(&up, .9)), new(q(&up, .99)), new(q(&up, .999)), new(q(&up, 1))
				}
				out = append(out, l)
			}
		}
	}
	return out
}
