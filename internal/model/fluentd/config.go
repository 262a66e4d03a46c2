package fluentd

import (
	"time"
)

// Config is what the model takes from a configuration. Defaults are those of Fluentd 1.19, fluent-plugin-kafka 0.19 and
// fluent-plugin-prometheus 2.2, read from their sources.
type Config struct {
	File    string // name used in messages
	RootDir string // system.root_dir: where chunks are put aside; empty means /tmp/fluent

	Forward       []ForwardSource
	Metrics       *MetricsSource
	OutputMonitor *Monitor
	Monitor       *Monitor
	Filters       []Filter
	Outputs       []Output
}

// ForwardSource is a source of type forward.
type ForwardSource struct {
	ID           string
	Bind         string
	Port         int
	SharedKey    string // security.shared_key
	SelfHostname string
}

// MetricsSource is a source of type prometheus.
type MetricsSource struct {
	Bind string
	Port int
	Path string
}

// Monitor is a source of type prometheus_monitor or prometheus_output_monitor.
type Monitor struct {
	Interval time.Duration // between two copies of the values; the resolution of everything scraped
	Counters bool          // gauge_all off: growing values are counters
}

// Filter is a filter of type record_transformer: fields set from templates with ${record["key"]}, ${tag} and the like.
type Filter struct {
	ID     string
	Tag    Pattern
	Fields []Field
}

// Field is one field that a filter sets.
type Field struct {
	Key      string
	Template []part
}

// part is a literal, or a reference to a field of the record or to something of the tag.
type part struct {
	literal string
	record  string // key of the record
	tag     string // "tag", "tag_parts[n]", "tag_prefix[n]", "tag_suffix[n]"
	index   int
}

// Output is a match of type rdkafka2 or kafka2.
type Output struct {
	ID     string
	Plugin string // rdkafka2 or kafka2
	Tag    Pattern

	Brokers        []string
	TLS            bool
	CAFile         string
	ClientCertFile string
	ClientKeyFile  string
	VerifyHostname bool
	Username       string
	Password       string
	Mechanism      string // PLAIN, SCRAM-SHA-256, SCRAM-SHA-512; empty without username

	Topic             string // fixed topic; empty means TopicKey, then DefaultTopic, then the tag
	TopicKey          string
	DefaultTopic      string
	ExcludeTopicKey   bool
	MessageKey        string // field of the record that becomes the Kafka key
	DefaultMessageKey string
	ExcludeMessageKey bool

	Acks            int // -1, 0, 1
	Idempotent      bool
	Compression     string        // "", none, gzip, snappy, lz4, zstd
	Linger          time.Duration // queue.buffering.max.ms
	Retries         int           // message.send.max.retries
	RequestTimeout  time.Duration // request.timeout.ms
	DeliveryTimeout time.Duration // message.timeout.ms: the client gives a record up
	PollTimeout     time.Duration // rdkafka_delivery_handle_poll_timeout: the plugin gives the chunk up; 0 does not wait at all
	MaxMessageBytes int           // message.max.bytes: a larger record is refused before it is sent
	TooLargeIsFatal bool          // msg_size_too_large is among unrecoverable_error_codes
	Partitioner     string        // murmur2 or crc32

	Inject Inject
	Buffer Buffer
}

// Inject is the section that adds fields to every record.
type Inject struct {
	TimeKey    string
	TimeType   string // float, unixtime, unixtime_millis, unixtime_micros, unixtime_nanos, string
	TimeFormat timeFormat
	UTC        bool
	TagKey     string
	HostKey    string
}

// Buffer is the section buffer of an output.
type Buffer struct {
	File  bool   // type file; otherwise memory
	Path  string // directory, or a path with .*. in its base name
	ByTag bool   // chunk key tag: a chunk holds one tag

	ChunkLimit        int64
	ChunkLimitRecords int // 0 means none
	FullThreshold     float64
	TotalLimit        int64

	FlushMode           string // interval, immediate, lazy
	FlushInterval       time.Duration
	FlushThreads        int
	FlushThreadInterval time.Duration
	FlushBurstInterval  time.Duration
	FlushAtShutdown     bool
	QueuedChunks        int // enqueueing by time stops at so many queued chunks
	Overflow            string
	SlowFlush           time.Duration // slow_flush_log_threshold of the output
	NoBackup            bool

	Retry Retry
}

// Retry says when a failed chunk is tried again.
type Retry struct {
	Periodic    bool
	Wait        time.Duration
	Base        float64
	MaxInterval time.Duration // 0 means none
	Randomize   bool
	Timeout     time.Duration
	MaxTimes    int // 0 means none
	Forever     bool
}
