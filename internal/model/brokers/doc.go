// Package brokers models a Kafka cluster in KRaft mode over real TCP: the log, the groups and the protocol are kfake's
// (one shared log, one process), and on top of it stand the things a client feels when brokers fail: connections that
// are reset or stay silent, partitions without a leader until the session times out, producers that wait because a dead
// follower is still in the in-sync set, refusals below min.insync.replicas, catch-up, preferred leaders, controller
// elections, coordinators that move. The embedded runtime calls it; faults drive it through Kill, Start, Shutdown, Roll,
// Freeze and Unfreeze.
//
// The one rule: every decision about brokers and partitions is taken by the machine in machine*.go, which knows neither
// clock nor sockets and is tested against time lines; the rest of the package only makes kfake and its connections look
// like what the machine says.
//
// Not modelled: replication of data. All brokers serve one log, so an acknowledged record cannot be lost inside Kafka,
// not by an unclean election, not by a log truncation and not by acks=1; a verdict "no loss" of an embedded run says
// nothing about these. Neither modelled are eligible leader replicas (KIP-966), rack awareness, quotas, tiered storage,
// log recovery after an unclean stop, the time a broker needs under load, and failures of dedicated controllers.
// Throughput and latency are kfake's and never a property of Kafka.
package brokers
