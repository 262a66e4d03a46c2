package check

import (
	"path/filepath"
	"testing"
	"time"

	"triad/internal/evidence"
)

// A peak is what a threshold on the backlog is held against; with damaged pulses there is none.
func TestPeakBacklogs(t *testing.T) {
	dir := filepath.Join("testdata", "runs", "recovery")
	r, err := evidence.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	peaks, err := PeakBacklogs(r)
	if err != nil || len(peaks) == 0 {
		t.Fatalf("%v, %v", peaks, err)
	}
	hops := map[string]string{segLedgerKafka: "broker", segKafkaSearch: "search"}
	for _, p := range peaks {
		text := "backlog{hop=" + hops[p.Segment] + "} max < 1000000"
		r.Scenario.Thresholds = []string{text}
		res, err := Judge(r, time.Unix(0, 0))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, c := range res.Checks {
			if c.Name == text {
				found = true
				if c.Value == nil || p.Peak == nil || *c.Value != *p.Peak || *p.Peak <= 0 {
					t.Errorf("%s: peak %v, threshold %v (%s)", p.Segment, p.Peak, c.Value, c.Detail)
				}
			}
		}
		if !found {
			t.Errorf("%s was not judged", text)
		}
	}
	r.Damage = append(r.Damage, evidence.Damage{File: evidence.SeriesName + ".tsf", Msg: "torn"})
	if peaks, err = PeakBacklogs(r); err != nil {
		t.Fatal(err)
	}
	for _, p := range peaks {
		if p.Peak != nil {
			t.Errorf("%s: %v from damaged evidence", p.Segment, *p.Peak)
		}
	}
}
