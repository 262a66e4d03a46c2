package esfake

import (
	"bytes"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// defaultSize is the number of hits of a search that does not say.
	defaultSize = 10
	// windowLimit is the default of index.max_result_window: from+size beyond it is refused.
	windowLimit = 10_000
	// trackLimit is the default of track_total_hits: more matches are reported as "gte".
	trackLimit = 10_000
)

// request is a parsed search.
type request struct {
	query     map[string]any
	size      int
	from      int
	terminate int // stop after that many matches in a shard; 0 never
	track     int // highest count that is exact; -1 no total at all, maxInt exact
	sort      []sortKey
	after     []any
	source    sourceFilter
	version   bool
	seqNo     bool
	pitID     string
	slice     slice
	keepAlive time.Duration
	ended     bool // terminate_after took effect
}

// slice is one of several parts of a point in time: documents that lie beside each other.
type slice struct{ id, parts uint64 }

// of is the part of a shard with so many documents.
func (s slice) of(documents uint32) (from, to uint32) {
	if s.parts == 0 {
		return 0, documents
	}
	n := uint64(documents)
	return uint32(n * s.id / s.parts), uint32(n * (s.id + 1) / s.parts)
}

type sortKey struct {
	field   string // _doc, _shard_doc, _score or a field
	desc    bool
	missing string // _last or _first
}

const allHits = int(^uint(0) >> 1)

func parseSearch(raw []byte, q url.Values) (*request, *apiError) {
	r := &request{size: defaultSize, track: trackLimit}
	body := map[string]any{}
	if len(bytes.TrimSpace(raw)) > 0 {
		if err := decodeNumbers(raw, &body); err != nil {
			return nil, errParsing("%v", err)
		}
	}
	for _, k := range []string{"size", "from", "track_total_hits", "_source", "sort", "seq_no_primary_term", "version", "terminate_after"} {
		if v := q.Get(k); v != "" {
			switch {
			case k == "sort":
				var list []any
				for part := range strings.SplitSeq(v, ",") {
					name, order, _ := strings.Cut(part, ":")
					list = append(list, map[string]any{name: map[string]any{"order": cmpOr(order, "asc")}})
				}
				body[k] = list
			case v == "true" || v == "false":
				body[k] = v == "true"
			case k == "_source":
				body[k] = v
			default:
				body[k] = json.Number(v)
			}
		}
	}
	if v := q.Get("q"); v != "" {
		return nil, errIllegal("the query string parameter [q] is not supported")
	}
	for k, v := range body {
		if err := r.set(k, v); err != nil {
			return nil, err
		}
	}
	if f, err := sourceFromQuery(q); err == nil && !f.all() {
		r.source = f
	}
	if r.from+r.size > windowLimit {
		return nil, errIllegal("Result window is too large, from + size must be less than or equal to: [%d] but was [%d]", windowLimit, r.from+r.size)
	}
	if len(r.after) > 0 {
		if r.from > 0 {
			return nil, errIllegal("`from` parameter must be set to 0 when `search_after` is used")
		}
		if len(r.sort) == 0 {
			return nil, errIllegal("Sort must contain at least one field when using search_after")
		}
	}
	if r.pitID != "" && (len(r.sort) > 0 || len(r.after) > 0) && !r.tieBroken() {
		r.sort = append(r.sort, sortKey{field: "_shard_doc"})
	}
	if r.slice.parts > 0 && r.pitID == "" {
		return nil, errIllegal("[slice] can only be used with [scroll] or [point-in-time] requests")
	}
	if len(r.after) > 0 && len(r.after) != len(r.sort) {
		if len(r.after) != len(r.sort)-1 || !r.tieBroken() {
			return nil, errIllegal("search_after has %d value(s) but sort has %d.", len(r.after), len(r.sort))
		}
	}
	return r, nil
}

func cmpOr(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

func (r *request) tieBroken() bool {
	return len(r.sort) > 0 && (r.sort[len(r.sort)-1].field == "_shard_doc" || r.sort[len(r.sort)-1].field == "_doc")
}

// set takes one member of the search body; one that is not supported is an error.
func (r *request) set(k string, v any) *apiError {
	num := func() (int, *apiError) {
		n, err := strconv.Atoi(jsonText(v))
		if err != nil || n < 0 {
			return 0, errIllegal("[%s] must be a whole number from 0, found [%s]", k, jsonText(v))
		}
		return n, nil
	}
	var err *apiError
	switch k {
	case "query":
		m, ok := v.(map[string]any)
		if !ok {
			return errParsing("[query] must be an object")
		}
		r.query = m
	case "size":
		r.size, err = num()
	case "from":
		r.from, err = num()
	case "track_total_hits":
		switch v {
		case true:
			r.track = allHits
		case false:
			r.track = -1
		default:
			r.track, err = num()
		}
	case "terminate_after":
		r.terminate, err = num()
	case "_source":
		r.source, err = parseSource(v)
	case "sort":
		r.sort, err = parseSort(v)
	case "search_after":
		r.after, _ = v.([]any)
	case "pit":
		m, _ := v.(map[string]any)
		r.pitID = jsonText(m["id"])
		if r.pitID == "" {
			return errIllegal("[pit] needs an [id]")
		}
		if ka := jsonText(m["keep_alive"]); ka != "" {
			d, ok := parseTime(ka)
			if !ok {
				return errIllegal("failed to parse [keep_alive] with value [%s]", ka)
			}
			r.keepAlive = d
		}
	case "slice":
		m, _ := v.(map[string]any)
		id, err1 := strconv.ParseUint(jsonText(m["id"]), 10, 16)
		parts, err2 := strconv.ParseUint(jsonText(m["max"]), 10, 16)
		if err1 != nil || err2 != nil || parts < 2 || id >= parts || len(m) != 2 {
			return errIllegal("[slice] needs a [max] greater than 1 and an [id] below it, found [%s]", jsonText(v))
		}
		r.slice = slice{id, parts}
	case "version":
		r.version = v == true
	case "seq_no_primary_term":
		r.seqNo = v == true
	case "timeout", "track_scores", "explain", "profile", "min_score", "_name", "stored_fields", "batched_reduce_size":
		// They change the work or the scores of a search, not its hits here (all scores are 1).
	default:
		return errParsing("unknown key for a search body here: [%s] is not supported", k)
	}
	return err
}

// shard is a snapshot with the ordinal that makes _shard_doc unique over a search.
type shard struct {
	*snapshot
	ord int
}

// hit is a document that matched, with its sort values.
type hit struct {
	sh   shard
	doc  uint32
	keys []any
}

func (s *Server) search(_ http.ResponseWriter, r *http.Request) (any, *apiError) {
	raw, err := s.body(r)
	if err != nil {
		return nil, err
	}
	return s.searchBody(raw, r.PathValue("index"), r.URL.Query())
}

// searchBody does one search and returns its answer.
func (s *Server) searchBody(raw []byte, indexExpr string, q url.Values) (rawAnswer, *apiError) {
	start := time.Now()
	req, err := parseSearch(raw, q)
	if err != nil {
		return nil, err
	}
	shs, err := s.shardsFor(req, indexExpr, q, start)
	if err != nil {
		return nil, err
	}
	hits, total, exact, err := req.run(shs, start)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, 256+len(hits)*256)
	b = append(b, `{"took":`...)
	b = strconv.AppendInt(b, time.Since(start).Milliseconds(), 10)
	b = append(b, `,"timed_out":false,`...)
	if req.terminate > 0 {
		b = append(b, `"terminated_early":`...)
		b = strconv.AppendBool(b, req.ended)
		b = append(b, ',')
	}
	b = append(b, `"_shards":`...)
	b = appendJSON(b, shards(len(shs)))
	if req.pitID != "" {
		b = append(b, `,"pit_id":`...)
		b = appendString(b, req.pitID)
	}
	b = append(b, `,"hits":{`...)
	if req.track >= 0 {
		b = append(b, `"total":{"value":`...)
		b = strconv.AppendInt(b, int64(total), 10)
		if exact {
			b = append(b, `,"relation":"eq"},`...)
		} else {
			b = append(b, `,"relation":"gte"},`...)
		}
	}
	b = append(b, `"max_score":`...)
	if len(hits) > 0 && len(req.sort) == 0 {
		b = append(b, "1.0"...)
	} else {
		b = append(b, "null"...)
	}
	b = append(b, `,"hits":[`...)
	for i, h := range hits {
		if i > 0 {
			b = append(b, ',')
		}
		b = req.append(b, h)
	}
	return append(b, "]}}"...), nil
}

// appendJSON appends a value that can always be encoded.
func appendJSON(b []byte, v any) []byte {
	e, err := json.Marshal(v)
	if err != nil {
		e = []byte("null")
	}
	return append(b, e...)
}

func (s *Server) shardsFor(req *request, indexExpr string, q url.Values, now time.Time) ([]shard, *apiError) {
	if req.pitID != "" {
		if indexExpr != "" {
			return nil, errIllegal("[indices] cannot be used with point in time. Do not specify any index with point in time.")
		}
		return s.pitShards(req.pitID, req.keepAlive, now)
	}
	list, err := s.resolve(indexExpr, ignoreUnavailable(q))
	if err != nil {
		return nil, err
	}
	return takeShards(list, now), nil
}

func takeShards(list []*index, now time.Time) []shard {
	out := make([]shard, len(list))
	for i, ix := range list {
		ix.counts.searches.Add(1)
		out[i] = shard{ix.snapshot(now), i}
	}
	return out
}

// run finds the hits. total counts matches up to the track limit; exact says whether it is all of them.
func (r *request) run(shs []shard, now time.Time) (hits []hit, total int, exact bool, err *apiError) {
	exact = true
	byDoc := len(r.sort) == 0 || len(r.sort) == 1 && !r.sort[0].desc && r.tieBroken()
	for _, sh := range shs {
		var n node = matchAll{}
		if r.query != nil {
			if n, err = (compiler{sh.snapshot, now}).compile(r.query); err != nil {
				return nil, 0, false, err
			}
		}
		from := uint32(0)
		if byDoc && len(r.after) == 1 {
			start, skip, err := afterDoc(r.after[0], sh.ord)
			if err != nil {
				return nil, 0, false, err
			}
			if skip && r.track < 0 {
				continue
			}
			if skip {
				start = sh.visible
			}
			from = start
		}
		lo, end := r.slice.of(sh.visible)
		from = max(from, lo)
		_, all := n.(matchAll)
		counting := r.track >= 0
		if all && counting && r.terminate == 0 && r.slice.parts == 0 {
			// Known without looking.
			total += sh.shown
			counting = false
		}
		first := lo
		if !counting {
			first = from
		}
		collected := 0
		for d := range sh.matches(n, first) {
			if d >= end {
				break
			}
			if r.terminate > 0 && collected == r.terminate {
				r.ended = true // it ended early only if there was more
				break
			}
			collected++
			if counting {
				total++
			}
			if d >= from {
				if byDoc {
					if len(hits) < r.from+r.size {
						hits = append(hits, hit{sh: sh, doc: d})
					}
				} else if hits, err = r.keep(hits, sh, d); err != nil {
					return nil, 0, false, err
				}
			}
			if byDoc && len(hits) >= r.from+r.size && (!counting || total > r.track) {
				break
			}
		}
	}
	if r.track >= 0 && total > r.track {
		total, exact = r.track, false
	}
	if !byDoc {
		slices.SortStableFunc(hits, r.compare)
	}
	if len(hits) > r.from+r.size {
		hits = hits[:r.from+r.size]
	}
	if r.from > 0 {
		hits = hits[min(r.from, len(hits)):]
	}
	return hits, total, exact, nil
}

// matches yields the visible documents that fit, from the given number on, in order.
func (s *snapshot) matches(n node, from uint32) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		view := docView{s: s}
		seq, q := n.candidates(s, from)
		try := func(d uint32) bool {
			if !s.sees(d) {
				return true
			}
			view.num = d
			return q != exactList && !n.match(&view) || yield(d)
		}
		if q != noList {
			for d := range seq {
				if !try(d) {
					return
				}
			}
			return
		}
		for d := from; d < s.visible; d++ {
			if !try(d) {
				return
			}
		}
	}
}

// afterDoc reads a _shard_doc value of search_after: the first document after it, and whether the whole shard lies
// before it.
func afterDoc(v any, ord int) (from uint32, skip bool, err *apiError) {
	n, perr := strconv.ParseUint(jsonText(v), 10, 64)
	if perr != nil {
		return 0, false, errIllegal("Failed to parse search_after value for field [_shard_doc]: [%s]", jsonText(v))
	}
	switch at := int(n >> 32); {
	case ord < at:
		return 0, true, nil
	case ord > at:
		return 0, false, nil
	}
	if uint32(n) == ^uint32(0) {
		return 0, true, nil
	}
	return uint32(n) + 1, false, nil
}

// append writes a hit as the search API does.
func (r *request) append(b []byte, h hit) []byte {
	b = append(b, `{"_index":`...)
	b = appendString(b, h.sh.ix.name)
	b = append(b, `,"_id":`...)
	b = appendString(b, string(h.sh.id(h.doc)))
	if r.version {
		b = append(b, `,"_version":`...)
		b = strconv.AppendInt(b, h.sh.docs.at(h.doc).version, 10)
	}
	if r.seqNo {
		b = append(b, `,"_seq_no":`...)
		b = strconv.AppendInt(b, int64(h.doc), 10)
		b = append(b, `,"_primary_term":1`...)
	}
	if len(r.sort) == 0 {
		b = append(b, `,"_score":1.0`...)
	} else {
		b = append(b, `,"_score":null,"sort":`...)
		if h.keys == nil {
			b = append(b, '[')
			b = strconv.AppendInt(b, int64(h.sh.ord)<<32|int64(h.doc), 10)
			b = append(b, ']')
		} else {
			b = appendJSON(b, h.keys)
		}
	}
	if !r.source.none {
		b = append(b, `,"_source":`...)
		b = r.source.append(b, h.sh.source(h.doc))
	}
	return append(b, '}')
}
