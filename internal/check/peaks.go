package check

import (
	"triad/internal/evidence"
	"triad/internal/scenario"
)

// Peak is the largest backlog of one segment over the judged phases and the drain, in records.
type Peak struct {
	Segment string   `json:"segment"`
	Hops    []string `json:"hops"`
	Peak    *float64 `json:"peak"` // null: it was not counted
}

// PeakBacklogs reads the largest backlogs out of a run: what a threshold on the backlog is held against. Where the evidence
// that they rest on is damaged they are null.
func PeakBacklogs(r *evidence.Run) ([]Peak, error) {
	j, err := newJudge(r)
	if err != nil {
		return nil, err
	}
	j.rec = newRecovery(j)
	var out []Peak
	for _, s := range j.segs {
		hop := map[string]string{segLedgerKafka: "broker", segKafkaSearch: "search"}[s.Name]
		if hop == "" {
			continue
		}
		p := Peak{Segment: s.Name, Hops: s.Hops}
		m := j.backlogs(scenario.Threshold{Agg: "max", Labels: map[string]string{"hop": hop}})
		if m.ok && j.damage(m.files) == "" {
			p.Peak = new(m.hi)
		}
		out = append(out, p)
	}
	return out, nil
}
