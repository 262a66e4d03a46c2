// Package evidence is a run directory: what was scheduled, attempted, acknowledged and seen, when, and what happened
// meanwhile. Writers append; readers need nothing but the files.
//
// The one rule: judging reads only what is here, so any run can be judged again, offline, by a newer checker. Every
// file is framed and checksummed: a torn tail is cut and said, a flipped byte is found and said.
//
// All times are offsets from Header.Start, the moment at which the schedule begins.
package evidence
