package model

import (
	"errors"
	"fmt"
)

// ErrKilled is the cancel cause that ends a model as kill -9 ends a process: nothing is flushed, nothing is said to
// peers, connections are reset, files stay as they are.
var ErrKilled = errors.New("killed")

// NotModelled is one parameter of a real configuration that a model does not honour. It is printed in the report.
type NotModelled struct {
	File  string `json:"file"`  // file or resource the parameter stands in
	Line  int    `json:"line"`  // 1-based, 0 when the resource has no lines
	Key   string `json:"key"`   // dotted path of the parameter
	Value string `json:"value"` // as written
	Why   string `json:"why"`   // what follows for the result, one sentence
}

// String prints the entry as file:line: key: why.
func (n NotModelled) String() string {
	if n.Line == 0 {
		return fmt.Sprintf("%s: %s=%s: %s", n.File, n.Key, n.Value, n.Why)
	}
	return fmt.Sprintf("%s:%d: %s=%s: %s", n.File, n.Line, n.Key, n.Value, n.Why)
}
