// Package model holds what every model of a real component shares. The models themselves are one package each below it.
//
// The one rule: a model takes its parameters from the configuration of the real program and lists what it does not
// understand; it exposes the metrics of the real program and nothing else.
package model
