// Package connect asks Kafka Connect's REST interface for the state of its connectors and tasks and writes every change
// to the evidence: what failed, when, with which error, and when it ran again.
//
// The one rule: it asks for status and nothing else; it never restarts what it finds failed. What changed and changed back
// between two questions was not seen, and nothing is made up for it.
package connect
