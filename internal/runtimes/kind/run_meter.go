//go:build !embedded_only

package kind

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"triad/internal/runtimes"
)

// ticksScript adds up the processor time of processes, in ticks of a hundredth of a second.
const ticksScript = `ticks() { for p in "$@"; do sed 's/.*) //' /proc/$p/stat 2>/dev/null; done | awk '{n += $12 + $13} END {print n + 0}'; }
`

// meterScript prints what a node has used, in nanoseconds, and its generators, its API server and the threads of each JMX exporter, in ticks
// of a hundredth of a second (the kernel's unit in /proc, whatever its own). A node sees its own control group as the root of all.
const meterScript = `if [ -f /sys/fs/cgroup/cpuacct/cpuacct.usage ]; then echo "nodes $(cat /sys/fs/cgroup/cpuacct/cpuacct.usage)"
else awk '$1 == "usage_usec" {print "nodes", $2 "000"}' /sys/fs/cgroup/cpu.stat; fi
` + ticksScript + `echo "apiserver $(ticks $(pidof kube-apiserver))"
echo "generator $(ticks $(grep -slz '^inputgen$' /proc/[0-9]*/cmdline | cut -d/ -f3))"
grep -ls '^` + exporterThreads + `$' /proc/[0-9]*/task/[0-9]*/comm | sed 's/comm$/stat/' | xargs -r awk '{split(FILENAME, f, "/"); sub(/.*\) /, ""); n[f[3]] += $12 + $13}
END {for (p in n) print "exporter:" p, n[p]}' 2>/dev/null
`

// exporterThreads is how the kernel names the threads of a JMX exporter of version 1, by the first fifteen letters.
const exporterThreads = "prometheus-http"

const procTick = 10 * time.Millisecond

// CPU reads what the nodes of every cluster have used so far, and the store for searches. What cannot be read is left out.
func (e *env) CPU(ctx context.Context) ([]runtimes.CPUReading, error) {
	var mu sync.Mutex
	var out []runtimes.CPUReading
	var errs []error
	note := func(rs []runtimes.CPUReading, err error) {
		mu.Lock()
		defer mu.Unlock()
		out, errs = append(out, rs...), append(errs, err)
	}
	var wg sync.WaitGroup
	for _, cluster := range e.plan.Clusters {
		wg.Go(func() { note(e.clusterCPU(ctx, cluster)) })
	}
	wg.Go(func() { note(e.searchCPU(ctx)) })
	wg.Wait()
	if used, ok := e.meters.clients(); ok {
		out = append(out, runtimes.CPUReading{Part: "clients", Used: used})
	}
	return out, errors.Join(errs...)
}

func (e *env) clusterCPU(ctx context.Context, cluster string) ([]runtimes.CPUReading, error) {
	used := map[string]time.Duration{}
	answers, err := e.meters.of(cluster).ask(ctx, func(ctx context.Context) ([]Node, error) { return e.runningNodes(ctx, cluster) }, e.engine.Shell)
	if err != nil {
		return nil, err
	}
	for node, out := range answers {
		for line := range strings.SplitSeq(out, "\n") {
			part, v, _ := strings.Cut(line, " ")
			u, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("processor time of %s: %q", node, line)
			}
			d := time.Duration(u)
			if part != "nodes" {
				d *= procTick
			}
			if pid, ok := strings.CutPrefix(part, "exporter:"); ok {
				e.exporters.read(cluster, node+"/"+pid, d)
				continue
			}
			used[part] += d
		}
	}
	if d, ok := e.exporters.total(cluster); ok {
		used["exporters"] = d
	}
	var rs []runtimes.CPUReading
	for part, d := range used {
		rs = append(rs, runtimes.CPUReading{Part: part, Cluster: cluster, Used: d})
	}
	return rs, nil
}

// increases adds up the processor time of processes that come and go. What one used between its last reading and its end is not in it.
type increases struct {
	mu   sync.Mutex
	last map[string]time.Duration // by process
	sums map[string]time.Duration // by cluster
}

func (x *increases) read(cluster, process string, used time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.last == nil {
		x.last, x.sums = map[string]time.Duration{}, map[string]time.Duration{}
	}
	before := x.last[process]
	if used < before {
		before = 0 // another process under the number of an old one
	}
	x.sums[cluster] += used - before
	x.last[process] = used
}

func (x *increases) total(cluster string) (time.Duration, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	d, ok := x.sums[cluster]
	return d, ok
}

// searchCPU is the time of the store's search threads. Nobody else searches during a run.
func (e *env) searchCPU(ctx context.Context) ([]runtimes.CPUReading, error) {
	out := e.searching.readings(e.hotThreads)
	status, answer, err := e.ask(ctx, http.MethodGet, "/_stats/search?filter_path=_all.total.search", "")
	if err != nil {
		return out, err
	}
	if status != http.StatusOK {
		return out, fmt.Errorf("search statistics: HTTP %d", status)
	}
	var stats struct {
		All struct {
			Total struct {
				Search struct {
					Query int64 `json:"query_time_in_millis"`
					Fetch int64 `json:"fetch_time_in_millis"`
				} `json:"search"`
			} `json:"total"`
		} `json:"_all"`
	}
	if err := json.Unmarshal(answer, &stats); err != nil {
		return out, fmt.Errorf("search statistics: %w", err)
	}
	t := stats.All.Total.Search
	return append(out, runtimes.CPUReading{Part: "search", Cluster: Monitoring, Used: time.Duration(t.Query+t.Fetch) * time.Millisecond}), nil
}

// searchers follows the processor time of the store's search threads, because its statistics know the time on the clock alone: 74.6 s where the
// threads had used 16.3 s, on two processors that three clusters shared.
type searchers struct {
	begin sync.Once
	stop  context.CancelFunc
	done  chan struct{}

	mu            sync.Mutex
	used, watched time.Duration
}

// hotWindow is how long the store watches its threads for one answer.
const hotWindow = 10 * time.Second

// readings are what the threads used while they were watched, and how long that was. The first call begins to watch.
func (s *searchers) readings(watch func(context.Context) (time.Duration, error)) []runtimes.CPUReading {
	s.begin.Do(func() {
		var ctx context.Context
		ctx, s.stop = context.WithCancel(context.Background())
		s.done = make(chan struct{})
		go func() {
			defer close(s.done)
			for ctx.Err() == nil {
				used, err := watch(ctx)
				if err != nil { // a store that is away or frozen; what was not watched is not counted as watched
					select {
					case <-time.After(time.Second):
					case <-ctx.Done():
					}
					continue
				}
				s.mu.Lock()
				s.used, s.watched = s.used+used, s.watched+hotWindow
				s.mu.Unlock()
			}
		}()
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	return []runtimes.CPUReading{{Part: "search-threads", Cluster: Monitoring, Used: s.used}, {Part: "search-watched", Cluster: Monitoring, Used: s.watched}}
}

func (s *searchers) end() {
	if s.stop != nil {
		s.stop()
		<-s.done
	}
}

// hotThreads is what the search threads used in one window.
func (e *env) hotThreads(ctx context.Context) (time.Duration, error) {
	ask, cancel := context.WithTimeout(ctx, 2*hotWindow)
	defer cancel()
	status, answer, err := e.ask(ask, http.MethodGet, fmt.Sprintf("/_nodes/hot_threads?type=cpu&threads=1000&snapshots=1&ignore_idle_threads=false&interval=%ds", hotWindow/time.Second), "")
	if err != nil {
		return 0, err
	}
	if status != http.StatusOK {
		return 0, fmt.Errorf("hot threads: HTTP %d", status)
	}
	share, err := searchShare(string(answer))
	return time.Duration(share * float64(hotWindow)), err
}

var hotThread = regexp.MustCompile(`\[cpu=([0-9.]+)%[^\]]*\] \(.*\) cpu usage by thread '(.*)'`)

// searchShare adds up the search threads in an answer, in processors. One that names no thread at all is an error: 0 would be a guess.
func searchShare(answer string) (float64, error) {
	found := hotThread.FindAllStringSubmatch(answer, -1)
	if len(found) == 0 {
		return 0, errors.New("hot threads: no thread in the answer")
	}
	sum := 0.0
	for _, m := range found {
		// search_worker and its like work for searches too.
		if !strings.Contains(m[2], "[search") {
			continue
		}
		v, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return 0, fmt.Errorf("hot threads: %w", err)
		}
		sum += v / 100
	}
	return sum, nil
}
