//go:build !embedded_only

package kind

import (
	"testing"
	"time"
)

func TestIncreases(t *testing.T) {
	var x increases
	if _, ok := x.total(Kafka); ok {
		t.Error("a total of nothing")
	}
	x.read(Kafka, "a/1", 5*time.Second)
	x.read(Kafka, "a/2", 3*time.Second)
	x.read(Monitoring, "b/1", time.Second)
	base, _ := x.total(Kafka)
	x.read(Kafka, "a/1", 6*time.Second)
	x.read(Kafka, "a/3", 2*time.Second) // in the place of 2
	x.read(Kafka, "a/1", time.Second)   // started anew under its number
	if sum, ok := x.total(Kafka); !ok || sum-base != 4*time.Second {
		t.Errorf("%v more, want 4 s", sum-base)
	}
	if sum, _ := x.total(Monitoring); sum != time.Second {
		t.Errorf("%v of another cluster", sum)
	}
}
