package progress

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestNothingNegativeBeforeTheStart(t *testing.T) {
	s := Status{At: -500 * time.Millisecond, Load: 15 * time.Second, Target: 180, Faults: []Fault{{Name: "broker-kill", State: "waiting", At: 7 * time.Second}}}
	if Line(s) != "starting" || Where(s) != "starting" {
		t.Errorf("%q %q", Line(s), Where(s))
	}
	if got := FaultLine(s); got != "faults: broker-kill in 7.5 s" {
		t.Error(got)
	}
}

func TestLines(t *testing.T) {
	s := Status{Phase: "during", At: 65 * time.Second, Load: 2 * time.Hour, Target: 180, Achieved: 179.6, Acked: 100, InKafka: 90, Searchable: 95}
	if got, want := Line(s), "during  1:05 of 2:00:00  180/s of 180/s  acknowledged 100  kafka 90 (-10)  searchable 95 (-0)"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got, want := Where(s), "during, 1:58:55 left, 180/s of 180/s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	s.DrainLeft = 42 * time.Second
	if got := Where(s); got != "draining, at most 42.0 s more" {
		t.Error(got)
	}
}

func TestClock(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0.0 s", 7300 * time.Millisecond: "7.3 s", 59400 * time.Millisecond: "59.4 s", 59600 * time.Millisecond: "1:00", 3599600 * time.Millisecond: "1:00:00", 7389 * time.Second: "2:03:09"} {
		if got := Clock(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestManyFaults(t *testing.T) {
	var fs []Fault
	for _, n := range []string{"a", "b", "c", "d", "e"} {
		fs = append(fs, Fault{Name: n, State: "gone"})
	}
	fs = append(fs, Fault{Name: "f", State: "waiting", At: time.Minute})
	if got := FaultLine(Status{Faults: fs, At: 50 * time.Second}); got != "faults: 2 earlier, c gone, d gone, e gone; f in 10.0 s" {
		t.Error(got)
	}
	if got := FaultLine(Status{}); got != "" {
		t.Error(got)
	}
}

// On something that is no terminal, a status line comes when a phase or fault changes, else seldom.
func TestPlain(t *testing.T) {
	var b bytes.Buffer
	p := NewPlain(&b, time.Hour)
	p.Step("connect", "begin", "")
	p.Step("connect", "done", "fine")
	for i := range 10 {
		s := Status{Phase: "before", At: time.Duration(i) * time.Second, Load: 20 * time.Second}
		if i > 5 {
			s.Phase = "during"
			s.Faults = []Fault{{Name: "x", State: "bit"}}
		}
		p.Status(s)
	}
	p.Step("drain", "begin", "")
	p.Step("drain", "failed", "why")
	p.Close()
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "connect (0.0 s): fine") || !strings.HasPrefix(lines[2], "during  6.0 s of 20.0 s") || !strings.HasSuffix(lines[2], "x bit") || lines[3] != "drain (0.0 s): failed: why" {
		t.Errorf("%d lines:\n%s", len(lines), b.String())
	}
}

// Bars that nobody can see neither block nor fail, from the first step to the end.
func TestBarsEnd(t *testing.T) {
	var out bytes.Buffer
	b := NewBars(&out, 0, true)
	b.Step("connect", "begin", "")
	b.Step("connect", "done", "")
	if _, err := b.Write([]byte("a line of a log\n")); err != nil {
		t.Error(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Long enough for many refreshes to fall into a Status: they must not wait for each other.
		for i := range 2000 {
			b.Status(Status{At: time.Duration(i-1) * time.Millisecond, Load: 3 * time.Second, Planned: 8000, Acked: uint64(4 * i), Faults: []Fault{{Name: "x"}}})
			time.Sleep(time.Millisecond)
		}
		b.Close()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the bars do not end")
	}
}
