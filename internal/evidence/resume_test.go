package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"triad/internal/scenario"
	"triad/internal/stats"
)

// A run whose process was killed at any byte goes on: nothing that was written whole is missing, nothing is there twice, and what an
// observer had written behind its last mark is left to be seen again.
func TestReopen(t *testing.T) {
	for _, torn := range []int{0, 1, 3, 9} {
		t.Run(fmt.Sprint(torn), func(t *testing.T) { reopens(t, torn) })
	}
}

func reopens(t *testing.T, torn int) {
	s, err := scenario.Parse("t.yaml", []byte("apiVersion: triad/v1\nname: t\ntitle: t\nphases: {before: 60s}\nload: [{source: control, rate: 10/s}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "run")
	w, err := Create(dir, Header{ID: "run", Scenario: "t", Streams: s.Streams(), HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}, s)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Reopen(dir); !errors.Is(err, ErrNotResumable) {
		t.Errorf("a run that is under way: %v", err)
	}
	if err := w.Begin(time.Now().Add(-20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	part := func(w *Writer, from, to uint64, mark string) {
		t.Helper()
		kafka, err1 := w.Ledger(PointKafka)
		id, err2 := w.Hists.Key(HistKey{Metric: "kafka_latency", Source: "control", Topic: "t"})
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		kafka.MarkSpan(Seen, 0, stats.Span{Lo: from, Hi: to})
		w.Hists.Record(id, time.Duration(from)*time.Second, time.Millisecond)
		at := time.Duration(from) * time.Second
		var mu sync.Mutex
		if err := errors.Join(
			w.Series.Add(at, Sample{PulseSeries, Labels{"point": PointKafka, "source": "control"}, float64(to - from)}, Sample{StallSeries, Labels{}, float64(from)}),
			w.Events.Add(Event{At: at, Kind: EventNote, Name: fmt.Sprint(from)}),
			kafka.FlushTo(at, &mu, func() []byte { return []byte(mark) }), w.Flush(),
		); err != nil {
			t.Fatal(err)
		}
	}
	part(w, 0, 5, "at 5")
	part(w, 5, 8, "at 8")
	kafka, _ := w.Ledger(PointKafka)
	kafka.MarkSpan(Seen, 0, stats.Span{Lo: 8, Hi: 9})
	if err := kafka.Flush(8 * time.Second); err != nil { // written, and the mark behind it was not
		t.Fatal(err)
	}
	search, _ := w.Ledger(PointSearch)
	search.MarkSpan(Seen, 0, stats.Span{Lo: 0, Hi: 2})
	if err := search.Flush(8 * time.Second); err != nil {
		t.Fatal(err)
	}
	// Killed: nothing is closed properly, and the last write of each file is torn.
	if err := w.closeFiles(); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{EventsFile, SeriesName, HistsName, "ledger/kafka.led"} {
		h, err := os.OpenFile(filepath.Join(dir, f), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.WriteString("\x40abcdefgh"[:torn]); err != nil {
			t.Fatal(err)
		}
		h.Close()
	}
	w, _, err = Reopen(dir)
	if err != nil {
		t.Fatal(err)
	}
	// What could not go on after all can be tried again, and is as it was.
	if _, err := w.Ledger(PointKafka); err != nil {
		t.Fatal(err)
	}
	if err := w.Abandon(); err != nil {
		t.Fatal(err)
	}
	w, left, err := Reopen(dir)
	if err != nil {
		t.Fatal(err)
	}
	if now := w.Now(); now < 20*time.Second || now > 200*time.Second {
		t.Errorf("it is %v after the start, which was 20s ago", now)
	}
	if left.Last != 5*time.Second || string(left.Mark[PointKafka]) != "at 8" || left.Pulses[PointKafka]["control"] != 8 {
		t.Errorf("left %+v", left)
	}
	if got := left.Seen[PointKafka][0]; got == nil || got.Len() != 8 {
		t.Errorf("seen in Kafka: %v", got)
	}
	part(w, 8, 12, "at 12")
	if err := w.Close(""); err != nil {
		t.Fatal(err)
	}
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var seen stats.Set
	var again uint64
	r.Ledger(PointKafka, func(e Entry) error {
		again += e.Span.Len()
		seen.AddSpan(e.Span)
		return nil
	})
	var pulses float64
	r.Series(func(_ time.Duration, s Sample) error {
		if s.Name == PulseSeries {
			pulses += s.Value
		}
		return nil
	})
	var recorded uint64
	r.Hists(func(_ HistKey, _ time.Duration, h *stats.Hist) error { recorded += h.Count(); return nil })
	if len(r.Damage) > 0 || r.CutShort() {
		t.Errorf("damage %v, cut short %v", r.Damage, r.CutShort())
	}
	if again != 12 || seen.Len() != 12 || pulses != 12 || recorded != 3 || len(r.Events) != 3 {
		t.Errorf("%d sightings of %d records, %v pulses, %d latencies, %d events", again, seen.Len(), pulses, recorded, len(r.Events))
	}
	if _, err := os.Stat(filepath.Join(dir, "ledger", "search.led")); err == nil {
		t.Error("the final reading of the store was not begun anew")
	}
	if _, _, err := Reopen(dir); !errors.Is(err, ErrNotResumable) {
		t.Errorf("a closed run: %v", err)
	}
}

// What cannot go on honestly is refused, and nothing of it is changed.
func TestReopenRefuses(t *testing.T) {
	s, err := scenario.Parse("t.yaml", []byte("apiVersion: triad/v1\nname: t\ntitle: t\nphases: {before: 60s}\nload: [{source: service, rate: 10/s}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(w *Writer) error{
		"never began": func(*Writer) error { return nil },
		"collected": func(w *Writer) error {
			_, err := w.Ledger(PointSent + "service-inputgen-0")
			return errors.Join(err, w.Begin(time.Now()))
		},
		"flipped": func(w *Writer) error {
			err := errors.Join(w.Begin(time.Now()), w.Events.Add(Event{Kind: EventNote, Name: "one"}), w.Events.Add(Event{Kind: EventNote, Name: "two"}))
			b, rerr := os.ReadFile(filepath.Join(w.Dir, EventsFile))
			b[3] ^= 1
			return errors.Join(err, rerr, os.WriteFile(filepath.Join(w.Dir, EventsFile), b, 0o644))
		},
	} {
		dir := filepath.Join(t.TempDir(), "run")
		w, err := Create(dir, Header{ID: "run", Scenario: "t", Streams: s.Streams(), HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}, s)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(spoil(w), w.closeFiles()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Reopen(dir); !errors.Is(err, ErrNotResumable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// seeing is the lock of an observer that sees something just before it is asked how far it is.
type seeing struct {
	sync.Mutex
	see func()
}

func (s *seeing) Lock() {
	s.see()
	s.Mutex.Lock()
}

// A dead letter that comes while ledgers are written is in its ledger when the mark is behind it: nobody reads it again.
func TestMarkIsBehindTheLedgersBeside(t *testing.T) {
	dir := t.TempDir()
	var ledgers [2]*Ledger
	for i, name := range []string{PointKafka, PointDeadLetter} {
		l, err := CreateLedger(filepath.Join(dir, name+ledgerExt))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := l.Close(time.Second); err != nil {
				t.Error(err)
			}
		}()
		ledgers[i] = l
	}
	read := 0
	owner := &seeing{see: func() {
		ledgers[1].Mark(Seen, 3, 7)
		read++
	}}
	if err := ledgers[0].FlushTo(time.Second, owner, func() []byte { return []byte{byte(read)} }, ledgers[1]); err != nil {
		t.Fatal(err)
	}
	var mark []byte
	if _, d, err := readLedger(filepath.Join(dir, PointKafka+ledgerExt), "kafka", func(Entry) error { return nil }, func(m []byte) { mark = bytes.Clone(m) }, func(int64) {}); err != nil || d != nil {
		t.Fatal(d, err)
	}
	var dead []Entry
	if _, d, err := ReadLedger(filepath.Join(dir, PointDeadLetter+ledgerExt), "dead", func(e Entry) error { dead = append(dead, e); return nil }); err != nil || d != nil {
		t.Fatal(d, err)
	}
	if len(mark) != 1 || mark[0] != 1 || len(dead) != 1 {
		t.Errorf("the mark is behind %v dead letters, and %v are written", mark, dead)
	}
}
