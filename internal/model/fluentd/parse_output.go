package fluentd

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"triad/internal/model/conf"
)

func (c *Config) match(s *conf.Section) {
	typ := s.String("$type", "")
	if typ != "rdkafka2" && typ != "kafka2" {
		s.NotModelled("$type", "this kind of output is not modelled; what its tag takes goes on to later matches")
		s.Rest(func(string) string { return "the output is absent" })
		return
	}
	o := Output{
		Plugin: typ,
		Tag:    conf.Value(s, "$tag", Pattern{}, ParsePattern),
		ID:     s.String("$id", fmt.Sprintf("object:%d", s.Line())),

		Brokers:        splitList(s.Strings("brokers")),
		CAFile:         strings.Join(s.Strings("ssl_ca_cert"), ","),
		ClientCertFile: s.String("ssl_client_cert", ""),
		ClientKeyFile:  s.String("ssl_client_cert_key", ""),
		VerifyHostname: conf.Value(s, "ssl_verify_hostname", true, parseBool),
		Username:       s.String("username", ""),
		Password:       s.String("password", ""),

		Topic:             s.String("topic", ""),
		TopicKey:          s.String("topic_key", "topic"),
		DefaultTopic:      s.String("default_topic", ""),
		ExcludeTopicKey:   conf.Value(s, "exclude_topic_key", false, parseBool),
		MessageKey:        s.String("message_key_key", "message_key"),
		DefaultMessageKey: s.String("default_message_key", ""),
		ExcludeMessageKey: conf.Value(s, "exclude_message_key", false, parseBool),

		Acks:        conf.Value(s, "required_acks", -1, parseAcks),
		Idempotent:  conf.Value(s, "idempotent", false, parseBool),
		Compression: s.String("compression_codec", ""),
		Retries:     conf.Value(s, "max_send_retries", 2, parseCount),
	}
	if o.Tag.res == nil {
		s.Errorf("$tag", "%v", errNoTag)
	}
	if len(o.Brokers) == 0 {
		s.Errorf("brokers", "no broker")
	}
	if strings.Contains(o.Topic, "${") {
		s.Errorf("topic", "placeholders in the topic are not modelled")
	}
	if o.Idempotent && o.Acks != -1 {
		s.Errorf("idempotent", "needs required_acks -1")
	}
	if typ == "rdkafka2" {
		o.rdkafka(s)
	} else {
		o.rubyKafka(s)
	}
	o.format(s.Section("format"))
	o.inject(s.Section("inject"))
	o.Buffer = readBuffer(s, s.Section("buffer"), c.RootDir, o.ID)
	o.Buffer.SlowFlush = conf.Value(s, "slow_flush_log_threshold", 20*time.Second, parseTime)
	s.NotModelled("secondary", "a secondary output is not modelled: what it would take is dropped when retries end")
	s.Skip("client_id", "share_producer", "get_kafka_client_log")
	s.Rest(nil)
	c.Outputs = append(c.Outputs, o)
}

// rdkafka reads what only rdkafka2 has. The defaults after the options are those of librdkafka.
func (o *Output) rdkafka(s *conf.Section) {
	o.TLS = o.CAFile != ""
	o.Linger = conf.Value(s, "rdkafka_buffering_max_ms", 5*time.Millisecond, parseMillis)
	o.RequestTimeout = conf.Value(s, "ack_timeout", 30*time.Second, parseTime)
	o.MaxMessageBytes = conf.Value(s, "rdkafka_message_max_bytes", 1000000, parsePositive)
	o.PollTimeout = conf.Value(s, "rdkafka_delivery_handle_poll_timeout", 30*time.Second, parseTime)
	codes := splitList(s.Strings("unrecoverable_error_codes"))
	if codes == nil {
		codes = []string{"topic_authorization_failed", "msg_size_too_large"}
	}
	o.TooLargeIsFatal = slices.Contains(codes, "msg_size_too_large")
	o.DeliveryTimeout = 5 * time.Minute
	o.Partitioner = "crc32"
	mechanism, security := "", ""
	if o.Username != "" && o.Password != "" {
		mechanism = "PLAIN"
	}
	opts := s.Section("rdkafka_options")
	mechanism = cmp.Or(opts.String("sasl.mechanisms", ""), opts.String("sasl.mechanism", ""), mechanism)
	security = opts.String("security.protocol", "")
	o.DeliveryTimeout = conf.Value(opts, "message.timeout.ms", conf.Value(opts, "delivery.timeout.ms", o.DeliveryTimeout, parseMillis), parseMillis)
	o.RequestTimeout = conf.Value(opts, "request.timeout.ms", o.RequestTimeout, parseMillis)
	o.Linger = conf.Value(opts, "queue.buffering.max.ms", conf.Value(opts, "linger.ms", o.Linger, parseMillis), parseMillis)
	o.MaxMessageBytes = conf.Value(opts, "message.max.bytes", o.MaxMessageBytes, parsePositive)
	o.Retries = conf.Value(opts, "message.send.max.retries", conf.Value(opts, "retries", o.Retries, parseCount), parseCount)
	o.Idempotent = conf.Value(opts, "enable.idempotence", o.Idempotent, parseBool)
	o.Compression = opts.String("compression.codec", opts.String("compression.type", o.Compression))
	switch p := opts.String("partitioner", "consistent_random"); p {
	case "murmur2", "murmur2_random":
		o.Partitioner = "murmur2"
	case "consistent", "consistent_random":
	default:
		opts.NotModelled("partitioner", "keys are spread by CRC32 instead")
	}
	opts.Skip("socket.keepalive.enable", "reconnect.backoff.max.ms", "reconnect.backoff.ms")
	opts.Rest(func(string) string { return "an option of librdkafka that the model's client does not have" })
	switch security {
	case "":
	case "PLAINTEXT", "SASL_PLAINTEXT":
		o.TLS = false
	case "SSL", "SASL_SSL":
		o.TLS = true
	default:
		opts.Errorf("security.protocol", "unknown protocol %q", security)
	}
	if strings.HasPrefix(security, "SASL") || security == "" {
		o.Mechanism = mechanism
	}
	o.checkMechanism(s)
}

// rubyKafka reads what only kafka2 has. The defaults are those of ruby-kafka as the plugin starts it.
func (o *Output) rubyKafka(s *conf.Section) {
	system := conf.Value(s, "ssl_ca_certs_from_system", false, parseBool)
	o.TLS = o.CAFile != "" || system
	if o.Username != "" && o.Password != "" {
		o.Mechanism = map[string]string{"": "PLAIN", "sha256": "SCRAM-SHA-256", "sha512": "SCRAM-SHA-512"}[s.String("scram_mechanism", "")]
		if o.Mechanism == "" {
			s.Errorf("scram_mechanism", "want sha256 or sha512")
		}
	}
	o.RequestTimeout = conf.Value(s, "ack_timeout", 5*time.Second, parseTime)
	// The producer tries max_send_retries+1 times with one second between and then fails the chunk.
	o.DeliveryTimeout = time.Duration(min(o.Retries, 1<<20)+1) * (o.RequestTimeout + time.Second)
	o.PollTimeout = o.DeliveryTimeout + 5*time.Second
	o.MaxMessageBytes = 1 << 30
	o.Partitioner = conf.Value(s, "partitioner_hash_function", "crc32", oneOf("crc32", "murmur2"))
	o.checkMechanism(s)
}

func (o *Output) checkMechanism(s *conf.Section) {
	switch o.Mechanism {
	case "", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
	default:
		s.Errorf("rdkafka_options", "SASL mechanism %q is not modelled", o.Mechanism)
	}
	if o.Acks == 0 {
		o.Idempotent = false
	}
	switch o.Compression {
	case "", "none", "gzip", "snappy", "lz4", "zstd":
	default:
		s.Errorf("compression_codec", "unknown codec %q", o.Compression)
	}
}

func (o *Output) format(s *conf.Section) {
	if typ := s.String("$type", "json"); typ != "json" {
		s.NotModelled("$type", "records are written as JSON instead")
	}
	s.Rest(nil)
}

func (o *Output) inject(s *conf.Section) {
	o.Inject = Inject{
		TimeKey:  s.String("time_key", ""),
		TimeType: conf.Value(s, "time_type", "float", oneOf("float", "unixtime", "unixtime_millis", "unixtime_micros", "unixtime_nanos", "string")),
		UTC:      conf.Value(s, "utc", false, parseBool),
		TagKey:   s.String("tag_key", ""),
		HostKey:  s.String("hostname_key", ""),
	}
	o.Inject.TimeFormat = conf.Value(s, "time_format", defaultTimeFormat(), parseTimeFormat)
	if !conf.Value(s, "localtime", true, parseBool) {
		o.Inject.UTC = true
	}
	s.Rest(nil)
}

func readBuffer(match, s *conf.Section, rootDir, id string) Buffer {
	memory := conf.Value(s, "$type", "memory", oneOf("memory", "file")) == "memory"
	b := Buffer{
		File: !memory, Path: s.String("path", ""),
		ChunkLimit: 256 << 20, TotalLimit: 64 << 30, // defaults of the file buffer
		FullThreshold: conf.Value(s, "chunk_full_threshold", 0.95, parseFloat),
		FlushMode:     conf.Value(s, "flush_mode", "default", oneOf("default", "lazy", "interval", "immediate")),
		FlushInterval: conf.Value(s, "flush_interval", time.Minute, parseTime),
		FlushThreads:  conf.Value(s, "flush_thread_count", 1, parsePositive),

		FlushThreadInterval: conf.Value(s, "flush_thread_interval", time.Second, parseTime),
		FlushBurstInterval:  conf.Value(s, "flush_thread_burst_interval", time.Second, parseTime),
		FlushAtShutdown:     conf.Value(s, "flush_at_shutdown", memory, parseBool),
		Overflow:            conf.Value(s, "overflow_action", "throw_exception", oneOf("throw_exception", "block", "drop_oldest_chunk")),
		NoBackup:            conf.Value(s, "disable_chunk_backup", false, parseBool),
		Retry: Retry{
			Periodic:    conf.Value(s, "retry_type", "exponential_backoff", oneOf("exponential_backoff", "periodic")) == "periodic",
			Wait:        conf.Value(s, "retry_wait", time.Second, parseTime),
			Base:        conf.Value(s, "retry_exponential_backoff_base", 2, parseFloat),
			MaxInterval: conf.Value(s, "retry_max_interval", 0, parseTime),
			Randomize:   conf.Value(s, "retry_randomize", true, parseBool),
			Timeout:     conf.Value(s, "retry_timeout", 72*time.Hour, parseTime),
			MaxTimes:    conf.Value(s, "retry_max_times", 0, parsePositive),
			Forever:     conf.Value(s, "retry_forever", false, parseBool),
		},
	}
	if memory {
		b.ChunkLimit, b.TotalLimit = 8<<20, 512<<20
	}
	b.ChunkLimit = conf.Value(s, "chunk_limit_size", b.ChunkLimit, parseSize)
	b.TotalLimit = conf.Value(s, "total_limit_size", b.TotalLimit, parseSize)
	if n := conf.Value(s, "queue_limit_length", 0, parsePositive); n > 0 {
		b.TotalLimit = b.ChunkLimit * int64(n)
	}
	b.ChunkLimitRecords = conf.Value(s, "chunk_limit_records", 0, parsePositive)
	b.QueuedChunks = conf.Value(s, "queued_chunks_limit_size", b.FlushThreads, parsePositive)
	if b.FlushMode == "default" {
		b.FlushMode = "interval"
	}
	for _, k := range chunkKeys(s) {
		if k == "tag" {
			b.ByTag = true
			continue
		}
		s.NotModelled("$arg", fmt.Sprintf("chunks are not split by %q", k))
	}
	at := s
	if at == nil {
		at = match
	}
	if b.File && b.Path == "" {
		if rootDir == "" {
			at.Errorf("", "a file buffer needs a path, or a root_dir")
		}
		b.Path = filepath.Join(rootDir, "worker0", id, "buffer")
	}
	if b.ChunkLimit <= 0 || b.TotalLimit <= 0 {
		at.Errorf("", "buffer limits must be above 0")
	}
	if !(b.FullThreshold > 0 && b.FullThreshold <= 1) {
		at.Errorf("chunk_full_threshold", "want a ratio")
	}
	if b.Retry.Base <= 0 || b.Retry.Base > 1000 {
		at.Errorf("retry_exponential_backoff_base", "want 0 to 1000")
	}
	s.NotModelled("compress", "chunks are stored as they come, so sizes in the buffer are larger than real")
	s.NotModelled("timekey", "chunks are not split by time")
	s.Rest(nil)
	return b
}

// chunkKeys reads the argument of the section: a list, or text with commas, or "[]". Without it the plugins split by a
// field "topic", which records of a match with a fixed topic do not have: one chunk for all.
func chunkKeys(s *conf.Section) []string {
	args := s.Strings("$arg")
	if len(args) == 1 && strings.HasPrefix(args[0], "[") {
		args[0] = strings.NewReplacer("[", "", "]", "", `"`, "", "'", "").Replace(args[0])
	}
	return splitList(args)
}

func splitList(in []string) []string {
	if in == nil {
		return nil
	}
	out := []string{}
	for _, v := range in {
		for p := range strings.SplitSeq(v, ",") {
			if p = strings.TrimSpace(p); p != "" {
				out = append(out, p)
			}
		}
	}
	return out
}

func parseAcks(v string) (int, error) {
	switch v {
	case "-1", "all":
		return -1, nil
	case "0":
		return 0, nil
	case "1":
		return 1, nil
	}
	return 0, fmt.Errorf("%q is none of -1, 0, 1", v)
}

func parseCount(v string) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no number from 0", v)
	}
	return n, nil
}

func parseMillis(v string) (time.Duration, error) {
	n, err := strconv.ParseFloat(v, 64)
	if err != nil || !(n >= 0 && n < 1e12) {
		return 0, fmt.Errorf("%q is no number of milliseconds", v)
	}
	return time.Duration(n * float64(time.Millisecond)), nil
}
