// Package preflight looks at the machine before anything is started: whether a container engine answers, and whether the machine
// has the memory, disk, limits, ports, images and kernel features that three clusters need.
//
// The one rule: every finding that is not good carries the exact command that makes it good. It changes nothing itself.
package preflight
