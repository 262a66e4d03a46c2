// Package prometheus models the metrics path of the data path: a Prometheus in agent mode, which scrapes, keeps a write-ahead
// log and sends remote_write 1.0, and a Prometheus that receives, keeps and answers.
//
// The one rule: what the real program loses, the model loses, by the same rule, and what the real program keeps, it keeps.
// testdata/real holds what Prometheus 3.16 answered to the same calls and what it did in the same outages; the tests
// compare. The runtimes call it; judging reads its HTTP endpoints and nothing else.
package prometheus
