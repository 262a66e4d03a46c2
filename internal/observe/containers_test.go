//go:build !embedded_only

package observe_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"triad/internal/containers"
	"triad/internal/evidence"
	"triad/internal/load"
	"triad/internal/observe"
	"triad/internal/observe/connect"
	"triad/internal/observe/elastic"
	"triad/internal/observe/kafka"
	"triad/internal/observe/scrape"
	"triad/internal/record"
	"triad/internal/scenario"
	"triad/internal/schedule"
	"triad/internal/source"
)

// These tests hold the observers and the sender against the real programs, one container each. What was sent is known by
// construction: the sabotage is a pure function of the sequence number.

const runNumber = 4711

// rig is a run without a runtime: a scenario, evidence and the recognition of its records.
type rig struct {
	s     *scenario.Scenario
	w     *evidence.Writer
	dir   string
	start time.Time
	known *observe.Known
}

func newRig(t *testing.T, text string, start time.Time) *rig {
	t.Helper()
	s, err := scenario.Parse("t.yaml", []byte("apiVersion: triad/v1\nname: t\ntitle: t\nseed: 3\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{s: s, dir: filepath.Join(t.TempDir(), "run"), start: start}
	r.w, err = evidence.Create(r.dir, evidence.Header{ID: "t", Run: runNumber, Scenario: "t", Seed: s.Seed, Streams: s.Streams(), HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.w.Begin(start); err != nil {
		t.Fatal(err)
	}
	r.known = observe.NewKnown(s, runNumber, start)
	return r
}

// line makes a record of the run.
func (r *rig) line(st scenario.Stream, seq uint64, due time.Duration) []byte {
	kind, err := source.ParseKind(st.Kind)
	if err != nil {
		panic(err)
	}
	return source.Append(nil, kind, r.s.Seed, record.Tag{Run: runNumber, Stream: st.ID, Seq: seq, Scheduled: r.start.Add(due).UnixNano()}, 256)
}

// account is what a ledger says: by class, "stream:seq" of every record, sorted; a record twice in a class is there twice.
type account map[evidence.Class][]string

func (a account) add(c evidence.Class, stream uint32, seq uint64) {
	a[c] = append(a[c], fmt.Sprintf("%d:%d", stream, seq))
}

func (a account) sorted() account {
	for _, v := range a {
		slices.Sort(v)
	}
	return a
}

// read closes the evidence, reads it back and returns it with the account of a point and the counted events.
func (r *rig) read(t *testing.T, point string) (account, map[string]string, *evidence.Run) {
	t.Helper()
	if err := r.w.Close(""); err != nil {
		t.Fatal(err)
	}
	run, err := evidence.Open(r.dir)
	if err != nil || len(run.Damage) > 0 {
		t.Fatal(err, run.Damage)
	}
	counted := map[string]string{}
	for _, e := range run.Events {
		if n := e.Attrs["count"]; n != "" {
			counted[e.Kind+" "+e.Attrs["topic"]] = n
		}
	}
	return accountOf(run, point), counted, run
}

// accountOf reads the ledger of a point.
func accountOf(run *evidence.Run, point string) account {
	a := account{}
	run.Ledger(point, func(e evidence.Entry) error {
		for seq := e.Span.Lo; seq < e.Span.Hi; seq++ {
			a.add(e.Class, e.Stream, seq)
		}
		return nil
	})
	return a.sorted()
}

// without leaves records out. A class that loses all of its records stays, so that compare misses them.
func (a account) without(ids map[string]bool) account {
	out := account{}
	for c, all := range a {
		out[c] = nil
		for _, id := range all {
			if !ids[id] {
				out[c] = append(out[c], id)
			}
		}
	}
	return out
}

func compare(t *testing.T, what string, want, got account) {
	t.Helper()
	for _, c := range slices.Sorted(maps.Keys(want)) {
		if len(want[c]) == 0 {
			t.Errorf("%s: the test has no %s record", what, c)
		}
	}
	for c := range got {
		if _, ok := want[c]; !ok {
			want[c] = nil
		}
	}
	for _, c := range slices.Sorted(maps.Keys(want)) {
		if d := cmp.Diff(want[c], got[c]); d != "" {
			t.Errorf("%s: %s: %d wanted, %d seen; -want +got\n%.2000s", what, c, len(want[c]), len(got[c]), d)
		}
	}
}

// sabotaged says what is done to a record on its way: chosen by its number, each kind to other records.
func sabotaged(seq uint64) string {
	switch seq % 50 {
	case 7:
		return "lose"
	case 19:
		return "double"
	case 31:
		return "corrupt"
	case 43:
		return "leak"
	}
	return ""
}

// expect puts what an observer must see of a record into an account.
func expect(a account, stream uint32, seq uint64) {
	switch sabotaged(seq) {
	case "lose":
		return
	case "leak":
		a.add(evidence.Foreign, stream, seq)
		return
	case "double":
		a.add(evidence.Duplicate, stream, seq)
	case "corrupt":
		a.add(evidence.Corrupt, stream, seq)
	}
	a.add(evidence.Seen, stream, seq)
}

// corrupted changes one letter of a line outside of its tag.
func corrupted(t *testing.T, line []byte) []byte {
	t.Helper()
	out := record.Damage(line)
	if bytes.Equal(out, line) {
		t.Fatalf("nothing to change in %s", line)
	}
	return out
}

// leaky sends what is to leak to another topic of the run.
type leaky struct {
	load.Sink
	to string
}

func (l leaky) Send(ctx context.Context, r load.Record, o load.Outcome) {
	if sabotaged(r.Seq) == "leak" {
		st := *r.Stream
		st.Topic = l.to
		r.Stream = &st
	}
	l.Sink.Send(ctx, r, o)
}

// send runs a generator that enters at the brokers, with every kind of sabotage or none, and returns its ledger's account.
func (r *rig) send(t *testing.T, brokers []string, sabotage bool) *load.Generator {
	t.Helper()
	sink, err := load.NewKafkaSink("h", r.start, kgo.SeedBrokers(brokers...), kgo.ProducerLinger(0), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.MetadataMinAge(250*time.Millisecond), kgo.AlwaysRetryEOF())
	if err != nil {
		t.Fatal(err)
	}
	ledger, err := r.w.Ledger(evidence.PointSent + "t")
	if err != nil {
		t.Fatal(err)
	}
	cfg := load.Config{
		Scenario: r.s, Run: runNumber, Start: r.start, Streams: r.s.Streams(), Sink: sink, Logger: containers.Logger(t),
		Evidence: load.Evidence{Ledger: ledger, Hists: r.w.Hists, Series: r.w.Series, Pulse: evidence.NewPulse(r.w.Series, "ledger", 100*time.Millisecond)},
	}
	if sabotage {
		cfg.Sink = leaky{cfg.Sink, "system-auth-topic"}
		cfg.Sabotage = func(rec *load.Record) int {
			switch sabotaged(rec.Seq) {
			case "lose":
				return 0
			case "double":
				return 2
			case "corrupt":
				rec.Line = corrupted(t, rec.Line)
			}
			return 1
		}
	}
	g, err := load.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func createTopics(t *testing.T, brokers []string, partitions int32, names ...string) *kadm.Client {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	adm := kadm.NewClient(cl)
	for _, name := range names {
		if _, err := adm.CreateTopic(t.Context(), partitions, 1, nil, name); err != nil {
			t.Fatal(err)
		}
	}
	return adm
}

// TestContainersKafka: every record that was lost, doubled, changed or sent astray is named, and no other, though the
// broker is killed under the observer; other runs, garbage, dead letters and aborted transactions are what they are.
func TestContainersKafka(t *testing.T) {
	k := containers.StartKafka(t, containers.KafkaConfig{Nodes: 1, Settings: map[string]string{"auto.create.topics.enable": "false", "broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}})
	adm := createTopics(t, k.Addrs(), 3, "service-topic", "system-auth-topic", "dead-letter-topic")
	before, err := kgo.NewClient(kgo.SeedBrokers(k.Addrs()...), kgo.DefaultProduceTopic("service-topic"))
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	document := func(line []byte) []byte { return load.AppendDocument(nil, line, "h", "") }
	produce := func(topic string, value []byte) {
		t.Helper()
		if err := before.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: value}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	// The sink's position, of which the lag is counted: ten records of each partition are read.
	offsets := kadm.Offsets{}
	for n := range int32(3) {
		offsets.AddOffset("service-topic", n, 10, -1)
	}
	containers.Eventually(t, time.Minute, "a committed offset", func(ctx context.Context) error {
		res, err := adm.CommitOffsets(ctx, "sink", offsets)
		if err == nil {
			err = res.Error() // the topic of the offsets is made by the first question for it
		}
		return err
	})

	// The run begins when all that takes a cold broker its time is done: a generator that comes late drops what was due.
	r := newRig(t, "phases: {warm-up: 1s, before: 9s}\nload: [{source: service, rate: 200/s, streams: 5, enter: kafka}]\n", time.Now().Add(5*time.Second))
	stream := r.s.Streams()[0]
	// What lies in the topics before the run is not the run's.
	produce("service-topic", document(r.line(stream, 1, 0)))
	o, err := kafka.Open(t.Context(), kafka.Config{
		Brokers: k.Addrs(), Topics: []string{"service-topic", "system-auth-topic"}, DeadLetter: "dead-letter-topic", Group: "sink", Evidence: r.w, Pulse: 100 * time.Millisecond, Logger: containers.Logger(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := o.Run(ctx, r.known); err != nil {
			t.Error(err)
		}
	})
	g := r.send(t, k.Addrs(), true)
	wg.Go(func() {
		if err := g.Run(t.Context()); err != nil {
			t.Error(err)
		}
	})
	other := record.Tag{Run: runNumber + 1, Stream: stream.ID, Seq: 3, Scheduled: r.start.UnixNano()}
	produce("service-topic", document(source.Append(nil, source.Service, 1, other, 256)))
	produce("service-topic", []byte("no document"))
	produce("service-topic", document(r.line(stream, 1<<30, 0))) // beyond the schedule
	produce("dead-letter-topic", document(r.line(stream, 7, 0)))
	aborted(t, k.Addrs(), document(r.line(stream, 7, 0)))

	want := account{}
	var planned, seen uint64
	for _, st := range r.s.Streams() {
		n := schedule.Count(r.s, st, 1<<62)
		planned += n
		for seq := range n {
			expect(want, st.ID, seq)
		}
	}
	seen = uint64(len(want[evidence.Seen]))
	want.add(evidence.Phantom, stream.ID, 1<<30)
	containers.Eventually(t, 2*time.Minute, "every record", func(context.Context) error {
		p := g.Progress()
		unsure := planned - p.Acked // a machine that stands still for a second has records dropped, which nobody sees
		if p.Acked+p.Unknown+p.Dropped < planned || unsure > planned/2 {
			return fmt.Errorf("%d of %d acknowledged, %d unknown, %d dropped", p.Acked, planned, p.Unknown, p.Dropped)
		}
		if o.Seen()+unsure < seen {
			return fmt.Errorf("%d of %d seen", o.Seen(), seen)
		}
		return nil
	})
	// The broker dies and comes back: what was read is not read again, and what comes then is seen.
	if _, err := k.Nodes[0].Kill(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	if _, err := k.Nodes[0].Start(); err != nil {
		t.Fatal(err)
	}
	for seq := range uint64(5) {
		produce("service-topic", document(r.line(stream, seq, 0)))
		want.add(evidence.Duplicate, stream.ID, seq)
	}
	ends, err := adm.ListEndOffsets(t.Context(), "service-topic")
	if err != nil {
		t.Fatal(err)
	}
	var lag float64 // a partition that no key falls on has none
	ends.Each(func(e kadm.ListedOffset) { lag += float64(max(e.Offset-10, 0)) })
	time.Sleep(5 * time.Second) // what comes too much would come now, and a few readings of the lag
	stop()
	wg.Wait()

	if n := o.DeadLettered(); n != 1 {
		t.Errorf("%d dead letters, want 1", n)
	}
	got, counted, run := r.read(t, evidence.PointKafka)
	unsure := map[string]bool{} // records that nobody acknowledged: whether they entered is not known
	for class, ids := range accountOf(run, evidence.PointSent+"t") {
		for _, id := range ids {
			if class != evidence.Acked {
				unsure[id] = true
			}
		}
	}
	t.Logf("%d of %d records not acknowledged", len(unsure), planned)
	compare(t, "kafka", want.sorted().without(unsure), got.without(unsure))
	if d := cmp.Diff(map[string]string{evidence.EventForeignRun + " service-topic": "1", evidence.EventUnreadable + " service-topic": "1"}, counted); d != "" {
		t.Errorf("counted events: -want +got\n%s", d)
	}
	last := map[string]float64{}
	run.Series(func(_ time.Duration, s evidence.Sample) error {
		if s.Name == evidence.LagSeries {
			last[s.Labels["topic"]] = s.Value
		}
		return nil
	})
	if last["service-topic"] != lag {
		t.Errorf("lag %v, want %v of service-topic", last, lag)
	}
}

// aborted writes a record in a transaction that is aborted.
func aborted(t *testing.T, brokers []string, value []byte) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID("aborted"), kgo.DefaultProduceTopic("service-topic"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(t.Context(), kgo.SliceRecord(value)).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := cl.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
}

// templates puts the shipped index templates into the store.
func templates(t *testing.T, es *containers.Elasticsearch) {
	t.Helper()
	for _, p := range [][2]string{{"_component_template/triad-mappings", "mappings.json"}, {"_index_template/triad-logs", "index-template.json"}} {
		b, err := os.ReadFile(filepath.Join("..", "..", "manifests", "base", "monitoring", "config", "elasticsearch", p[1]))
		if err != nil {
			t.Fatal(err)
		}
		es.Must(http.MethodPut, "/"+p[0], string(b))
	}
}

// bulk collects documents and writes them, a thousand in a request.
type bulk struct {
	t    *testing.T
	es   *containers.Elasticsearch
	body strings.Builder
	n    int
}

func (b *bulk) add(index, id string, line []byte) {
	fmt.Fprintf(&b.body, `{"index":{"_index":%q,"_id":%q}}`+"\n%s\n", index, id, load.AppendDocument(nil, line, "h", ""))
	if b.n++; b.n%1000 == 0 {
		b.flush()
	}
}

func (b *bulk) flush() {
	b.t.Helper()
	if b.body.Len() == 0 {
		return
	}
	if answer := b.es.Must(http.MethodPost, "/_bulk", b.body.String()); !strings.Contains(answer, `"errors":false`) {
		b.t.Fatalf("bulk: %.500s", answer)
	}
	b.body.Reset()
}

// slicesAreAll reads the same in three slices of one point in time as in one piece.
func slicesAreAll(t *testing.T, client *elastic.Client, prefix string) {
	t.Helper()
	indices := []string{"service-topic", "system-auth-topic"}
	var all, parts []string
	into := func(list *[]string) func(elastic.Hit) error {
		return func(h elastic.Hit) error {
			*list = append(*list, h.Index+"/"+h.ID)
			return nil
		}
	}
	if err := client.All(t.Context(), indices, prefix, into(&all)); err != nil {
		t.Fatal(err)
	}
	pit, err := client.Open(t.Context(), indices)
	if err != nil {
		t.Fatal(err)
	}
	for k := range 3 {
		before := len(parts)
		if err := client.Read(t.Context(), elastic.Slice{PIT: pit, K: k, N: 3}, prefix, into(&parts)); err != nil {
			t.Fatal(err)
		}
		if len(parts) == before {
			t.Errorf("slice %d is empty", k)
		}
	}
	if err := client.Close(t.Context(), pit); err != nil {
		t.Error(err)
	}
	slices.Sort(all)
	slices.Sort(parts)
	if !slices.Equal(all, parts) {
		t.Errorf("%d documents in slices, %d in one piece", len(parts), len(all))
	}
}

// TestContainersElasticsearch: polling sees what is refreshed and nothing else, and the final reading is exact over pages,
// refreshes and what is written while it reads.
func TestContainersElasticsearch(t *testing.T) {
	es := containers.StartElasticsearch(t, "", map[string]string{"thread_pool.search.size": "1", "thread_pool.search.queue_size": "20"})
	templates(t, es)
	const seconds = 30
	r := newRig(t, fmt.Sprintf("phases: {warm-up: 1s, before: %ds}\nload: [{source: service, rate: 400/s, streams: 3, enter: kafka}]\n", seconds-1), time.Now().Add(-seconds*time.Second))
	for _, index := range []string{"service-topic", "system-auth-topic"} {
		es.Must(http.MethodPut, "/"+index, `{"settings":{"index.refresh_interval":"-1"}}`)
	}
	client, err := elastic.NewClient(elastic.Access{URL: es.URL, Transport: &http.Transport{DisableKeepAlives: true}})
	if err != nil {
		t.Fatal(err)
	}
	if v, err := client.Ping(t.Context()); err != nil || !strings.HasPrefix(v, "8.") {
		t.Fatalf("version %q: %v", v, err)
	}

	b := &bulk{t: t, es: es}
	want := account{}
	// write stores what is due in a part of the run, and returns how many documents of the index that makes and identities among them.
	write := func(part func(due time.Duration) bool) (documents uint64, tokens []string) {
		for _, st := range r.s.Streams() {
			sched := schedule.New(r.s, st)
			for {
				seq := sched.Seq()
				due, ok := sched.Next()
				if !ok {
					break
				}
				if !part(due) {
					continue
				}
				documents += r.store(t, b, st, seq, due)
				expect(want, st.ID, seq)
				if sabotaged(seq) == "" && seq%40 == 0 {
					tokens = append(tokens, string(record.AppendID(nil, runNumber, st.ID, seq)))
				}
			}
		}
		return documents, tokens
	}
	const half = seconds * time.Second / 2 // the second half is written after the refresh
	refreshed, tokens := write(func(due time.Duration) bool { return due <= half })
	other := record.Tag{Run: runNumber + 1, Stream: 0, Seq: 3, Scheduled: r.start.UnixNano()}
	b.add("service-topic", "other run", source.Append(nil, source.Service, 1, other, 256))
	b.flush()
	es.Must(http.MethodPost, "/service-topic,system-auth-topic/_refresh", "")
	_, hidden := write(func(due time.Duration) bool { return due > half })
	b.flush()
	want.add(evidence.Phantom, 0, 1<<30)
	b.add("service-topic", "phantom", r.line(r.s.Streams()[0], 1<<30, 0))
	b.flush()

	known := func(ctx context.Context, ask []string, want bool) error {
		found, err := client.Found(ctx, "service-topic", ask)
		if err != nil {
			return err
		}
		if i := slices.Index(found, !want); i >= 0 {
			t.Errorf("%s: found %v, want %v", ask[i], found[i], want)
		}
		return nil
	}
	for ask, is := range map[*[]string]bool{&tokens: true, &hidden: false} {
		if err := known(t.Context(), (*ask)[:min(len(*ask), 200)], is); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := client.Found(t.Context(), "no-such-index", tokens[:1]); err != nil || found[0] {
		t.Errorf("an index that is not there: %v, %v", found, err)
	}
	total, err := client.Total(t.Context(), "service-topic")
	if err != nil {
		t.Fatal(err)
	}
	sizes, err := client.Sizes(t.Context(), []string{"service-topic", "no-such-index"})
	if s := sizes["service-topic"]; err != nil || len(sizes) != 1 || s.Documents != total || s.Bytes < total {
		t.Errorf("sizes of %d documents: %v, %v", total, sizes, err)
	}

	o, err := elastic.New(elastic.Config{
		Client: client, Indices: []string{"service-topic", "system-auth-topic"}, Scenario: r.s, PollEvery: 40, Evidence: r.w, Pulse: 100 * time.Millisecond, Cluster: "monitoring", Logger: containers.Logger(t),
	}, r.known)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { o.Run(ctx) })
	containers.Eventually(t, 30*time.Second, "the count of what is searchable", func(context.Context) error {
		if n := o.Counted(); n != refreshed {
			return fmt.Errorf("%d documents counted, %d are searchable", n, refreshed)
		}
		return nil
	})
	refusals(t, es, client, func(ctx context.Context) error { return known(ctx, tokens[:20], true) })
	stop()
	wg.Wait()
	if n := o.Counted(); n != refreshed {
		t.Errorf("%d documents counted in the end, %d are searchable", n, refreshed)
	}

	// The final reading may find indices that are blocked for writing.
	es.Must(http.MethodPut, "/service-topic/_settings", `{"index.blocks.read_only":true}`)
	if err := o.Reconcile(t.Context(), 1); err != nil {
		t.Fatalf("reconciliation of a read-only index: %v", err)
	}
	es.Must(http.MethodPut, "/service-topic/_settings", `{"index.blocks.read_only":null}`)

	// What is written and refreshed while it reads is not in it, and nothing comes twice.
	prefix := strings.TrimSuffix(string(record.AppendID(nil, runNumber, 0, 0)), "0_0")
	slicesAreAll(t, client, prefix)
	ids, once := map[string]bool{}, sync.Once{}
	if err := client.All(t.Context(), []string{"service-topic", "system-auth-topic"}, prefix, func(h elastic.Hit) error {
		once.Do(func() {
			b.add("service-topic", "late", r.line(r.s.Streams()[0], 7, 0))
			b.flush()
			es.Must(http.MethodPost, "/service-topic/_refresh", "")
		})
		if ids[h.Index+"/"+h.ID] || h.ID == "late" {
			t.Errorf("document %s/%s came twice, or was written after the reading began", h.Index, h.ID)
		}
		ids[h.Index+"/"+h.ID] = true
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	documents := 0
	for _, c := range []evidence.Class{evidence.Seen, evidence.Duplicate, evidence.Foreign, evidence.Phantom} {
		documents += len(want[c])
	}
	if len(ids) != documents || documents < 10_000 {
		t.Errorf("%d documents read, %d are there; pages hold 5000", len(ids), documents)
	}

	got, _, run := r.read(t, evidence.PointSearch)
	compare(t, "search", want.sorted(), got)
	for _, e := range run.Events {
		if e.Kind == evidence.EventRecon && (e.State != "done" || e.Attrs["unreadable"] != "0") {
			t.Errorf("reconciliation %+v", e)
		}
	}
}

// store writes what becomes of one record and returns how many documents of the run its own index gets.
func (r *rig) store(t *testing.T, b *bulk, st scenario.Stream, seq uint64, due time.Duration) (documents uint64) {
	t.Helper()
	id, line := fmt.Sprintf("%d+%d", st.ID, seq), r.line(st, seq, due)
	switch sabotaged(seq) {
	case "lose":
		return 0
	case "leak":
		b.add("system-auth-topic", id, line)
		return 0
	case "double":
		b.add(st.Topic, id+"+again", line)
		documents++
	case "corrupt":
		line = corrupted(t, line)
	}
	b.add(st.Topic, id, line)
	if seq%50 == 11 {
		b.add(st.Topic, id, line) // the same id again is the same document: the sink hides it
	}
	return documents + 1
}

// refusals floods the store's only search thread: what the client then gets is an error, never a wrong answer.
func refusals(t *testing.T, es *containers.Elasticsearch, client *elastic.Client, ask func(ctx context.Context) error) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var flooded atomic.Int64
	for range 40 {
		wg.Go(func() {
			for ctx.Err() == nil {
				status, _, _ := containers.Do(ctx, http.MethodPost, es.URL+"/service-topic/_search", `{"size":500,"query":{"wildcard":{"log":"*e*a*"}}}`)
				if status == http.StatusTooManyRequests {
					flooded.Add(1)
				}
			}
		})
	}
	var refused, answered int
	prefix := strings.TrimSuffix(string(record.AppendID(nil, runNumber, 0, 0)), "0_0")
	var first uint64
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && (refused < 3 || flooded.Load() < 10); {
		one, cancel := context.WithTimeout(ctx, 5*time.Second)
		n, err := client.Count(one, []string{"service-topic"}, prefix)
		for _, err := range []error{err, ask(one)} {
			switch {
			case err == nil:
				answered++
			case strings.Contains(err.Error(), "es_rejected_execution") || strings.Contains(err.Error(), "429"):
				refused++
			case errors.Is(err, context.DeadlineExceeded):
			default:
				t.Errorf("neither an answer nor a refusal: %v", err)
			}
		}
		if err == nil {
			if first == 0 {
				first = n
			}
			if n != first {
				t.Errorf("counted %d and then %d while nothing was written", first, n)
			}
		}
		cancel()
	}
	stop()
	wg.Wait()
	t.Logf("flood refused %d times; of our own requests %d were answered and %d refused", flooded.Load(), answered, refused)
	if flooded.Load() == 0 {
		t.Error("the store refused nothing: the test shows nothing")
	}
}

// TestContainersConnect: a real worker's REST status and metrics, through a failure of its task and its restart, and the
// store exact behind it.
func TestContainersConnect(t *testing.T) {
	rules, err := os.ReadFile(filepath.Join("..", "..", "manifests", "base", "monitoring", "config", "connect-metrics.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	containers.Image(t, "kafka-connect") // before anything is started
	k := containers.StartKafka(t, containers.KafkaConfig{Nodes: 1, Settings: map[string]string{"auto.create.topics.enable": "false"}})
	es := containers.StartElasticsearch(t, k.Network, nil)
	templates(t, es)
	createTopics(t, k.Addrs(), 3, "service-topic", "system-auth-topic")
	worker := containers.StartConnect(t, k, string(rules), nil)
	worker.Put("logs", map[string]string{
		"connector.class": "io.confluent.connect.elasticsearch.ElasticsearchSinkConnector", "tasks.max": "1", "topics": "service-topic,system-auth-topic",
		"connection.url": "http://" + es.Name + ":9200", "key.ignore": "true", "schema.ignore": "true", "write.method": "INSERT",
		"behavior.on.malformed.documents": "WARN", "behavior.on.null.values": "IGNORE",
		"max.retries": "1", "retry.backoff.ms": "100", "connection.timeout.ms": "1000", "read.timeout.ms": "2000", "linger.ms": "100",
	})
	r := newRig(t, "phases: {warm-up: 1s, before: 5s}\nload: [{source: service, rate: 200/s, streams: 4, enter: kafka}]\n", time.Now().Add(5*time.Second))
	o, err := connect.New(connect.Config{Workers: []connect.Worker{{URL: "http://127.0.0.1:1", Client: http.DefaultClient}, {URL: worker.URL, Client: http.DefaultClient}}, Every: 200 * time.Millisecond, Evidence: r.w.Events, Now: r.w.Now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := o.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	g := r.send(t, k.Addrs(), false)
	if err := g.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	client, err := elastic.NewClient(elastic.Access{URL: es.URL, Transport: &http.Transport{DisableKeepAlives: true}})
	if err != nil {
		t.Fatal(err)
	}
	prefix := strings.TrimSuffix(string(record.AppendID(nil, runNumber, 0, 0)), "0_0")
	stored := func(want uint64) {
		t.Helper()
		containers.Eventually(t, 90*time.Second, "documents", func(ctx context.Context) error {
			n, err := client.Count(ctx, []string{"service-topic"}, prefix)
			if err == nil && n != want {
				err = fmt.Errorf("%d of %d", n, want)
			}
			return err
		})
	}
	p := g.Progress()
	entered := p.Acked // what a machine that stood still for a second let it drop is in no topic
	if p.Unknown > 0 || p.Acked < p.Planned/2 {
		t.Fatalf("%+v", p)
	}
	stored(entered)

	target := scrape.Target{Cluster: "monitoring", Component: "connect", Instance: "connect", URL: worker.Metrics}
	metric := func(name string) (sum float64, there bool) {
		samples, err := target.Scrape(t.Context(), &http.Client{Timeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range scrape.Select("connect", samples) {
			if s.Name == name {
				sum, there = sum+s.Value, true
			}
		}
		return sum, there
	}
	for _, name := range []string{"kafka_connect_sink_task_sink_record_read_total", "kafka_connect_sink_task_sink_record_send_total"} {
		if n, there := metric(name); !there || n != float64(entered) {
			t.Errorf("%s is %v (there: %v), want %d: the records read and put", name, n, there, entered)
		}
	}
	for _, f := range scrape.Families("connect") {
		if _, there := metric(f.Name); !there {
			t.Errorf("a real worker under the shipped rules has no %s, which judging reads", f.Name)
		}
	}

	// The store goes away; with one retry the task fails, stays failed when it is back, and runs again when it is told to.
	docker := func(what string, f func(context.Context) error) {
		t.Helper()
		if err := f(t.Context()); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	at := time.Second
	docker("stop of the store", func(ctx context.Context) error { return es.Stop(ctx, &at) })
	more, err := kgo.NewClient(kgo.SeedBrokers(k.Addrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer more.Close()
	if err := more.ProduceSync(t.Context(), &kgo.Record{Topic: "service-topic", Value: load.AppendDocument(nil, r.line(r.s.Streams()[0], 0, 0), "h", "")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	state := func(want string) {
		t.Helper()
		containers.Eventually(t, time.Minute, "task "+want, func(ctx context.Context) error {
			_, answer, err := containers.Do(ctx, http.MethodGet, worker.URL+"/connectors/logs/tasks/0/status", "")
			if err == nil && !strings.Contains(answer, want) {
				err = errors.New(answer)
			}
			return err
		})
	}
	state("FAILED")
	docker("start of the store", es.Start)
	es.URL = "http://" + es.Addr("9200/tcp")
	containers.Eventually(t, 2*time.Minute, "elasticsearch again", func(ctx context.Context) error {
		_, _, err := containers.Do(ctx, http.MethodGet, es.URL+"/_cluster/health?wait_for_status=yellow&timeout=4s", "")
		return err
	})
	time.Sleep(time.Second)
	state("FAILED")
	if status, answer, err := containers.Do(t.Context(), http.MethodPost, worker.URL+"/connectors/logs/restart?includeTasks=true&onlyFailed=true", ""); err != nil || status >= 300 {
		t.Fatalf("restart: HTTP %d: %s: %v", status, answer, err)
	}
	state("RUNNING")
	if client, err = elastic.NewClient(elastic.Access{URL: es.URL, Transport: &http.Transport{DisableKeepAlives: true}}); err != nil {
		t.Fatal(err)
	}
	stored(entered + 1)
	time.Sleep(time.Second)
	stop()
	wg.Wait()

	e, err := elastic.New(elastic.Config{Client: client, Indices: []string{"service-topic", "system-auth-topic"}, Scenario: r.s, PollEvery: 10, Evidence: r.w, Pulse: 100 * time.Millisecond, Cluster: "monitoring", Logger: containers.Logger(t)}, r.known)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Reconcile(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	want := account{}
	for _, st := range r.s.Streams() {
		for seq := range schedule.Count(r.s, st, 1<<62) {
			want.add(evidence.Seen, st.ID, seq)
		}
	}
	want.add(evidence.Duplicate, r.s.Streams()[0].ID, 0) // the one that was sent while the store was away
	got, _, run := r.read(t, evidence.PointSearch)
	compare(t, "search", want.sorted(), got)
	var task []string
	for _, e := range run.Events {
		if e.Kind == evidence.EventConnector && e.Name == "logs/0" {
			task = append(task, e.State)
			if e.State == "FAILED" && !strings.Contains(e.Detail, "Exception") {
				t.Errorf("a failed task without its error: %+v", e)
			}
		}
	}
	task = slices.DeleteFunc(task, func(s string) bool { return s == "UNASSIGNED" || s == "RESTARTING" }) // seen or not, as the poll falls
	if d := cmp.Diff([]string{"RUNNING", "FAILED", "RUNNING"}, task); d != "" {
		t.Errorf("states of the task: -want +got\n%s", d)
	}
}
