package fluentbit

import (
	"slices"

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
			f.bytes.Add(int64(len(entries)))
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
		entries = out
		f.bytes.Add(int64(len(entries))) // as they leave it
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

func (f *filter) keeps(key string) bool {
	if len(f.cfg.Allow) > 0 {
		return slices.Contains(f.cfg.Allow, key)
	}
	return !slices.Contains(f.cfg.Remove, key)
}
