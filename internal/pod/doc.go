// Package pod is how the harness speaks to its own programs in pods: orders and answers as JSON, and folders as tar streams.
//
// The one rule: what was cut off on the way is an error, never a shorter answer.
package pod
