package esfake

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// writeBulk answers a bulk request. The common items are written by hand: they are most of the server's output.
func writeBulk(w http.ResponseWriter, results []result, took time.Duration) {
	b := make([]byte, 0, 64+len(results)*180)
	failed := false
	for i := range results {
		failed = failed || results[i].err != nil
	}
	b = append(b, `{"errors":`...)
	b = strconv.AppendBool(b, failed)
	b = append(b, `,"took":`...)
	b = strconv.AppendInt(b, took.Milliseconds(), 10)
	b = append(b, `,"items":[`...)
	for i := range results {
		if i > 0 {
			b = append(b, ',')
		}
		b = results[i].append(b)
	}
	b = append(b, "]}"...)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(b)
}

func (res *result) append(b []byte) []byte {
	b = append(b, `{"`...)
	b = append(b, res.op.act.String()...)
	b = append(b, `":{"_index":`...)
	b = appendString(b, res.op.index)
	b = append(b, `,"_id":`...)
	if res.op.id == nil {
		b = append(b, "null"...)
	} else {
		b = appendString(b, string(res.op.id))
	}
	if res.err != nil {
		b = append(b, `,"status":`...)
		b = strconv.AppendInt(b, int64(res.err.status), 10)
		b = append(b, `,"error":`...)
		e, _ := json.Marshal(res.err.body()) // strings and maps only: cannot fail
		b = append(b, e...)
		return append(b, "}}"...)
	}
	b = append(b, `,"_version":`...)
	b = strconv.AppendInt(b, res.out.version, 10)
	b = append(b, `,"result":"`...)
	b = append(b, res.verb()...)
	b = append(b, `","_shards":{"total":1,"successful":1,"failed":0},"_seq_no":`...)
	b = strconv.AppendInt(b, int64(res.out.seq), 10)
	b = append(b, `,"_primary_term":1,"status":`...)
	b = strconv.AppendInt(b, int64(res.status), 10)
	return append(b, "}}"...)
}

func (res *result) verb() string {
	switch {
	case res.op.act == actDelete && res.out.created:
		return "deleted"
	case res.op.act == actDelete:
		return "not_found"
	case res.out.created:
		return "created"
	}
	return "updated"
}

// appendString appends s as a JSON string.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			q, _ := json.Marshal(s) // a string cannot fail
			return append(b, q...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
