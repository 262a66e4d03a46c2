// Package record is the tag that every generated log line carries, and its codec: who the record is (run, stream,
// seq), when it was due (scheduled) and a checksum over the whole line. The one rule: a line is judged by its own
// bytes alone, so that any reader at any hop, or years later, can tell whose record it is and whether it is whole.
//
// The tag is two tokens, apart from each other so that a format can put each where it looks natural:
//
//	tq_<run>_<stream>_<seq>    identity; base36, lower case, no padding
//	tt_<scheduled>_<crc>       scheduled in unix nanoseconds, base36; CRC-32C of the line, base36, 7 digits
//
// They are made of [a-z0-9_] only: every standard analyzer keeps each as one token, and neither JSON nor a shell needs
// to escape them. The checksum covers the line without its newline, with its own 7 digits read as "0000000".
package record
