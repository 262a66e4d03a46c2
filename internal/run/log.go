package run

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
)

// Where a run's own log lies in its directory, and how large it may become: an outage of a night repeats one line a
// million times, and the first of them tell as much as all.
const (
	logDir  = "logs"
	logFile = "sim.log"
	logMost = 16 << 20
)

// tee returns a logger that writes to l and, from level info on, as JSON into the run directory. Closing ends the file.
func tee(l *slog.Logger, dir string) (*slog.Logger, func(), error) {
	if err := os.MkdirAll(filepath.Join(dir, logDir), 0o755); err != nil {
		return l, func() {}, fmt.Errorf("log of the run: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, logDir, logFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644) // a run that goes on has one
	if err != nil {
		return l, func() {}, fmt.Errorf("log of the run: %w", err)
	}
	c := &capped{f: f, left: logMost}
	return slog.New(slog.NewMultiHandler(l.Handler(), slog.NewJSONHandler(c, &slog.HandlerOptions{Level: slog.LevelInfo}))), c.close, nil
}

// capped writes until its file is as large as it may be, then drops. A full disk drops as well: the evidence says so.
type capped struct {
	mu   sync.Mutex
	f    *os.File
	left int
}

var errLogClosed = errors.New("the log is closed")

// Write writes whole lines.
func (c *capped) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.f == nil:
		return 0, errLogClosed
	case len(p) > c.left:
		if c.left > 0 {
			_, _ = c.f.WriteString("{\"level\":\"WARN\",\"msg\":\"the log is full, the rest is left out\"}\n")
			c.left = 0
		}
		return len(p), nil
	}
	n, err := c.f.Write(p)
	c.left -= n
	return n, err
}

func (c *capped) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.f.Close() // nothing rests on it
	c.f = nil
}
