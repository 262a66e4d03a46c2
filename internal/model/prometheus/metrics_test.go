package prometheus

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"triad/internal/observe/scrape"
)

// TestMetricsAreThoseOfTheRealProgram compares the families of the models with those that Prometheus 3.16 exposed: name, type, labels.
func TestMetricsAreThoseOfTheRealProgram(t *testing.T) {
	t.Parallel()
	tgt := newTarget(t)
	r, _ := startReceiver(t, t.TempDir(), "")
	a, _ := startAgent(t, t.TempDir(), agentYAML("50ms", tgt, r.Addr().String(), ""), nil)
	eventually(t, 5*time.Second, "something sent", func() bool { return metric(t, a.Addr(), "prometheus_remote_storage_samples_total") > 0 })
	for file, addr := range map[string]string{"testdata/real/agent-metrics.txt": a.Addr().String(), "testdata/real/receiver-metrics.txt": r.Addr().String()} {
		real := map[string][2]string{}
		for l := range strings.SplitSeq(readFile(t, file), "\n") {
			if f := strings.Fields(l); len(f) >= 2 && f[0] != "#" {
				real[f[0]] = [2]string{f[1], strings.Join(f[2:], "")}
			}
		}
		c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		samples, err := scrape.Target{URL: "http://" + addr + "/metrics"}.Scrape(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range samples {
			name := s.Name
			if s.Kind == scrape.KindHistogram || s.Kind == scrape.KindSummary {
				for _, suffix := range []string{"_bucket", "_sum", "_count"} {
					name = strings.TrimSuffix(name, suffix)
				}
			}
			want, ok := real[name]
			if !ok {
				t.Errorf("%s: the real program has no %s", file, name)
				continue
			}
			if string(s.Kind) != want[0] {
				t.Errorf("%s: %s is a %s, the real one a %s", file, name, s.Kind, want[0])
			}
			var labels []string
			for l := range s.Labels {
				if l != "le" && l != "quantile" {
					labels = append(labels, l)
				}
			}
			slices.Sort(labels)
			for _, l := range labels {
				if !slices.Contains(strings.Split(want[1], ","), l) {
					t.Errorf("%s: %s has a label %s, the real one only %s", file, name, l, want[1])
				}
			}
		}
		for _, f := range scrape.Families("prometheus") {
			_, exists := real[f.Name]
			modelled := slices.ContainsFunc(samples, func(s scrape.Sample) bool { return s.Name == f.Name })
			// A server without remote_write shows these too, and they stay at 0.
			idle := strings.Contains(file, "receiver") && strings.HasPrefix(f.Name, "prometheus_remote_storage_")
			// A model has no process of its own whose memory and files it could tell.
			own := strings.HasPrefix(f.Name, "process_resident_") || f.Name == "process_open_fds"
			if exists && !modelled && !idle && !own {
				t.Errorf("%s: judging reads %s, which the model lacks", file, f.Name)
			}
		}
	}
}
