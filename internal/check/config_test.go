package check

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"triad/internal/scenario"
)

// What is not declared of a fault is not said of it, and every figure has its name.
func TestFaultText(t *testing.T) {
	for _, c := range []struct {
		of   scenario.Fault
		want string
	}{
		{
			scenario.Fault{Kind: "broker-kill", Name: "first", Target: "leader", At: scenario.Time{Phase: scenario.During, Offset: 2 * time.Second}},
			"broker-kill at during+2s, target leader",
		},
		{
			scenario.Fault{
				Kind: "slow-link", At: scenario.Time{Offset: 20 * time.Second}, For: scenario.Duration(6 * time.Second), From: scenario.Kafka, To: scenario.Monitoring,
				Direction: "both", Delay: scenario.Duration(50 * time.Millisecond), Bandwidth: 1 << 20,
			},
			"slow-link at 20s for 6s, from kafka, to monitoring, direction both, delay 50ms, bandwidth 1MiB",
		},
		{scenario.Fault{Kind: "es-throttle", Cluster: scenario.Monitoring, Ratio: 0.5}, "es-throttle at 0s, cluster monitoring, ratio 0.5"},
	} {
		if got := faultText(c.of); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
	// Another field of a fault is said too.
	var whole scenario.Fault
	v := reflect.ValueOf(&whole).Elem()
	for _, f := range v.Fields() {
		switch f.Kind() {
		case reflect.String:
			f.SetString("x")
		case reflect.Float64:
			f.SetFloat(1)
		case reflect.Int, reflect.Int64:
			f.SetInt(1)
		}
	}
	text := faultText(whole)
	for f := range v.Type().Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); name != "kind" && name != "name" && !strings.Contains(text, " "+name+" ") {
			t.Errorf("%s is not said: %s", name, text)
		}
	}
}
