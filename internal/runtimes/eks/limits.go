//go:build !embedded_only

package eks

import (
	"errors"
	"fmt"
	"time"

	"triad/internal/scenario"
)

// Limits are what faults are bound by. Without them none is injected, whatever else the file allows.
type Limits struct {
	Window Window `yaml:"window" doc:"maintenance window: faults and their runs lie inside"`
	Abort  Abort  `yaml:"abort" doc:"what ends the run and heals at once"`
}

// Window is a maintenance window, agreed on by people: two moments, with their zones.
type Window struct {
	From string `yaml:"from" doc:"RFC 3339, as 2026-11-28T22:00:00Z"`
	To   string `yaml:"to" doc:"RFC 3339; at most 12h after from"`
}

// Abort are the conditions on which a run is given up. All four are needed: what is not watched is not struck.
type Abort struct {
	Within    scenario.Duration `yaml:"within" doc:"how long a record may take to Kafka, a lag may stand above its limit, and figures may be missing; 5s to 10m"`
	Overdue   float64           `yaml:"overdue" doc:"error budget: the part of the canary's acknowledged records that may be overdue in Kafka, above 0, below 1"`
	Lag       float64           `yaml:"lag" doc:"records of all topics that the sink may be behind; above 0"`
	Ingestion float64           `yaml:"ingestion" doc:"the part of the sink's rate before the first fault, averaged over within, that must be kept up; above 0, below 1"`
}

// maxWindow is the longest that counts as a maintenance window: what is open for ever was agreed on by nobody.
const maxWindow = 12 * time.Hour

// Bounds of Abort.Within.
const (
	minWithin = 5 * time.Second
	maxWithin = 10 * time.Minute
)

// bounds are the moments of the window.
func (w Window) bounds() (from, to time.Time, err error) {
	from, err = time.Parse(time.RFC3339, w.From)
	to, err2 := time.Parse(time.RFC3339, w.To)
	return from, to, errors.Join(err, err2)
}

// holds says why something that lasts from now for so long does not lie inside of the window; nil: it does.
func (w Window) holds(now time.Time, last time.Duration) error {
	from, to, err := w.bounds()
	switch {
	case err != nil:
		return err
	case now.Before(from):
		return fmt.Errorf("the maintenance window opens at %s, in %v", w.From, from.Sub(now).Round(time.Second))
	case now.Add(last).After(to):
		return fmt.Errorf("the maintenance window closes at %s, and this would last until %s", w.To, now.Add(last).UTC().Format(time.RFC3339))
	}
	return nil
}

// limits checks the part of the file that bounds faults.
func (v *contextsFile) limits(l *Limits) {
	from, to, err := l.Window.bounds()
	switch {
	case err != nil:
		v.fail("faults.window", "want from and to as RFC 3339, like 2026-11-28T22:00:00Z, with the zone: %v", err)
	case !to.After(from):
		v.fail("faults.window.to", "it is not after from")
	case to.Sub(from) > maxWindow:
		v.fail("faults.window.to", "%v after from; at most %v are a maintenance window", to.Sub(from), maxWindow)
	}
	if w := l.Abort.Within.D(); w < minWithin || w > maxWithin {
		v.fail("faults.abort.within", "%v; want %v to %v", w, minWithin, maxWithin)
	}
	for _, part := range []struct {
		key   string
		value float64
	}{{"overdue", l.Abort.Overdue}, {"ingestion", l.Abort.Ingestion}} {
		if !(part.value > 0 && part.value < 1) {
			v.fail("faults.abort."+part.key, "%g; want a part above 0 and below 1", part.value)
		}
	}
	if !(l.Abort.Lag > 0) {
		v.fail("faults.abort.lag", "%g; want a number of records above 0", l.Abort.Lag)
	}
}
