package prometheus

import (
	"bytes"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func collect(dst *[][]byte) func([]byte) error {
	return func(rec []byte) error {
		*dst = append(*dst, bytes.Clone(rec))
		return nil
	}
}

func TestLogSurvivesDamage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "wal")
	var none [][]byte
	w, corrupt, err := openLog(dir, 100, collect(&none))
	if err != nil || corrupt != 0 || len(none) != 0 {
		t.Fatalf("new log: %v, %d, %d records", err, corrupt, len(none))
	}
	var want [][]byte
	for i := range 20 {
		rec := bytes.Repeat([]byte{byte(i + 1)}, 20)
		want = append(want, rec)
		if err := w.append(rec); err != nil {
			t.Fatal(err)
		}
	}
	w.close()
	if err := w.append([]byte{1}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("append to a closed log: %v", err)
	}
	idx, err := listSegments(dir)
	if err != nil || len(idx) < 5 {
		t.Fatalf("segments %v, %v", idx, err)
	}
	var got [][]byte
	w, corrupt, err = openLog(dir, 100, collect(&got))
	if err != nil || corrupt != 0 {
		t.Fatal(err, corrupt)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
	if w.current() != idx[len(idx)-1]+1 {
		t.Errorf("a start must begin a new segment: %d after %v", w.current(), idx)
	}
	w.close()

	// A torn frame at the end of the newest segment with content, as a kill leaves it.
	name := filepath.Join(dir, segmentName(idx[len(idx)-1]))
	st, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, st.Size()-3); err != nil {
		t.Fatal(err)
	}
	got = nil
	w, corrupt, err = openLog(dir, 100, collect(&got))
	if err != nil || corrupt != 1 {
		t.Fatalf("torn: %v, %d corruptions", err, corrupt)
	}
	w.close()
	if d := cmp.Diff(want[:len(want)-1], got); d != "" {
		t.Fatal(d)
	}

	// A flipped byte in an old segment: what follows it, later segments included, is not trusted, as the real repair does.
	b, err := os.ReadFile(filepath.Join(dir, segmentName(idx[2])))
	if err != nil {
		t.Fatal(err)
	}
	b[frameHeader+2] ^= 1
	if err := os.WriteFile(filepath.Join(dir, segmentName(idx[2])), b, 0o644); err != nil {
		t.Fatal(err)
	}
	got = nil
	w, corrupt, err = openLog(dir, 100, collect(&got))
	if err != nil || corrupt != 1 {
		t.Fatalf("flipped: %v, %d corruptions", err, corrupt)
	}
	w.close()
	if len(got) == 0 || len(got) >= 10 || !cmp.Equal(want[:len(got)], got) {
		t.Errorf("%d records before the damage", len(got))
	}
}

func TestCheckpointReplacesSegments(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "wal")
	w, _, err := openLog(dir, 1<<20, func([]byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	a, b := refSeries{1, LabelsFrom(map[string]string{"a": "1"})}, refSeries{2, LabelsFrom(map[string]string{"a": "2"})}
	if err := w.append(encodeSeries(nil, []refSeries{a, b})); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := w.nextSegment(); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeCheckpoint(dir, 0, []refSeries{a, b}); err != nil {
		t.Fatal(err)
	}
	if err := writeCheckpoint(dir, 1, []refSeries{b}); err != nil {
		t.Fatal(err)
	}
	w.close()
	var got []refSeries
	w, _, err = openLog(dir, 1<<20, func(rec []byte) error {
		s, _, err := decodeRecord(rec)
		got = append(got, s...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w.close()
	if d := cmp.Diff([]refSeries{b}, got, cmp.AllowUnexported(refSeries{})); d != "" {
		t.Error(d)
	}
	idx, err := listSegments(dir)
	if err != nil || idx[0] != 2 {
		t.Errorf("segments %v, %v", idx, err)
	}
}

// TestSegmentReaderReturnsAPrefix cuts and flips a segment at random: whatever is read is an unchanged prefix of what was written.
func TestSegmentReaderReturnsAPrefix(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 7))
		var whole []byte
		var want [][]byte
		for range 1 + r.IntN(20) {
			rec := make([]byte, 1+r.IntN(60))
			for i := range rec {
				rec[i] = byte(r.Uint32())
			}
			want = append(want, rec)
			whole = appendFrame(whole, rec)
		}
		damaged := bytes.Clone(whole)
		if rapid.Bool().Draw(rt, "flip") {
			damaged[r.IntN(len(damaged))] ^= byte(1 + r.IntN(255))
		}
		damaged = damaged[:r.IntN(len(damaged)+1)]
		name := filepath.Join(dir, "s")
		if err := os.WriteFile(name, damaged, 0o644); err != nil {
			rt.Fatal(err)
		}
		var got [][]byte
		good, err := replaySegment(name, collect(&got))
		if err != nil && !errors.Is(err, errTornRecord) {
			rt.Fatal(err)
		}
		if len(got) > len(want) || (len(got) > 0 && !cmp.Equal(want[:len(got)], got)) {
			rt.Fatalf("%d records read are no prefix of %d written", len(got), len(want))
		}
		if good > int64(len(damaged)) {
			rt.Fatalf("good up to %d of %d", good, len(damaged))
		}
	})
}

func TestReaderFollowsAWriter(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s")
	frame := appendFrame(nil, []byte{recordValues, 0})
	if err := os.WriteFile(name, frame[:5], 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := openSegment(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if _, err := r.next(); !errors.Is(err, io.EOF) || !r.partial() {
		t.Errorf("half a frame: %v, partial %v", err, r.partial())
	}
	if err := os.WriteFile(name, frame, 0o644); err != nil {
		t.Fatal(err)
	}
	if rec, err := r.next(); err != nil || len(rec) != 2 {
		t.Errorf("completed frame: %v %v", rec, err)
	}
	if _, err := r.next(); !errors.Is(err, io.EOF) || r.partial() {
		t.Errorf("end: %v, partial %v", err, r.partial())
	}
}

func TestRecordsRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var series []refSeries
		for range rapid.IntRange(0, 5).Draw(rt, "series") {
			m := rapid.MapOfN(rapid.StringN(1, 5, 20), rapid.StringN(1, 5, 20), 0, 4).Draw(rt, "labels")
			series = append(series, refSeries{rapid.Uint64().Draw(rt, "ref"), LabelsFrom(m)})
		}
		var samples []refSample
		for range rapid.IntRange(0, 20).Draw(rt, "samples") {
			samples = append(samples, refSample{rapid.Uint64().Draw(rt, "ref"), rapid.Int64Range(-1<<50, 1<<50).Draw(rt, "t"), rapid.Float64().Draw(rt, "v")})
		}
		s, none, err := decodeRecord(encodeSeries(nil, series))
		if err != nil || len(none) != 0 || len(s) != len(series) {
			rt.Fatal(err)
		}
		for i := range s {
			if s[i].ref != series[i].ref || s[i].labels.key() != series[i].labels.key() {
				rt.Fatalf("series %v became %v", series[i], s[i])
			}
		}
		_, v, err := decodeRecord(encodeSamples(nil, samples))
		if err != nil || len(v) != len(samples) {
			rt.Fatal(err)
		}
		for i := range v {
			if v[i] != samples[i] {
				rt.Fatalf("sample %v became %v", samples[i], v[i])
			}
		}
	})
}

func FuzzSegment(f *testing.F) {
	f.Add(appendFrame(appendFrame(nil, encodeSeries(nil, []refSeries{{1, Labels{{"a", "b"}}}})), encodeSamples(nil, []refSample{{1, 2, 3}})))
	f.Add(appendFrame(nil, []byte{recordSeries, 0xff, 0xff, 0xff, 0xff, 0x0f}))
	f.Add([]byte{0xff, 0xff, 0xff, 0x00, 0, 0, 0, 0, 1})
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, in []byte) {
		name := filepath.Join(dir, "s")
		if err := os.WriteFile(name, in, 0o644); err != nil {
			t.Fatal(err)
		}
		var again []byte
		good, err := replaySegment(name, func(rec []byte) error {
			again = appendFrame(again, rec)
			series, samples, err := decodeRecord(rec)
			if err == nil && series == nil && samples == nil {
				t.Fatal("a record without content")
			}
			return nil
		})
		if err != nil && !errors.Is(err, errTornRecord) {
			t.Fatal(err)
		}
		if int(good) != len(again) || !bytes.Equal(in[:good], again) {
			t.Fatalf("good up to %d, but %d bytes of records", good, len(again))
		}
		// As the payload of a frame whose checksum is right.
		_, _, _ = decodeRecord(in)
	})
}

func TestChunkKeepsSamples(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var c chunk
		var want []point
		at := rapid.Int64Range(0, 1<<42).Draw(rt, "start")
		v := 0.0
		for range rapid.IntRange(1, chunkSamples).Draw(rt, "n") {
			at += rapid.Int64Range(1, 3).Draw(rt, "step") * 1000
			switch rapid.IntRange(0, 4).Draw(rt, "kind") {
			case 0:
				v++
			case 1:
				v = rapid.Float64().Draw(rt, "v")
			case 2:
				v = math.Copysign(0, -1)
			case 3:
				v = staleNaN()
			}
			want = append(want, point{at, v})
			c.append(point{at, v})
		}
		from, to := want[0].t+rapid.Int64Range(-1000, 5000).Draw(rt, "from"), at-rapid.Int64Range(-1000, 5000).Draw(rt, "to")
		got := c.points(nil, from, to)
		i := 0
		for _, p := range want {
			if p.t < from || p.t > to {
				continue
			}
			if i >= len(got) || got[i].t != p.t || math.Float64bits(got[i].v) != math.Float64bits(p.v) {
				rt.Fatalf("sample %v lost or changed", p)
			}
			i++
		}
		if i != len(got) {
			rt.Fatalf("%d samples too many", len(got)-i)
		}
	})
	var c chunk
	for i := range chunkSamples {
		c.append(point{1e12 + int64(i)*1000, float64(i)})
	}
	if per := float64(len(c.buf)) / chunkSamples; per > 4 {
		t.Errorf("a steady counter takes %.1f bytes a sample", per)
	}
}

func TestWriteRequestRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var req writeRequest
		for range rapid.IntRange(0, 4).Draw(rt, "series") {
			ts := timeSeries{labels: LabelsFrom(rapid.MapOfN(rapid.StringN(1, 5, 20), rapid.StringN(1, 200, 900), 0, 4).Draw(rt, "labels"))}
			for range rapid.IntRange(0, 4).Draw(rt, "samples") {
				ts.samples = append(ts.samples, point{rapid.Int64().Draw(rt, "t"), rapid.Float64().Draw(rt, "v")})
			}
			req.series = append(req.series, ts)
		}
		b := make([]byte, req.SizeVT())
		n, err := req.MarshalToSizedBufferVT(b)
		if err != nil || n != len(b) {
			rt.Fatalf("%d of %d bytes, %v", n, len(b), err)
		}
		got, err := unmarshalWrite(b)
		if err != nil || len(got) != len(req.series) {
			rt.Fatal(err)
		}
		for i := range got {
			if got[i].labels.key() != req.series[i].labels.key() || len(got[i].samples) != len(req.series[i].samples) {
				rt.Fatalf("%v became %v", req.series[i], got[i])
			}
			for j, p := range got[i].samples {
				if p != req.series[i].samples[j] {
					rt.Fatalf("%v became %v", req.series[i].samples[j], p)
				}
			}
		}
	})
}

func FuzzWriteRequest(f *testing.F) {
	req := writeRequest{series: []timeSeries{{labels: Labels{{metricName, "up"}}, samples: []point{{1, 2}}}}}
	b := make([]byte, req.SizeVT())
	if _, err := req.MarshalToSizedBufferVT(b); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{0x0a, 0xff})
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := unmarshalWrite(in)
		if err != nil && s != nil {
			t.Fatal("series beside an error")
		}
	})
}
