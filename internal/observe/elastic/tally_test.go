package elastic

import (
	"testing"
	"time"
)

func TestTally(t *testing.T) {
	var now time.Time
	count := func(tl *tally, took time.Duration, ours, before, after uint64) {
		t.Helper()
		if !tl.due(now, before) {
			t.Fatalf("no count is due at %d of %d", ours, before)
		}
		now = now.Add(took)
		tl.counted(now, took, ours, before, after)
	}
	guess := func(tl *tally, total, want uint64, known bool) {
		t.Helper()
		if n, ok := tl.estimate(total); ok != known || ok && n != want {
			t.Errorf("of %d documents %d are the run's, %v; want %d, %v", total, n, ok, want, known)
		}
	}
	tl := &tally{}
	guess(tl, 5, 0, false)
	count(tl, 10*time.Millisecond, 0, 5, 5) // five of somebody else
	guess(tl, 6, 0, false)                  // whose the sixth is, nobody knows
	now = now.Add(time.Second)
	count(tl, 10*time.Millisecond, 2, 7, 7)
	guess(tl, 9, 4, true)
	if tl.due(now.Add(100*time.Millisecond), 9) || !tl.due(now.Add(200*time.Millisecond), 9) || tl.due(now.Add(time.Hour), 7) {
		t.Error("a count of 10 ms comes before 200 ms have passed, or not after them, or where nothing came")
	}
	// A refresh during the count: its two numbers do not belong together, and the count is due again.
	now = now.Add(time.Second)
	count(tl, 10*time.Millisecond, 4, 9, 12)
	guess(tl, 12, 7, true)
	// Somebody else writes: from then on only exact counts tell.
	now = now.Add(time.Second)
	count(tl, 10*time.Millisecond, 7, 13, 13)
	guess(tl, 14, 0, false)
	now = now.Add(time.Second)
	count(tl, 10*time.Millisecond, 9, 15, 15)
	guess(tl, 16, 10, true)
	guess(tl, 3, 0, false) // documents were deleted
}

// The last reading has the time that it takes.
func TestReadTime(t *testing.T) {
	for records, want := range map[uint64]time.Duration{0: 5 * time.Minute, 3_000_000: 5 * time.Minute, 100_000_000: 10_000 * time.Second} {
		if got := ReadTime(records); got != want {
			t.Errorf("%d records may take %v, want %v", records, got, want)
		}
	}
}
