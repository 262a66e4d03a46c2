package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"triad/internal/manifests"
	"triad/internal/scenario"
)

// checkAlerts says which alerts of a scenario no rule of the manifests defines. Scenario files are judged without manifests; this is
// the one thing in them that only the manifests know.
func (a *app) checkAlerts(s *scenario.Scenario) error {
	if len(s.Alerts) == 0 {
		return nil
	}
	set, err := manifests.Open(filepath.Join(a.root, "manifests"))
	if err != nil {
		return err
	}
	names, err := set.AlertNames("kind")
	if err != nil {
		return fmt.Errorf("alerting rules: %w", err)
	}
	var errs []error
	for i, x := range s.Alerts {
		if slices.Contains(names, x.Name) {
			continue
		}
		hint := ""
		if near := scenario.Nearest(x.Name, names); near != "" {
			hint = fmt.Sprintf("did you mean %q? ", near)
		}
		errs = append(errs, &scenario.Error{
			File: s.File, At: s.AlertAt[i], Path: fmt.Sprintf("alerts[%d].name", i),
			Msg: fmt.Sprintf("no rule of the manifests is called %q; %sthere are: %s", x.Name, hint, strings.Join(names, ", ")),
		})
	}
	return errors.Join(errs...)
}
