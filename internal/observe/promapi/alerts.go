package promapi

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// States of an alert. Prometheus lists pending and firing ones; Resolved and Inactive are what an alert that is not listed any more
// became: it had fired, or it had not.
const (
	Pending  = "pending"
	Firing   = "firing"
	Resolved = "resolved"
	Inactive = "inactive"
)

// Alert is one alert that is pending or firing.
type Alert struct {
	Labels   map[string]string `json:"labels"`
	State    string            `json:"state"`
	ActiveAt time.Time         `json:"activeAt"` // since when the expression holds
}

// Name is the label alertname.
func (a Alert) Name() string { return a.Labels["alertname"] }

// Rule is one rule as the server evaluates it.
type Rule struct {
	Group          string
	Name           string    `json:"name"`
	Type           string    `json:"type"`   // alerting or recording
	Health         string    `json:"health"` // ok, err, unknown (not evaluated yet)
	LastError      string    `json:"lastError"`
	LastEvaluation time.Time `json:"lastEvaluation"`
	Interval       time.Duration
}

// Alerts lists what is pending or firing now.
func (c Client) Alerts(ctx context.Context) ([]Alert, error) {
	var data struct {
		Alerts []Alert `json:"alerts"`
	}
	if err := c.get(ctx, "/api/v1/alerts", &data); err != nil {
		return nil, err
	}
	return data.Alerts, nil
}

// Rules lists every rule with its health.
func (c Client) Rules(ctx context.Context) ([]Rule, error) {
	var data struct {
		Groups []struct {
			Name     string  `json:"name"`
			Interval float64 `json:"interval"`
			Rules    []Rule  `json:"rules"`
		} `json:"groups"`
	}
	if err := c.get(ctx, "/api/v1/rules", &data); err != nil {
		return nil, err
	}
	var out []Rule
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			r.Group, r.Interval = g.Name, time.Duration(g.Interval*float64(time.Second))
			out = append(out, r)
		}
	}
	return out, nil
}

func (c Client) get(ctx context.Context, path string, into any) error {
	data, err := c.ask(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("prometheus answer: %w", err)
	}
	return nil
}

// Change is a new state of one alert. It came about after the reading at After and not later than the reading at At.
type Change struct {
	Name     string
	Labels   map[string]string // without alertname
	State    string
	After    time.Duration // the reading before; At for an alert that was there at the first reading
	Standing bool          // it was there at the first reading
	At       time.Duration
	ActiveAt time.Time // zero when it is not listed any more
}

// Follower makes changes of readings. The zero value is ready; it is not safe for concurrent use.
type Follower struct {
	last  time.Duration
	begun bool
	known map[string]Alert
}

// Read takes a reading that was asked for at one time and answered at another, and returns what changed since the one before, in a
// fixed order.
func (f *Follower) Read(asked, at time.Duration, alerts []Alert) []Change {
	after := f.last
	if !f.begun {
		after = at
	}
	now := map[string]Alert{}
	for _, a := range alerts {
		now[key(a.Labels)] = a
	}
	var out []Change
	change := func(a Alert, state string) {
		l := maps.Clone(a.Labels)
		delete(l, "alertname")
		c := Change{Name: a.Name(), Labels: l, State: state, After: after, At: at, Standing: !f.begun}
		if state == Pending || state == Firing {
			c.ActiveAt = a.ActiveAt
		}
		out = append(out, c)
	}
	for _, k := range slices.Sorted(maps.Keys(f.known)) {
		old := f.known[k]
		a, still := now[k]
		if still && a.ActiveAt.Equal(old.ActiveAt) {
			continue
		}
		// It went, or it went and came back between two readings.
		if old.State == Firing {
			change(old, Resolved)
		} else {
			change(old, Inactive)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(now)) {
		a := now[k]
		old, was := f.known[k]
		if !was || !a.ActiveAt.Equal(old.ActiveAt) || a.State != old.State {
			change(a, a.State)
		}
	}
	f.known, f.last, f.begun = now, asked, true
	return out
}

func key(labels map[string]string) string {
	var b strings.Builder
	for _, n := range slices.Sorted(maps.Keys(labels)) {
		b.WriteString(strconv.Quote(n) + "=" + strconv.Quote(labels[n]) + ",")
	}
	return b.String()
}
