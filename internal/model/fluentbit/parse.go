package fluentbit

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"triad/internal/model"
	"triad/internal/model/conf"
)

// Parse reads a configuration in the YAML format of Fluent Bit. env answers ${X} and ${X:-default}; what it does not
// have is empty, as in the real program. What the model does not honour is listed, with its line. Errors are joined and
// carry file and line.
func Parse(config []byte, file string, env map[string]string) (Config, []model.NotModelled, error) {
	vars := map[string]string{}
	maps.Copy(vars, env)
	f := &conf.File{Name: file, Fold: true, Resolve: func(n *yaml.Node) (string, error) { return expand(n.Value, vars), nil }}
	root, err := f.Parse(config)
	if err != nil {
		return Config{}, nil, err
	}
	for _, kv := range root.Pairs("env") {
		vars[kv[0]] = kv[1] // the section wins over the surroundings
	}
	c := Config{File: file}
	c.service(root.Section("service"))
	pipe := root.Section("pipeline")
	if pipe == nil {
		root.Errorf("", "no section pipeline")
		return c, f.Notes(), f.Err()
	}
	for _, s := range pipe.Sections("inputs") {
		c.input(s)
	}
	for _, s := range pipe.Sections("filters") {
		c.filter(s)
	}
	for _, s := range pipe.Sections("outputs") {
		c.output(s)
	}
	pipe.Rest(nil)
	root.Rest(nil)
	if len(c.Inputs)+len(c.Collectors) == 0 {
		pipe.Errorf("", "no input that the model can run")
	}
	if len(c.Outputs) == 0 {
		pipe.Errorf("", "no output of type forward")
	}
	c.together(pipe)
	return c, f.Notes(), f.Err()
}

// together judges what inputs and outputs must have together. The real program drops what no output takes, counted in
// fluentbit_routing_logs_drop_records_total alone, and gives what two take to both, which the model does not.
func (c *Config) together(pipe *conf.Section) {
	names := map[string]bool{}
	check := func(name, tag string, filesystem bool) {
		if names[name] {
			pipe.Errorf("inputs", "two inputs have the alias %s", name)
		}
		names[name] = true
		if filesystem && c.StoragePath == "" {
			pipe.Errorf("inputs", "%s: filesystem storage needs service.storage.path", name)
		}
		var takes []string
		for _, o := range c.Outputs {
			if o.matcher()(tag) {
				takes = append(takes, o.Name)
			}
		}
		switch {
		case len(c.Outputs) > 0 && len(takes) == 0:
			pipe.Errorf("outputs", "no output matches the tag %s of the input %s: its records would be dropped", tag, name)
		case len(takes) > 1:
			pipe.NotModelled("outputs", fmt.Sprintf("only %s gets the records of %s, which %s match", takes[0], name, strings.Join(takes, " and ")))
		}
	}
	for _, in := range c.Inputs {
		check(in.Name, in.Tag, in.Filesystem)
	}
	for _, in := range c.Collectors {
		check(in.Name, in.Tag, in.Filesystem)
	}
	outs := map[string]bool{}
	for _, o := range c.Outputs {
		if outs[o.Name] {
			pipe.Errorf("outputs", "two outputs have the alias %s", o.Name)
		}
		outs[o.Name] = true
	}
}

var varRef = regexp.MustCompile(`\$\{([^}]*)\}`)

func expand(text string, vars map[string]string) string {
	return varRef.ReplaceAllStringFunc(text, func(m string) string {
		name, def, _ := strings.Cut(m[2:len(m)-1], ":-")
		if v := vars[name]; v != "" {
			return v
		}
		return def
	})
}

func (c *Config) service(s *conf.Section) {
	c.Flush = conf.Value(s, "flush", time.Second, parseSeconds)
	if c.Flush < time.Millisecond {
		s.Errorf("flush", "want at least 0.001")
		c.Flush = time.Second
	}
	c.Grace = conf.Value(s, "grace", 5*time.Second, parseTime)
	c.HTTP = conf.Value(s, "http_server", false, parseBool)
	c.HTTPListen = s.String("http_listen", "0.0.0.0")
	c.HTTPPort = conf.Value(s, "http_port", 2020, parsePort)
	c.Health = Health{
		On:            conf.Value(s, "health_check", false, parseBool),
		Errors:        conf.Value(s, "hc_errors_count", 5, parseCount),
		RetryFailures: conf.Value(s, "hc_retry_failure_count", 5, parseCount),
		Period:        conf.Value(s, "hc_period", time.Minute, parseTime),
	}
	c.StoragePath = s.String("storage.path", "")
	c.StorageMetrics = conf.Value(s, "storage.metrics", false, parseBool)
	c.MaxChunksUp = conf.Value(s, "storage.max_chunks_up", 128, parsePositive)
	c.BacklogLimit = conf.Value(s, "storage.backlog.mem_limit", 100e6, parseSize)
	c.SchedulerBase = conf.Value(s, "scheduler.base", 5, parsePositive)
	c.SchedulerCap = conf.Value(s, "scheduler.cap", 2000, parsePositive)
	if c.SchedulerCap < c.SchedulerBase {
		s.Errorf("scheduler.cap", "below scheduler.base")
	}
	if conf.Value(s, "storage.checksum", false, parseBool) {
		s.NotModelled("storage.checksum", "chunks have no checksum, so a kill does not spoil them here")
	}
	if v := s.String("storage.sync", "normal"); v != "normal" {
		s.NotModelled("storage.sync", "chunks are not synced to the disk")
	}
	for _, k := range []string{"daemon", "hot_reload"} {
		if conf.Value(s, k, false, parseBool) {
			s.NotModelled(k, "the model does not do it")
		}
	}
	if s != nil {
		s.Skip("log_level")
	}
	s.Rest(nil)
}

func (c *Config) input(s *conf.Section) {
	kind := s.String("name", "")
	instance := fmt.Sprintf("%s.%d", kind, len(c.Inputs)+len(c.Collectors))
	switch kind {
	case "tail":
	case "cpu", "mem":
		c.collector(s, kind, instance)
		return
	default:
		s.NotModelled("name", "this kind of input is not modelled, so the input is absent")
		s.Rest(func(string) string { return "the input is absent" })
		return
	}
	in := Tail{
		Name:    s.String("alias", instance),
		Tag:     s.String("tag", instance),
		Paths:   splitList(s.Strings("path")),
		Exclude: splitList(s.Strings("exclude_path")),

		Key:       s.String("key", "log"),
		PathKey:   s.String("path_key", ""),
		OffsetKey: s.String("offset_key", ""),

		DB:              s.String("db", ""),
		CompareFilename: conf.Value(s, "db.compare_filename", false, parseBool),
		FromHead:        conf.Value(s, "read_from_head", false, parseBool),
		NewFromHead:     conf.Value(s, "read_newly_discovered_files_from_head", true, parseBool),

		Refresh:    conf.Value(s, "refresh_interval", time.Minute, parseSeconds),
		RotateWait: conf.Value(s, "rotate_wait", 5*time.Second, parseTime),
		BufferSize: conf.Value(s, "buffer_chunk_size", 32*1024, parseBuffer),
		SkipLong:   conf.Value(s, "skip_long_lines", false, parseBool),
		SkipEmpty:  conf.Value(s, "skip_empty_lines", false, parseBool),

		Storage: parseStorage(s),
	}
	in.BufferMax = max(conf.Value(s, "buffer_max_size", 32*1024, parseBuffer), in.BufferSize)
	for _, p := range splitList(s.Strings("multiline.parser")) {
		if p == "cri" {
			in.CRI = true
			continue
		}
		s.NotModelled("multiline.parser", fmt.Sprintf("lines are not joined by %q", p))
	}
	if len(in.Paths) == 0 {
		s.Errorf("path", "an input of type tail needs a path")
	}
	if in.Refresh <= 0 {
		s.Errorf("refresh_interval", "want more than 0")
	}
	if in.RotateWait <= 0 {
		s.Errorf("rotate_wait", "want more than 0")
	}
	if strings.Count(in.Tag, "*") > 1 {
		s.Errorf("tag", "more than one star")
	}
	if v := s.String("db.sync", "normal"); v != "normal" {
		s.NotModelled("db.sync", "the database is not synced to the disk")
	}
	s.Skip("db.locking", "db.journal_mode", "inotify_watcher", "file_cache_advise", "log_level", "watcher_interval", "static_batch_size", "event_batch_size")
	s.Rest(nil)
	c.Inputs = append(c.Inputs, in)
}

// collector reads an input of type cpu or mem. Both may follow one process instead of the node, which the model does not.
func (c *Config) collector(s *conf.Section, kind, instance string) {
	in := Collector{Name: s.String("alias", instance), Kind: kind, Tag: s.String("tag", instance), Storage: parseStorage(s)}
	sec, nsec := conf.Value(s, "interval_sec", 1, parseCount), conf.Value(s, "interval_nsec", 0, parseCount)
	if sec == 0 && (kind == "mem" || nsec == 0) {
		sec = 1 // as the real program overrides it, which for mem is also where nanoseconds are given
	}
	in.Interval = time.Duration(sec)*time.Second + time.Duration(nsec)
	if v := s.String("pid", ""); v != "" {
		s.NotModelled("pid", "the figures are the node's, not those of a process")
	}
	s.Skip("log_level")
	s.Rest(nil)
	c.Collectors = append(c.Collectors, in)
}

func parseStorage(s *conf.Section) Storage {
	st := Storage{MemLimit: conf.Value(s, "mem_buf_limit", 0, parseSize), PauseOnChunks: conf.Value(s, "storage.pause_on_chunks_overlimit", false, parseBool)}
	switch typ := s.String("storage.type", "memory"); typ {
	case "filesystem":
		st.Filesystem = true
	case "memory":
	default:
		s.NotModelled("storage.type", "memory storage is used instead, which pauses where memrb drops")
	}
	if conf.Value(s, "threaded", false, parseBool) {
		s.NotModelled("threaded", "each input has a thread of its own here anyway")
	}
	return st
}

func (c *Config) filter(s *conf.Section) {
	if name := s.String("name", ""); name != "record_modifier" {
		s.NotModelled("name", "this kind of filter is not modelled, so the filter is absent")
		s.Rest(func(string) string { return "the filter is absent" })
		return
	}
	m := Modifier{
		Name:   s.String("alias", fmt.Sprintf("record_modifier.%d", len(c.Filters))),
		Match:  s.String("match", ""),
		Remove: s.Strings("remove_key"),
		Allow:  append(s.Strings("allowlist_key"), s.Strings("whitelist_key")...),
	}
	for _, r := range s.Strings("record") {
		k, v, ok := strings.Cut(strings.TrimSpace(r), " ")
		if !ok {
			s.Errorf("record", "%q is no key and value", r)
			continue
		}
		m.Set = append(m.Set, [2]string{k, strings.TrimSpace(v)})
	}
	if m.Match == "" {
		s.Errorf("match", "a filter needs a match")
	}
	s.Rest(nil)
	c.Filters = append(c.Filters, m)
}

func (c *Config) output(s *conf.Section) {
	if name := s.String("name", ""); name != "forward" {
		s.NotModelled("name", "this kind of output is not modelled, so the output is absent")
		s.Rest(func(string) string { return "the output is absent" })
		return
	}
	o := Forward{
		Name:       s.String("alias", fmt.Sprintf("forward.%d", len(c.Outputs))),
		Match:      s.String("match", ""),
		MatchRegex: conf.Value(s, "match_regex", "", parseRegex),
		Host:       s.String("host", "127.0.0.1"),
		Port:       conf.Value(s, "port", 24224, parsePort),
		RequireAck: conf.Value(s, "require_ack_response", false, parseBool),
		Gzip:       conf.Value(s, "compress", "", parseCompress) == "gzip",
		RetryLimit: conf.Value(s, "retry_limit", 1, parseRetryLimit),
		TotalLimit: conf.Value(s, "storage.total_limit_size", 0, parseLimit),

		ConnectTimeout: conf.Value(s, "net.connect_timeout", 10*time.Second, parseTime),
		IOTimeout:      conf.Value(s, "net.io_timeout", 0, parseTime),
		Keepalive:      conf.Value(s, "net.keepalive", true, parseBool),
		KeepaliveIdle:  conf.Value(s, "net.keepalive_idle_timeout", 30*time.Second, parseTime),
		MaxRecycle:     conf.Value(s, "net.keepalive_max_recycle", 2000, parseCount),

		SharedKey:    s.String("shared_key", ""),
		SelfHostname: s.String("self_hostname", "localhost"),
		Username:     s.String("username", ""),
		Password:     s.String("password", ""),
	}
	if o.Match == "" && o.MatchRegex == "" {
		s.Errorf("match", "an output needs a match")
	}
	if o.Host == "" {
		s.Errorf("host", "the host is empty")
	}
	if conf.Value(s, "retain_metadata_in_forward_mode", true, parseBool) {
		s.NotModelled("retain_metadata_in_forward_mode", "records are sent without metadata; Fluentd before 1.19 drops records that have it")
	}
	if conf.Value(s, "tls", false, parseBool) {
		s.NotModelled("tls", "the connection is not encrypted")
	}
	if conf.Value(s, "time_as_integer", false, parseBool) {
		s.NotModelled("time_as_integer", "times keep their nanoseconds")
	}
	s.Skip("workers", "send_options", "log_level", "net.tcp_keepalive", "net.tcp_keepalive_time", "net.tcp_keepalive_interval", "net.tcp_keepalive_probes", "net.dns.mode", "net.dns.resolver", "net.dns.prefer_ipv4")
	s.Rest(nil)
	c.Outputs = append(c.Outputs, o)
}

// parseRegex reads a regular expression on tags. What the real program's engine has beyond Go's (such as looking ahead) is an error.
func parseRegex(v string) (string, error) {
	if _, err := tagRegex(v); err != nil {
		return "", fmt.Errorf("regular expression that the model has not: %w", err)
	}
	return v, nil
}

// tagRegex compiles an expression as it is held against tags: from their beginning, and not necessarily to their end.
func tagRegex(expr string) (*regexp.Regexp, error) { return regexp.Compile(`\A(?:` + expr + `)`) }

// matcher says which tags the output takes: those that fit its glob or its expression.
func (o Forward) matcher() func(tag string) bool {
	re, err := tagRegex(o.MatchRegex)
	return func(tag string) bool {
		return o.MatchRegex != "" && err == nil && re.FindString(tag) != "" || o.Match != "" && match(o.Match, tag)
	}
}

func splitList(in []string) []string {
	var out []string
	for _, v := range in {
		for p := range strings.SplitSeq(v, ",") {
			if p = strings.TrimSpace(p); p != "" {
				out = append(out, p)
			}
		}
	}
	return out
}

func parseBool(v string) (bool, error) {
	switch strings.ToLower(v) {
	case "true", "on", "yes":
		return true, nil
	case "false", "off", "no":
		return false, nil
	}
	return false, fmt.Errorf("%q is no boolean (on, off, true, false)", v)
}

func parsePort(v string) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > 65535 {
		return 0, fmt.Errorf("%q is no port", v)
	}
	return n, nil
}

func parseCount(v string) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no number from 0", v)
	}
	return n, nil
}

func parsePositive(v string) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > math.MaxInt32 {
		return 0, fmt.Errorf("%q is no number above 0", v)
	}
	return n, nil
}

// parseSize reads a size as Fluent Bit does: K, M and G are powers of 1000.
func parseSize(v string) (int64, error) {
	digits := strings.TrimRight(v, "kKmMgGbB")
	n, err := strconv.ParseFloat(digits, 64)
	unit := 1.0
	switch strings.ToUpper(v[len(digits):]) {
	case "":
	case "K", "KB":
		unit = 1e3
	case "M", "MB":
		unit = 1e6
	case "G", "GB":
		unit = 1e9
	default:
		err = strconv.ErrSyntax
	}
	if err != nil || !(n >= 0 && n*unit < math.MaxInt64/2) {
		return 0, fmt.Errorf("%q is no size, such as 50M", v)
	}
	return int64(n * unit), nil
}

// parseBuffer is a size that is held in memory for each file.
func parseBuffer(v string) (int, error) {
	n, err := parseSize(v)
	if err != nil {
		return 0, err
	}
	const most = 1 << 30
	if n < 16 || n > most {
		return 0, fmt.Errorf("size %q is not between 16 and 1 GiB", v)
	}
	return int(n), nil
}

// parseLimit is a size, or off for none.
func parseLimit(v string) (int64, error) {
	if on, err := parseBool(v); err == nil && !on {
		return 0, nil
	}
	return parseSize(v)
}

func parseRetryLimit(v string) (int, error) {
	switch strings.ToLower(v) {
	case "no_limits", "false", "off":
		return Unlimited, nil
	case "no_retries":
		return 0, nil
	}
	return parsePositive(v)
}

func parseCompress(v string) (string, error) {
	if v != "" && v != "gzip" && v != "text" {
		return "", fmt.Errorf("compression %q is not modelled", v)
	}
	return v, nil
}

// parseTime reads whole seconds, or a number with s, m, h or d.
func parseTime(v string) (time.Duration, error) {
	unit, digits := time.Second, v
	if v != "" {
		switch v[len(v)-1] | 0x20 {
		case 's':
			digits = v[:len(v)-1]
		case 'm':
			unit, digits = time.Minute, v[:len(v)-1]
		case 'h':
			unit, digits = time.Hour, v[:len(v)-1]
		case 'd':
			unit, digits = 24*time.Hour, v[:len(v)-1]
		}
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || n > uint64(math.MaxInt64/int64(unit)) {
		return 0, fmt.Errorf("%q is no time, such as 30 or 5m", v)
	}
	return time.Duration(n) * unit, nil
}

// parseSeconds reads seconds with decimals.
func parseSeconds(v string) (time.Duration, error) {
	s, err := strconv.ParseFloat(v, 64)
	if err != nil || !(s >= 0 && s < 1e9) {
		return 0, fmt.Errorf("%q is no number of seconds", v)
	}
	return time.Duration(s * float64(time.Second)), nil
}

// match says whether a tag fits the pattern of a filter or output: a star stands for any text, dots included.
func match(pattern, tag string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == tag
	}
	if !strings.HasPrefix(tag, head) {
		return false
	}
	tag = tag[len(head):]
	for {
		next, more, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(tag, next)
		}
		i := strings.Index(tag, next)
		if i < 0 {
			return false
		}
		tag, rest = tag[i+len(next):], more
	}
}
