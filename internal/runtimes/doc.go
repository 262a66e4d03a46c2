// Package runtimes says what a run needs of a runtime; the runtimes themselves are one package each below it.
//
// The one rule: a runtime brings a system up and hands out what any client would use of it: addresses, credentials,
// metrics endpoints. It measures nothing and judges nothing.
package runtimes
