package source

import (
	"fmt"

	"triad/internal/record"
)

// Kind is a log format; its text is the log type in scenarios and the topic name without "-topic".
type Kind string

// The kinds of log. Timestamps are UTC and are those of the record's scheduled time.
const (
	// Service is a JSON object per line, as a service writes it to stdout; its last field is msg.
	Service Kind = "service"
	// SystemAuth is auth.log: sshd, sudo, pam, logind; RFC 3164, one line in 16 RFC 5424.
	SystemAuth Kind = "system-auth"
	// SystemKmsg is kern.log as rsyslog writes it: RFC 3164 with the kernel's own [seconds.microseconds] stamp.
	SystemKmsg Kind = "system-kmsg"
	// SystemSyslog is syslog: systemd, kubelet, containerd, cron and others; RFC 3164.
	SystemSyslog Kind = "system-syslog"
	// SystemMetrics is a JSON object per line with samples of node metrics.
	SystemMetrics Kind = "system-metrics"
)

// Kinds returns all kinds, in the order of the constants.
func Kinds() []Kind {
	return []Kind{Service, SystemAuth, SystemKmsg, SystemSyslog, SystemMetrics}
}

// ParseKind returns the kind called name, or an error that lists the kinds there are.
func ParseKind(name string) (Kind, error) {
	for _, k := range Kinds() {
		if string(k) == name {
			return k, nil
		}
	}
	return "", fmt.Errorf("log kind %q: want one of %v", name, Kinds())
}

// MinSize returns the size in bytes from which on every line of a kind has exactly the size asked for. Below it, lines
// are as long as their text needs, and differ. It is 0 for an unknown kind.
//
// The numbers are upper bounds of the text with the longest tag (record.MaxIDLen + record.MaxTimeLen = 56); with the
// tags of a usual run (37) most lines fit 40 bytes earlier. A test holds them.
func MinSize(kind Kind) int {
	switch kind {
	case Service:
		return 296
	case SystemAuth:
		return 280
	case SystemKmsg:
		return 264
	case SystemSyslog:
		return 240
	case SystemMetrics:
		return 288
	}
	return 0
}

// Append appends one sealed line without newline to dst and returns it. The line is of exactly size bytes where its text
// fits (see MinSize), padded with words where free text stands, else as short as its text allows. It panics on a kind
// that Kinds does not list. It does not allocate when dst has room. A Writer makes the same lines in less time.
func Append(dst []byte, kind Kind, seed uint64, tag record.Tag, size int) []byte {
	g := gen{
		b:     dst,
		start: len(dst),
		size:  size,
		tag:   tag,
		rng:   newRNG(seed, tag.Stream, tag.Seq),
		node:  newRNG(seed, tag.Stream, nodeSeq),
		at:    newStamp(tag.Scheduled),
	}
	switch kind {
	case Service, SystemMetrics:
		g.json(seed, kind)
	case SystemAuth:
		g.auth()
	case SystemKmsg:
		g.kmsg()
	case SystemSyslog:
		g.syslog()
	default:
		panic("source: unknown kind " + string(kind))
	}
	if g.crc == 0 {
		panic("source: " + string(kind) + " line without its tag")
	}
	record.SealAt(g.b[g.start:], g.crc-g.start)
	return g.b
}
