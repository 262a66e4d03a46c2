//go:build embedded_only

package manifests

import "strings"

// checkBuiltIn checks nothing in the embedded build: Kubernetes' types are not in it. Validate says so. Groups with a dot that are
// not Kubernetes' own have definitions, which are checked in this build too.
func checkBuiltIn(o Object) ([]finding, bool) {
	group, _, grouped := strings.Cut(o.APIVersion(), "/")
	return nil, !grouped || !strings.Contains(group, ".") || strings.HasSuffix(group, ".k8s.io")
}

const builtInKindsChecked = false
