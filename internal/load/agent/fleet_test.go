package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"triad/internal/evidence"
	"triad/internal/pod"
	"triad/internal/record"
	"triad/internal/scenario"
)

// lines collects what an agent writes to its stdout.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// process is an agent on loopback that can be killed, and started anew in the same place.
type process struct {
	out   io.Writer
	state string
	addr  string
	stop  context.CancelFunc
	done  chan error
	gone  atomic.Bool
}

func newProcess(t *testing.T, out io.Writer) *process {
	t.Helper()
	p := &process{out: out, state: t.TempDir(), addr: "127.0.0.1:0"}
	p.start(t)
	t.Cleanup(func() {
		if p.stop != nil {
			p.stop()
			if err := <-p.done; err != nil {
				t.Error(err)
			}
		}
	})
	return p
}

func (p *process) url() string { return "http://" + p.addr }

func (p *process) start(t *testing.T) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	p.addr = l.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	p.stop, p.done = stop, make(chan error, 1)
	a := New(Config{Stdout: p.out, State: p.state, LogDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	go func() { p.done <- a.Serve(ctx, l) }()
}

// kill ends the agent. What it writes to its ledger in the end, a process that is killed would not: it is taken away again.
func (p *process) kill() {
	files, _ := filepath.Glob(filepath.Join(p.state, "run-*", "agent.led"))
	var sizes []int64
	for _, f := range files {
		if info, err := os.Stat(f); err == nil {
			sizes = append(sizes, info.Size())
		}
	}
	p.stop()
	<-p.done //nolint:errcheck // it was killed
	p.stop = nil
	for i, size := range sizes {
		_ = os.Truncate(files[i], size) // the test sees it when this fails
	}
}

// serve starts an agent on loopback and returns how the harness speaks to it.
func serve(t *testing.T, name string, out io.Writer) Remote {
	t.Helper()
	return Remote{Name: name, URL: newProcess(t, out).url(), Client: &http.Client{Timeout: 10 * time.Second}}
}

// begun is the evidence of a run whose schedule begins at start.
func begun(t *testing.T, s *scenario.Scenario, runtime string, start time.Time) *evidence.Writer {
	t.Helper()
	h := evidence.Header{ID: "run", Run: 7, Scenario: s.Name, Runtime: runtime, Streams: s.Streams(), Windows: s.Phases.Windows(), HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}
	w, err := evidence.Create(filepath.Join(t.TempDir(), "run"), h, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Begin(start); err != nil {
		t.Fatal(err)
	}
	return w
}

// processes are agents that can be killed, and how the harness speaks to each.
func processes(t *testing.T, names ...string) (agents []*process, remotes []Remote) {
	t.Helper()
	for _, name := range names {
		a := newProcess(t, &lines{})
		agents = append(agents, a)
		remotes = append(remotes, Remote{
			Name: name, URL: a.url(), Client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
			Gone: func(context.Context) bool { return a.gone.Load() },
		})
	}
	return agents, remotes
}

// ackedBy is how many records each ledger of a run acknowledges.
func ackedBy(r *evidence.Run) map[string]uint64 {
	acked := map[string]uint64{}
	for _, p := range r.Points() {
		r.Ledger(p, func(e evidence.Entry) error {
			if e.Class == evidence.Acked {
				acked[p] += e.Span.Len()
			}
			return nil
		})
	}
	return acked
}

// TestFleetWritesEveryRecordOnce: two agents share a load; every record is written by one of them, and their ledgers say so.
func TestFleetWritesEveryRecordOnce(t *testing.T) {
	s, err := scenario.Parse("canary.yaml", []byte("apiVersion: triad/v1\nname: canary\ntitle: x\nphases: {warm-up: 1s, before: 1s, drain: 1s}\nload: [{source: canary, rate: 40/s, streams: 2, instances: 2}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now().Add(2 * time.Second)
	w := begun(t, s, "eks", start)
	whole := Plan{Scenario: *s, Run: 7, Start: start, HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}
	out := &lines{}
	var shares []Share
	for i, st := range s.Streams() {
		plan := whole
		plan.Streams = []scenario.Stream{st}
		shares = append(shares, Share{serve(t, []string{"a", "b"}[i], out), plan})
	}
	f, err := Launch(t.Context(), whole, shares)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.Collect(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if p := f.Progress(); p.Acked != 80 || p.Attempted != 80 {
		t.Errorf("%+v", p)
	}
	if err := w.Close(""); err != nil {
		t.Fatal(err)
	}
	seen := map[record.Tag]bool{}
	for line := range strings.Lines(out.b.String()) {
		tag, err := record.Parse([]byte(strings.TrimSpace(line)))
		if err != nil || tag.Run != 7 || seen[tag] {
			t.Errorf("%v %v: %s", tag, err, line)
		}
		seen[tag] = true
	}
	if len(seen) != 80 {
		t.Errorf("%d records were written, want 80", len(seen))
	}
	for _, name := range []string{"a", "b"} {
		if m, err := filepath.Glob(filepath.Join(w.Dir, "ledger", evidence.PointSent+name+".led")); err != nil || len(m) != 1 {
			t.Errorf("no ledger of %s", name)
		}
	}
}

// TestLaunchFails: where an agent does not take its plan, or all have it too late, none goes on sending.
func TestLaunchFails(t *testing.T) {
	s, err := scenario.Parse("t.yaml", []byte("apiVersion: triad/v1\nname: t\ntitle: x\nphases: {before: 1h, drain: 1s}\nload: [{source: service, rate: 2/s, streams: 2, parallelism: 2}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	whole := Plan{Scenario: *s, HistWindow: time.Second, PulseEvery: time.Second}
	good := serve(t, "good", &lines{})
	full := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/run" {
			http.Error(w, "the disk is full", http.StatusConflict)
		}
	}))
	defer full.Close()
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	for _, c := range []struct {
		other Remote
		start time.Duration // from now
		want  string
	}{
		{Remote{Name: "full", URL: full.URL, Client: full.Client()}, time.Minute, "generator full: HTTP 409: the disk is full"},
		{Remote{Name: "away", URL: away.URL, Client: full.Client()}, time.Minute, ErrWriting.Error()},
		{serve(t, "late", &lines{}), -time.Second, "after the start of the schedule"},
	} {
		whole.Run, whole.Start = whole.Run+1, time.Now().Add(c.start)
		shares, err := Divide(whole, s.Streams(), func(scenario.Stream) ([]Remote, error) { return []Remote{good, c.other}, nil })
		if err != nil {
			t.Fatal(err)
		}
		f, err := Launch(t.Context(), whole, shares)
		if f != nil || err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrWriting) != (c.other.Name == "away") {
			t.Errorf("%s: %v, %v", c.other.Name, f, err)
		}
		if st, err := good.Status(t.Context()); err != nil || st.Run != whole.Run || st.Running {
			t.Errorf("%s: the other agent has begun and goes on: %+v, %v", c.other.Name, st, err)
		}
	}
}

// JSON strips the monotonic reading of the start. The schedule runs by one all the same: a step of the wall clock moves no record.
func TestStartByTheMonotonicClock(t *testing.T) {
	s, err := scenario.Parse("t.yaml", []byte("apiVersion: triad/v1\nname: t\ntitle: x\nphases: {before: 1h, drain: 1s}\nload: [{source: service, rate: 1/s}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	a := New(Config{Stdout: &lines{}, State: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err := a.Start(t.Context(), Plan{Scenario: *s, Run: 7, Start: time.Now().Add(time.Minute).Round(0), Streams: s.Streams(), HistWindow: time.Second, PulseEvery: time.Second}); err != nil {
		t.Fatal(err)
	}
	defer a.Stop()
	wall := reflect.ValueOf(a.gens[0]).Elem().FieldByName("cfg").FieldByName("Start").FieldByName("wall")
	if !wall.IsValid() {
		t.Skip("this version of Go represents times in another way")
	}
	if wall.Uint()>>63 == 0 {
		t.Error("the start has no monotonic reading")
	}
}

// A harness that goes on takes up agents that know the run, and tells them nothing; one that does not is an error.
func TestRejoin(t *testing.T) {
	var told atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			told.Add(1)
		}
		pod.Answer(w, Status{Run: 7})
	}))
	defer srv.Close()
	whole := Plan{Run: 7, Start: time.Now().Add(-time.Hour)}
	shares := []Share{{Remote: Remote{Name: "a", URL: srv.URL, Client: srv.Client()}}}
	f, err := Rejoin(t.Context(), whole, shares)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Wait(t.Context()); err != nil || told.Load() != 0 {
		t.Errorf("%v, %d orders", err, told.Load())
	}
	whole.Run = 8
	if _, err := Rejoin(t.Context(), whole, shares); err == nil || !strings.Contains(err.Error(), "generator a has no plan of this run any more") {
		t.Errorf("another run: %v", err)
	}
	if told.Load() != 0 {
		t.Errorf("the agents of another run had %d orders", told.Load())
	}
	whole.Run = 7
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			t.Error("an agent of another run had an order")
		}
		pod.Answer(w, Status{Run: 9})
	}))
	defer other.Close()
	shares = append(shares, Share{Remote: Remote{Name: "b", URL: other.URL, Client: other.Client()}})
	if _, err := Rejoin(t.Context(), whole, shares); err == nil || told.Load() != 1 {
		t.Errorf("one of two knows the run: %v, and %d orders", err, told.Load())
	}
}

// TestFleetLosesAShard: a shard whose pod goes in the middle takes its ledger with it, one whose container was started anew has it still. The
// fleet ends without them, and both stand in the evidence: what they sent is unknown, not lost.
func TestFleetLosesAShard(t *testing.T) {
	s, err := scenario.Parse("shards.yaml", []byte("apiVersion: triad/v1\nname: shards\ntitle: x\nphases: {warm-up: 1s, before: 2s, drain: 1s}\nload: [{source: service, rate: 90/s, streams: 3, parallelism: 3}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now().Add(time.Second)
	w := begun(t, s, "kind", start)
	agents, remotes := processes(t, "stays", "crashes", "goes")
	whole := Plan{Scenario: *s, Run: 7, Start: start, HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}
	shares, err := Divide(whole, s.Streams(), func(scenario.Stream) ([]Remote, error) { return remotes, nil })
	if err != nil || len(shares) != 3 {
		t.Fatal(shares, err)
	}
	f, err := Launch(t.Context(), whole, shares)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(start.Add(1500 * time.Millisecond)))
	agents[1].kill()
	agents[1].start(t)
	agents[2].kill()
	agents[2].gone.Store(true)
	if err := f.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.Collect(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(""); err != nil {
		t.Fatal(err)
	}
	r, err := evidence.Open(w.Dir)
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	for _, e := range r.Events {
		if e.Kind == evidence.EventBroken {
			said[e.Name] = e.Detail
		}
	}
	if len(said) != 2 || said["generator crashes"] != "it was started anew in the middle of its plan; its ledger was there still" ||
		said["generator goes"] != "its pod is gone, and its ledger with it: the outcome of what it sent is not known" {
		t.Errorf("%v", said)
	}
	acked := ackedBy(r)
	// Ninety records each; the one that was killed had sent half of them.
	if acked[evidence.PointSent+"stays"] != 90 || acked[evidence.PointSent+"crashes"] > 60 || acked[evidence.PointSent+"goes"] != 0 {
		t.Errorf("%v", acked)
	}
}

// TestFleetKeepsCopies: of a shard whose pod goes, what its ledger had a moment before is known all the same, and so it is where nobody can say
// whether the pod is gone.
func TestFleetKeepsCopies(t *testing.T) {
	t.Run("gone", func(t *testing.T) { keepsCopy(t, true) })
	t.Run("silent", func(t *testing.T) { keepsCopy(t, false) })
}

func keepsCopy(t *testing.T, gone bool) {
	t.Helper()
	s, err := scenario.Parse("copies.yaml", []byte("apiVersion: triad/v1\nname: copies\ntitle: x\nphases: {warm-up: 1s, before: 5s, drain: 1s}\nload: [{source: service, rate: 20/s, streams: 2, parallelism: 2}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now().Add(500 * time.Millisecond)
	w := begun(t, s, "kind", start)
	agents, remotes := processes(t, "stays", "goes")
	copied := make(chan struct{}, 100) // answers that had something of the ledger of the one that goes
	remotes[1].Client.Transport = seen(func(r *http.Response) {
		if r.StatusCode == http.StatusPartialContent {
			copied <- struct{}{}
		}
	})
	whole := Plan{Scenario: *s, Run: 7, Start: start, HistWindow: time.Second, PulseEvery: 100 * time.Millisecond, CopyEvery: time.Millisecond}
	shares, err := Divide(whole, s.Streams(), func(scenario.Stream) ([]Remote, error) { return remotes, nil })
	if err != nil {
		t.Fatal(err)
	}
	f, err := Launch(t.Context(), whole, shares)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first may be of a ledger that has no outcome yet
		select {
		case <-copied:
		case <-time.After(30 * time.Second):
			t.Fatal("nothing was copied")
		}
	}
	agents[1].kill()
	agents[1].gone.Store(gone)
	wait, cancel := context.WithTimeout(t.Context(), 8*time.Second) // of one that is silent nobody knows whether it has ended
	defer cancel()
	if err := f.Wait(wait); (err == nil) != gone {
		t.Fatal(err)
	}
	if err := f.Collect(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(""); err != nil {
		t.Fatal(err)
	}
	r, err := evidence.Open(w.Dir)
	if err != nil || len(r.Damage) > 0 {
		t.Fatal(err, r.Damage)
	}
	acked := ackedBy(r)
	if n := acked[evidence.PointSent+"goes"]; acked[evidence.PointSent+"stays"] != 60 || n == 0 || n >= 60 {
		t.Errorf("%v", acked)
	}
	if e := r.Events[len(r.Events)-1]; !slices.ContainsFunc(r.Events, func(e evidence.Event) bool {
		return e.Kind == evidence.EventBroken && e.Name == "generator goes" && strings.Contains(e.Detail, "but for a copy of it") && e.Attrs["copy"] == evidence.PointSent+"goes"
	}) {
		t.Errorf("%+v", e)
	}
}

// seen is a transport that shows every answer.
type seen func(*http.Response)

func (s seen) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err == nil {
		s(res)
	}
	return res, err
}

// TestFaultsAreToldOn: what faults act comes with the question for the status, is in the metrics, and is no more when it is told so, or not at all.
func TestFaultsAreToldOn(t *testing.T) {
	r := serve(t, "a", &lines{})
	metrics := func() string {
		t.Helper()
		res, err := http.Get(r.URL + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, c := range []struct {
		ask  func() (Status, error)
		want []string
	}{
		{func() (Status, error) { return r.Tell(t.Context(), []string{"broker-kill", "link-cut"}) }, []string{"broker-kill", "link-cut"}},
		{func() (Status, error) { return r.Status(t.Context()) }, []string{"broker-kill", "link-cut"}}, // somebody else's question
		{func() (Status, error) { return r.Tell(t.Context(), []string{"link-cut"}) }, []string{"link-cut"}},
		{func() (Status, error) { return r.Tell(t.Context(), nil) }, nil},
	} {
		if _, err := c.ask(); err != nil {
			t.Fatal(err)
		}
		said := metrics()
		if n := strings.Count(said, "triad_fault_active{"); n != len(c.want) {
			t.Errorf("%d faults, want %v", n, c.want)
		}
		for _, f := range c.want {
			if !strings.Contains(said, `triad_fault_active{fault="`+f+`"} 1`) {
				t.Errorf("no %s in\n%s", f, said)
			}
		}
	}
	a := New(Config{})
	a.struck, a.told = []string{"broker-kill"}, time.Now().Add(-time.Minute)
	a.gauge()
	if m, err := a.reg.Gather(); err != nil || slices.ContainsFunc(m, func(f *dto.MetricFamily) bool { return f.GetName() == "triad_fault_active" }) {
		t.Errorf("a harness that is silent for a minute is believed: %v", err)
	}
}

// TestFleetIsGone: where every agent is lost, nobody waits for the end of the schedule.
func TestFleetIsGone(t *testing.T) {
	s, err := scenario.Parse("gone.yaml", []byte("apiVersion: triad/v1\nname: gone\ntitle: x\nphases: {before: 1h, drain: 1s}\nload: [{source: service, rate: 2/s, streams: 2, parallelism: 2}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	agents, remotes := processes(t, "crashes", "goes")
	whole := Plan{Scenario: *s, Run: 7, Start: time.Now().Add(time.Second), HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}
	shares, err := Divide(whole, s.Streams(), func(scenario.Stream) ([]Remote, error) { return remotes, nil })
	if err != nil {
		t.Fatal(err)
	}
	f, err := Launch(t.Context(), whole, shares)
	if err != nil {
		t.Fatal(err)
	}
	agents[0].kill()
	agents[0].start(t)
	agents[1].kill()
	agents[1].gone.Store(true)
	err = f.Wait(t.Context())
	for _, want := range []string{"nobody sends the load any more", "generator crashes: it was started anew in the middle of its plan", "generator goes: its pod is gone"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestStopAll: all are told at once, and again until they have heard it; one that cannot be told is an error, and one that is gone is none.
func TestStopAll(t *testing.T) {
	var calls atomic.Int32
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) < 3 {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		pod.Answer(w, struct{}{})
	}))
	defer busy.Close()
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	share := func(name, url string, gone bool) Share {
		return Share{Remote: Remote{Name: name, URL: url, Client: &http.Client{Timeout: time.Second}, Gone: func(context.Context) bool { return gone }}}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := StopAll(ended, []Share{share("busy", busy.URL, false), share("gone", away.URL, true)}); err != nil || calls.Load() != 3 {
		t.Errorf("%v, %d calls", err, calls.Load())
	}
	if err := StopAll(t.Context(), []Share{share("away", away.URL, false), share("busy", busy.URL, false)}); err == nil || calls.Load() != 4 {
		t.Errorf("%v, %d calls", err, calls.Load())
	}
}
