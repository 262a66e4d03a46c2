package selftest

import (
	"math/rand/v2"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"triad/internal/load"
	"triad/internal/observe"
	"triad/internal/record"
	"triad/internal/run"
	"triad/internal/runtimes"
	"triad/internal/source"
	"triad/internal/stats"
)

// place is where in the pipeline a sabotage acts.
type place string

const (
	atGenerator place = "generate" // before the log file is written
	atProduce   place = "forward"  // between the aggregator and the brokers
	atDocument  place = "sink"     // between the sink and the store
	nowhere     place = ""
)

// which chooses the records that are hit.
type which string

const (
	random which = "random"
	head   which = "head"
	tail   which = "tail"
	block  which = "block" // a run of neighbours
	all    which = "all"
)

// kind is one row of the table of sabotages on records.
type kind struct {
	name  string
	place place
	which which
	do    string // lose, double, swap, corrupt, leak, phantom, garbage, stranger
}

// kinds are the sabotages that share one run, each on a stream of its own.
func kinds() []kind {
	return []kind{
		{"clean-1", nowhere, random, ""},
		{"acknowledge-and-forget", atGenerator, random, "lose"},
		{"acknowledge-and-forget-head", atGenerator, head, "lose"},
		{"acknowledge-and-forget-tail", atGenerator, tail, "lose"},
		{"written-twice", atGenerator, random, "double"},
		{"lose-scattered-before-kafka", atProduce, random, "lose"},
		{"lose-block-before-kafka", atProduce, block, "lose"},
		{"lose-head-before-kafka", atProduce, head, "lose"},
		{"lose-tail-before-kafka", atProduce, tail, "lose"},
		{"lose-whole-stream", atProduce, all, "lose"},
		{"duplicate-in-kafka", atProduce, random, "double"},
		{"duplicate-with-loss", atProduce, random, "double+lose"},
		{"reorder", atProduce, random, "swap"},
		{"corrupt-before-kafka", atProduce, random, "corrupt"},
		{"leak-to-another-topic", atProduce, random, "leak"},
		{"phantom-records", atProduce, random, "phantom"},
		{"records-without-tag", atProduce, random, "garbage"},
		{"records-of-another-run", atProduce, random, "stranger"},
		{"lose-scattered-in-sink", atDocument, random, "lose"},
		{"lose-block-in-sink", atDocument, block, "lose"},
		{"lose-head-in-sink", atDocument, head, "lose"},
		{"lose-tail-in-sink", atDocument, tail, "lose"},
		{"duplicate-documents", atDocument, random, "double"},
		{"corrupt-documents", atDocument, random, "corrupt"},
		{"clean-2", nowhere, random, ""},
	}
}

// truth is what a sabotage did.
type truth struct {
	kind
	stream uint32
	total  uint64
	hit    stats.Set // records chosen
	second stats.Set // of double+lose: the records that were lost
}

// saboteur applies every sabotage of a run.
type saboteur struct {
	run    uint32
	seed   uint64
	mu     sync.Mutex
	truths map[uint32]*truth
	held   map[uint32]*kgo.Record // by stream: the record that a swap holds back
}

// plan chooses the records of every sabotage. amount is how many, at most a fifth of a stream.
func plan(seed uint64, counts map[uint32]uint64, rows []kind) *saboteur {
	s := &saboteur{seed: seed, truths: map[uint32]*truth{}, held: map[uint32]*kgo.Record{}}
	rng := rand.New(rand.NewPCG(seed, 0x5e1f))
	for i, k := range rows {
		n := counts[uint32(i)]
		t := &truth{kind: k, stream: uint32(i), total: n}
		s.truths[t.stream] = t
		amount := 1 + rng.Uint64N(max(n/5, 1))
		if rng.IntN(3) == 0 {
			amount = 1 // the smallest there is shows the limit of detection
		}
		switch {
		case k.place == nowhere:
		case k.which == head:
			t.hit.AddSpan(stats.Span{Lo: 0, Hi: amount})
		case k.which == tail:
			t.hit.AddSpan(stats.Span{Lo: n - amount, Hi: n})
		case k.which == all:
			t.hit.AddSpan(stats.Span{Lo: 0, Hi: n})
		case k.which == block:
			lo := 2 + rng.Uint64N(n-amount-3)
			t.hit.AddSpan(stats.Span{Lo: lo, Hi: lo + amount})
		default:
			for t.hit.Len() < amount {
				// Every third record at most, and neither the first nor the last two, so that a swap has neighbours.
				t.hit.Add(3 + 3*rng.Uint64N((n-6)/3))
			}
		}
		if k.do == "double+lose" {
			for _, sp := range t.hit.Spans() { // the record behind a doubled one is lost: counts stay equal
				for v := sp.Lo; v < sp.Hi; v++ {
					t.second.Add(v + 1)
				}
			}
		}
	}
	return s
}

// arrive is what still comes to Kafka and to the store.
func (s *saboteur) arrive() *run.Arrivals {
	a := &run.Arrivals{}
	for _, t := range s.truths {
		want := t.want()
		a.Documents += t.total - want.Lost + want.VisibleDup + want.Phantom
		a.Kafka += t.total
		if t.place != atDocument {
			a.Kafka -= want.Lost
		}
	}
	return a
}

// hooks returns what the embedded runtime calls.
func (s *saboteur) hooks() *runtimes.Sabotage {
	return &runtimes.Sabotage{Generator: s.generator, Produce: s.produce, Document: s.document}
}

func (s *saboteur) find(p place, stream uint32) *truth {
	t := s.truths[stream]
	if t == nil || t.place != p {
		return nil
	}
	return t
}

func (s *saboteur) generator(r *load.Record) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.find(atGenerator, r.Stream.ID)
	if t == nil || !t.hit.Has(r.Seq) {
		return 1
	}
	if t.do == "double" {
		return 2
	}
	return 0
}

func (s *saboteur) produce(r *kgo.Record) []*kgo.Record {
	line, ok := observe.Line(r.Value)
	if !ok {
		return []*kgo.Record{r}
	}
	tag, err := record.Parse(line)
	if err != nil {
		return []*kgo.Record{r}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run = tag.Run
	t := s.find(atProduce, tag.Stream)
	if t == nil {
		return []*kgo.Record{r}
	}
	if held := s.held[tag.Stream]; held != nil {
		delete(s.held, tag.Stream)
		return []*kgo.Record{r, held}
	}
	if t.second.Has(tag.Seq) {
		return nil
	}
	if !t.hit.Has(tag.Seq) {
		return []*kgo.Record{r}
	}
	switch t.do {
	case "lose":
		return nil
	case "double", "double+lose":
		return []*kgo.Record{r, again(r, r.Topic, r.Value)}
	case "swap":
		s.held[tag.Stream] = r
		return nil
	case "corrupt":
		return []*kgo.Record{again(r, r.Topic, load.AppendDocument(nil, record.Damage(line), "", ""))}
	case "leak":
		return []*kgo.Record{r, again(r, "system-auth-topic", r.Value)}
	case "phantom":
		tag.Seq += t.total
		return []*kgo.Record{r, again(r, r.Topic, s.forge(tag))}
	case "garbage":
		return []*kgo.Record{r, again(r, r.Topic, load.AppendDocument(nil, []byte("a line without a tag"), "", ""))}
	case "stranger":
		tag.Run++
		return []*kgo.Record{r, again(r, r.Topic, s.forge(tag))}
	}
	return []*kgo.Record{r}
}

func (s *saboteur) forge(tag record.Tag) []byte {
	return load.AppendDocument(nil, source.Append(nil, source.Service, s.seed, tag, 256), "", "")
}

func again(r *kgo.Record, topic string, value []byte) *kgo.Record {
	return &kgo.Record{Topic: topic, Key: r.Key, Value: value, Headers: r.Headers, Timestamp: r.Timestamp, Context: r.Context}
}

func (s *saboteur) document(_, _ string, doc []byte) ([]byte, int) {
	line, ok := observe.Line(doc)
	if !ok {
		return doc, 1
	}
	tag, err := record.Parse(line)
	if err != nil {
		return doc, 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.find(atDocument, tag.Stream)
	if t == nil || !t.hit.Has(tag.Seq) {
		return doc, 1
	}
	switch t.do {
	case "lose":
		return nil, 0
	case "double":
		return doc, 2
	}
	return load.AppendDocument(nil, record.Damage(line), "", ""), 1
}
