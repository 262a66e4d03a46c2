// Package promql reads PromQL and rule files without evaluating them: what is valid, and on which metrics an expression rests.
//
// The one rule: Prometheus's own parser decides. Manifests, dashboards and the model of the receiver ask here.
package promql
