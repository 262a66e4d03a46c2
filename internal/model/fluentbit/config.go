package fluentbit

import "time"

// Config is what the model takes from a configuration. Defaults are those of Fluent Bit 5.0.7, read from its source.
type Config struct {
	File string // name used in messages

	Flush       time.Duration // chunks are handed to the output so often
	Grace       time.Duration // at a graceful stop, time for chunks that are on their way
	HTTP        bool
	HTTPListen  string
	HTTPPort    int
	Health      Health
	StoragePath string // directory of chunk files; needed for filesystem storage

	StorageMetrics bool
	MaxChunksUp    int   // chunks in memory, and so under way, at once
	BacklogLimit   int64 // bytes of chunks of an earlier run that are under way at once
	SchedulerBase  int   // seconds; a retry waits base to min(cap, base*2^n), plus one
	SchedulerCap   int

	Inputs     []Tail
	Collectors []Collector
	Filters    []Modifier
	Outputs    []Forward // the first whose match fits a tag takes it
}

// Health is the health check of the service section: more than so many failures within the period are bad.
type Health struct {
	On            bool
	Errors        int
	RetryFailures int
	Period        time.Duration
}

// Tail is an input of type tail.
type Tail struct {
	Name    string // alias, or tail.<n>; label of its metrics
	Tag     string // a star stands for the path of the file, with dots for slashes
	Paths   []string
	Exclude []string

	Key       string // of the line in a record
	PathKey   string // of the path, empty for none
	OffsetKey string
	CRI       bool // multiline.parser has cri

	DB              string // offset database, empty for none
	CompareFilename bool   // a row must fit by name too, not only by inode
	FromHead        bool   // files found at start without a row are read from the first byte
	NewFromHead     bool   // and files found later

	Refresh    time.Duration // look for new files
	RotateWait time.Duration // read a rotated file on for so long
	BufferSize int           // bytes per read
	BufferMax  int           // bytes of the longest line
	SkipLong   bool          // skip a longer one, instead of giving the file up
	SkipEmpty  bool

	Storage
}

// Collector is an input of type cpu or mem: a record of figures of the node, not of its files, at every interval.
type Collector struct {
	Name     string // alias, or <kind>.<n>; label of its metrics
	Kind     string // cpu or mem
	Tag      string
	Interval time.Duration

	Storage
}

// Storage is where the chunks of an input are, and what pauses it.
type Storage struct {
	Filesystem    bool  // storage.type filesystem; otherwise memory
	MemLimit      int64 // mem_buf_limit: with memory storage, reading pauses at it; 0 means none
	PauseOnChunks bool  // storage.pause_on_chunks_overlimit
}

// Modifier is a filter of type record_modifier.
type Modifier struct {
	Name   string
	Match  string
	Set    [][2]string // appended as strings
	Remove []string
	Allow  []string // when not empty, all other keys are removed
}

// Forward is an output of type forward.
type Forward struct {
	Name       string
	Match      string // glob; empty for none
	MatchRegex string // fits from the beginning of a tag; empty for none
	Host       string
	Port       int
	RequireAck bool
	Gzip       bool
	RetryLimit int   // retries of a chunk; Unlimited or 0 for none at all
	TotalLimit int64 // bytes of chunks on disk for this output, 0 for no limit

	ConnectTimeout time.Duration
	IOTimeout      time.Duration // 0 means none
	Keepalive      bool
	KeepaliveIdle  time.Duration
	MaxRecycle     int

	SharedKey, SelfHostname, Username, Password string
}

// Unlimited is the RetryLimit that never gives up.
const Unlimited = -1
