package fluentbit

import (
	"bytes"
	"slices"
	"strings"

	"triad/internal/model/forward"
)

// apply runs the filters whose match fits over entries and returns the result; the input is not changed.
func (e *engine) apply(tag string, entries []byte, n int) []byte {
	for _, f := range e.filters {
		if !match(f.cfg.Match, tag) {
			continue
		}
		f.records.Add(int64(n))
		if len(f.cfg.Set)+len(f.cfg.Remove)+len(f.cfg.Allow) == 0 {
			continue
		}
		out := make([]byte, 0, len(entries)+n*f.grow)
		// The entries are the model's own; an error would be a fault of the model and shows as missing records.
		at, err := forward.Entries(entries, func(en forward.Entry) error {
			out = append(out, en.Raw[:len(en.Raw)-len(en.Record)]...)
			var err error
			out, err = f.record(out, en.Record)
			return err
		})
		if err != nil {
			e.log.Error("filter", "name", f.cfg.Name, "at", at, "error", err)
		}
		if !bytes.Equal(entries, out) {
			f.bytes.Add(int64(len(out))) // as they leave it; what leaves it as it came is not counted
		}
		entries = out
	}
	return entries
}

func (f *filter) record(dst, rec []byte) ([]byte, error) {
	n, at, err := forward.MapLen(rec)
	if err != nil {
		return dst, err
	}
	// The header has the same length for any count below 16, which is every record of this path; write it last.
	kept := 0
	head := len(dst)
	dst = append(dst, 0)
	for range n {
		k, err := forward.Next(rec[at:])
		if err != nil {
			return dst, err
		}
		v, err := forward.Next(rec[at+k:])
		if err != nil {
			return dst, err
		}
		key, _, err := forward.Bytes(rec[at : at+k])
		if err != nil || f.keeps(string(key)) {
			dst = append(dst, rec[at:at+k+v]...)
			kept++
		}
		at += k + v
	}
	dst = append(dst, f.set...)
	kept += len(f.cfg.Set)
	if kept < 16 {
		dst[head] = 0x80 | byte(kept)
		return dst, nil
	}
	body := slices.Clone(dst[head+1:])
	return append(forward.AppendMapLen(dst[:head], kept), body...), nil
}

// keeps says whether a key stays. Case is not looked at, and a star ends a prefix.
func (f *filter) keeps(key string) bool {
	named := func(name string) bool {
		prefix, star := strings.CutSuffix(name, "*")
		return star && len(key) >= len(prefix) && strings.EqualFold(key[:len(prefix)], prefix) || strings.EqualFold(key, name)
	}
	if len(f.cfg.Allow) > 0 {
		return slices.ContainsFunc(f.cfg.Allow, named)
	}
	return !slices.ContainsFunc(f.cfg.Remove, named)
}
