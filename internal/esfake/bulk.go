package esfake

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// action is what a bulk item or a single write asks for.
type action byte

const (
	actIndex action = iota
	actCreate
	actDelete
	actUpdate
)

func (a action) String() string {
	return [...]string{"index", "create", "delete", "update"}[a]
}

// bulkOp is one item of a bulk request.
type bulkOp struct {
	act      action
	index    string
	id       []byte
	version  int64
	external bool
	source   []byte
}

// parseBulk reads the newline-delimited body of a bulk request and appends its items to ops. One bad action line
// refuses the whole request; a bad source refuses its item later. The items point into body.
func parseBulk(body []byte, defaultIndex string, ops []bulkOp) ([]bulkOp, *apiError) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, errBadRequest("parse_exception", "request body is required")
	}
	if body[len(body)-1] != '\n' {
		return nil, errIllegal("The bulk request must be terminated by a newline [\\n]")
	}
	line := 0
	next := func() []byte {
		line++
		i := bytes.IndexByte(body, '\n')
		l := body[:i]
		body = body[i+1:]
		return l
	}
	for len(body) > 0 {
		l := next()
		if len(bytes.TrimSpace(l)) == 0 {
			continue
		}
		op, err := parseAction(l, line)
		if err != nil {
			return nil, err
		}
		if op.index == "" {
			op.index = defaultIndex
		}
		if op.act != actDelete {
			if len(body) == 0 {
				return nil, errIllegal("Malformed action/metadata line [%d], expected a source line after it", line)
			}
			op.source = next()
		}
		ops = append(ops, op)
	}
	if len(ops) == 0 {
		return nil, errBadRequest("action_request_validation_exception", "Validation Failed: 1: no requests added;")
	}
	return ops, nil
}

// parseAction reads a line such as {"index":{"_index":"a","_id":"1"}}.
func parseAction(l []byte, line int) (op bulkOp, aerr *apiError) {
	bad := func(format string, args ...any) *apiError {
		return errIllegal("Malformed action/metadata line [%d], %s", line, fmt.Sprintf(format, args...))
	}
	seen := false
	err := walk(l, func(path []byte, k kind, start, end int, escaped bool) error {
		if k == kindObject && !bytes.ContainsRune(path, '.') {
			if seen {
				aerr = bad("expected END_OBJECT but found another action")
				return aerr
			}
			seen = true
			switch string(path) {
			case "index":
				op.act = actIndex
			case "create":
				op.act = actCreate
			case "delete":
				op.act = actDelete
			case "update":
				op.act = actUpdate
			default:
				aerr = bad("expected field [create], [delete], [index] or [update] but found [%s]", path)
				return aerr
			}
			return nil
		}
		_, name, ok := bytes.Cut(path, []byte("."))
		if !ok {
			aerr = bad("expected START_OBJECT but found [%s]", l[start:end])
			return aerr
		}
		val := l[start:end]
		if escaped {
			val = unescape(nil, val)
		}
		switch string(name) {
		case "_index":
			op.index = string(val)
		case "_id":
			if k == kindNull {
				return nil
			}
			if op.id = val; op.id == nil {
				op.id = []byte{}
			}
		case "version", "_version":
			op.version, _ = strconv.ParseInt(string(val), 10, 64)
		case "version_type", "_version_type":
			switch string(val) {
			case "external":
				op.external = true
			case "internal":
			default:
				aerr = errIllegal("version type [%s] is not supported", val)
				return aerr
			}
		case "routing", "pipeline", "require_alias", "retry_on_conflict", "dynamic_templates", "list_executed_pipelines":
			// One shard, one writer at a time: these change nothing here.
		default:
			aerr = errIllegal("Action/metadata line [%d] contains an unknown parameter [%s]", line, name)
			return aerr
		}
		return nil
	})
	if aerr != nil {
		return op, aerr
	}
	if err != nil {
		return op, errBadRequest("x_content_parse_exception", "[%d] %v", line, err)
	}
	if !seen {
		return op, bad("expected an action")
	}
	return op, nil
}

// result is the outcome of one write.
type result struct {
	op     *bulkOp
	id     string // only for generated ids
	out    written
	status int
	err    *apiError
}

func (s *Server) bulk(w http.ResponseWriter, r *http.Request) (any, *apiError) {
	s.bulks.Add(1)
	s.bulksActive.Add(1)
	defer s.bulksActive.Add(-1)
	start := time.Now()
	body, err := s.body(r)
	if err != nil {
		return nil, err
	}
	if s.faults.throttleRequest(w.Header()) {
		s.bulksRejected.Add(1)
		return nil, errRejected("coordinating operation [coordinating_and_primary_bytes=" + strconv.Itoa(len(body)) + "]")
	}
	ops, err := parseBulk(body, r.PathValue("index"), make([]bulkOp, 0, 1024))
	if err != nil {
		return nil, err
	}
	if err := s.clusterBlock(); err != nil {
		return nil, err
	}
	results := s.apply(ops)
	s.refreshAfter(r, results)
	writeBulk(w, results, time.Since(start))
	return nil, nil
}

// apply does the items in order.
func (s *Server) apply(ops []bulkOp) []result {
	throttled, blocked := s.faults.plan(len(ops))
	results := make([]result, len(ops))
	var tags []posting
	var scratch []byte
	var refused, rejected int64
	var ix *index
	now := time.Now()
	unlock := func() {
		if ix != nil {
			ix.mu.Unlock()
			ix = nil
		}
	}
	defer unlock()
	for i := range ops {
		op, res := &ops[i], &results[i]
		res.op = op
		if throttled != nil && throttled[i] {
			res.err = errRejected("primary operation [primary_operation_bytes=" + strconv.Itoa(len(op.source)) + "]")
			rejected++
			continue
		}
		if res.err = op.validate(); res.err != nil {
			continue
		}
		if ix == nil || ix.name != op.index {
			unlock()
			// Several indices are locked one after the other, never two at once.
			found, err := s.indexForWrite(op.index, op.act)
			if err != nil {
				res.err = err
				continue
			}
			ix = found
			ix.mu.Lock()
			ix.tick(now)
		}
		if b := ix.blocksFor(blocked); b != nil {
			res.err = errBlocked(ix.name, b)
			refused++
			continue
		}
		if op.id == nil {
			res.id = s.newID()
			op.id = []byte(res.id)
		}
		res.write(s, ix, op, &tags, &scratch)
	}
	if rejected > 0 {
		s.bulksRejected.Add(1)
	}
	if refused > 0 {
		s.faults.blocked(refused)
	}
	return results
}

func (op *bulkOp) validate() *apiError {
	switch {
	case op.index == "":
		return errBadRequest("action_request_validation_exception", "Validation Failed: 1: index is missing;")
	case op.id == nil && (op.act == actDelete || op.act == actUpdate):
		return errBadRequest("action_request_validation_exception", "Validation Failed: 1: id is missing;")
	case op.id != nil && len(op.id) == 0:
		return errIllegal("if _id is specified it must not be empty")
	case len(op.id) > 512:
		return errIllegal("id [%s] is too long, must be no longer than 512 bytes but was: %d", op.id, len(op.id))
	}
	return nil
}

// blocksFor returns the blocks that refuse a write; mu is held.
func (ix *index) blocksFor(floodStage bool) []block {
	var out []block
	if floodStage {
		out = append(out, blockKinds()[1])
	}
	// What read_only_allow_delete allows is to delete the index, not a document.
	return append(out, ix.settings.blocks...)
}

// write does one item; the index is locked and ticked.
func (res *result) write(s *Server, ix *index, op *bulkOp, tags *[]posting, scratch *[]byte) {
	switch op.act {
	case actDelete:
		res.out, res.err = ix.remove(op.id, op.external, op.version)
		res.status = http.StatusOK
		if !res.out.created {
			res.status = http.StatusNotFound
		}
		return
	case actUpdate:
		src, err := ix.updated(op)
		if err != nil {
			res.err = err
			return
		}
		op.source = src
	}
	src := op.source
	if members, err := s.ingest(ix); err != nil {
		res.err = err
		return
	} else if len(members) > 0 {
		var ok bool
		if src, ok = appendMembers((*scratch)[:0], src, members); ok {
			*scratch = src
		}
	}
	res.out, res.err = ix.put(write{
		id: op.id, source: src, create: op.act == actCreate, external: op.external, version: op.version,
	}, tags)
	res.status = http.StatusOK
	if res.out.created {
		res.status = http.StatusCreated
	}
}

// appendMembers appends the object src with more members at its end to dst. It reports false, and returns src, when
// src is not an object; then the write refuses it with a better message.
func appendMembers(dst, src, members []byte) ([]byte, bool) {
	t := bytes.TrimSpace(src)
	if len(t) < 2 || t[0] != '{' || t[len(t)-1] != '}' {
		return src, false
	}
	t = t[:len(t)-1]
	dst = append(dst, t...)
	if len(bytes.TrimSpace(t[1:])) > 0 {
		dst = append(dst, ',')
	}
	dst = append(dst, members...)
	return append(dst, '}'), true
}

// updated returns the source that an update leads to: "doc" laid over the stored document, or "upsert" (or the doc
// itself with doc_as_upsert) when there is none. Scripts are not supported.
func (ix *index) updated(op *bulkOp) ([]byte, *apiError) {
	var u struct {
		Doc         json.RawMessage `json:"doc"`
		Upsert      json.RawMessage `json:"upsert"`
		DocAsUpsert bool            `json:"doc_as_upsert"`
		Script      json.RawMessage `json:"script"`
	}
	if err := json.Unmarshal(op.source, &u); err != nil {
		return nil, errBadRequest("x_content_parse_exception", "%v", err)
	}
	if u.Script != nil || u.Doc == nil {
		return nil, errIllegal("an update needs [doc]; [script] is not supported")
	}
	d, _, _, ok := ix.lookup(op.id)
	if !ok || ix.docs.at(d).hidden != 0 {
		switch {
		case u.Upsert != nil:
			return u.Upsert, nil
		case u.DocAsUpsert:
			return u.Doc, nil
		}
		return nil, &apiError{status: http.StatusNotFound, typ: "document_missing_exception", reason: "[" + string(op.id) + "]: document missing", index: ix.name}
	}
	var old, change map[string]any
	dec := json.NewDecoder(bytes.NewReader(recordSource(ix.arena.chunks, ix.docs.at(d))))
	dec.UseNumber()
	if err := dec.Decode(&old); err != nil {
		return nil, errIllegal("stored document: %v", err)
	}
	dec = json.NewDecoder(bytes.NewReader(u.Doc))
	dec.UseNumber()
	if err := dec.Decode(&change); err != nil {
		return nil, errBadRequest("x_content_parse_exception", "%v", err)
	}
	overlay(old, change)
	b, err := json.Marshal(old)
	if err != nil {
		return nil, errIllegal("%v", err)
	}
	return b, nil
}

func overlay(dst, src map[string]any) {
	for k, v := range src {
		if sub, ok := v.(map[string]any); ok {
			if at, ok := dst[k].(map[string]any); ok {
				overlay(at, sub)
				continue
			}
		}
		dst[k] = v
	}
}

// refreshAfter honours the refresh parameter of a write.
func (s *Server) refreshAfter(r *http.Request, results []result) {
	mode, given := r.URL.Query()["refresh"]
	if !given || mode[0] == "false" {
		return
	}
	names := map[string]bool{}
	for i := range results {
		if results[i].err == nil {
			names[results[i].op.index] = true
		}
	}
	for name := range names {
		s.mu.RLock()
		ix := s.indices[name]
		s.mu.RUnlock()
		if ix == nil {
			continue
		}
		if mode[0] == "wait_for" {
			ix.waitRefreshed(r.Context(), time.Now)
			continue
		}
		ix.mu.Lock()
		ix.tick(time.Now())
		ix.refresh()
		ix.mu.Unlock()
	}
}

// validIndexName reports why a name cannot be that of an index, "" when it can.
func validIndexName(name string) string {
	switch {
	case name == "" || name == "." || name == "..":
		return "must not be empty, '.' or '..'"
	case name != strings.ToLower(name):
		return "must be lowercase"
	case strings.ContainsAny(name, ` "*\<|,>/?#:`):
		return `must not contain the following characters [' ','"','*','\\','<','|',',','>','/','?','#',':']`
	case strings.ContainsRune("_-+", rune(name[0])):
		return "must not start with '_', '-', or '+'"
	case len(name) > 255:
		return "is too long, (" + strconv.Itoa(len(name)) + " > 255)"
	}
	return ""
}
