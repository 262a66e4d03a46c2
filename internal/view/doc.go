// Package view asks every query of every dashboard, as Grafana would, and says what came back. It is the evidence of claim C7.
//
// The one rule: what must be there is said by the manifests (dashboards and views.yaml), and an answer is what the data source
// gave, never what a query that was changed to fit would give. Judging happens in package check.
package view
