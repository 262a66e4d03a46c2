package embedded_test

import (
	"runtime"
	"testing"

	"triad/internal/check"
	"triad/internal/load"
)

// BenchmarkPath sends 20,000 records a second into the brokers and reads every one of them in the store, in a whole run with its
// observers and ledgers. records/cpu-s is what the processor time of one core carries, whatever else runs on the machine: below 10,000,
// two cores would be the bottleneck. A run that was saturated, by neighbours too, says so and is never a pass.
func BenchmarkPath(b *testing.B) {
	const rate, seconds = 20_000, 12
	var sent uint64
	var most float64
	saturated, clean := 0, 0
	before := load.ProcessorTime()
	for range b.N {
		res, _ := runText(b, head+`phases: {warm-up: 2s, before: 10s, drain: 60s}
load: [{source: service, enter: kafka, rate: 20000/s, streams: 24, instances: 2}]
thresholds: ["lost == 0"]
`)
		if res.Totals.Seen != res.Totals.Acknowledged || res.Totals.Lost > 0 {
			b.Fatalf("%d of %d records arrived: %v", res.Totals.Seen, res.Totals.Acknowledged, res.Reasons)
		}
		sent += res.Totals.Acknowledged
		most = max(most, float64(res.Totals.Acknowledged)/seconds)
		verdicts := map[string]check.Verdict{}
		for _, c := range res.Checks {
			verdicts[c.Name] = c.Verdict
		}
		limited := verdicts["saturation"] == check.Invalid || verdicts["load"] == check.Invalid
		switch {
		case limited && res.Verdict == check.Pass:
			b.Fatal("the harness was the limit, and the run passed")
		case limited:
			saturated++
		case res.Totals.Acknowledged == rate*seconds:
			clean++
		}
	}
	b.ReportMetric(most, "records/s")
	b.ReportMetric(float64(sent)/(load.ProcessorTime()-before).Seconds(), "records/cpu-s")
	b.ReportMetric(float64(saturated), "saturated-runs")
	b.ReportMetric(float64(clean), "clean-runs")
	b.ReportMetric(float64(runtime.NumCPU()), "cores")
}
