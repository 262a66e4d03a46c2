// Package kube talks to one Kubernetes cluster behind one kubeconfig context: it applies rendered objects in stages, waits until
// they are ready, and says the likely cause when they do not become so; it copies Secrets, runs commands in pods, opens
// connections into pods, and reads logs and events.
//
// The one rule: every wait has a deadline, and when the deadline runs out the error carries the cause first and the evidence
// after it, so that nobody has to open a second terminal to learn why.
package kube
