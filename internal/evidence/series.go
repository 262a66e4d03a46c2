package evidence

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

// Names of the series that Triad itself writes. Series scraped from components keep the component's own metric names
// and get the labels cluster, component and instance.
const (
	// PulseSeries counts the records at an observation point in each PulseEvery; labels point (ledger, kafka, search,
	// dead-letter), source. Only non-zero counts are written. For ledger it counts acknowledged writes.
	PulseSeries = "triad_pulse"
	// StallSeries is the longest scheduling delay of the harness's own process in each second, in seconds.
	StallSeries = "triad_harness_stall_seconds"
	// CPUSeries is the share of one core that the harness process used in each second; label part (harness, system).
	CPUSeries = "triad_cpu_cores"
	// CPUTotalSeries is the processor time used since some fixed moment, in seconds, of which only increases mean anything; labels part
	// and, where it is known, cluster. Parts: harness (this process), search (the time on the clock that the store's searches took, all of them
	// the harness's), search-threads (the processor time of the threads that did them, while they were watched) and search-watched (how long
	// that was), metrics (the time on the clock that JMX exporters took to answer the harness), and of the real
	// clusters: nodes (everything in them), and within that generator, apiserver (which forwards the harness's connections, among others)
	// and exporters (the threads of JMX exporters, whoever asked them).
	CPUTotalSeries = "triad_cpu_seconds_total"
	// ResidentSeries is the resident memory of a process of the harness in bytes, without pages that a file backs; label part (harness).
	// In the embedded runtime the whole system is in it, but for documents and logs, which are in files.
	ResidentSeries = "triad_process_resident_bytes"
	// MemorySeries is what of it the Go runtime has for what, in bytes, as runtime/metrics names it: objects that live, heap that is free, stacks,
	// spans and caches, the rest; labels part, class.
	MemorySeries = "triad_process_memory_bytes"
	// HeldSeries is how much of that the system needs and cannot but need, the more the longer it runs; label part.
	HeldSeries = "triad_process_held_bytes"
	// FilesSeries is the number of its open file descriptors; label part.
	FilesSeries = "triad_process_open_files"
	// EvidenceSeries is the size of the files of the evidence in bytes; label part.
	EvidenceSeries = "triad_evidence_bytes"
	// LagSeries is the backlog that the Kafka observer read: label group or topic.
	LagSeries = "triad_consumer_lag"
	// StoreBytesSeries is what the store keeps of a topic on its disk, in bytes, each shard once; StoreDocumentsSeries is how many documents that
	// is, searchable, whosoever they are. Label topic.
	StoreBytesSeries     = "triad_store_bytes"
	StoreDocumentsSeries = "triad_store_documents"
	// QuerySeries is the time of one probe search in the store, in seconds; label cluster.
	QuerySeries = "triad_query_seconds"
	// UpSeries is 1 when a scrape or probe of a component succeeded, else 0; labels cluster, component, instance.
	UpSeries = "triad_up"
	// GapSeries is the length of each hole found in a synthetic counter in the central Prometheus, in seconds, at its
	// start; labels cluster, instance.
	GapSeries = "triad_metrics_gap_seconds"
	// IncrementsSeries is the number of increments of a synthetic counter that the central Prometheus lacks; labels
	// cluster, instance.
	IncrementsSeries = "triad_metrics_lost_increments"
)

// Labels of a series.
type Labels map[string]string

// Match reports whether the labels have every one of want.
func (l Labels) Match(want Labels) bool {
	for k, v := range want {
		if l[k] != v {
			return false
		}
	}
	return true
}

// String prints the labels sorted, in the form of the Prometheus text format.
func (l Labels) String() string {
	var b strings.Builder
	for i, k := range slices.Sorted(maps.Keys(l)) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(k + `="` + l[k] + `"`)
	}
	return "{" + b.String() + "}"
}

const (
	frameSeries  byte = 1
	frameSamples byte = 2 // of format 1: numbers of series and values as they are
	frameDeltas  byte = 3 // numbers as differences within the frame, whole values as differences to the last one
)

// SeriesFile appends samples of named series; a sample equal to the last of its series is left out, so a reader holds
// values until the next one. Safe for concurrent use.
type SeriesFile struct {
	file    *frameFile
	mu      sync.Mutex
	ids     map[string]*series
	emitted time.Time
}

// seriesEvery is how long samples wait to be written together, at most while samples come: packed alone each would be
// larger than unpacked.
const seriesEvery = time.Second

type series struct {
	id   uint64
	last float64
	has  bool
}

// Sample is one value of one series.
type Sample struct {
	Name   string
	Labels Labels
	Value  float64
}

// CreateSeries makes a new series file.
func CreateSeries(path string) (*SeriesFile, error) {
	f, err := createFrames(path)
	if err != nil {
		return nil, err
	}
	return newSeriesFile(f), nil
}

func newSeriesFile(f *frameFile) *SeriesFile {
	return &SeriesFile{file: f, ids: map[string]*series{}}
}

// Add writes samples taken at the same time. Unchanged values are left out except for pulses and holes, where every one counts.
func (s *SeriesFile) Add(at time.Duration, samples ...Sample) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := binary.AppendUvarint(nil, uint64(max(at, 0)))
	head := len(b)
	var id uint64
	for _, x := range samples {
		key := x.Name + x.Labels.String()
		sr := s.ids[key]
		if sr == nil {
			sr = &series{id: uint64(len(s.ids))}
			s.ids[key] = sr
			d := appendText(binary.AppendUvarint(nil, sr.id), x.Name)
			for _, k := range slices.Sorted(maps.Keys(x.Labels)) {
				d = appendText(appendText(d, k), x.Labels[k])
			}
			if err := s.file.pack(frameSeries, d); err != nil {
				return err
			}
		}
		if sr.has && sr.last == x.Value && x.Name != PulseSeries && x.Name != GapSeries {
			continue
		}
		step := zigzag(int64(sr.id-id)) << 1
		id = sr.id
		if v, whole := integer(x.Value); whole {
			base, _ := integer(sr.last)
			b = binary.AppendUvarint(b, step)
			b = binary.AppendUvarint(b, zigzag(v-base))
		} else {
			b = binary.AppendUvarint(b, step|1)
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x.Value))
		}
		sr.has, sr.last = true, x.Value
	}
	if len(b) == head {
		return nil
	}
	if err := s.file.pack(frameDeltas, b); err != nil {
		return err
	}
	if now := time.Now(); now.Sub(s.emitted) >= seriesEvery {
		s.emitted = now
		return s.file.emit()
	}
	return nil
}

// integer returns a value as a whole number; 0 when it is none.
func integer(f float64) (v int64, whole bool) {
	if v = int64(f); float64(v) == f {
		return v, true
	}
	return 0, false
}

// Flush writes the samples that wait.
func (s *SeriesFile) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.emitted = time.Now()
	return s.file.emit()
}

// Close syncs and closes.
func (s *SeriesFile) Close() error { return s.file.close() }

// ReadSeries calls fn for every sample in the order of writing.
func ReadSeries(path, name string, fn func(at time.Duration, s Sample) error) (*Damage, error) {
	return readSeries(path, name, fn, func(int64) {})
}

func readSeries(path, name string, fn func(at time.Duration, s Sample) error, whole func(end int64)) (*Damage, error) {
	known := map[uint64]*Sample{} // with the last value
	return readFramesAt(path, name, func(kind byte, payload []byte) error {
		u := &uvarints{b: payload}
		switch kind {
		case frameFresh:
			clear(known)
		case frameSeries:
			id := u.next()
			s := Sample{Name: u.text(), Labels: Labels{}}
			for len(u.b) > 0 && !u.bad {
				k := u.text()
				s.Labels[k] = u.text()
			}
			known[id] = &s
		case frameSamples, frameDeltas:
			at := time.Duration(u.next())
			var id uint64
			for len(u.b) > 0 && !u.bad {
				h := u.next()
				var base int64
				if kind == frameDeltas {
					id += uint64(unzigzag(h >> 1))
				} else {
					id = h >> 1
				}
				s := known[id]
				if s == nil {
					return errPayload
				}
				if kind == frameDeltas {
					base, _ = integer(s.Value)
				}
				if h&1 == 0 {
					s.Value = float64(base + unzigzag(u.next()))
				} else if len(u.b) >= 8 {
					s.Value = math.Float64frombits(binary.LittleEndian.Uint64(u.b))
					u.b = u.b[8:]
				} else {
					return errPayload
				}
				if u.bad {
					return errPayload
				}
				if err := fn(at, *s); err != nil {
					return err
				}
			}
		}
		if u.bad {
			return errPayload
		}
		return nil
	}, whole)
}
