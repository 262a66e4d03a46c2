//go:build !embedded_only

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/kube"
	"triad/internal/runtimes/jobs"
	"triad/internal/runtimes/kind"
)

// eksLab is the three kind clusters as somebody else's: known by a contexts file alone.
type eksLab struct {
	t        *testing.T
	root     string
	contexts string
	text     string // of the contexts file, without limits for faults
	confirm  []string
	clients  map[string]*kube.Client
	rt       *kind.Runtime
}

// newEKSLab brings the clusters up where there is an engine. The context ends after limit.
func newEKSLab(t *testing.T, limit time.Duration) (*eksLab, context.Context) {
	t.Helper()
	if os.Getenv("TRIAD_KIND_TESTS") == "" {
		t.Skip("TRIAD_KIND_TESTS is not set: needs a container engine")
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	l := &eksLab{t: t, clients: map[string]*kube.Client{}, confirm: []string{"--yes-production", "lab-datacenter", "--yes-production", "lab-monitoring"}}
	var err error
	if l.root, err = filepath.Abs("../.."); err != nil {
		t.Fatal(err)
	}
	a := &app{stdout: testWriter{t}, stderr: testWriter{t}, getenv: os.Getenv, root: l.root}
	if l.rt, err = a.kind(ctx, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := l.rt.Up(ctx, kind.DeployOptions{}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var text strings.Builder
	fmt.Fprintln(&text, "apiVersion: triad/v1\nclusters:")
	for role, more := range map[string]string{
		kind.Datacenter: "allow: [canary]", kind.Monitoring: "allow: [purge]", kind.Kafka: "allow: [broker-kill], login: {user: canary, passwordFile: canary.password, caFile: kafka-ca.crt}",
	} {
		if l.clients[role], err = l.rt.Client(role); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "  %s: {id: lab-%s, kubeconfig: %q, context: %s, %s}\n", role, role, l.rt.KubeconfigPath(role), kind.Context(role), more)
	}
	for file, from := range map[string][2]string{"canary.password": {"canary", "password"}, "kafka-ca.crt": {"triad-cluster-ca-cert", "ca.crt"}} {
		data, err := l.clients[kind.Kafka].SecretData(ctx, kind.Kafka, from[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), data[from[1]], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l.text = text.String()
	l.contexts = filepath.Join(dir, "eks.yaml")
	l.limits("")
	return l, ctx
}

// allOfTheCanary demands that every line of a canary came as it was sent, and that all were taken out again.
func (l *eksLab) allOfTheCanary(res check.Result) {
	l.t.Helper()
	for _, name := range []string{"evidence", "loss", "corruption", "order", "phantom", "purge"} {
		verdictIs(l.t, res, name, check.Pass)
	}
	if res.Totals.Acknowledged != 1200 || res.Totals.Seen != 1200 || res.Totals.Lost != 0 {
		l.t.Errorf("totals: %+v", res.Totals)
	}
}

// limits writes the contexts file with some limits for faults, or none.
func (l *eksLab) limits(text string) {
	l.t.Helper()
	if err := os.WriteFile(l.contexts, []byte(l.text+text), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// openWindow is one that is open for the next hour, with a part of the sink's rate that has to be kept up.
func openWindow(within string, ingestion float64) string {
	now := time.Now().UTC()
	return fmt.Sprintf("faults:\n  window: {from: %s, to: %s}\n  abort: {within: %s, overdue: 0.5, lag: 1e6, ingestion: %g}\n", now.Add(-time.Minute).Format(time.RFC3339), now.Add(time.Hour).Format(time.RFC3339), within, ingestion)
}

// sim runs a command line against the contexts. A run that goes on knows its runtime.
func (l *eksLab) sim(ctx context.Context, args ...string) (out string, code int) {
	l.t.Helper()
	var stdout, stderr bytes.Buffer
	a := &app{stdout: &stdout, stderr: &stderr, getenv: os.Getenv}
	line := append([]string{"--root", l.root}, append(args, "--contexts", l.contexts)...)
	if !slices.Contains(args, "--resume") {
		line = append(line, "--runtime", "eks")
	}
	code = a.main(ctx, line)
	l.t.Logf("sim %s: exit %d\n%s", strings.Join(args, " "), code, stderr.String())
	return stdout.String(), code
}

// store asks the search store of the laboratory, which has no users.
func (l *eksLab) store(ctx context.Context, method, path, body string) string {
	l.t.Helper()
	c := l.clients[kind.Monitoring].HTTP(20 * time.Second)
	defer c.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, "http://elasticsearch."+kind.Monitoring+":9200"+path, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= 300 {
		l.t.Fatalf("%s %s: HTTP %d %s %v", method, path, res.StatusCode, b, err)
	}
	return string(b)
}

// documents is how many documents the canary's index has: none before the first canary made it.
func (l *eksLab) documents(ctx context.Context) int {
	l.t.Helper()
	l.store(ctx, http.MethodPost, "/canary-topic/_refresh?ignore_unavailable=true", "")
	var out struct {
		Count int `json:"count"`
	}
	if err := json.Unmarshal([]byte(l.store(ctx, http.MethodGet, "/canary-topic/_count?ignore_unavailable=true", "")), &out); err != nil {
		l.t.Fatal(err)
	}
	return out.Count
}

// TestKindEKS sends the canary through three clusters that are known by kubeconfig contexts alone, demands a real verdict and that nothing is
// left, then interrupts one, and takes out what it left. What is somebody's is there to the end.
func TestKindEKS(t *testing.T) {
	l, ctx := newEKSLab(t, 20*time.Minute)
	reports := t.TempDir()

	// Somebody's: a document in the canary's index, a Lease of another program, and one that carries half of the labels.
	l.store(ctx, http.MethodPut, "/canary-topic/_doc/somebodys?refresh=true", `{"log":"a line of somebody's"}`)
	t.Cleanup(func() {
		l.store(context.WithoutCancel(ctx), http.MethodDelete, "/canary-topic/_doc/somebodys", "")
	})
	foreign := []kube.Ref{}
	for name, labels := range map[string]map[string]any{"eks-test-foreign": {}, "eks-test-half": {"app.kubernetes.io/part-of": "triad"}} {
		o := &kube.Object{Object: map[string]any{
			"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": map[string]any{"namespace": kind.Datacenter, "name": name, "labels": labels}, "spec": map[string]any{"holderIdentity": "somebody"},
		}}
		ref := kube.RefOf(o)
		foreign = append(foreign, ref)
		if err := l.clients[kind.Datacenter].Remove(ctx, ref); err != nil {
			t.Fatal(err)
		}
		if err := l.clients[kind.Datacenter].Create(ctx, o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := l.clients[kind.Datacenter].Remove(context.WithoutCancel(ctx), ref); err != nil {
				t.Error(err)
			}
		})
	}
	before := l.documents(ctx)
	untouched := func() {
		t.Helper()
		for _, ref := range foreign {
			if _, err := l.clients[kind.Datacenter].Get(ctx, ref); err != nil {
				t.Errorf("%s: %v", ref, err)
			}
		}
		if n := l.documents(ctx); n != before {
			t.Errorf("%d documents are in the index, there were %d", n, before)
		}
		left, err := l.clients[kind.Datacenter].List(ctx, "coordination.k8s.io/v1", "Lease", kind.Datacenter, "triad.dev/run")
		if err != nil || len(left) > 0 {
			t.Errorf("%d marks are left: %v", len(left), err)
		}
	}

	if _, code := l.sim(ctx, "run", "prod-canary", "--reports", reports); code != exitUsage {
		t.Errorf("not confirmed: exit %d", code)
	}
	untouched()

	out, code := l.sim(ctx, append([]string{"run", "prod-canary", "--reports", reports, "--output", "json"}, l.confirm...)...)
	var res check.Result
	if err := json.Unmarshal([]byte(out), &res); err != nil {
		t.Fatalf("exit %d: %v", code, err)
	}
	l.allOfTheCanary(res)
	verdictIs(t, res, "isolation", check.Skipped)
	if len(res.Clocks) != 3 {
		t.Errorf("clocks: %+v", res.Clocks)
	}
	for _, c := range res.Clocks {
		// The nodes share the machine's clock, so an offset beyond its bound would be a wrong bound.
		if c.Offset == nil || c.Bound == nil || *c.Bound <= 0 || max(*c.Offset, -*c.Offset) > *c.Bound {
			t.Errorf("clock: %+v", c)
		}
	}
	for _, x := range res.Latency {
		if x.Metric == "e2e_latency" && x.ClockBound == nil {
			t.Errorf("a latency without the bound of its clocks: %+v", x)
		}
	}
	untouched()

	// Interrupted half way: it takes out what it can in its seconds, and says of the rest that it is there.
	stopped, stop := context.WithCancel(ctx)
	time.AfterFunc(60*time.Second, stop)
	if _, code := l.sim(stopped, append([]string{"run", "prod-canary", "--reports", reports}, l.confirm...)...); code != exitInterrupted {
		t.Errorf("interrupted: exit %d", code)
	}
	time.Sleep(15 * time.Second) // what was under way arrives
	if out, _ := l.sim(ctx, "status"); !strings.Contains(out, "left behind") {
		t.Errorf("status of an interrupted run: %s", out)
	}
	if _, code := l.sim(ctx, append([]string{"down"}, l.confirm...)...); code != exitPass {
		t.Errorf("down: exit %d", code)
	}
	if out, _ := l.sim(ctx, "status"); !strings.Contains(out, "nothing is left") {
		t.Errorf("status after down: %s", out)
	}
	untouched()
}

// brokers are the uids of the brokers' pods.
func (l *eksLab) brokers(ctx context.Context) map[string]string {
	l.t.Helper()
	pods, err := l.clients[kind.Kafka].List(ctx, "v1", "Pod", kind.Kafka, "triad.dev/component=kafka")
	if err != nil {
		l.t.Fatal(err)
	}
	out := map[string]string{}
	for i := range pods {
		out[pods[i].GetName()] = string(pods[i].GetUID())
	}
	return out
}

// TestKindEKSFaults loses a broker of clusters that are known by contexts alone: not without limits, once when everything holds, with a verdict,
// and once with a sink that is paused then, which has to end it.
func TestKindEKSFaults(t *testing.T) {
	l, ctx := newEKSLab(t, 25*time.Minute)
	l.confirm = append(l.confirm, "--yes-production", "lab-kafka")
	before := l.brokers(ctx)
	run := func(reports string) (res check.Result, code int) {
		out, code := l.sim(ctx, append([]string{"run", "prod-broker-failover", "--reports", reports, "--output", "json"}, l.confirm...)...)
		if code != exitUsage {
			if err := json.Unmarshal([]byte(out), &res); err != nil {
				t.Errorf("exit %d: %v", code, err)
			}
		}
		return res, code
	}

	if _, code := run(t.TempDir()); code != exitUsage {
		t.Errorf("without limits: exit %d", code)
	}
	if now := l.brokers(ctx); !maps.Equal(before, now) {
		t.Errorf("a broker was struck by a run that was refused: %v, %v", before, now)
	}
	l.limits(openWindow("60s", 0.05))
	res, _ := run(t.TempDir())
	for _, name := range []string{"evidence", "faults", "loss", "corruption", "phantom", "purge"} {
		verdictIs(t, res, name, check.Pass)
	}
	if len(res.Faults) != 1 || res.Faults[0].Hits != 1 || res.Faults[0].HealedAt == nil {
		t.Errorf("faults: %+v", res.Faults)
	}
	changed := 0
	for name, uid := range l.brokers(ctx) {
		if before[name] != uid {
			changed++
		}
	}
	if changed != 1 {
		t.Errorf("%d brokers were replaced, want 1", changed)
	}

	// The sink stands still as soon as a broker was struck: the run is given up, and takes out what had come by then. What comes when the sink
	// goes on is what `sim down` is for.
	l.limits(openWindow("10s", 0.3))
	docs := l.documents(ctx)
	reports, ended := t.TempDir(), make(chan error, 1)
	var code int
	go func() {
		res, code = run(reports)
		ended <- errors.New("the run has ended")
	}()
	awaitEvent(t, reports, `"state":"injected"`, ended, &bytes.Buffer{})
	t.Cleanup(func() { l.sinkState(context.WithoutCancel(ctx), "running") })
	l.sinkState(ctx, "paused")
	<-ended //nolint:errcheck // it is what was waited for
	if code != exitInvalid || !strings.Contains(strings.Join(res.Reasons, "\n"), "given up: the sink sent") {
		t.Errorf("a rate below the limit: exit %d, %v", code, res.Reasons)
	}
	if len(res.Faults) != 1 || res.Faults[0].HealedAt == nil {
		t.Errorf("faults of a run that was given up: %+v", res.Faults)
	}
	if out, _ := l.sim(ctx, "status"); strings.Contains(out, "nothing is left") {
		t.Errorf("status of a run that was given up with records on their way: %s", out)
	}
	l.sinkState(ctx, "running")
	late := int(res.Totals.Acknowledged) - int(res.Totals.Seen) //nolint:gosec // thousands
	if late <= 0 {
		t.Errorf("nothing was on its way: %+v", res.Totals)
	}
	for range 120 {
		if l.documents(ctx) >= docs+late {
			break
		}
		time.Sleep(time.Second)
	}
	if out, _ := l.sim(ctx, append([]string{"down"}, l.confirm[:4]...)...); strings.Contains(out, "under way") {
		t.Errorf("down: %s", out)
	}
	if out, _ := l.sim(ctx, "status"); !strings.Contains(out, "nothing is left") {
		t.Errorf("status after down: %s", out)
	}
	if n := l.documents(ctx); n != docs {
		t.Errorf("%d documents are in the index, there were %d", n, docs)
	}
}

// sinkState says in the sink's resource what its connector is to do.
func (l *eksLab) sinkState(ctx context.Context, state string) {
	l.t.Helper()
	ref := kube.Ref{APIVersion: "kafka.strimzi.io/v1", Kind: "KafkaConnector", Namespace: kind.Monitoring, Name: "logs-to-elasticsearch"}
	o, err := l.clients[kind.Monitoring].Get(ctx, ref)
	if err != nil {
		l.t.Fatal(err)
	}
	delete(o.Object, "status")
	o.SetManagedFields(nil)
	o.SetResourceVersion("")
	if err := unstructured.SetNestedField(o.Object, state, "spec", "state"); err != nil {
		l.t.Fatal(err)
	}
	if err := l.clients[kind.Monitoring].Apply(ctx, []kube.Object{*o}, nil); err != nil {
		l.t.Fatal(err)
	}
}

// killed runs a scenario in a process of its own, kills it with kill -9 when it has written an event, and returns the directory of the run.
func (l *eksLab) killed(scenario, event string, more ...string) string {
	l.t.Helper()
	reports := l.t.TempDir()
	args := append([]string{"--root", l.root, "run", scenario, "--reports", reports, "--runtime", "eks", "--contexts", l.contexts}, append(more, l.confirm...)...)
	p := exec.Command(os.Getenv("TRIAD_SIM_BINARY"), args...) //nolint:gosec // the program under test
	var out bytes.Buffer
	p.Stdout, p.Stderr = &out, &out
	if err := p.Start(); err != nil {
		l.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	run := awaitEvent(l.t, reports, event, ended, &out)
	time.Sleep(5 * time.Second)
	if err := p.Process.Kill(); err != nil {
		l.t.Fatal(err)
	}
	<-ended //nolint:errcheck // it was killed
	time.Sleep(5 * time.Second)
	return run
}

// resume goes on with a run.
func (l *eksLab) resume(ctx context.Context, run string, more ...string) (res check.Result, code int) {
	l.t.Helper()
	out, code := l.sim(ctx, append([]string{"run", "--resume", run, "--output", "json"}, more...)...)
	if code != exitUsage {
		if err := json.Unmarshal([]byte(out), &res); err != nil {
			l.t.Fatalf("exit %d: %v", code, err)
		}
		logChecks(l.t, &res)
	}
	return res, code
}

// nothingLeft demands that the canary's index has as many documents as before, and no run a mark.
func (l *eksLab) nothingLeft(ctx context.Context, before int) {
	l.t.Helper()
	if n := l.documents(ctx); n != before {
		l.t.Errorf("%d documents are in the index, there were %d", n, before)
	}
	if out, _ := l.sim(ctx, "status"); !strings.Contains(out, "nothing is left") {
		l.t.Errorf("status: %s", out)
	}
}

// jobs are the Jobs of runs, by cluster.
func (l *eksLab) jobs(ctx context.Context) (out []string) {
	l.t.Helper()
	for _, role := range []string{kind.Datacenter, kind.Kafka, kind.Monitoring} {
		list, err := l.clients[role].List(ctx, jobs.API, "Job", role, jobs.Label)
		if err != nil {
			l.t.Fatal(err)
		}
		for i := range list {
			name, _, _ := strings.Cut(list[i].GetName(), "-")
			out = append(out, role+"/"+name)
		}
	}
	return out
}

// TestKindEKSJobs sends the canary by shards that a run makes in clusters that are known by contexts alone, whose file allows Jobs, and reads it by
// pods beside the brokers and the store. Its harness is killed, and a run that goes on takes all of them up. Nothing is left behind.
func TestKindEKSJobs(t *testing.T) {
	if os.Getenv("TRIAD_SIM_BINARY") == "" {
		t.Skip("TRIAD_SIM_BINARY is not set: it is killed")
	}
	l, ctx := newEKSLab(t, 20*time.Minute)
	for old, allow := range map[string]string{"[canary]": "[canary, jobs]", "[broker-kill]": "[jobs]", "[purge]": "[purge, jobs]"} {
		l.text = strings.Replace(l.text, "allow: "+old, "allow: "+allow, 1)
	}
	l.limits("")
	// A registry would have it for every cluster.
	plan, err := l.rt.Plan(ctx, kind.DeployOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range plan.Clusters {
		plan.Images[role] = []string{plan.Own.Ref}
	}
	if err := l.rt.LoadImages(ctx, plan); err != nil {
		t.Fatal(err)
	}
	before := l.documents(ctx)
	if _, code := l.sim(ctx, append([]string{"run", "prod-canary", "--shards", "2", "--reports", t.TempDir()}, l.confirm...)...); code != exitUsage {
		t.Errorf("kafka was not confirmed: exit %d", code)
	}
	l.confirm = append(l.confirm, "--yes-production", "lab-kafka")

	run := l.killed("prod-canary", `"phase","name":"before"`, "--shards", "2")
	if got, want := l.jobs(ctx), []string{"datacenter/shards", "kafka/observers", "monitoring/readers"}; !slices.Equal(got, want) {
		t.Errorf("Jobs %v, want %v", got, want)
	}
	if out, _ := l.sim(ctx, "status"); !strings.Contains(out, "under way") || !strings.Contains(out, ", 3 Jobs") {
		t.Errorf("status of a run whose harness was killed: %s", out)
	}
	res, _ := l.resume(ctx, run, l.confirm...)
	l.allOfTheCanary(res)
	if len(res.Resumed) != 1 || res.Resumed[0].Dropped != 0 {
		t.Errorf("resumed: %+v", res.Resumed)
	}
	if n := shardLedgers(t, filepath.Dir(run)); n != 2 {
		t.Errorf("%d ledgers of shards, want 2", n)
	}
	for _, point := range []string{evidence.PointKafka, evidence.PointSearch} {
		if m, err := filepath.Glob(filepath.Join(run, "ledger", point+"-[01].led")); err != nil || len(m) != 2 {
			t.Errorf("%d ledgers of observers of %s, want 2: %v", len(m), point, err)
		}
	}
	if !slices.ContainsFunc(res.Clocks, func(c check.Clock) bool { return c.Cluster == kind.Kafka && c.Sees && c.Offset != nil }) {
		t.Errorf("the clock of the observers: %+v", res.Clocks)
	}
	if left := l.jobs(ctx); len(left) > 0 {
		t.Errorf("Jobs are left: %v", left)
	}
	l.nothingLeft(ctx, before)
}

// TestKindEKSResume kills the harness of a run on clusters that are known by contexts alone, and goes on: of a canary, which needs its mark and
// every confirmation again, and of one that had just struck a broker, which needs the window again too and strikes no second time. Both leave
// nothing behind.
func TestKindEKSResume(t *testing.T) {
	if os.Getenv("TRIAD_SIM_BINARY") == "" {
		t.Skip("TRIAD_SIM_BINARY is not set: it is killed")
	}
	l, ctx := newEKSLab(t, 30*time.Minute)
	before := l.documents(ctx)
	refused := func(why, run string, more ...string) {
		t.Helper()
		if _, code := l.resume(ctx, run, more...); code != exitUsage {
			t.Errorf("%s: exit %d", why, code)
		}
	}
	nothingLeft := func() { t.Helper(); l.nothingLeft(ctx, before) }

	run := l.killed("prod-canary", `"phase","name":"before"`)
	if out, _ := l.sim(ctx, "status"); !strings.Contains(out, "under way") {
		t.Errorf("status of a run whose harness was killed: %s", out)
	}
	refused("nobody confirmed", run)
	marks, err := l.clients[kind.Datacenter].List(ctx, "coordination.k8s.io/v1", "Lease", kind.Datacenter, "triad.dev/run")
	if err != nil || len(marks) != 1 {
		t.Fatalf("%d marks: %v", len(marks), err)
	}
	mark := marks[0]
	mark.SetAPIVersion("coordination.k8s.io/v1")
	mark.SetKind("Lease")
	if err := l.clients[kind.Datacenter].Remove(ctx, kube.RefOf(&mark)); err != nil {
		t.Fatal(err)
	}
	refused("its mark is gone", run, l.confirm...)
	if err := l.clients[kind.Datacenter].Apply(ctx, []kube.Object{mark}, nil); err != nil {
		t.Fatal(err)
	}
	res, _ := l.resume(ctx, run, l.confirm...)
	l.allOfTheCanary(res)
	if len(res.Resumed) != 1 || res.Resumed[0].Dropped != 0 {
		t.Errorf("resumed: %+v", res.Resumed)
	}
	nothingLeft()
	refused("it has ended", run, l.confirm...)

	l.confirm = append(l.confirm, "--yes-production", "lab-kafka")
	brokers := l.brokers(ctx)
	l.limits(openWindow("60s", 0.05))
	run = l.killed("prod-broker-failover", `"state":"injected"`)
	l.limits("")
	refused("no window", run, l.confirm...)
	l.limits(openWindow("60s", 0.05))
	res, _ = l.resume(ctx, run, l.confirm...)
	for _, name := range []string{"evidence", "loss", "corruption", "phantom", "purge"} {
		verdictIs(t, res, name, check.Pass)
	}
	verdictIs(t, res, "faults", check.Inconclusive)
	if len(res.Resumed) != 1 || res.Totals.Lost != 0 || res.Totals.Seen < res.Totals.Acknowledged || res.Totals.Acknowledged == 0 {
		t.Errorf("resumed %+v, totals %+v", res.Resumed, res.Totals)
	}
	changed := 0
	for name, uid := range l.brokers(ctx) {
		if brokers[name] != uid {
			changed++
		}
	}
	if changed != 1 {
		t.Errorf("%d brokers were replaced, want 1", changed)
	}
	nothingLeft()
}
