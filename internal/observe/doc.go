// Package observe holds what the observers at every hop share: recognising records. The observers are one package
// each below it.
//
// The one rule: an observer looks from outside, as any client of the real system could, and writes what it saw to the
// evidence without judging it.
package observe
