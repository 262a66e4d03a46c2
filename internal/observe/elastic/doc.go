// Package elastic looks into the store as any client could: it polls a deterministic subset of records for the time at
// which they become searchable, counts, times a query, and at the end reads everything once, exactly.
//
// The one rule: polling reads of a document the line that has its token alone, and settles no loss; the final reconciliation does.
package elastic
