package fluentd

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"triad/internal/model"
	"triad/internal/model/conf"
)

// Parse reads a configuration in the YAML format of Fluentd. env answers #{ENV['X']} in !fluent/s values; what it does
// not have is empty, as in Ruby. What the model does not honour is listed, with its line. Errors are joined and carry
// file and line.
func Parse(config []byte, file string, env map[string]string) (Config, []model.NotModelled, error) {
	f := &conf.File{Name: file, Resolve: func(n *yaml.Node) (string, error) { return resolve(n, env) }}
	root, err := f.Parse(config)
	if err != nil {
		return Config{}, nil, err
	}
	c := Config{File: file}
	c.system(root.Section("system"))
	for _, e := range root.Sections("config") {
		c.element(e)
	}
	root.Rest(nil)
	if len(c.Forward) == 0 {
		root.Errorf("", "no source of type forward")
	}
	if len(c.Outputs) == 0 {
		root.Errorf("", "no match that the model can run")
	}
	ids, paths := map[string]bool{}, map[string]bool{}
	for _, o := range c.Outputs {
		if ids[o.ID] {
			root.Errorf("", "plugin id %q is used twice", o.ID)
		}
		if o.Buffer.File && paths[o.Buffer.Path] {
			root.Errorf("", "two buffers share the path %s", o.Buffer.Path)
		}
		ids[o.ID], paths[o.Buffer.Path] = true, true
	}
	return c, f.Notes(), f.Err()
}

var envRef = regexp.MustCompile(`#\{\s*ENV(?:\.fetch\(\s*['"](\w+)['"]\s*(?:,\s*['"]([^'"]*)['"]\s*)?\)|\[\s*['"](\w+)['"]\s*\])(?:\s*\|\|\s*['"]([^'"]*)['"])?\s*\}`)

// resolve evaluates a !fluent/s value: references to the environment, with a default after || or in fetch. Other Ruby
// is an error.
func resolve(n *yaml.Node, env map[string]string) (string, error) {
	if n.Tag == "!!null" {
		return "", nil
	}
	if n.Tag != "!fluent/s" {
		return n.Value, nil
	}
	v := envRef.ReplaceAllStringFunc(n.Value, func(m string) string {
		g := envRef.FindStringSubmatch(m)
		if v, ok := env[cmp.Or(g[1], g[3])]; ok {
			return v
		}
		return cmp.Or(g[2], g[4])
	})
	if strings.Contains(v, "#{") {
		return "", fmt.Errorf("the model evaluates only ENV in %s", n.Value)
	}
	return v, nil
}

func (c *Config) system(s *conf.Section) {
	c.RootDir = s.String("root_dir", "")
	if w := conf.Value(s, "workers", 1, strconv.Atoi); w > 1 {
		s.NotModelled("workers", "the model is one process; several would share the port and mix the order")
	}
	if s != nil {
		s.Skip("log_level", "suppress_repeated_stacktrace", "process_name")
	}
	s.Rest(nil)
}

// element reads one entry of the list config: a mapping with one key.
func (c *Config) element(e *conf.Section) {
	if s := e.Section("source"); s != nil {
		c.source(s)
	}
	if s := e.Section("filter"); s != nil {
		c.filter(s)
	}
	if s := e.Section("match"); s != nil {
		c.match(s)
	}
	for _, k := range []string{"label", "worker"} {
		e.NotModelled(k, "the model has no labels and one worker; nothing in it runs")
	}
	e.Rest(nil)
}

func (c *Config) source(s *conf.Section) {
	id := s.String("$id", "")
	switch typ := s.String("$type", ""); typ {
	case "forward":
		src := ForwardSource{
			ID:   cmp.Or(id, "in_forward"),
			Bind: s.String("bind", "0.0.0.0"),
			Port: conf.Value(s, "port", 24224, parsePort),
		}
		sec := s.Section("security")
		src.SharedKey = sec.String("shared_key", "")
		src.SelfHostname = sec.String("self_hostname", "")
		sec.Rest(nil)
		s.Skip("send_keepalive_packet", "skip_invalid_event", "chunk_size_warn_limit")
		s.Rest(nil)
		c.Forward = append(c.Forward, src)
	case "prometheus":
		c.Metrics = &MetricsSource{
			Bind: s.String("bind", "127.0.0.1"),
			Port: conf.Value(s, "port", 24231, parsePort),
			Path: s.String("metrics_path", "/metrics"),
		}
		s.Rest(nil)
	case "prometheus_monitor", "prometheus_output_monitor":
		m := &Monitor{Interval: conf.Value(s, "interval", 5*time.Second, parseTime)}
		if m.Interval <= 0 {
			s.Errorf("interval", "want more than 0")
		}
		if typ == "prometheus_monitor" {
			c.Monitor = m
		} else {
			m.Counters = !conf.Value(s, "gauge_all", true, parseBool)
			c.OutputMonitor = m
		}
		s.Rest(nil)
	default:
		s.NotModelled("$type", "this kind of source is not modelled, so the source is absent")
		s.Rest(func(string) string { return "the source is absent" })
	}
}

func (c *Config) filter(s *conf.Section) {
	if typ := s.String("$type", ""); typ != "record_transformer" {
		s.NotModelled("$type", "this kind of filter is not modelled, so the filter is absent")
		s.Rest(func(string) string { return "the filter is absent" })
		return
	}
	f := Filter{ID: s.String("$id", ""), Tag: conf.Value(s, "$tag", Pattern{}, ParsePattern)}
	if f.Tag.res == nil {
		s.Errorf("$tag", "a filter needs a tag")
	}
	if conf.Value(s, "enable_ruby", false, parseBool) {
		s.NotModelled("enable_ruby", "Ruby expressions are not evaluated")
	}
	for _, kv := range s.Pairs("record") {
		t, err := parseTemplate(kv[1])
		if err != nil {
			s.Errorf("record", "%s: %v", kv[0], err)
			continue
		}
		f.Fields = append(f.Fields, Field{Key: kv[0], Template: t})
	}
	s.Rest(nil)
	c.Filters = append(c.Filters, f)
}

var (
	placeholder = regexp.MustCompile(`\$\{([^}]*)\}`)
	recordRef   = regexp.MustCompile(`^record\["([^"]*)"\]$`)
	tagRef      = regexp.MustCompile(`^(tag_parts|tag_prefix|tag_suffix)\[(-?\d{1,4})\]$`)
)

func parseTemplate(text string) ([]part, error) {
	var out []part
	at := 0
	for _, m := range placeholder.FindAllStringSubmatchIndex(text, -1) {
		if m[0] > at {
			out = append(out, part{literal: text[at:m[0]]})
		}
		ref := text[m[2]:m[3]]
		switch {
		case recordRef.MatchString(ref):
			out = append(out, part{record: recordRef.FindStringSubmatch(ref)[1]})
		case ref == "tag":
			out = append(out, part{tag: ref})
		case tagRef.MatchString(ref):
			g := tagRef.FindStringSubmatch(ref)
			i, err := strconv.Atoi(g[2])
			if err != nil {
				return nil, err
			}
			out = append(out, part{tag: g[1], index: i})
		default:
			return nil, fmt.Errorf("placeholder ${%s} is not modelled", ref)
		}
		at = m[1]
	}
	if at < len(text) {
		out = append(out, part{literal: text[at:]})
	}
	return out, nil
}

func parseBool(v string) (bool, error) {
	switch v {
	case "true", "yes", "":
		return true, nil
	case "false", "no":
		return false, nil
	}
	return false, fmt.Errorf("%q is no boolean (true, false, yes, no)", v)
}

func parsePort(v string) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > 65535 {
		return 0, fmt.Errorf("%q is no port", v)
	}
	return n, nil
}

// parseSize reads a size as Fluentd does: k, m, g and t are powers of 1024.
func parseSize(v string) (int64, error) {
	digits := strings.TrimRight(v, "kKmMgGtT")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || len(v)-len(digits) > 1 || n < 0 {
		return 0, fmt.Errorf("%q is no size, such as 8m", v)
	}
	shift := 0
	if len(digits) < len(v) {
		shift = 10 * (1 + strings.IndexByte("kmgt", v[len(v)-1]|0x20))
	}
	if n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("size %q is too large", v)
	}
	return n << shift, nil
}

// parseTime reads a duration as Fluentd does: a whole number with s, m, h or d, or a number of seconds. What Fluentd
// would misread silently (100ms are 100 minutes there) is an error here.
func parseTime(v string) (time.Duration, error) {
	const unitErr = "%q is no time, such as 30s, 5m or 0.5"
	if v == "" {
		return 0, fmt.Errorf(unitErr, v)
	}
	unit := time.Duration(0)
	switch v[len(v)-1] {
	case 's':
		unit = time.Second
	case 'm':
		unit = time.Minute
	case 'h':
		unit = time.Hour
	case 'd':
		unit = 24 * time.Hour
	}
	if unit != 0 {
		n, err := strconv.ParseUint(v[:len(v)-1], 10, 31)
		if err != nil || n > uint64(math.MaxInt64/int64(unit)) {
			return 0, fmt.Errorf(unitErr, v)
		}
		return time.Duration(n) * unit, nil
	}
	s, err := strconv.ParseFloat(v, 64)
	if err != nil || !(s >= 0 && s < 1e9) {
		return 0, fmt.Errorf(unitErr, v)
	}
	return time.Duration(s * float64(time.Second)), nil
}

func parseFloat(v string) (float64, error) {
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, fmt.Errorf("%q is no number", v)
	}
	return f, nil
}

func parsePositive(v string) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is no number above 0", v)
	}
	return n, nil
}

func oneOf(values ...string) func(string) (string, error) {
	return func(v string) (string, error) {
		if slices.Contains(values, v) {
			return v, nil
		}
		return "", fmt.Errorf("%q is none of %s", v, strings.Join(values, ", "))
	}
}

var errNoTag = errors.New("a match needs a tag")
