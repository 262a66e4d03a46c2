package prometheus

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	plabels "github.com/prometheus/prometheus/model/labels"
)

// The reasons for which Prometheus refuses a sample, word for word (storage/interface.go).
var (
	errOutOfOrder = errors.New("out of order sample")
	errOutOfBound = errors.New("out of bounds")
	errTooOld     = errors.New("too old sample")
	errDuplicate  = errors.New("duplicate sample for timestamp")
)

// maxAhead is how far in the future a written sample may be (storage/remote/write_handler.go).
const maxAhead = 10 * time.Minute

// head keeps the samples of the receiver and decides what it accepts, as tsdb/head_append.go does: in order per series and not older
// than half a block behind the newest sample of all series, or within the out-of-order window behind that newest sample.
type head struct {
	cfg    ReceiverConfig
	limit  int // samples kept per series
	m      *headMetrics
	mu     sync.RWMutex
	series map[string]*headSeries
	sorted []*headSeries // by labels, nil when series were added
	maxT   int64
	minT   int64
	ref    uint64

	log       *walog
	logDir    string
	logged    int           // samples in the current segment
	segmentTo map[int]int64 // newest time per segment
}

type headSeries struct {
	ref     uint64
	labels  Labels
	prom    plabels.Labels // the same for the engine
	chunks  []*chunk
	n       int
	last    point
	has     bool
	ooo     []point // sorted by time
	current bool    // its series record is in the current segment
}

// segmentSamples is after how many samples the log starts a new segment, about 30 MB.
const segmentSamples = 2_000_000

func openHead(cfg ReceiverConfig, limit int, dir string, m *headMetrics) (*head, error) {
	h := &head{
		cfg: cfg, limit: limit, m: m, series: map[string]*headSeries{}, maxT: math.MinInt64, minT: math.MaxInt64,
		logDir: dir, segmentTo: map[int]int64{},
	}
	byRef := map[uint64]*headSeries{}
	var err error
	var corrupt int
	h.log, corrupt, err = openLog(dir, 1<<62, func(rec []byte) error {
		series, samples, err := decodeRecord(rec)
		if err != nil {
			return err
		}
		for _, s := range series {
			byRef[s.ref] = h.intern(s.labels, s.ref)
		}
		for _, s := range samples {
			if x := byRef[s.ref]; x != nil {
				h.store(x, point{s.t, s.value})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	m.corruptions.Add(float64(corrupt))
	idx, err := listSegments(dir)
	if err != nil {
		return nil, err
	}
	for _, i := range idx {
		h.segmentTo[i] = h.maxT
	}
	h.publish()
	return h, nil
}

// intern returns the series with these labels; ref 0 numbers a new one.
func (h *head) intern(l Labels, ref uint64) *headSeries {
	k := l.key()
	s := h.series[k]
	if s == nil {
		if ref == 0 {
			ref = h.ref + 1
		}
		s = &headSeries{ref: ref, labels: l, prom: promLabels(l)}
		h.series[k] = s
		h.sorted = nil
		h.m.created.Inc()
	}
	h.ref = max(h.ref, s.ref, ref)
	return s
}

// txn is one append with the limits of its beginning, as the real appender has them.
type txn struct {
	h         *head
	headMax   int64
	minValid  int64
	started   bool
	samples   []txnSample
	futureEnd int64
}

type txnSample struct {
	s *headSeries
	point
}

// begin opens a transaction. The caller holds mu for writing until commit or abandonment.
func (h *head) begin(now time.Time) *txn {
	t := &txn{h: h, futureEnd: now.Add(maxAhead).UnixMilli()}
	if h.maxT != math.MinInt64 {
		t.limits()
	}
	return t
}

func (t *txn) limits() {
	t.started = true
	t.headMax = t.h.maxT
	t.minValid = t.h.maxT - t.h.cfg.BlockDuration.Milliseconds()/2
}

// add checks one sample against the state before the transaction.
func (t *txn) add(l Labels, p point) error {
	if p.t > t.futureEnd {
		return fmt.Errorf("%w: timestamp is too far in the future", errOutOfBound)
	}
	if !t.started {
		// An empty head takes its bounds from the first sample.
		t.h.maxT, t.h.minT = p.t, p.t
		t.limits()
	}
	if t.h.cfg.OutOfOrderWindow == 0 && p.t < t.minValid {
		// Without a window this is refused before the series exists.
		t.h.m.outOfBound.Inc()
		return errOutOfBound
	}
	s := t.h.intern(l, 0)
	if _, err := t.check(s, p); err != nil {
		return err
	}
	t.samples = append(t.samples, txnSample{s, p})
	return nil
}

// check says whether a sample goes in, and whether out of order.
func (t *txn) check(s *headSeries, p point) (ooo bool, err error) {
	window := t.h.cfg.OutOfOrderWindow.Milliseconds()
	if p.t >= t.minValid {
		if !s.has || p.t > s.last.t {
			return false, nil
		}
		if p.t == s.last.t {
			if math.Float64bits(p.v) != math.Float64bits(s.last.v) {
				return false, fmt.Errorf("%w %d; overrides not allowed: existing %g, new value %g", errDuplicate, p.t, s.last.v, p.v)
			}
			return false, nil
		}
	}
	switch {
	case window > 0 && p.t >= t.headMax-window:
		return true, nil
	case window > 0:
		t.h.m.tooOld.Inc()
		return true, errTooOld
	case p.t < t.minValid:
		t.h.m.outOfBound.Inc()
		return false, errOutOfBound
	}
	t.h.m.outOfOrder.Inc()
	return false, errOutOfOrder
}

// commit stores what add accepted. A sample that another of the same transaction has made impossible is left out, silently, as in the
// real program.
func (t *txn) commit() error {
	h := t.h
	var series []refSeries
	var samples []refSample
	for _, x := range t.samples {
		ooo, err := t.check(x.s, x.point)
		if err != nil || (!ooo && x.s.has && x.t == x.s.last.t) {
			continue
		}
		if !h.store(x.s, x.point) {
			continue
		}
		if ooo {
			h.m.oooAppended.Inc()
		}
		h.m.appended.Inc()
		if !x.s.current {
			x.s.current = true
			series = append(series, refSeries{x.s.ref, x.s.labels})
		}
		samples = append(samples, refSample{x.s.ref, x.t, x.v})
	}
	h.publish()
	if len(samples) == 0 {
		return nil
	}
	recs := [][]byte{encodeSamples(nil, samples)}
	if len(series) > 0 {
		recs = [][]byte{encodeSeries(nil, series), recs[0]}
	}
	if err := h.log.append(recs...); err != nil {
		return err
	}
	h.logged += len(samples)
	return h.rollLog()
}

// store puts a sample into its series and reports whether it was new.
func (h *head) store(s *headSeries, p point) bool {
	if s.has && p.t <= s.last.t {
		i, found := slices.BinarySearchFunc(s.ooo, p.t, func(x point, t int64) int {
			switch {
			case x.t < t:
				return -1
			case x.t > t:
				return 1
			}
			return 0
		})
		if found {
			return false
		}
		s.ooo = slices.Insert(s.ooo, i, p)
		if len(s.ooo) > h.limit {
			s.ooo = slices.Delete(s.ooo, 0, 1)
		}
	} else {
		if len(s.chunks) == 0 || s.chunks[len(s.chunks)-1].n == chunkSamples {
			s.chunks = append(s.chunks, &chunk{})
		}
		s.chunks[len(s.chunks)-1].append(p)
		s.last, s.has = p, true
		s.n++
		h.trim(s)
	}
	h.maxT, h.minT = max(h.maxT, p.t), min(h.minT, p.t)
	return true
}

// trim drops the oldest chunk when it is beyond the retention or the cap.
func (h *head) trim(s *headSeries) {
	for len(s.chunks) > 1 && (s.n > h.limit || s.chunks[0].last.t < h.maxT-h.cfg.Retention.Milliseconds()) {
		s.n -= s.chunks[0].n
		s.chunks = slices.Delete(s.chunks, 0, 1)
	}
}

// rollLog starts a new segment now and then, with all series in it, and removes segments beyond the retention.
func (h *head) rollLog() error {
	h.segmentTo[h.log.current()] = h.maxT
	if h.logged < segmentSamples {
		return nil
	}
	h.logged = 0
	if err := h.log.nextSegment(); err != nil {
		return err
	}
	for _, s := range h.series {
		s.current = false
	}
	for i, to := range h.segmentTo {
		if to < h.maxT-h.cfg.Retention.Milliseconds() && i != h.log.current() {
			if err := os.Remove(filepath.Join(h.logDir, segmentName(i))); err != nil {
				return fmt.Errorf("log retention: %w", err)
			}
			delete(h.segmentTo, i)
		}
	}
	return nil
}

func (h *head) publish() {
	h.m.series.Set(float64(len(h.series)))
	if h.maxT != math.MinInt64 {
		h.m.maxTime.Set(float64(h.maxT))
		h.m.maxTimeSec.Set(float64(h.maxT / 1000))
		h.m.minTime.Set(float64(h.minT))
	}
}

// write stores one request of remote write 1.0: all of it, or nothing and the first error.
func (h *head) write(req []timeSeries, now time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.begin(now)
	for _, ts := range req {
		l, ok := validLabels(ts.labels)
		if !ok {
			h.m.invalid.Add(float64(len(ts.samples)))
			continue
		}
		for _, p := range ts.samples {
			if err := t.add(l, p); err != nil {
				return err
			}
		}
	}
	return t.commit()
}

// appendScrape stores a scrape of the receiver's own: what is refused is left out, the rest stays.
func (h *head) appendScrape(samples []scraped) (refusals, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var r refusals
	t := h.begin(time.Now())
	for _, s := range samples {
		switch err := t.add(s.labels, s.point); {
		case errors.Is(err, errDuplicate):
			r.duplicate++
		case err != nil:
			r.outOfOrder++
		}
	}
	return r, t.commit()
}

// validLabels sorts and checks a label set from the wire: a metric name, no label twice. Empty values are absent.
func validLabels(in Labels) (Labels, bool) {
	l := make(Labels, 0, len(in))
	for _, x := range in {
		if x.Name == "" {
			return nil, false
		}
		if x.Value != "" {
			l = append(l, x)
		}
	}
	slices.SortFunc(l, func(a, b Label) int {
		switch {
		case a.Name < b.Name:
			return -1
		case a.Name > b.Name:
			return 1
		}
		return 0
	})
	for i := 1; i < len(l); i++ {
		if l[i].Name == l[i-1].Name {
			return nil, false
		}
	}
	return l, l.Get(metricName) != ""
}

// found is one series of a selection with its samples in ascending time, stale markers included.
type found struct {
	labels Labels
	prom   plabels.Labels
	points []point
}

// selectPoints returns the series that match, sorted by labels, with their samples from <= t <= to. Series without any are left out.
func (h *head) selectPoints(ms []*plabels.Matcher, from, to int64) []found {
	var out []found
	for _, s := range h.matching(ms) {
		h.mu.RLock()
		pts := s.between(from, to)
		h.mu.RUnlock()
		if len(pts) > 0 {
			out = append(out, found{s.labels, s.prom, pts})
		}
	}
	return out
}

func (h *head) matching(ms []*plabels.Matcher) []*headSeries {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sorted == nil {
		for _, s := range h.series {
			h.sorted = append(h.sorted, s)
		}
		slices.SortFunc(h.sorted, func(a, b *headSeries) int { return compareLabels(a.labels, b.labels) })
	}
	var out []*headSeries
	for _, s := range h.sorted {
		if matchesAll(ms, s.labels) {
			out = append(out, s)
		}
	}
	return out
}

func compareLabels(a, b Labels) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		switch {
		case a[i].Name != b[i].Name:
			if a[i].Name < b[i].Name {
				return -1
			}
			return 1
		case a[i].Value != b[i].Value:
			if a[i].Value < b[i].Value {
				return -1
			}
			return 1
		}
	}
	return len(a) - len(b)
}

func (s *headSeries) between(from, to int64) []point {
	var in []point
	for _, c := range s.chunks {
		in = c.points(in, from, to)
	}
	if len(s.ooo) == 0 {
		return in
	}
	var out []point
	i := 0
	for _, p := range s.ooo {
		if p.t < from || p.t > to {
			continue
		}
		for i < len(in) && in[i].t < p.t {
			out = append(out, in[i])
			i++
		}
		if i < len(in) && in[i].t == p.t {
			continue
		}
		out = append(out, p)
	}
	return append(out, in[i:]...)
}
