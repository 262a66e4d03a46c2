// Package source writes the log lines that a run sends: JSON events of services, auth.log, kern.log and syslog lines of
// a node, and metric records; and what stands between a process and its log file, the CRI framing of container output
// and the rotation of files. The one rule: a line is a pure function of (seed, stream, seq, scheduled), so that any
// lost or damaged record can be written again, byte for byte, from the numbers in its tag.
//
// Lines carry a record.Tag as two tokens where an identifier would stand anyway. Nothing here reads a clock, except the
// Rotator for the names of rotated files.
package source
