package esfake

import (
	"iter"
	"slices"
	"strings"
	"time"
)

// node is one compiled query, for one snapshot.
type node interface {
	// match reports whether the document fits.
	match(d *docView) bool
	// candidates returns the documents from the given number on, in order, among which all that match are, and how
	// good the list is.
	candidates(s *snapshot, from uint32) (iter.Seq[uint32], quality)
}

// quality says what a list of candidates is worth.
type quality int

const (
	noList    quality = iota // every document is a candidate
	superset                 // candidates must be matched
	exactList                // every candidate matches
)

// scanAll is embedded by queries that no inverted index helps.
type scanAll struct{}

func (scanAll) candidates(*snapshot, uint32) (iter.Seq[uint32], quality) { return nil, noList }

// docView is the document that a query looks at.
type docView struct {
	s   *snapshot
	num uint32
	buf []byte
}

// each calls fn with the values of a field, decoded, until fn returns true; it returns what the last fn returned.
func (d *docView) each(path string, fn func(k kind, text []byte) bool) bool {
	src := d.s.source(d.num)
	found := false
	_ = walk(src, func(p []byte, k kind, start, end int, escaped bool) error {
		if k == kindNull || k == kindObject || string(p) != path {
			return nil
		}
		text := src[start:end]
		if escaped {
			d.buf = unescape(d.buf[:0], text)
			text = d.buf
		}
		if fn(k, text) {
			found = true
			return errFound
		}
		return nil
	})
	return found
}

type foundError struct{}

func (foundError) Error() string { return "found" }

// errFound ends a walk early.
var errFound error = foundError{}

type matchAll struct{ scanAll }

func (matchAll) match(*docView) bool { return true }

type matchNone struct{}

func (matchNone) match(*docView) bool { return false }
func (matchNone) candidates(*snapshot, uint32) (iter.Seq[uint32], quality) {
	return func(func(uint32) bool) {}, exactList
}

// idsNode matches documents by id.
type idsNode struct{ ids []string }

func (n idsNode) match(d *docView) bool { return slices.Contains(n.ids, string(d.s.id(d.num))) }

func (n idsNode) candidates(s *snapshot, from uint32) (iter.Seq[uint32], quality) {
	// The id table knows the newest versions only; an older snapshot is scanned.
	s.ix.mu.RLock()
	defer s.ix.mu.RUnlock()
	var docs []uint32
	for _, id := range n.ids {
		d, _, _, ok := s.ix.lookup([]byte(id))
		if !ok {
			continue
		}
		if d >= s.visible || !s.sees(d) {
			return nil, noList
		}
		docs = append(docs, d)
	}
	slices.Sort(docs)
	return from32(slices.Compact(docs), from), exactList
}

func from32(docs []uint32, from uint32) iter.Seq[uint32] {
	i, _ := slices.BinarySearch(docs, from)
	return slices.Values(docs[i:])
}

// tokenNode matches a field that has one of the tokens: term and terms on text.
type tokenNode struct {
	path  string
	f     field
	terms []string
}

func (n tokenNode) match(d *docView) bool {
	return d.each(n.path, func(_ kind, text []byte) bool {
		hit := false
		tokens(text, func(tok []byte) bool {
			hit = slices.Contains(n.terms, string(tok))
			return !hit
		})
		return hit
	})
}

func (n tokenNode) candidates(s *snapshot, from uint32) (iter.Seq[uint32], quality) {
	var docs []uint32
	for _, t := range n.terms {
		if !isTag(t) {
			return nil, noList
		}
		docs = append(docs, s.tagged(n.f.num, t)...)
	}
	if len(n.terms) > 1 {
		slices.Sort(docs)
		docs = slices.Compact(docs)
	}
	return from32(docs, from), exactList
}

// prefixNode matches a field that has a token (text) or a value (anything else) with the prefix.
type prefixNode struct {
	path   string
	f      field
	text   bool
	prefix string
}

func (n prefixNode) match(d *docView) bool {
	return d.each(n.path, func(_ kind, text []byte) bool {
		if !n.text {
			return strings.HasPrefix(string(text), n.prefix)
		}
		hit := false
		tokens(text, func(tok []byte) bool {
			hit = strings.HasPrefix(string(tok), n.prefix)
			return !hit
		})
		return hit
	})
}

func (n prefixNode) candidates(s *snapshot, from uint32) (iter.Seq[uint32], quality) {
	if !n.text || !isTag(n.prefix) {
		return nil, noList
	}
	return func(yield func(uint32) bool) {
		last, any := uint32(0), false
		for e := s.firstPosting(from); e < s.posts.n; e++ {
			p := s.posts.at(e)
			if p.field != n.f.num || any && p.doc == last || p.doc >= s.visible {
				continue
			}
			if tok := s.source(p.doc)[p.off : p.off+uint32(p.n)]; !hasFoldedPrefix(tok, n.prefix) {
				continue
			}
			last, any = p.doc, true
			if !yield(p.doc) {
				return
			}
		}
	}, exactList
}

// phraseNode matches tokens that stand in order; matchNode any (or all) of them.
type phraseNode struct {
	scanAll
	path   string
	tokens []string
}

func (n phraseNode) match(d *docView) bool {
	return d.each(n.path, func(_ kind, text []byte) bool { return containsPhrase(text, n.tokens) })
}

type matchNode struct {
	scanAll
	path   string
	tokens []string
}

func (n matchNode) match(d *docView) bool {
	missing := map[string]bool{}
	for _, t := range n.tokens {
		missing[t] = true
	}
	return d.each(n.path, func(_ kind, text []byte) bool {
		tokens(text, func(tok []byte) bool {
			delete(missing, string(tok))
			return len(missing) > 0
		})
		return len(missing) == 0
	})
}

// valueNode compares whole values: term, terms and range on everything but text.
type valueNode struct {
	scanAll
	path string
	f    field
	test func(v any) bool
}

func (n valueNode) match(d *docView) bool {
	return d.each(n.path, func(_ kind, text []byte) bool {
		v, ok := n.f.value(string(text))
		return ok && n.test(v)
	})
}

type existsNode struct {
	scanAll
	path string
}

func (n existsNode) match(d *docView) bool {
	src := d.s.source(d.num)
	found := false
	_ = walk(src, func(p []byte, k kind, _, _ int, _ bool) error {
		if k != kindNull && k != kindObject && (string(p) == n.path || strings.HasPrefix(string(p), n.path+".")) {
			found = true
			return errFound
		}
		return nil
	})
	return found
}

// boolNode is must and filter (and), should (at least min of them) and must_not.
type boolNode struct {
	and, not, should []node
	min              int
}

func (n boolNode) match(d *docView) bool {
	for _, c := range n.and {
		if !c.match(d) {
			return false
		}
	}
	for _, c := range n.not {
		if c.match(d) {
			return false
		}
	}
	if n.min == 0 {
		return true
	}
	hits := 0
	for _, c := range n.should {
		if c.match(d) {
			if hits++; hits >= n.min {
				return true
			}
		}
	}
	return false
}

func (n boolNode) candidates(s *snapshot, from uint32) (iter.Seq[uint32], quality) {
	for _, c := range n.and {
		if seq, q := c.candidates(s, from); q != noList {
			if len(n.and) > 1 || len(n.not) > 0 || n.min > 0 {
				q = superset
			}
			return seq, q
		}
	}
	if n.min == 0 || len(n.should) == 0 {
		return nil, noList
	}
	var docs []uint32
	for _, c := range n.should {
		seq, q := c.candidates(s, from)
		if q == noList {
			return nil, noList
		}
		docs = slices.AppendSeq(docs, seq)
	}
	slices.Sort(docs)
	return slices.Values(slices.Compact(docs)), superset
}

// value reads a document's or a query's value as the field's type compares it: int64 (dates in nanoseconds), float64,
// string or bool.
func (f field) value(text string) (any, bool) {
	switch {
	case f.whole():
		return parseInt(text)
	case f.real():
		return parseFloat(text)
	case f.date():
		return dateValue(text)
	case f.typ == "boolean":
		return text == "true", text == "true" || text == "false" || text == ""
	}
	return text, true
}

// compiler turns a query object into nodes for one snapshot.
type compiler struct {
	s   *snapshot
	now time.Time
}

// fieldOf finds a field; sub is true for the keyword sub-field, whose values are those of the parent.
func (c compiler) fieldOf(name string) (path string, f field, ok bool) {
	if f, ok := c.s.mapping.fields[name]; ok {
		return name, f, true
	}
	if parent, ok := strings.CutSuffix(name, ".keyword"); ok {
		if f, ok := c.s.mapping.fields[parent]; ok && f.keyword {
			return parent, field{num: f.num, typ: "keyword", above: f.above}, true
		}
	}
	return "", field{}, false
}
