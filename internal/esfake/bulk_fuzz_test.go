package esfake

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"unicode/utf8"
)

// FuzzBulk feeds arbitrary bodies to the parser and the store. Whatever was accepted must be valid JSON and come back
// as it was written.
func FuzzBulk(f *testing.F) {
	for _, s := range []string{
		"{\"index\":{\"_index\":\"a\",\"_id\":\"1\"}}\n{\"log\":\"tq_1_2_3 \\u00e9\\n\"}\n",
		"{\"delete\":{\"_index\":\"a\",\"_id\":\"1\"}}\n",
		"{\"update\":{\"_id\":\"1\"}}\n{\"doc\":{\"a\":[1,{\"b\":null}]},\"doc_as_upsert\":true}\n",
		"{\"create\":{\"_id\":null,\"version\":3,\"version_type\":\"external\"}}\n{}\n\n",
		"{\"index\":{}}\n[]\n", "{\"index\":{\"_id\":\"\\ud83d\\ude00\"}}\n{\"a\":-0.0e+1}\n", "{", "\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		ops, err := parseBulk(body, "a", nil)
		if err != nil {
			if err.status != 400 || len(ops) != 0 {
				t.Fatalf("refused with %d and %d items", err.status, len(ops))
			}
			return
		}
		s := New(Options{})
		want := map[string][]byte{}
		for i, r := range s.apply(ops) {
			op := ops[i]
			key := op.index + "\x00" + string(op.id)
			switch {
			case r.err != nil:
			case op.act == actDelete:
				delete(want, key)
			default:
				want[key] = op.source
				if !json.Valid(op.source) {
					t.Fatalf("accepted %q", op.source)
				}
			}
			if b := r.append(nil); !json.Valid(b) {
				t.Fatalf("item answer %q", b)
			}
		}
		for key, src := range want {
			name, id, _ := bytes.Cut([]byte(key), []byte{0})
			got, _, _, ok := s.indices[string(name)].get(id)
			if !ok || !bytes.Equal(got, bytes.TrimRight(src, " \t\r\n")) {
				t.Fatalf("%q: got %q, wrote %q", id, got, src)
			}
		}
	})
}

// FuzzWalk holds walk against encoding/json.
func FuzzWalk(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":{"b":[1,2,{"c":"\ud800x"}]}}`, `{"a":01}`, `{"a":1e}`, `{"a" : tru}`, `{"":""}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		err := walk(doc, func(_ []byte, k kind, start, end int, _ bool) error {
			if k == kindString {
				want, ok := "", false
				if e := json.Unmarshal([]byte(`"`+string(doc[start:end])+`"`), &want); e == nil {
					ok = true
				}
				if got := string(unescape(nil, doc[start:end])); ok && utf8.Valid(doc) && got != want {
					t.Fatalf("%q: unescaped to %q, want %q", doc[start:end], got, want)
				}
			}
			return nil
		})
		var m map[string]any
		jerr := json.Unmarshal(doc, &m)
		valid := jerr == nil && m != nil && utf8.Valid(doc)
		if err == nil && !valid {
			t.Fatalf("accepted %q: %v", doc, jerr)
		}
		if err != nil && valid && !errors.Is(err, errDepth) {
			t.Fatalf("refused %q: %v", doc, err)
		}
	})
}
