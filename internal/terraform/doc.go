// Package terraform judges the infrastructure code below eks/terraform: it reads the files in pure Go, for machines without the
// terraform program, and runs fmt, validate and test where the program is there. It knows the part of HCL's syntax that blocks,
// attributes and references need; expressions are kept as text and not evaluated.
//
// The one rule: nothing is written into the folder that is judged, no account is ever contacted, and nothing is downloaded unasked. The program works on a copy,
// without a backend, against made-up answers of AWS.
//
// Called by sim check and by tests.
package terraform
