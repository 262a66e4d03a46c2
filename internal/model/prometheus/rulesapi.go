package prometheus

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

type alertJSON struct {
	Labels          map[string]string `json:"labels"`
	Annotations     map[string]string `json:"annotations"`
	State           string            `json:"state"`
	ActiveAt        *time.Time        `json:"activeAt,omitempty"`
	KeepFiringSince *time.Time        `json:"keepFiringSince,omitempty"`
	Value           string            `json:"value"`
}

type ruleJSON struct {
	State          string            `json:"state,omitempty"` // alerting rules only, as all with omitempty
	Name           string            `json:"name"`
	Query          string            `json:"query"`
	Duration       *float64          `json:"duration,omitempty"`
	KeepFiringFor  *float64          `json:"keepFiringFor,omitempty"`
	Labels         map[string]string `json:"labels"`
	Annotations    map[string]string `json:"annotations,omitempty"`
	Alerts         []alertJSON       `json:"alerts,omitempty"`
	Health         string            `json:"health"`
	LastError      string            `json:"lastError,omitempty"`
	EvaluationTime float64           `json:"evaluationTime"`
	LastEvaluation time.Time         `json:"lastEvaluation"`
	Type           string            `json:"type"`
}

type groupJSON struct {
	Name           string     `json:"name"`
	File           string     `json:"file"`
	Rules          []ruleJSON `json:"rules"`
	Interval       float64    `json:"interval"`
	Limit          int        `json:"limit"`
	EvaluationTime float64    `json:"evaluationTime"`
	LastEvaluation time.Time  `json:"lastEvaluation"`
}

// alerts answers /api/v1/alerts.
func (r *Receiver) alerts(*http.Request) (any, *apiError) {
	out := []alertJSON{}
	for _, g := range r.groups {
		g.mu.Lock()
		for _, x := range g.rules {
			out = append(out, x.current()...)
		}
		g.mu.Unlock()
	}
	return map[string]any{"alerts": out}, nil
}

// rules answers /api/v1/rules; type selects alert or record.
func (r *Receiver) rules(req *http.Request) (any, *apiError) {
	kind := strings.ToLower(req.FormValue("type"))
	if kind != "" && kind != "alert" && kind != "record" {
		return nil, badData("type", unsupportedError(kind))
	}
	out := []groupJSON{}
	for _, g := range r.groups {
		g.mu.Lock()
		j := groupJSON{Name: g.name, File: g.file, Rules: []ruleJSON{}, Interval: g.interval.Seconds(), Limit: g.limit, EvaluationTime: g.took.Seconds(), LastEvaluation: g.last}
		for _, x := range g.rules {
			if kind == "" || (kind == "alert") == x.alerting() {
				j.Rules = append(j.Rules, x.json())
			}
		}
		g.mu.Unlock()
		if len(j.Rules) > 0 || kind == "" {
			out = append(out, j)
		}
	}
	return map[string]any{"groups": out}, nil
}

type unsupportedError string

func (e unsupportedError) Error() string { return "not supported value " + strconv.Quote(string(e)) }

// json is one rule; the caller holds its group's mu.
func (x *rule) json() ruleJSON {
	j := ruleJSON{
		Name: x.Name(), Query: x.Expr.String(), Labels: x.labels.Map(), Health: x.health, EvaluationTime: x.took.Seconds(), LastEvaluation: x.last, Type: "recording",
	}
	if x.err != nil {
		j.LastError = x.err.Error()
	}
	if !x.alerting() {
		return j
	}
	j.Type, j.State = "alerting", stateInactive
	j.Duration, j.KeepFiringFor = new(x.For.Seconds()), new(x.KeepFor.Seconds())
	j.Annotations, j.Alerts = maps.Clone(x.Annotations), x.current()
	if x.last.IsZero() {
		j.State = stateUnknown
	}
	for _, a := range j.Alerts {
		if a.State == stateFiring || j.State != stateFiring {
			j.State = a.State
		}
	}
	return j
}

// current are the alerts of a rule that are pending or firing, by labels; the caller holds the group's mu.
func (x *rule) current() []alertJSON {
	var out []alertJSON
	active := slices.Collect(maps.Values(x.active))
	slices.SortFunc(active, func(a, b *alert) int { return strings.Compare(a.labels.String(), b.labels.String()) })
	for _, a := range active {
		if !a.resolved.IsZero() {
			continue
		}
		j := alertJSON{Labels: a.labels.Map(), Annotations: a.annotations.Map(), State: a.state, ActiveAt: new(a.activeAt), Value: strconv.FormatFloat(a.value, 'e', -1, 64)}
		if !a.keepSince.IsZero() {
			j.KeepFiringSince = new(a.keepSince)
		}
		out = append(out, j)
	}
	return out
}
