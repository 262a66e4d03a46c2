package run

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"time"

	"triad/internal/evidence"
	"triad/internal/load"
	"triad/internal/runtimes"
)

// witness writes, once a second, how long the harness's own goroutines had to wait for a processor and how much
// processor time it used: in the embedded runtime the whole system shares it. It has the histograms written too: where generators and
// observers of Kafka are pods nobody else does, and those of a night would lie in memory until its end.
func (r *runner) witness(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	sample := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	var before []uint64
	lastCPU, lastAt := load.ProcessorTime(), time.Now()
	r.sizes()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		metrics.Read(sample)
		h := sample[0].Value.Float64Histogram()
		stall := 0.0
		for i := len(h.Counts) - 1; i >= 0 && before != nil; i-- {
			if h.Counts[i] > before[i] {
				stall = h.Buckets[i] // lower edge: at least so long
				break
			}
		}
		before = append(before[:0], h.Counts...)
		cpu, now := load.ProcessorTime(), time.Now()
		cores := (cpu - lastCPU).Seconds() / now.Sub(lastAt).Seconds()
		lastCPU, lastAt = cpu, now
		if err := r.w.Series.Add(r.w.Now(),
			evidence.Sample{Name: evidence.StallSeries, Labels: evidence.Labels{}, Value: max(stall, 0)},
			evidence.Sample{Name: evidence.CPUSeries, Labels: evidence.Labels{"part": "harness"}, Value: cores}); err != nil {
			r.Logger.Debug("witness", "error", err)
			return
		}
		if err := r.w.Hists.FlushDue(false); err != nil {
			r.Logger.Debug("witness", "error", err)
			return
		}
		if n%sizesEvery == 0 {
			r.sizes()
		}
	}
}

// meter is an environment whose processor time can be told apart from the harness's.
type meter interface {
	CPU(ctx context.Context) ([]runtimes.CPUReading, error)
}

// Processor time is read every meterEvery, not at both ends alone: a cluster may be frozen just then.
const (
	meterEvery = 20 * time.Second
	meterTime  = 15 * time.Second
)

// readEvery reads at once, at every tick, and once more when ctx has ended, as long as a reading can be written.
func readEvery(ctx context.Context, every time.Duration, read func() error) error {
	t := time.NewTicker(every)
	defer t.Stop()
	for last := false; ; {
		if err := read(); err != nil || last {
			return err
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			last = true
		}
	}
}

// measure writes what the system and the harness used, once more when ctx has ended.
func (r *runner) measure(ctx context.Context, m meter) {
	err := readEvery(ctx, meterEvery, func() error {
		ask, cancel := context.WithTimeout(context.WithoutCancel(ctx), meterTime)
		readings, err := m.CPU(ask)
		cancel()
		if err != nil {
			r.Logger.Debug("processor time", "error", err) // what could be read is written all the same
		}
		total := func(part string, used time.Duration) evidence.Sample {
			return evidence.Sample{Name: evidence.CPUTotalSeries, Labels: evidence.Labels{"part": part}, Value: used.Seconds()}
		}
		samples := []evidence.Sample{total("harness", load.ProcessorTime()), total("metrics", time.Duration(r.beans.Load()))}
		for _, x := range readings {
			samples = append(samples, evidence.Sample{Name: evidence.CPUTotalSeries, Labels: evidence.Labels{"part": x.Part, "cluster": x.Cluster}, Value: x.Used.Seconds()})
		}
		return r.w.Series.Add(r.w.Now(), samples...)
	})
	if err != nil {
		r.Logger.Debug("processor time", "error", err)
	}
}

// sizesEvery is how many seconds lie between two readings of the harness's own size. What leaks, leaks for hours.
const sizesEvery = 10

// holder is an environment in the harness's process that needs more memory the longer it runs, and knows how much.
type holder interface{ Held() int64 }

// sizes writes what a leak of the harness would make grow. What the machine does not tell is left out. Where a trend is judged, what is
// not used any more is given back first: on kind a fault left up to 60 MiB behind for minutes, of 116, and hid a trend of less than that. It
// takes a collection, 15 ms of a processor on kind.
func (r *runner) sizes() {
	if slices.Contains(r.Scenario.Requires, "trend") {
		debug.FreeOSMemory()
	}
	own := evidence.Labels{"part": "harness"}
	var samples []evidence.Sample
	if n, ok := residentBytes(); ok {
		samples = append(samples, evidence.Sample{Name: evidence.ResidentSeries, Labels: own, Value: n})
	}
	samples = append(samples, memoryClasses()...)
	if h, ok := r.env.(holder); ok {
		samples = append(samples, evidence.Sample{Name: evidence.HeldSeries, Labels: own, Value: float64(h.Held())})
	}
	if files, err := os.ReadDir("/proc/self/fd"); err == nil {
		samples = append(samples, evidence.Sample{Name: evidence.FilesSeries, Labels: own, Value: float64(len(files) - 1)}) // one is the folder that is being read
	}
	samples = append(samples, evidence.Sample{Name: evidence.EvidenceSeries, Labels: own, Value: float64(r.w.Size())})
	if err := r.w.Series.Add(r.w.Now(), samples...); err != nil {
		r.Logger.Debug("witness", "error", err)
	}
}

// memoryClasses says what the runtime has the harness's memory for, so that a slope can be told to be of live objects or of the runtime's own.
func memoryClasses() []evidence.Sample {
	read := make([]metrics.Sample, len(classes))
	for i, c := range classes {
		read[i].Name = "/memory/classes/" + c + ":bytes"
	}
	metrics.Read(read)
	var out []evidence.Sample
	for i, x := range read {
		if x.Value.Kind() == metrics.KindUint64 {
			out = append(out, evidence.Sample{Name: evidence.MemorySeries, Labels: evidence.Labels{"part": "harness", "class": classes[i]}, Value: float64(x.Value.Uint64())})
		}
	}
	return out
}

// classes are those of runtime/metrics that the resident memory is made of; what of heap/free was given back is heap/released.
var classes = []string{"heap/objects", "heap/unused", "heap/free", "heap/stacks", "metadata/mspan/inuse", "metadata/other", "os-stacks", "other", "profiling/buckets"}

// residentBytes is the resident memory of this process that no file backs: the second figure of statm without the third, in pages. The
// program's text is not of interest, and the documents of the embedded store are mapped from a file: they are the system's, and the kernel
// takes their memory back when it wants it.
func residentBytes() (float64, bool) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, false
	}
	f := strings.Fields(string(b))
	if len(f) < 3 {
		return 0, false
	}
	resident, err1 := strconv.ParseFloat(f[1], 64)
	shared, err2 := strconv.ParseFloat(f[2], 64)
	return (resident - shared) * float64(os.Getpagesize()), err1 == nil && err2 == nil
}

// host describes the machine for run.json.
func host() evidence.Host {
	h := evidence.Host{OS: runtime.GOOS, Arch: runtime.GOARCH, Go: runtime.Version(), CPUs: runtime.NumCPU()}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		h.Kernel = strings.TrimSpace(string(b))
	}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		for line := range strings.SplitSeq(string(b), "\n") {
			if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemTotal:" {
				kb, _ := strconv.ParseUint(f[1], 10, 64)
				h.MemoryBytes = kb << 10
			}
		}
	}
	return h
}
