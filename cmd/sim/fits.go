package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"triad/internal/manifests"
	"triad/internal/scenario"
)

// checkFits says what in a scenario does not fit the manifests: alerts that no rule defines, settings of text that is not there, links that
// nothing uses. Scenario files are judged without manifests; this is what only the manifests know.
func (a *app) checkFits(s *scenario.Scenario) error {
	links := slices.ContainsFunc(s.Faults, func(f scenario.Fault) bool { return f.From != "" })
	if len(s.Alerts) == 0 && len(s.Settings) == 0 && !links {
		return nil
	}
	set, err := a.manifestSet()
	if err != nil {
		return err
	}
	var errs []error
	if len(s.Alerts) > 0 {
		errs = append(errs, alertsFit(s, set))
	}
	for i, c := range s.Settings {
		next, err := set.Replace(c.Config, c.Replace, c.With)
		if err != nil {
			errs = append(errs, s.At(fmt.Sprintf("settings[%d]", i), "%v", err))
			continue
		}
		set = next
	}
	if links {
		errs = append(errs, linksFit(s, set))
	}
	return errors.Join(errs...)
}

func alertsFit(s *scenario.Scenario, set manifests.Set) error {
	names, err := set.AlertNames("kind")
	if err != nil {
		return fmt.Errorf("alerting rules: %w", err)
	}
	var errs []error
	for i, x := range s.Alerts {
		if slices.Contains(names, x.Name) {
			continue
		}
		errs = append(errs, s.At(fmt.Sprintf("alerts[%d].name", i), "no rule of the manifests is called %q; %sthere are: %s", x.Name, scenario.DidYouMean(x.Name, names), strings.Join(names, ", ")))
	}
	return errors.Join(errs...)
}

func linksFit(s *scenario.Scenario, set manifests.Set) error {
	flows, err := set.Flows()
	if err != nil {
		return err
	}
	var there []string
	for _, f := range flows {
		there = append(there, f.From.Cluster+" to "+f.To.Cluster)
	}
	slices.Sort(there)
	there = slices.Compact(there)
	var errs []error
	for i, f := range s.Faults {
		if f.From != "" && !slices.Contains(there, f.From+" to "+f.To) {
			errs = append(errs, s.At(fmt.Sprintf("faults[%d].to", i), "nothing leads from %s to %s (manifests/flows.yaml); there are: %s", f.From, f.To, strings.Join(there, ", ")))
		}
	}
	return errors.Join(errs...)
}
