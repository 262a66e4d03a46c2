// Package probe finds out what is open and what is closed: every link between clusters, every right of every Kafka principal,
// and whether the network policies inside a cluster hold. It is the evidence of claim C4.
//
// The one rule: a probe changes nothing, and says what it saw; what should have been seen comes from the manifests alone, as they
// are committed, never from the system that is probed. Runtimes lend it their reach by the small interfaces of this package.
package probe
