package link

import "sync/atomic"

// Stats count what a link did to its traffic since it was made. A fault bit when Hits grew.
type Stats struct {
	DialsRefused  uint64 // dials answered with ECONNREFUSED
	DialsHung     uint64 // dials that had to wait for a cut that drops
	AcceptsHeld   uint64 // connections that a Listener had to keep back in a cut that drops or holds
	Resets        uint64 // connections reset, by a cut that rejects or by Reset
	BytesHeld     uint64 // bytes that came to a cut that drops or holds and were kept for later
	WritesBlocked uint64 // writes that found the buffer full in a cut
	BytesShaped   uint64 // bytes that passed with a delay or a limited bandwidth
	Open          int    // connections open now, also closed ones that still deliver
}

// Hits sums all counts of what a cut, a reset or a shape did.
func (s Stats) Hits() uint64 {
	return s.DialsRefused + s.DialsHung + s.AcceptsHeld + s.Resets + s.BytesHeld + s.WritesBlocked + s.BytesShaped
}

type counters struct {
	dialsRefused, dialsHung, acceptsHeld, resets, bytesHeld, writesBlocked, bytesShaped atomic.Uint64
}

// Stats returns the counts so far.
func (l *Link) Stats() Stats {
	l.mu.Lock()
	n := len(l.conns)
	l.mu.Unlock()
	return Stats{
		DialsRefused:  l.stats.dialsRefused.Load(),
		DialsHung:     l.stats.dialsHung.Load(),
		AcceptsHeld:   l.stats.acceptsHeld.Load(),
		Resets:        l.stats.resets.Load(),
		BytesHeld:     l.stats.bytesHeld.Load(),
		WritesBlocked: l.stats.writesBlocked.Load(),
		BytesShaped:   l.stats.bytesShaped.Load(),
		Open:          n,
	}
}
