package elastic

import "time"

// dear is how many times the duration of an exact count passes before the next: it takes no more than a twentieth of the store's time.
const dear = 20

// tally knows how many documents of an index are the run's. Only a count by the prefix of their identities is exact, and it walks every
// document of the run: it costs the more, the longer the run is. How many documents there are altogether costs nothing. As long as two
// exact counts have shown that nobody else's documents came in between, what comes is taken to be the run's until the next.
type tally struct {
	ours, total uint64 // at the last exact count in which both stood still
	known       bool
	alone       bool
	next        time.Time // no exact count before
}

// due says whether to count exactly, now that there are so many documents altogether.
func (t *tally) due(now time.Time, total uint64) bool {
	return !t.known || total != t.total && !now.Before(t.next)
}

// counted notes an exact count that took so long. The documents altogether were counted before and after it: where they differ, the two do
// not belong together.
func (t *tally) counted(now time.Time, took time.Duration, ours, before, after uint64) {
	t.next = now.Add((dear - 1) * took)
	if before != after {
		return
	}
	t.alone = t.known && ours-t.ours == after-t.total
	t.ours, t.total, t.known = ours, after, true
}

// failed notes an exact count that failed after so long: it cost the store as much as one that did not.
func (t *tally) failed(now time.Time, took time.Duration) { t.next = now.Add((dear - 1) * took) }

// estimate is how many documents are the run's; false: only an exact count can tell.
func (t *tally) estimate(total uint64) (uint64, bool) {
	return t.ours + (total - t.total), t.alone && total >= t.total
}
