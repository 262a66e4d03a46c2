package esfake

import (
	"fmt"
	"net/http"
	"strings"
)

// apiError is an error in the form Elasticsearch answers with.
type apiError struct {
	status int
	typ    string
	reason string
	index  string
	cause  *apiError
}

func (e *apiError) Error() string { return fmt.Sprintf("%s: %s", e.typ, e.reason) }

func errBadRequest(typ, format string, args ...any) *apiError {
	return &apiError{status: http.StatusBadRequest, typ: typ, reason: fmt.Sprintf(format, args...)}
}

func errIllegal(format string, args ...any) *apiError {
	return errBadRequest("illegal_argument_exception", format, args...)
}

func errParsing(format string, args ...any) *apiError {
	return errBadRequest("parsing_exception", format, args...)
}

func errNoIndex(name string) *apiError {
	return &apiError{status: http.StatusNotFound, typ: "index_not_found_exception", reason: "no such index [" + name + "]", index: name}
}

func errRejected(what string) *apiError {
	return &apiError{status: http.StatusTooManyRequests, typ: "es_rejected_execution_exception", reason: "rejected execution of " + what}
}

// errBlocked names every block that stands in the way; the status is that of the first.
func errBlocked(index string, blocks []block) *apiError {
	parts := make([]string, len(blocks))
	for i, b := range blocks {
		parts[i] = b.text
	}
	return &apiError{
		status: blocks[0].status, typ: "cluster_block_exception",
		reason: "index [" + index + "] blocked by: [" + strings.Join(parts, "], [") + "];",
	}
}

// body returns the error object without status.
func (e *apiError) body() map[string]any {
	m := map[string]any{"type": e.typ, "reason": e.reason}
	if e.index != "" {
		m["index"] = e.index
	}
	if e.cause != nil {
		m["caused_by"] = e.cause.body()
	}
	return m
}

// response returns the whole answer of a failed request.
func (e *apiError) response() map[string]any {
	b := e.body()
	root := e.body()
	delete(root, "caused_by")
	b["root_cause"] = []any{root}
	return map[string]any{"error": b, "status": e.status}
}
