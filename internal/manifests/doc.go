// Package manifests renders the production manifests of the three clusters and reads parameters out of them: kustomize builds
// the overlays, images are swapped for those of an image set, the two overlays are compared against the list of allowed
// differences, flows and pinned assets are read, and everything is validated without a cluster.
//
// The one rule: what is rendered here is what a cluster gets. Nothing is templated or patched in Go except what the file
// differences.yaml, an image set or a scenario's settings name, so that a plain kustomize build gives the same objects.
//
// Called by the runtimes (what to apply, which numbers to model), by the checks of the command line, and by tests.
package manifests
