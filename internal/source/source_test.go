package source_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triad/internal/record"
	"triad/internal/source"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const midnight = 1767225600 // 2026-01-01T00:00:00Z

func tagAt(stream uint32, seq uint64) record.Tag {
	return record.Tag{Run: 4711, Stream: stream, Seq: seq, Scheduled: midnight*1e9 + int64(seq)*1_234_567_891}
}

// longest has the longest tokens there are, to hold MinSize.
func longest(seq uint64) record.Tag {
	return record.Tag{Run: 1<<32 - 1, Stream: 1<<32 - 1 - uint32(seq), Seq: 1<<64 - 1 - seq, Scheduled: 1<<63 - 1 - int64(seq)}
}

var shapes = map[source.Kind]*regexp.Regexp{
	source.SystemAuth: regexp.MustCompile(`^([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d ip-[\d-]+ [A-Za-z-]+\[\d+\]: .+|` +
		`<86>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z ip-[\d-]+ sshd \d+ - \[session@32473 id="[^"]+" event="[^"]+"\] .+)$`),
	source.SystemKmsg:   regexp.MustCompile(`^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d ip-[\d-]+ kernel: \[[ \d]{4,6}\d\.\d{6}\] .+$`),
	source.SystemSyslog: regexp.MustCompile(`^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d ip-[\d-]+ [A-Za-z-]+\[\d+\]: .+$`),
}

func TestLines(t *testing.T) {
	for _, kind := range source.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			smallest := source.MinSize(kind)
			distinct := map[string]bool{}
			for seq := range uint64(4000) {
				size := smallest + int(seq)%700
				for i, tag := range []record.Tag{tagAt(3, seq), longest(seq)} {
					line := source.Append([]byte("kept"), kind, 42, tag, size)[4:]
					if len(line) != size {
						t.Fatalf("line of %d bytes, want %d: %s", len(line), size, line)
					}
					if got, err := record.Parse(line); err != nil || got != tag {
						t.Fatalf("Parse = %+v, %v, want %+v: %s", got, err, tag, line)
					}
					if re := shapes[kind]; re != nil && !re.Match(line) {
						t.Fatalf("line does not look like %s: %s", kind, line)
					}
					if re := shapes[kind]; re == nil && !json.Valid(line) {
						t.Fatalf("line is not JSON: %s", line)
					}
					if bytes.ContainsAny(line, "\n\r\x00") {
						t.Fatalf("line with a control character: %q", line)
					}
					if i == 0 {
						distinct[string(line)] = true
					}
				}
				// Whatever the size, a line is whole; too small a size gives the shortest text.
				short := source.Append(nil, kind, 42, tagAt(3, seq), int(seq)%smallest-1)
				if _, err := record.Parse(short); err != nil {
					t.Fatalf("short line: %v: %s", err, short)
				}
				if len(short) > smallest {
					t.Fatalf("line of %d bytes for a smaller size, MinSize says %d: %s", len(short), smallest, short)
				}
				if shapes[kind] == nil && !json.Valid(short) {
					t.Fatalf("short line is not JSON: %s", short)
				}
			}
			if len(distinct) != 4000 {
				t.Errorf("%d distinct lines of 4000", len(distinct))
			}
		})
	}
}

// TestSizeAtUse holds that lines of 256 bytes, the size most scenarios use, come at that size with usual tags.
func TestSizeAtUse(t *testing.T) {
	for _, kind := range source.Kinds() {
		over := 0
		for seq := range uint64(2000) {
			if len(source.Append(nil, kind, 1, tagAt(7, 100_000+seq), 256)) != 256 {
				over++
			}
		}
		if over > 100 {
			t.Errorf("%s: %d of 2000 lines are longer than 256 bytes", kind, over)
		}
	}
}

func TestPure(t *testing.T) {
	for _, kind := range source.Kinds() {
		a := source.Append(nil, kind, 9, tagAt(1, 5), 400)
		source.Append(nil, kind, 10, tagAt(2, 6), 400)
		if diff := cmp.Diff(string(a), string(source.Append(nil, kind, 9, tagAt(1, 5), 400))); diff != "" {
			t.Errorf("%s: the same numbers give another line:\n%s", kind, diff)
		}
		other := tagAt(1, 5)
		other.Run = 4712 // the same length
		b := source.Append(nil, kind, 9, other, 400)
		mask := regexp.MustCompile(`t[qt]_[a-z0-9_]+`)
		if diff := cmp.Diff(mask.ReplaceAllString(string(a), "#"), mask.ReplaceAllString(string(b), "#")); diff != "" {
			t.Errorf("%s: the run changes more than the tag:\n%s", kind, diff)
		}
		for name, l := range map[string][]byte{
			"seed":   source.Append(nil, kind, 8, tagAt(1, 5), 400),
			"stream": source.Append(nil, kind, 9, tagAt(2, 5), 400),
			"seq":    source.Append(nil, kind, 9, tagAt(1, 6), 400),
		} {
			if mask.ReplaceAllString(string(a), "#") == mask.ReplaceAllString(string(l), "#") {
				t.Errorf("%s: another %s gives the same text", kind, name)
			}
		}
	}
}

// TestTimes reads the time of day back from each kind of line.
func TestTimes(t *testing.T) {
	tag := record.Tag{Stream: 1, Scheduled: time.Date(2026, 3, 7, 4, 5, 6, 7_008_009, time.UTC).UnixNano()}
	want := map[source.Kind]string{
		source.Service:       `"ts":"2026-03-07T04:05:06.007Z"`,
		source.SystemMetrics: `"ts":"2026-03-07T04:05:06.007Z"`,
		source.SystemKmsg:    "Mar  7 04:05:06 ",
		source.SystemSyslog:  "Mar  7 04:05:06 ",
	}
	for kind, text := range want {
		if line := source.Append(nil, kind, 1, tag, 300); !bytes.Contains(line, []byte(text)) {
			t.Errorf("%s line without %q: %s", kind, text, line)
		}
	}
	for seq := range uint64(64) {
		tag.Seq = seq
		line := string(source.Append(nil, source.SystemAuth, 1, tag, 300))
		if !strings.HasPrefix(line, "Mar  7 04:05:06 ") && !strings.HasPrefix(line, "<86>1 2026-03-07T04:05:06.007008Z ") {
			t.Errorf("auth line without its time: %s", line)
		}
	}
	// The kernel's stamp moves with the clock.
	re := regexp.MustCompile(`\[ *(\d+)\.(\d{6})\]`)
	a := re.FindStringSubmatch(string(source.Append(nil, source.SystemKmsg, 1, tag, 300)))
	tag.Scheduled += 1e9
	b := re.FindStringSubmatch(string(source.Append(nil, source.SystemKmsg, 1, tag, 300)))
	if a == nil || b == nil || a[2] != "007008" || a[1] == b[1] {
		t.Errorf("kernel stamps %v and, a second later, %v", a, b)
	}
}

func TestGolden(t *testing.T) {
	var got []byte
	for _, kind := range source.Kinds() {
		for seq := range uint64(12) {
			got = source.Append(got, kind, 1, tagAt(1, seq), 256)
			got = append(got, '\n')
		}
	}
	path := filepath.Join("testdata", "lines.golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("lines changed; runs recorded with the old text cannot be compared (-want +got):\n%s", diff)
	}
}

func TestParseKind(t *testing.T) {
	for _, k := range source.Kinds() {
		if got, err := source.ParseKind(string(k)); err != nil || got != k {
			t.Errorf("ParseKind(%q) = %q, %v", k, got, err)
		}
	}
	if k, err := source.ParseKind("nginx"); err == nil || k != "" {
		t.Errorf("ParseKind(nginx) = %q, %v, want an error", k, err)
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 4096)
	for _, kind := range source.Kinds() {
		seq := uint64(0)
		if n := testing.AllocsPerRun(200, func() {
			seq++
			source.Append(buf, kind, 1, tagAt(1, seq), 512)
		}); n != 0 {
			t.Errorf("%s: %v allocations per line, want 0", kind, n)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, kind := range source.Kinds() {
		b.Run(string(kind), func(b *testing.B) {
			buf := make([]byte, 0, 1024)
			seq := uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				seq++
				buf = source.Append(buf[:0], kind, 1, tagAt(1, seq), 256)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}
