package fluentbit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"triad/internal/model/forward"
)

// userHZ is what the kernel counts processor time in when it tells it: hundredths of a second on every architecture.
const userHZ = 100

// collect is the loop of an input of type cpu or mem. A node that does not tell its figures (no Linux) has no records of them.
func (e *engine) collect(ctx context.Context, in *input, c Collector) {
	gather := e.memory
	if c.Kind == "cpu" {
		before, err := readCPU(e.opts.Proc)
		if err != nil {
			e.log.Warn("no figures of the node", "input", c.Name, "error", err)
			return
		}
		gather = func(dst []byte) ([]byte, error) {
			now, err := readCPU(e.opts.Proc)
			if err != nil {
				return dst, err
			}
			dst = appendCPU(dst, before, now, c.Interval)
			before = now
			return dst, nil
		}
	}
	t := time.NewTicker(c.Interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case at := <-t.C:
			if e.paused(in) {
				continue
			}
			entry, err := gather(forward.AppendEntryHead(nil, at))
			if err != nil {
				e.log.Warn("no figures of the node", "input", c.Name, "error", err)
				continue
			}
			e.ingest(in, c.Tag, entry, 1)
		}
	}
}

// cpuTime is processor time of the node or of one of its processors since it was started, in hundredths of a second.
type cpuTime struct{ user, system uint64 }

// readCPU reads the node's processor time, then that of each processor.
func readCPU(proc string) ([]cpuTime, error) {
	b, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return nil, err
	}
	var out []cpuTime
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 6 || !strings.HasPrefix(f[0], "cpu") {
			break // they come first
		}
		var n [3]uint64 // user, nice, system
		for i := range n {
			if n[i], err = strconv.ParseUint(f[i+1], 10, 64); err != nil {
				return nil, fmt.Errorf("stat: %w", err)
			}
		}
		out = append(out, cpuTime{n[0] + n[1], n[2]})
	}
	if len(out) < 2 {
		return nil, errors.New("stat: no processors")
	}
	return out, nil
}

// appendCPU appends the record of an interval: shares in percent, of the node between 0 and 100, then of each processor.
func appendCPU(dst []byte, before, now []cpuTime, every time.Duration) []byte {
	n := min(len(before), len(now)) // of a node whose processors come and go
	dst = forward.AppendMapLen(dst, 3*n)
	share := func(dst []byte, key string, a, b uint64, of int) []byte {
		used := float64(max(b, a)-a) / userHZ / every.Seconds()
		return appendDouble(forward.AppendString(dst, key), 100*used/float64(of))
	}
	for i := range n {
		a, b, names, of := before[i], now[i], [3]string{"cpu_p", "user_p", "system_p"}, len(now)-1
		if i > 0 {
			id := "cpu" + strconv.Itoa(i-1)
			names, of = [3]string{id + ".p_cpu", id + ".p_user", id + ".p_system"}, 1
		}
		dst = share(dst, names[0], a.user+a.system, b.user+b.system, of)
		dst = share(dst, names[1], a.user, b.user, of)
		dst = share(dst, names[2], a.system, b.system, of)
	}
	return dst
}

// memory appends a record of the node's memory, in KiB. Free is what nothing uses: what the kernel would give back (MemAvailable) counts as used.
func (e *engine) memory(dst []byte) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(e.opts.Proc, "meminfo"))
	if err != nil {
		return dst, err
	}
	kib := map[string]uint64{}
	for line := range strings.Lines(string(b)) {
		name, rest, ok := strings.Cut(line, ":")
		if f := strings.Fields(rest); ok && len(f) > 0 {
			if v, err := strconv.ParseUint(f[0], 10, 64); err == nil {
				kib[name] = v
			}
		}
	}
	total, free := kib["MemTotal"], kib["MemFree"]
	if total == 0 {
		return dst, errors.New("meminfo: no MemTotal")
	}
	dst = forward.AppendMapLen(dst, 6)
	for _, x := range []struct {
		key string
		v   uint64
	}{
		{"Mem.total", total},
		{"Mem.used", total - min(free, total)},
		{"Mem.free", free},
		{"Swap.total", kib["SwapTotal"]},
		{"Swap.used", kib["SwapTotal"] - min(kib["SwapFree"], kib["SwapTotal"])},
		{"Swap.free", kib["SwapFree"]},
	} {
		dst = forward.AppendUint(forward.AppendString(dst, x.key), x.v)
	}
	return dst, nil
}

func appendDouble(dst []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, 0xcb), math.Float64bits(v))
}
