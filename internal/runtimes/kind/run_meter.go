//go:build !embedded_only

package kind

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
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
	return out, errors.Join(errs...)
}

func (e *env) clusterCPU(ctx context.Context, cluster string) ([]runtimes.CPUReading, error) {
	nodes, err := e.runningNodes(ctx, cluster)
	if err != nil {
		return nil, err
	}
	used := map[string]time.Duration{}
	for _, n := range nodes {
		out, err := e.sh(ctx, n.Name, meterScript)
		if err != nil {
			return nil, err
		}
		for line := range strings.SplitSeq(out, "\n") {
			part, v, _ := strings.Cut(line, " ")
			u, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("processor time of %s: %q", n.Name, line)
			}
			d := time.Duration(u)
			if part != "nodes" {
				d *= procTick
			}
			if pid, ok := strings.CutPrefix(part, "exporter:"); ok {
				e.exporters.read(cluster, n.Name+"/"+pid, d)
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
	status, answer, err := e.ask(ctx, http.MethodGet, "/_stats/search?filter_path=_all.total.search", "")
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("search statistics: HTTP %d", status)
	}
	var out struct {
		All struct {
			Total struct {
				Search struct {
					Query int64 `json:"query_time_in_millis"`
					Fetch int64 `json:"fetch_time_in_millis"`
				} `json:"search"`
			} `json:"total"`
		} `json:"_all"`
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		return nil, fmt.Errorf("search statistics: %w", err)
	}
	t := out.All.Total.Search
	return []runtimes.CPUReading{{Part: "search", Cluster: Monitoring, Used: time.Duration(t.Query+t.Fetch) * time.Millisecond}}, nil
}
