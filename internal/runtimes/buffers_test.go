package runtimes

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triad/internal/model/fluentbit"
	"triad/internal/model/fluentd"
)

// TestShippedBuffers: every output of both forwarders has a buffer of its own, and of the nodes' figures it can be told.
func TestShippedBuffers(t *testing.T) {
	read := func(name string) []byte {
		b, err := os.ReadFile("../../manifests/base/datacenter/config/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	bit, _, err := fluentbit.Parse(read("fluent-bit.yaml"), "fluent-bit.yaml", map[string]string{"NODE_NAME": "n", "FLUENTD_HOST": "f"})
	if err != nil {
		t.Fatal(err)
	}
	agg, _, err := fluentd.Parse(read("fluentd.yaml"), "fluentd.yaml", map[string]string{"KAFKA_BROKERS": "x:1"})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, b := range append(FluentBitBuffers(bit, 1), FluentdBuffers(agg, 1)...) {
		got[b.Source+", "+b.Full] = b.OfNodeMetrics()
	}
	want := map[string]bool{
		"fluent-bit.yaml fluentd storage.total_limit_size, drop-oldest": false, "fluent-bit.yaml system-metrics storage.total_limit_size, drop-oldest": true,
		"fluentd.yaml out_service total_limit_size, block": false, "fluentd.yaml out_system_auth total_limit_size, block": false, "fluentd.yaml out_system_kmsg total_limit_size, block": false,
		"fluentd.yaml out_system_syslog total_limit_size, block": false, "fluentd.yaml out_canary total_limit_size, block": false, "fluentd.yaml out_system_metrics total_limit_size, drop-oldest": true,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
