package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"triad/internal/esfake"
	"triad/internal/evidence"
	"triad/internal/load"
	"triad/internal/model/brokers"
	"triad/internal/model/forward"
	"triad/internal/record"
	"triad/internal/runtimes"
	"triad/internal/scenario"
	"triad/internal/source"
)

var _ runtimes.Budgeter = (*system)(nil)

// Size of the measurement: enough records that what is not theirs (connections, timers, the idle system) is small.
const (
	budgetRecords = 4000
	budgetBatch   = 500
	// aroundStages is what the models do for a record beside what is measured here (chunk files, offsets, metrics, the
	// waiting and waking of many goroutines, a larger heap to collect), as a factor. It is a ratio of work, not a time:
	// the processor time of whole runs over that of these stages.
	aroundStages = 1.5
)

// Budget measures what a record costs on this machine now, in processor time, stage by stage, with the code that the
// system is made of and over loopback TCP as there.
func (s *system) Budget(ctx context.Context) ([]evidence.StageCost, error) {
	dir, err := os.MkdirTemp(s.session.Dir, "budget-")
	if err != nil {
		return nil, fmt.Errorf("budget: %w", err)
	}
	defer os.RemoveAll(dir)
	lines := budgetLines(s.session.Scenario)
	file, forwarded, kafka := budgetRates(s.session.Scenario)
	var out []evidence.StageCost
	for _, st := range []struct {
		name string
		peak float64
		run  func(ctx context.Context, lines [][]byte, dir string) (time.Duration, error)
	}{
		{"generate", kafka, costGenerate}, {"collect", file, costCollect}, {"forward", forwarded, costForward}, {"broker", kafka, costBroker}, {"store", kafka, costStore},
	} {
		if st.peak == 0 {
			continue
		}
		cost, err := st.run(ctx, lines, dir)
		if err != nil {
			return nil, fmt.Errorf("budget, stage %s: %w", st.name, err)
		}
		out = append(out, evidence.StageCost{Name: st.name, PerRecord: time.Duration(float64(cost) * aroundStages / budgetRecords), Peak: st.peak})
	}
	return out, nil
}

// budgetRates are the highest rates of what enters at the file, at the file or the aggregator, and anywhere.
func budgetRates(s *scenario.Scenario) (file, forwarded, kafka float64) {
	for _, l := range s.Load {
		rate := float64(l.Rate)
		for _, st := range l.Shape {
			rate = max(rate, float64(st.Rate))
		}
		kafka += rate
		if l.Enter != "kafka" {
			forwarded += rate
		}
		if l.Enter != "kafka" && l.Enter != "forward" {
			file += rate
		}
	}
	return file, forwarded, kafka
}

// budgetLines makes lines of the scenario's sources and sizes, in turn.
func budgetLines(s *scenario.Scenario) [][]byte {
	streams := s.Streams()
	lines := make([][]byte, budgetRecords)
	for i := range lines {
		lines[i] = budgetLine(nil, s, streams[i%len(streams)], uint64(i))
	}
	return lines
}

func budgetLine(dst []byte, s *scenario.Scenario, st scenario.Stream, seq uint64) []byte {
	kind, err := source.ParseKind(st.Kind)
	if err != nil {
		kind = source.Service // Load judged the scenario: it has none that is unknown
	}
	tag := record.Tag{Run: 0, Stream: st.ID, Seq: seq, Scheduled: int64(seq) * int64(time.Millisecond)}
	return source.Append(dst, kind, s.Seed, tag, int(s.Load[st.Load].Size))
}

// costGenerate makes lines and writes each to a file, as a generator does.
func costGenerate(_ context.Context, lines [][]byte, dir string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "lines"))
	if err != nil {
		return 0, err
	}
	from := load.ProcessorTime()
	var buf, cri []byte
	for i, l := range lines {
		buf = source.Append(buf[:0], source.Service, 1, record.Tag{Seq: uint64(i), Scheduled: int64(i)}, len(l))
		cri = source.AppendCRI(cri[:0], time.Unix(0, int64(i)).UTC(), true, buf)
		if _, err := f.Write(cri); err != nil {
			return 0, errors.Join(err, f.Close())
		}
	}
	cost := load.ProcessorTime() - from
	return cost, f.Close()
}

// costCollect reads lines from a file and makes a chunk of them, as the agent does.
func costCollect(_ context.Context, lines [][]byte, dir string) (time.Duration, error) {
	path := filepath.Join(dir, "collect")
	var text []byte
	for _, l := range lines {
		text = source.AppendCRI(text, time.Unix(0, 0).UTC(), true, l)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return 0, err
	}
	from := load.ProcessorTime()
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var chunk []byte
	for line := range bytes.Lines(b) {
		c, err := source.ParseCRI(bytes.TrimSuffix(line, []byte("\n")))
		if err != nil {
			return 0, err
		}
		chunk = appendBudgetEntry(chunk, c.Text)
	}
	if err := os.WriteFile(path, chunk, 0o600); err != nil {
		return 0, err
	}
	return load.ProcessorTime() - from, nil
}

func appendBudgetEntry(dst, line []byte) []byte {
	dst = forward.AppendMapLen(forward.AppendEntryHead(dst, time.Unix(1, 0)), 2)
	dst = forward.AppendString(forward.AppendString(dst, "log"), line)
	return forward.AppendString(forward.AppendString(dst, "host"), node)
}

// serving runs a server of the model on a port of its own until stop.
func serving(ctx context.Context, s interface {
	Serve(ctx context.Context, ln net.Listener) error
},
) (addr string, stop func(), err error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	serve, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(serve, ln) }) // it ends with its context
	return ln.Addr().String(), func() { cancel(); wg.Wait() }, nil
}

// costForward sends chunks to a server that makes documents of them and writes them down, as the aggregator does.
func costForward(ctx context.Context, lines [][]byte, dir string) (time.Duration, error) {
	var chunks [][]byte
	for from := 0; from < len(lines); from += budgetBatch {
		var chunk []byte
		for _, l := range lines[from:min(from+budgetBatch, len(lines))] {
			chunk = appendBudgetEntry(chunk, l)
		}
		chunks = append(chunks, chunk)
	}
	handle := func(_ context.Context, m *forward.Message) error {
		var doc []byte
		if _, err := forward.Entries(m.Entries, func(e forward.Entry) error {
			doc = load.AppendDocument(doc, e.Record, node, "")
			return nil
		}); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "forward"), doc, 0o600)
	}
	addr, stop, err := serving(ctx, forward.NewServer(forward.ServerOptions{}, handle))
	if err != nil {
		return 0, err
	}
	defer stop()
	c := forward.NewClient(forward.ClientOptions{Addr: addr, RequireAck: true})
	from := load.ProcessorTime()
	for _, chunk := range chunks {
		if err := c.Send(ctx, "budget", chunk, budgetBatch); err != nil {
			return 0, errors.Join(err, c.Close())
		}
	}
	cost := load.ProcessorTime() - from
	return cost, c.Close()
}

// costBroker produces documents to brokers of the model and reads them twice: as the sink does, and as the observer,
// which looks at the tag.
func costBroker(ctx context.Context, lines [][]byte, _ string) (cost time.Duration, err error) {
	b, err := brokers.New(brokers.Config{Nodes: 3, MinISR: 2, Topics: []brokers.Topic{{Name: "budget", Partitions: 3}}}, brokers.Options{Seed: 1})
	if err != nil {
		return 0, err
	}
	defer b.Close()
	p, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.DefaultProduceTopic("budget"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return 0, err
	}
	defer p.Close()
	if err := p.Ping(ctx); err != nil {
		return 0, err
	}
	from := load.ProcessorTime()
	var failed atomic.Pointer[error]
	for i, l := range lines {
		doc := load.AppendDocument(nil, l, node, "")
		p.Produce(ctx, &kgo.Record{Key: strconv.AppendInt(nil, int64(i%7), 10), Value: doc}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	if err := p.Flush(ctx); err != nil {
		return 0, err
	}
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	for range 2 {
		if err := consume(ctx, b.Addrs(), len(lines)); err != nil {
			return 0, err
		}
	}
	return load.ProcessorTime() - from, nil
}

func consume(ctx context.Context, addrs []string, n int) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.ConsumeTopics("budget"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer c.Close()
	for n > 0 {
		f := c.PollFetches(ctx)
		if err := f.Err0(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for it := f.RecordIter(); !it.Done(); n-- {
			// What is in a document is a line in JSON, so this finds the tag and not the checksum; the work is the same.
			_, _ = record.Parse(it.Next().Value)
		}
	}
	return nil
}

// costStore indexes documents as the sink does, and reads them back as the final reconciliation does.
func costStore(ctx context.Context, lines [][]byte, _ string) (time.Duration, error) {
	addr, stop, err := serving(ctx, esfake.New(esfake.Options{}))
	if err != nil {
		return 0, err
	}
	defer stop()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	post := func(path, contentType string, body []byte) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+path, bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", contentType)
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, res.Body)
		err = errors.Join(err, res.Body.Close())
		if err == nil && res.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", path, res.Status)
		}
		return err
	}
	from := load.ProcessorTime()
	for at := 0; at < len(lines); at += budgetBatch {
		var body []byte
		for i, l := range lines[at:min(at+budgetBatch, len(lines))] {
			body = fmt.Appendf(body, `{"index":{"_index":"budget","_id":"budget+%d"}}`+"\n", at+i)
			body = append(load.AppendDocument(body, l, node, ""), '\n')
		}
		if err := post("/_bulk", "application/x-ndjson", body); err != nil {
			return 0, err
		}
	}
	if err := post("/_refresh", "application/json", nil); err != nil {
		return 0, err
	}
	if err := post("/budget/_search", "application/json", fmt.Appendf(nil, `{"query":{"match_all":{}},"size":%d,"_source":["log"],"sort":["_doc"]}`, len(lines))); err != nil {
		return 0, err
	}
	return load.ProcessorTime() - from, nil
}
