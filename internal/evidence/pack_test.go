package evidence

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"triad/internal/stats"
)

type message struct {
	kind    byte
	payload string
}

// Messages, packed and not, come back in the order of writing; a file cut anywhere gives a prefix of them, which is
// torn unless it is cut between two frames.
func TestPackedFramesAgainstList(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		path := filepath.Join(dir, "f"+string(rune('a'+n%26))+time.Duration(n).String())
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		f, err := createFrames(path)
		if err != nil {
			t.Fatal(err)
		}
		var want []message
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			p := make([]byte, r.IntN(1<<r.IntN(12)))
			for i := range p {
				p[i] = "abcdefgh"[r.IntN(8)] // packs, but is not all one
			}
			m := message{byte(1 + r.IntN(3)), string(p)}
			want = append(want, m)
			if r.IntN(3) == 0 {
				err = f.append(m.kind, p)
			} else {
				err = f.pack(m.kind, p)
			}
			if err == nil && r.IntN(4) == 0 {
				err = f.emit()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := f.close(); err != nil {
			t.Fatal(err)
		}
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		read := func(b []byte) (got []message, d *Damage) {
			d, err := scanFrames(bytes.NewReader(b), "f", func(kind byte, payload []byte) error {
				got = append(got, message{kind, string(payload)})
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			return got, d
		}
		if got, d := read(whole); d != nil || !slices.Equal(got, want) {
			t.Fatalf("%d messages of %d, damage %v", len(got), len(want), d)
		}
		for range 20 {
			cut := r.IntN(len(whole))
			got, d := read(whole[:cut])
			if len(got) > len(want) || !slices.Equal(got, want[:len(got)]) || d != nil && !d.Torn {
				t.Fatalf("cut at %d of %d: %d messages, damage %v", cut, len(whole), len(got), d)
			}
			at := r.IntN(len(whole))
			bad := bytes.Clone(whole)
			bad[at] ^= 1 << r.IntN(8)
			got, d = read(bad)
			if d == nil || !slices.Equal(got, want[:min(len(got), len(want))]) {
				t.Fatalf("flipped byte %d of %d: %d messages, damage %v", at, len(whole), len(got), d)
			}
		}
	})
}

// A packed frame is not trusted for what it says of itself, checksum or not.
func TestPackedFrameIsBounded(t *testing.T) {
	for name, payload := range map[string][]byte{
		"empty":          {},
		"no length":      {0x80},
		"length of zero": {0},
		"huge":           binary.AppendUvarint(nil, maxFrame+1),
		"nothing behind": binary.AppendUvarint(nil, 10),
		"not deflate":    append(binary.AppendUvarint(nil, 10), 0xff, 0xff, 0xff),
	} {
		var u unpacker
		if err := u.unpack(payload, func(byte, []byte) error { return nil }); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzReadPacked(f *testing.F) {
	path := filepath.Join(f.TempDir(), "seed")
	w, err := CreateHists(path, time.Second)
	if err != nil {
		f.Fatal(err)
	}
	k, err := w.Key(HistKey{Metric: "m"})
	if err != nil {
		f.Fatal(err)
	}
	w.Record(k, 0, time.Millisecond)
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	// The checksum would keep the fuzzer out: what it changes is the payload of one packed frame.
	size, n := binary.Uvarint(b[len(magic):])
	f.Add(b[len(magic)+n+1 : len(magic)+n+int(size)])
	f.Fuzz(func(_ *testing.T, b []byte) {
		var u unpacker
		for range 2 {
			_ = u.unpack(b, func(kind byte, payload []byte) error {
				if kind == frameCompact {
					_, _, err := stats.ReadCompact(payload)
					return err
				}
				return nil
			})
		}
	})
}

// A decoder hands out its window of 32 KiB when that is full, before it has read the end of the piece that filled it.
func TestPackedFramesThatFillTheWindow(t *testing.T) {
	for total := 32<<10 - 8; total <= 32<<10+8; total++ {
		path := filepath.Join(t.TempDir(), "f")
		f, err := createFrames(path)
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(uint64(total), 1))
		first := make([]byte, total-4) // a length of three bytes and a kind come with it
		for i := range first {
			first[i] = "abcdefgh"[r.IntN(8)]
		}
		want := []string{string(first), "the next", "and one more"}
		for _, p := range want {
			if err := f.pack(1, []byte(p)); err != nil {
				t.Fatal(err)
			}
			if err := f.emit(); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.close(); err != nil {
			t.Fatal(err)
		}
		var got []string
		d, err := readFrames(path, "f", func(_ byte, payload []byte) error {
			got = append(got, string(payload))
			return nil
		})
		if err != nil || d != nil || !slices.Equal(got, want) {
			t.Errorf("%d bytes: %d of %d messages, %v %v", total, len(got), len(want), d, err)
		}
	}
}

// The frame that fills the window is a small one, and the next, which is read into the same memory, is longer: what the decoder has not
// read yet of the first must not be overwritten.
func TestSmallFramesThatFillTheWindow(t *testing.T) {
	for small := 8; small <= 60; small++ {
		path := filepath.Join(t.TempDir(), "f")
		f, err := createFrames(path)
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(uint64(small), 1))
		text := func(n int) string {
			b := make([]byte, n)
			for i := range b {
				b[i] = "abcdefgh"[r.IntN(8)]
			}
			return string(b)
		}
		// A length of three bytes and a kind come with the first, of one and a kind with the second: both fill the window.
		want := []string{text(32<<10 - small - 4), text(small - 2), text(2 * small), text(3 * small), "and one more"}
		for _, p := range want {
			if err := errors.Join(f.pack(1, []byte(p)), f.emit()); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.close(); err != nil {
			t.Fatal(err)
		}
		var got []string
		d, err := readFrames(path, "f", func(_ byte, payload []byte) error {
			got = append(got, string(payload))
			return nil
		})
		if err != nil || d != nil || !slices.Equal(got, want) {
			t.Errorf("%d bytes: %d of %d messages, %v %v", small, len(got), len(want), d, err)
		}
	}
}
