//go:build !embedded_only

package eks

import (
	"strings"
	"testing"

	"triad/internal/scenario"
)

// The pods of every role are listed with the right that looking takes, which is said before it is done; one that has been taken away is named.
func TestPodsOfEveryRole(t *testing.T) {
	tr := newTrio(t)
	tr[scenario.Monitoring].expired = true
	s, said := tr.system(t, Options{}, nil)
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	lists := (&env{System: s}).Pods()
	for role, has := range map[string]string{scenario.Datacenter: "fluentd", scenario.Kafka: "kafka"} {
		got, err := lists[role](t.Context())
		names := ""
		for _, p := range got {
			names += " " + p.Component
		}
		if err != nil || !strings.Contains(names, " "+has) || len(got) != len(tr[role].components) {
			t.Errorf("%s: %s, %v", role, names, err)
		}
	}
	if _, err := lists[scenario.Monitoring](t.Context()); err == nil || !strings.Contains(err.Error(), "log in again") {
		t.Error(err)
	}
	s.print(said, s.contexts.running(canary(t), false), nil)
	if n := strings.Count(said.String(), "list the pods of components every few seconds"); n != 3 {
		t.Errorf("it is said %d times:\n%s", n, said)
	}
}
