//go:build !embedded_only

package kind

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"triad/internal/images"
)

// meters asks nodes what they have used, by a shell in each that stays open for the run: two questions to the engine and a new shell for each cluster
// and reading took 0.25 s of a processor, every 20 s.
type meters struct {
	mu sync.Mutex
	by map[string]*clusterMeter
}

// clusterMeter is asked once at a time.
type clusterMeter struct {
	nodes  []Node
	shells []*images.Shell // of the first nodes
}

func (m *meters) of(cluster string) *clusterMeter {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.by[cluster] == nil {
		if m.by == nil {
			m.by = map[string]*clusterMeter{}
		}
		m.by[cluster] = &clusterMeter{}
	}
	return m.by[cluster]
}

// ask runs meterScript in every node and returns the answers by node. Behind an error the nodes are looked up anew: one may have been stopped, or made
// again.
func (c *clusterMeter) ask(ctx context.Context, running func(context.Context) ([]Node, error), open func(string) (*images.Shell, error)) (_ map[string]string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, nodeTimeout, errors.New("no answer within "+nodeTimeout.String()))
	defer cancel()
	defer func() {
		if err != nil {
			c.end()
		}
	}()
	if c.nodes == nil {
		if c.nodes, err = running(ctx); err != nil {
			return nil, err
		}
	}
	answers := map[string]string{}
	for i, n := range c.nodes {
		if i == len(c.shells) {
			s, err := open(n.Name)
			if err != nil {
				return nil, err
			}
			c.shells = append(c.shells, s)
		}
		if answers[n.Name], err = c.shells[i].Ask(ctx, meterScript); err != nil {
			return nil, err
		}
	}
	return answers, nil
}

func (c *clusterMeter) end() {
	for _, s := range c.shells {
		s.Close()
	}
	c.nodes, c.shells = nil, nil
}

func (m *meters) end() {
	for _, c := range m.by {
		c.end()
	}
}

// clients is what the engine's clients of the open shells have used: they watch as the harness does. Those that make and undo faults watch nothing, and are
// not counted. False where the system does not tell.
func (m *meters) clients() (used time.Duration, ok bool) {
	for _, c := range m.by {
		for _, s := range c.shells {
			d, known := processTime(s.Pid())
			used, ok = used+d, ok || known
		}
	}
	return used, ok
}

// processTime is the processor time of a process of this machine, from fields 14 and 15 of its stat (proc(5)).
func processTime(pid int) (time.Duration, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	stat := string(b)
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]) // from field 3
	if len(f) < 13 {
		return 0, false
	}
	var ticks int
	for _, v := range f[11:13] {
		n, err := strconv.Atoi(v)
		if err != nil {
			return 0, false
		}
		ticks += n
	}
	return time.Duration(ticks) * procTick, true
}
