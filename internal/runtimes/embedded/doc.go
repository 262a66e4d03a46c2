// Package embedded is the runtime without a container engine: brokers, agents, connector and store are models in this
// process, over real loopback TCP and real files, with every parameter read from the rendered manifests.
//
// The one rule: it shows what the configuration does, not how fast the real programs are; what it cannot show is in
// its description and in every report.
package embedded
