// Package load drives generators: it takes each record at its scheduled time, hands it to a sink and keeps the ledger.
//
// The one rule: the load is open. Nothing in the system under test can move a scheduled time; lateness is measured and
// split into the generator's own (lag) and the system's (block), never hidden.
package load
