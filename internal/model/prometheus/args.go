package prometheus

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	triad "triad/internal/model"
)

// arguments are the command line of a container: --flag=value, --flag value, --flag and --no-flag.
type arguments struct {
	file  string
	raw   []string
	vals  map[string]argument
	used  map[string]bool
	errs  []error
	notes []triad.NotModelled
}

type argument struct {
	value string
	set   bool // has a value
	line  int  // 1-based position among the arguments
}

// booleanFlags are the flags of Prometheus 3.16 that take no separate value; all others that are read here do.
var booleanFlags = map[string]bool{
	"agent": true, "storage.agent.wal-compression": true, "storage.agent.no-lockfile": true, "web.enable-lifecycle": true,
	"web.enable-remote-write-receiver": true, "web.enable-admin-api": true, "web.enable-otlp-receiver": true,
	"storage.tsdb.no-lockfile": true, "storage.tsdb.wal-compression": true, "auto-gomemlimit": true, "auto-gomaxprocs": true,
	"storage.agent.checkpoint-from-in-memory-series": true,
}

func parseArguments(raw []string) *arguments {
	a := &arguments{file: "args", raw: raw, vals: map[string]argument{}, used: map[string]bool{}}
	for i := 0; i < len(raw); i++ {
		tok := raw[i]
		if !strings.HasPrefix(tok, "-") {
			// The program name of a shell-form command, or a stray word.
			a.notes = append(a.notes, triad.NotModelled{File: a.file, Line: i + 1, Key: tok, Why: "not a flag; ignored"})
			continue
		}
		name, value, has := strings.Cut(strings.TrimLeft(tok, "-"), "=")
		at := i + 1
		if !has && !booleanFlags[name] && !strings.HasPrefix(name, "no-") && i+1 < len(raw) && !strings.HasPrefix(raw[i+1], "--") {
			i++
			value, has = raw[i], true
		}
		a.vals[name] = argument{value: value, set: has, line: at}
	}
	return a
}

func (a *arguments) flag(name string) bool {
	a.used[name], a.used["no-"+name] = true, true
	if v, ok := a.vals[name]; ok {
		return !v.set || v.value == "true"
	}
	return false
}

func (a *arguments) text(name string, dst *string) {
	a.used[name] = true
	if v, ok := a.vals[name]; ok {
		*dst = v.value
	}
}

func (a *arguments) duration(name string, dst *time.Duration) {
	a.used[name] = true
	if v, ok := a.vals[name]; ok {
		d, err := model.ParseDuration(v.value)
		if err != nil {
			a.errs = append(a.errs, fmt.Errorf("%s:%d: --%s: %w", a.file, v.line, name, err))
			return
		}
		*dst = time.Duration(d)
	}
}

func (a *arguments) bytes(name string, dst *int64) {
	a.used[name] = true
	v, ok := a.vals[name]
	if !ok {
		return
	}
	num := strings.TrimRight(v.value, "KMGTiB")
	n, err := strconv.ParseInt(num, 10, 64)
	unit, known := map[string]int64{"": 1, "B": 1, "KB": 1 << 10, "KiB": 1 << 10, "MB": 1 << 20, "MiB": 1 << 20, "GB": 1 << 30, "GiB": 1 << 30}[v.value[len(num):]]
	if err != nil || !known {
		a.errs = append(a.errs, fmt.Errorf("%s:%d: --%s: %q is not a size", a.file, v.line, name, v.value))
		return
	}
	*dst = n * unit
}

// accept takes flags that change nothing that the model shows.
func (a *arguments) accept(names ...string) {
	for _, n := range names {
		a.used[n], a.used["no-"+n] = true, true
	}
}

func (a *arguments) rest(why string) {
	seen := map[string]bool{}
	for _, tok := range a.raw {
		name, _, _ := strings.Cut(strings.TrimLeft(tok, "-"), "=")
		v, ok := a.vals[name]
		if !ok || a.used[name] || seen[name] {
			continue
		}
		seen[name] = true
		a.notes = append(a.notes, triad.NotModelled{File: a.file, Line: v.line, Key: "--" + name, Value: v.value, Why: why})
	}
}
