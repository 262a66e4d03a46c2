// Package plan works out what a rate takes: generators, brokers, partitions, nodes of the store, how long buffers last, how
// large the evidence gets and how long judging it takes.
//
// The one rule: every figure says where it is from. It is measured (in a benchmark or a run), arithmetic on measured figures
// and the manifests, or an assumption that names its source; what none of these gives is unknown, and so is all that would
// rest on it.
package plan
