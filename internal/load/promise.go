package load

import (
	"sync/atomic"
	"time"

	"triad/internal/evidence"
)

// promise keeps the ledger's intent ahead of the records, in a goroutine of its own: a disk that is slow for a moment
// must not make the generator late. Nothing is attempted that no written intent covers.
type promise struct {
	ledger *evidence.Ledger
	ask    chan time.Duration
	asked  time.Duration // of the driver's goroutine
	done   atomic.Int64  // end of the last written intent, ns
	err    atomic.Pointer[error]
	signal chan struct{}
	ended  chan struct{}
}

func newPromise(l *evidence.Ledger) *promise {
	p := &promise{ledger: l, ask: make(chan time.Duration, 1), signal: make(chan struct{}, 1), ended: make(chan struct{})}
	go p.run()
	return p
}

func (p *promise) run() {
	defer close(p.ended)
	for until := range p.ask {
		if err := p.ledger.Intent(until); err != nil {
			p.err.Store(&err)
		} else {
			p.done.Store(int64(until))
		}
		select {
		case p.signal <- struct{}{}:
		default:
		}
	}
}

// cover returns when an intent is written that covers t. It asks for the next one early, so that it seldom waits.
func (p *promise) cover(t time.Duration) error {
	for {
		if t+intentAhead/2 >= p.asked {
			select {
			case p.ask <- t + intentAhead:
				p.asked = t + intentAhead
			default: // the writer is behind: it is asked again when it has caught up
			}
		}
		if err := p.err.Load(); err != nil {
			return *err
		}
		if t < time.Duration(p.done.Load()) {
			return nil
		}
		<-p.signal
	}
}

func (p *promise) close() {
	close(p.ask)
	<-p.ended
}
