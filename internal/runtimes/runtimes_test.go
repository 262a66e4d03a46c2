package runtimes

import (
	"testing"

	"triad/internal/evidence"
)

func TestNotReal(t *testing.T) {
	c := func(cluster, name, fidelity string) evidence.Component {
		return evidence.Component{Cluster: cluster, Name: name, Fidelity: fidelity}
	}
	for _, tt := range []struct {
		d    Description
		want string
	}{
		{Description{Components: []evidence.Component{c("kafka", "kafka", evidence.Real)}}, "nothing: every component is the real program"},
		{
			Description{Reduced: []string{"elasticsearch without security"}, Components: []evidence.Component{
				c("datacenter", "fluentd", evidence.Model), c("kafka", "strimzi-operator", evidence.StandIn), c("monitoring", "strimzi-operator", evidence.StandIn),
				c("monitoring", "grafana", evidence.Absent), c("monitoring", "kibana", evidence.Absent), c("monitoring", "elasticsearch", evidence.Real),
			}},
			"models: fluentd; stand-ins: strimzi-operator; absent: grafana, kibana; lacking: elasticsearch without security",
		},
	} {
		if got := tt.d.NotReal(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
