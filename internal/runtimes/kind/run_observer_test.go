//go:build !embedded_only

package kind

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"triad/internal/kube"
	"triad/internal/manifests"
	"triad/internal/runtimes"
	"triad/internal/runtimes/jobs"
)

// The component is found by its label and its kinds, so every object of it has both, and nothing else has the label.
func TestObserverIsFoundByItsLabel(t *testing.T) {
	set, err := manifests.Open("../../../manifests")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range manifests.Clusters() {
		without, err := set.Render(c, overlay)
		if err != nil {
			t.Fatal(err)
		}
		if marked := observerObjects(without); len(marked) > 0 {
			t.Errorf("%s: %v carries the label of a component that it is not of", c, marked[0])
		}
		with, err := set.Render(c, overlay, observerComponent)
		if err != nil {
			t.Fatal(err)
		}
		var added, marked []string
		for _, d := range manifests.Compare(c, without, with) {
			added = append(added, d.Object)
		}
		for _, o := range observerObjects(with) {
			marked = append(marked, o.String())
			if !slices.ContainsFunc(observerKinds(c), func(k kube.Ref) bool { return k.APIVersion == o.APIVersion() && k.Kind == o.Kind() }) {
				t.Errorf("%s: %s is of a kind that is not looked for", c, o)
			}
		}
		slices.Sort(added)
		slices.Sort(marked)
		if diff := cmp.Diff(added, marked); diff != "" || len(added) == 0 {
			t.Errorf("%s: added by the component, and labelled (-added +labelled):\n%s", c, diff)
		}
	}
}

// observed are three clusters with the component, beside objects that are not of it, and Jobs of a run where withJobs says so.
func observed(t *testing.T, withJobs bool) (*Runtime, map[string]*fakeAPI, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	r := &Runtime{
		opts: Options{StateDir: t.TempDir(), Clusters: manifests.Clusters()}, clients: map[string]*kube.Client{}, progress: func(string, string, string) {},
		log: slog.New(slog.NewTextHandler(&log, nil)),
	}
	apis := map[string]*fakeAPI{}
	for _, c := range r.opts.Clusters {
		kinds := []string{"v1 secrets Secret", "networking.k8s.io/v1 networkpolicies NetworkPolicy", "batch/v1 jobs Job"}
		if c == Kafka {
			kinds = append(kinds, "kafka.strimzi.io/v1 kafkausers KafkaUser")
		}
		api, client := newFakeAPI(t, kinds...)
		apis[c], r.clients[c] = api, client
		if err := r.prepareDir(c); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(r.KubeconfigPath(c), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		put := func(apiVersion, kind, name, labels string) {
			api.put(object(t, `{"apiVersion":%q,"kind":%q,"metadata":{"namespace":%q,"name":%q,"labels":{%s}}}`, apiVersion, kind, c, name, labels))
		}
		put("networking.k8s.io/v1", "NetworkPolicy", "observer-x", `"triad.dev/observer":"true"`)
		put("networking.k8s.io/v1", "NetworkPolicy", "default-deny", ``)
		if c == Kafka {
			put("kafka.strimzi.io/v1", "KafkaUser", "observer", `"triad.dev/observer":"true"`)
			put("kafka.strimzi.io/v1", "KafkaUser", "fluentd", ``)
			put("v1", "Secret", "observer", ``)
			put("v1", "Secret", "fluentd", ``)
			api.owned = map[string]string{"/api/v1/namespaces/kafka/secrets/observer": "/apis/kafka.strimzi.io/v1/namespaces/kafka/kafkausers/observer"}
			if withJobs {
				put("batch/v1", "Job", "observers-1", `"`+jobs.Label+`":"1"`)
			}
		}
	}
	return r, apis, &log
}

// objectsOf are the objects that clusters have.
func objectsOf(apis map[string]*fakeAPI) []string {
	var out []string
	for c, api := range apis {
		for path := range api.objects {
			out = append(out, c+" "+filepath.Base(path))
		}
	}
	slices.Sort(out)
	return out
}

var (
	whole = []string{
		"datacenter default-deny", "datacenter observer-x", "kafka default-deny", "kafka fluentd", "kafka fluentd", "kafka observer", "kafka observer", "kafka observer-x",
		"monitoring default-deny", "monitoring observer-x",
	}
	bare = []string{"datacenter default-deny", "kafka default-deny", "kafka fluentd", "kafka fluentd", "monitoring default-deny"}
)

// The component leaves with the run, its principal's Secret too, but for a run that can be tried again.
func TestObserverLeavesWithTheRun(t *testing.T) {
	for _, c := range []struct {
		name              string
		goesOn, generated bool
		left              []string
	}{
		{"a run", false, true, bare},
		{"one that ended before its load", false, false, bare},
		{"one that went on", true, true, bare},
		{"one that could not go on now", true, false, whole},
	} {
		r, apis, log := observed(t, false)
		e := &env{Runtime: r, jobs: jobs.Set{Session: runtimes.Session{GoesOn: c.goesOn}, Taken: c.generated}}
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // by an interrupt
		if err := e.Close(ctx); err != nil || log.Len() > 0 {
			t.Errorf("%s: %v, said: %s", c.name, err, log)
		}
		if diff := cmp.Diff(c.left, objectsOf(apis)); diff != "" {
			t.Errorf("%s: left behind (-want +got):\n%s", c.name, diff)
		}
	}
}

// A run that cannot be connected to leaves nothing either.
func TestObserverLeavesWhereNothingIsConnected(t *testing.T) {
	for _, goesOn := range []bool{false, true} {
		r, apis, _ := observed(t, false)
		s := &System{rt: r, plan: &Plan{}, unlock: func() {}}
		if _, err := s.Connect(t.Context(), runtimes.Session{GoesOn: goesOn}); !kube.IsNotFound(err) { // there is no authority of the brokers
			t.Fatalf("connect: %v", err)
		}
		if diff := cmp.Diff(map[bool][]string{false: bare, true: whole}[goesOn], objectsOf(apis)); diff != "" {
			t.Errorf("goes on %v, left behind (-want +got):\n%s", goesOn, diff)
		}
	}
}

// What cannot be removed is said, with what to do, and is neither an error of the run nor in the way of the rest.
func TestObserverThatStaysIsSaid(t *testing.T) {
	r, apis, log := observed(t, false)
	broken := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: http://127.0.0.1:1}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\ncurrent-context: c\n"
	if err := os.WriteFile(broken, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	gone, err := kube.Open(broken, "c")
	if err != nil {
		t.Fatal(err)
	}
	r.clients[Datacenter] = gone
	if err := (&env{Runtime: r}).Close(t.Context()); err != nil {
		t.Errorf("closing failed: %v", err)
	}
	if said := log.String(); !strings.Contains(said, "level=WARN") || !strings.Contains(said, "sim up") || !strings.Contains(said, "connection refused") {
		t.Errorf("said: %s", said)
	}
	delete(apis, Datacenter)
	if diff := cmp.Diff(bare[1:], objectsOf(apis)); diff != "" {
		t.Errorf("left behind elsewhere (-want +got):\n%s", diff)
	}

	r, apis, _ = observed(t, false)
	apis[Kafka].owned = nil // the Secret stays: nobody looks after it
	limited, end := context.WithTimeoutCause(t.Context(), time.Second, errors.New("out of time"))
	defer end()
	if err := removeObserverFrom(limited, r.clients[Kafka], Kafka); err == nil || !strings.Contains(err.Error(), "Secret kafka/observer") || !strings.Contains(err.Error(), "out of time") {
		t.Errorf("a Secret that stays: %v", err)
	}
}

// What a killed harness has left goes with sim up, unless pods of its run are there.
func TestSweepObserver(t *testing.T) {
	for _, jobs := range []bool{false, true} {
		r, apis, _ := observed(t, jobs)
		if err := r.SweepObserver(t.Context()); err != nil {
			t.Fatal(err)
		}
		left := objectsOf(apis)
		if jobs {
			left = slices.DeleteFunc(left, func(n string) bool { return n == "kafka observers-1" })
		}
		if diff := cmp.Diff(map[bool][]string{false: bare, true: whole}[jobs], left); diff != "" {
			t.Errorf("with Jobs %v, left (-want +got):\n%s", jobs, diff)
		}
	}
}

// A run that goes on has the component made again where it is gone, and writes nothing where it is there.
func TestRestoreObserver(t *testing.T) {
	set, err := manifests.Open("../../../manifests")
	if err != nil {
		t.Fatal(err)
	}
	r, apis, _ := observed(t, false)
	p := &Plan{Clusters: manifests.Clusters(), Objects: map[string][]manifests.Object{}}
	want := 0
	for _, c := range p.Clusters {
		if p.Objects[c], err = set.Render(c, overlay, observerComponent); err != nil {
			t.Fatal(err)
		}
		want += len(observerObjects(p.Objects[c]))
	}
	if err := r.removeObserver(t.Context()); err != nil {
		t.Fatal(err)
	}
	apis[Kafka].applied = func(o map[string]any) { // as the user operator does
		if o["kind"] == "KafkaUser" {
			o["status"] = map[string]any{"observedGeneration": 0, "conditions": []any{map[string]any{"type": "Ready", "status": "True"}}}
		}
	}
	for _, written := range []int{want, 0} {
		for _, api := range apis {
			api.writes = nil
		}
		if err := r.restoreObserver(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		var writes []string
		for _, api := range apis {
			writes = append(writes, api.writes...)
		}
		if len(writes) != written {
			t.Errorf("%d objects written, want %d: %v", len(writes), written, writes)
		}
	}
}

// The principal of a run is new: its password is read until the brokers let it in, every one of them, and to what it reads.
func TestAwaitObserver(t *testing.T) {
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	brokers, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.TLS(&tls.Config{Certificates: certified.TLS.Certificates}), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", observerUser, "new"))
	if err != nil {
		t.Fatal(err)
	}
	defer brokers.Close()
	_, p, err := net.SplitHostPort(brokers.ListenAddrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(p)
	if err != nil {
		t.Fatal(err)
	}
	api, client := newFakeAPI(t, "v1 secrets Secret")
	password := func(text string) {
		api.put(object(t, `{"apiVersion":"v1","kind":"Secret","metadata":{"namespace":"kafka","name":"observer"},"data":{"password":%q}}`, base64.StdEncoding.EncodeToString([]byte(text))))
	}
	password("of the run before")
	e := &env{ports: map[int]int{kafkaPort: port}, ca: x509.NewCertPool(), users: map[string]string{}, clients: map[string]*kube.Client{Kafka: client}}
	e.ca.AddCert(certified.Certificate())

	var mu sync.Mutex
	tries, asked := 0, map[int32]int{}
	// kfake closes the connection of who gives a wrong password; Kafka says what is wrong.
	refuse := func() bool { // whether this login is refused
		if tries == 2 {
			password("new")
		}
		return tries <= 2
	}
	brokers.ControlKey(int16(kmsg.SASLAuthenticate), func(r kmsg.Request) (kmsg.Response, error, bool) {
		brokers.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		if tries++; !refuse() {
			return nil, nil, false
		}
		resp := r.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
		return resp, nil, true
	})
	late := true // the last broker has not heard of the principal's rights
	brokers.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
		brokers.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		node := brokers.CurrentNode()
		asked[node]++
		if node != 2 || !late {
			return nil, nil, false
		}
		late = false
		resp := r.ResponseKind().(*kmsg.MetadataResponse)
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic, topic.ErrorCode = new(deadLetterTopic), kerr.TopicAuthorizationFailed.Code
		resp.Topics = append(resp.Topics, topic)
		return resp, nil, true
	})
	if err := e.awaitObserver(t.Context()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	if e.users[observerUser] != "new" || tries < 3 || asked[0] == 0 || asked[1] == 0 || asked[2] < 2 {
		t.Errorf("password %q after %d logins, metadata asked of brokers %v", e.users[observerUser], tries, asked)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	refuse = func() bool { cancel(errors.New("it was asked")); return true }
	mu.Unlock()
	if err := e.awaitObserver(ctx); err == nil || !strings.Contains(err.Error(), "it was asked") || !strings.Contains(err.Error(), "get kafkauser") {
		t.Errorf("a principal that is never let in: %v", err)
	}
}
