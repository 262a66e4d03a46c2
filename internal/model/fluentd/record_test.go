package fluentd

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"

	"triad/internal/model/forward"
)

// TestJSON holds the transcoder against encoding/json over random records.
func TestJSON(t *testing.T) {
	scalar := rapid.OneOf(
		rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.Int64Range(-1<<53, 1<<53).AsAny(), rapid.Float64Range(-1e9, 1e9).AsAny(),
		rapid.String().AsAny(), rapid.StringN(40, 400, -1).AsAny(),
	)
	value := rapid.OneOf(scalar, rapid.SliceOfN(scalar, 0, 20).AsAny(), rapid.MapOfN(rapid.String(), scalar, 0, 20).AsAny())
	rapid.Check(t, func(t *rapid.T) {
		rec := rapid.MapOfN(rapid.String(), value, 0, 20).Draw(t, "record")
		raw, err := msgpack.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		out, n, err := appendRecord(nil, raw, func([]byte) bool { return false })
		if err != nil || n != len(rec) {
			t.Fatalf("%d pairs, %v", n, err)
		}
		out = append(out, '}')
		var got, want any
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%v in %q", err, out)
		}
		ref, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(ref, &want); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	})
}

// TestJSONAsRecorded: as the real program wrote it.
func TestJSONAsRecorded(t *testing.T) {
	for want, v := range map[string]any{
		"3.0": 3.0, "1.0e+23": 1e23, "1.5e-05": 1.5e-5, "0.0001": 0.0001, "0.0": 0.0, "-2.25": -2.25, `"\b\f\n"`: "\b\f\n", "\"a\xffb\"": "a\xffb",
	} {
		raw, err := msgpack.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := appendJSON(nil, raw, 0); err != nil || string(got) != want {
			t.Errorf("%v is written as %q, %v; want %q", v, got, err, want)
		}
	}
}

func TestJSONRefuses(t *testing.T) {
	deep := []byte{}
	for range maxNesting + 2 {
		deep = append(deep, 0x91)
	}
	deep = append(deep, 0xc0)
	for name, v := range map[string][]byte{
		"nesting":   append(append([]byte{0x81}, forward.AppendString(nil, "k")...), deep...),
		"nan":       {0x81, 0xa1, 'k', 0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 1},
		"extension": {0x81, 0xa1, 'k', 0xd4, 0x05, 0x00},
		"map key":   {0x81, 0x80, 0xc0},
	} {
		if _, _, err := appendRecord(nil, v, func([]byte) bool { return false }); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestFilter(t *testing.T) {
	f := Filter{}
	for _, kv := range [][2]string{
		{"key", `${record["host"]}:${record["n"]}:${record["none"]}`},
		{"old", "new ${tag}"},
		{"n2", `${record["n"]}`},
		{"parts", `${tag_parts[0]} ${tag_parts[-1]} ${tag_prefix[1]} ${tag_suffix[1]}`},
	} {
		tpl, err := parseTemplate(kv[1])
		if err != nil {
			t.Fatal(err)
		}
		f.Fields = append(f.Fields, Field{Key: kv[0], Template: tpl})
	}
	rec, err := msgpack.Marshal(map[string]any{"host": "h", "n": 7, "old": "x"})
	if err != nil {
		t.Fatal(err)
	}
	in := append(forward.AppendEntryHead(nil, time.Unix(1, 2)), rec...)
	out, err := f.apply(nil, "a.b.c", append(in, in...))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"host": "h", "n": int8(7), "key": "h:7:", "old": "new a.b.c", "n2": int8(7), "parts": "a c a.b b.c"}
	n := 0
	_, err = forward.Entries(out, func(e forward.Entry) error {
		n++
		var got map[string]any
		if err := msgpack.Unmarshal(e.Record, &got); err != nil {
			return err
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		return nil
	})
	if err != nil || n != 2 {
		t.Errorf("%d entries, %v", n, err)
	}
}

// TestRetry follows the intervals of the shipped configuration without jitter, and the limits.
func TestRetry(t *testing.T) {
	now := time.Unix(1000, 0)
	rng := rand.New(rand.NewPCG(1, 1))
	r := newRetry(Retry{Wait: time.Second, Base: 2, MaxInterval: 30 * time.Second, Forever: true}, now)
	got := []time.Duration{r.next.Sub(now)}
	for range 6 {
		now = r.next
		r.step(now, rng)
		got = append(got, r.next.Sub(now))
	}
	want := []time.Duration{1e9, 2e9, 4e9, 8e9, 16e9, 30e9, 30e9}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if r.exhausted() {
		t.Error("retry_forever came to an end")
	}

	now = time.Unix(1000, 0)
	r = newRetry(Retry{Wait: time.Second, Base: 2, Timeout: 10 * time.Second, Randomize: true}, now)
	steps := 0
	for ; !r.exhausted() && steps < 100; steps++ {
		now = r.next
		r.step(now, rng)
	}
	if now.Sub(r.start) != 10*time.Second {
		t.Errorf("gave up after %v and %d steps, want the last try at the timeout", now.Sub(r.start), steps)
	}

	r = newRetry(Retry{Wait: time.Second, Periodic: true, Timeout: time.Hour, MaxTimes: 3}, now)
	for steps = 0; !r.exhausted() && steps < 100; steps++ {
		r.step(r.next, rng)
	}
	if steps != 3 {
		t.Errorf("gave up after %d steps, want 3", steps)
	}
}
