package pod

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// A time that came in an order is counted from by the monotonic clock, and is the same time.
func TestHere(t *testing.T) {
	for _, ago := range []time.Duration{-time.Hour, 0, time.Hour} {
		b, err := json.Marshal(time.Now().Add(ago))
		if err != nil {
			t.Fatal(err)
		}
		var at time.Time
		if err := json.Unmarshal(b, &at); err != nil {
			t.Fatal(err)
		}
		here := Here(at)
		if strings.Contains(at.String(), " m=") || !strings.Contains(here.String(), " m=") || !here.Equal(at) {
			t.Errorf("%v is here %v", at, here)
		}
	}
}
