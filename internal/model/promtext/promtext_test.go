package promtext

import (
	"bytes"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// TestParses reads the output back with the parser of Prometheus.
func TestParses(t *testing.T) {
	var w Writer
	w.Counter("a_total", `help with \ and
line`, 1e6, "name", "x\"y\\z\n", "tag", "t")
	w.Gauge("b", "g", 0.25)
	w.Untyped("c", "u", -2)
	w.Counter("a_total", "other help", 3, "name", "second", "tag", "")
	p := expfmt.NewTextParser(model.UTF8Validation)
	fams, err := p.TextToMetricFamilies(bytes.NewReader(w.Bytes()))
	if err != nil {
		t.Fatalf("%v in\n%s", err, w.Bytes())
	}
	a := fams["a_total"].GetMetric()
	if len(a) != 2 || a[0].GetCounter().GetValue() != 1e6 || a[0].GetLabel()[0].GetValue() != "x\"y\\z\n" {
		t.Errorf("a_total reads back as %v", a)
	}
	if v := fams["b"].GetMetric()[0].GetGauge().GetValue(); v != 0.25 {
		t.Errorf("b = %v", v)
	}
	if v := fams["c"].GetMetric()[0].GetUntyped().GetValue(); v != -2 {
		t.Errorf("c = %v", v)
	}
}
