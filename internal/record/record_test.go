package record_test

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"triad/internal/record"
)

// sealed builds a line from a layout in which ID and TIME stand for the tokens.
func sealed(t testing.TB, layout string, tag record.Tag) []byte {
	t.Helper()
	line := strings.ReplaceAll(layout, "ID", string(record.AppendID(nil, tag.Run, tag.Stream, tag.Seq)))
	line = strings.ReplaceAll(line, "TIME", string(record.AppendTime(nil, tag.Scheduled)))
	b := []byte(line)
	if err := record.Seal(b); err != nil {
		t.Fatalf("seal %q: %v", b, err)
	}
	return b
}

var usual = record.Tag{Run: 77, Stream: 3, Seq: 123456, Scheduled: 1767225600123456789}

func TestParse(t *testing.T) {
	extremes := record.Tag{Run: math.MaxUint32, Stream: math.MaxUint32, Seq: math.MaxUint64, Scheduled: math.MaxInt64}
	for _, tc := range []struct {
		name, layout string
		tag          record.Tag
	}{
		{"json", `{"level":"info","trace_id":"ID","span_id":"TIME","msg":"caf` + "\u00e9" + `"}`, usual},
		{"syslog", `Jan  1 00:00:00 ip-10-0-0-1 sshd[42]: Accepted publickey for x session=ID ref=TIME`, usual},
		{"rfc5424", `<86>1 2026-01-01T00:00:00Z h sshd 42 - [meta id="ID" t="TIME"] hello`, usual},
		{"head", `ID TIME the rest`, usual},
		{"tail", `the rest TIME ID`, usual},
		{"only the tag", `ID,TIME`, usual},
		{"lookalikes around", `xtq_1_2_3 tq_ tq__ tq_9_ attt_1_0000000 tt_ tt_5_12 ID TIME`, usual},
		{"zeros", `ID TIME`, record.Tag{}},
		{"extremes", `ID TIME`, extremes},
		{"negative time", `ID TIME`, record.Tag{Scheduled: -1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := record.Parse(sealed(t, tc.layout, tc.tag))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.tag, got); diff != "" {
				t.Errorf("tag (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	line := string(sealed(t, `a ID b TIME c`, usual))
	id := string(record.AppendID(nil, usual.Run, usual.Stream, usual.Seq))
	idOnly := record.Tag{Run: usual.Run, Stream: usual.Stream, Seq: usual.Seq}
	timeAt := strings.Index(line, "tt_")
	for _, tc := range []struct {
		name, line string
		want       error
		tag        record.Tag
	}{
		{"empty", "", record.ErrNoTag, record.Tag{}},
		{"other text", `{"msg":"tq_ and tt_ and tq_x"}`, record.ErrNoTag, record.Tag{}},
		{"tag inside a word", "xtq_1_2_3xtt_1_0000000", record.ErrNoTag, record.Tag{}},
		{"run above 32 bits", "tq_1z141z4_1_1", record.ErrNoTag, record.Tag{}},
		{"cut before the time token", line[:timeAt], record.ErrCorrupt, idOnly},
		{"cut inside the checksum", line[:len(line)-4], record.ErrCorrupt, usual},
		{
			"cut inside the identity", line[:2+len(id)-3] + "#", record.ErrCorrupt,
			record.Tag{Run: usual.Run, Stream: usual.Stream, Seq: 2},
		},
		{"identity gone", line[timeAt:], record.ErrCorrupt, record.Tag{Scheduled: usual.Scheduled}},
		{"text changed", strings.Replace(line, " b ", " B ", 1), record.ErrCorrupt, usual},
		{"text appended", line + "!", record.ErrCorrupt, usual},
		{"newline left on", line + "\n", record.ErrCorrupt, usual},
		{"leading zero", strings.Replace(line, "tq_", "tq_0", 1), record.ErrCorrupt, record.Tag{Scheduled: usual.Scheduled}},
		{
			"seq above 64 bits", "tq_1_1_3w5e11264sgsg tt_1_0000000", record.ErrCorrupt,
			record.Tag{Run: 1, Stream: 1, Scheduled: 1},
		},
		{
			"checksum above 32 bits", "tq_1_1_1 tt_1_zzzzzzz", record.ErrCorrupt,
			record.Tag{Run: 1, Stream: 1, Seq: 1, Scheduled: 1},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := record.Parse([]byte(tc.line))
			if !errors.Is(err, tc.want) {
				t.Fatalf("Parse(%q) error = %v, want %v", tc.line, err, tc.want)
			}
			if diff := cmp.Diff(tc.tag, got); diff != "" {
				t.Errorf("tag (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEveryBitCounts flips each single bit of a line: none of the results may pass as whole.
func TestEveryBitCounts(t *testing.T) {
	for _, layout := range []string{
		`{"level":"info","trace_id":"ID","span_id":"TIME","msg":"checkout took 12.5 ms"}`,
		`TIME middle ID`,
	} {
		line := sealed(t, layout, usual)
		for i := range len(line) * 8 {
			line[i/8] ^= 1 << (i % 8)
			if tag, err := record.Parse(line); !errors.Is(err, record.ErrCorrupt) {
				t.Errorf("bit %d flipped (%q): error %v, tag %+v, want ErrCorrupt", i, line, err, tag)
			}
			line[i/8] ^= 1 << (i % 8)
		}
		if _, err := record.Parse(line); err != nil {
			t.Fatalf("restored line: %v", err)
		}
	}
}

func TestSeal(t *testing.T) {
	line := sealed(t, "x ID y TIME z", usual)
	again := append([]byte(nil), line...)
	if err := record.Seal(again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(line), string(again)); diff != "" {
		t.Errorf("sealing twice (-once +twice):\n%s", diff)
	}
	for _, bad := range []string{"", "plain", "tq_1_2_3 alone", "tt_1_0000000 alone", "tq_1_2_3 tt_1_000000"} {
		if err := record.Seal([]byte(bad)); !errors.Is(err, record.ErrNoTag) {
			t.Errorf("Seal(%q) = %v, want ErrNoTag", bad, err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := record.Tag{
			Run:       rapid.Uint32().Draw(t, "run"),
			Stream:    rapid.Uint32().Draw(t, "stream"),
			Seq:       rapid.Uint64().Draw(t, "seq"),
			Scheduled: rapid.Int64().Draw(t, "scheduled"),
		}
		id := record.AppendID(nil, want.Run, want.Stream, want.Seq)
		ref := "tq_" + strconv.FormatUint(uint64(want.Run), 36) + "_" + strconv.FormatUint(uint64(want.Stream), 36) +
			"_" + strconv.FormatUint(want.Seq, 36)
		if string(id) != ref {
			t.Fatalf("AppendID = %s, want %s", id, ref)
		}
		tt := record.AppendTime(nil, want.Scheduled)
		if len(id) > record.MaxIDLen || len(tt) > record.MaxTimeLen {
			t.Fatalf("tokens %s %s longer than documented", id, tt)
		}
		line := append(append(append([]byte("head \""), id...), `" "`...), tt...)
		line = append(line, '"')
		if err := record.Seal(line); err != nil {
			t.Fatal(err)
		}
		got, err := record.Parse(line)
		if err != nil || got != want {
			t.Fatalf("Parse(%s) = %+v, %v, want %+v", line, got, err, want)
		}
	})
}

func TestNoAllocations(t *testing.T) {
	buf := make([]byte, 0, 512)
	pad := strings.Repeat("some words of a log line ", 8)
	n := testing.AllocsPerRun(100, func() {
		b := append(buf[:0], pad...)
		b = record.AppendID(b, usual.Run, usual.Stream, usual.Seq)
		b = append(b, ' ')
		b = record.AppendTime(b, usual.Scheduled)
		if err := record.Seal(b); err != nil {
			t.Error(err)
		}
		if _, err := record.Parse(b); err != nil {
			t.Error(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations per record, want 0", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, layout := range []string{"ID TIME", `{"a":"TIME","b":"ID"}`, "x ID tt_1_ TIME", "tq_1_ TIME ID"} {
		f.Add(sealed(f, layout, usual), uint(7))
	}
	f.Add([]byte("tq_tq_tt_tt_tq_1_1_1tt_1_1111111"), uint(0))
	f.Fuzz(func(t *testing.T, line []byte, pos uint) {
		tag, err := record.Parse(line)
		switch {
		case errors.Is(err, record.ErrNoTag):
			if tag != (record.Tag{}) {
				t.Fatalf("ErrNoTag with tag %+v", tag)
			}
			return
		case errors.Is(err, record.ErrCorrupt):
			// What Seal accepts, Parse must then accept.
			if record.Seal(line) == nil {
				if _, err := record.Parse(line); err != nil {
					t.Fatalf("sealed line %q: %v", line, err)
				}
			}
			return
		case err != nil:
			t.Fatal(err)
		}
		// A whole line stays whole when sealed again, and no single changed byte passes.
		want := string(line)
		if err := record.Seal(line); err != nil || string(line) != want {
			t.Fatalf("seal of a whole line %q gives %q, %v", want, line, err)
		}
		line[pos%uint(len(line))] ^= 0x15
		if got, err := record.Parse(line); err == nil {
			t.Fatalf("changed line %q passes as %+v", line, got)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	line := sealed(b, strings.Repeat("some words ", 18)+"ID TIME", usual)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if err := record.Seal(line); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	line := sealed(b, strings.Repeat("some words ", 18)+"ID TIME", usual)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if _, err := record.Parse(line); err != nil {
			b.Fatal(err)
		}
	}
}
