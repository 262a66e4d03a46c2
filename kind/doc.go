// Package kind holds the kind configurations, one file per cluster, as they are in the repository: the three, and the one that
// scenario add-cluster adds.
//
// The one rule: these files are plain kind configurations that `kind create cluster --config` takes as they are; what a machine
// needs changed (host ports, fewer nodes) is changed in memory by internal/runtimes/kind.
package kind

import "embed"

// Configs holds datacenter.yaml, kafka.yaml, monitoring.yaml and edge.yaml.
//
//go:embed *.yaml
var Configs embed.FS
