//go:build !embedded_only

package kind

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"triad/internal/fault"
	"triad/internal/kube"
)

const faultLast = 30 * time.Second

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// within asks until f says yes.
func within(t *testing.T, limit time.Duration, what string, f func() (bool, string)) {
	t.Helper()
	started := time.Now()
	for {
		ok, detail := f()
		if ok {
			t.Logf("%s after %s: %s", what, time.Since(started).Round(100*time.Millisecond), detail)
			return
		}
		if time.Since(started) > limit {
			t.Fatalf("%s: not within %s: %s", what, limit, detail)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func bites(t *testing.T, f *Fault) {
	t.Helper()
	within(t, 15*time.Second, f.Kind+" bites", func() (bool, string) {
		p, err := f.Hits(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return p.Hits > 0, p.Detail
	})
}

func goneWithin(t *testing.T, f *Fault, limit time.Duration) {
	t.Helper()
	within(t, limit, f.Kind+" is gone", func() (bool, string) {
		p, err := f.Gone(t.Context())
		return err == nil && p.Hits == 0, p.Detail
	})
}

func restarts(t *testing.T, c *kube.Client, namespace, pod string) int64 {
	t.Helper()
	o, err := c.Get(t.Context(), kube.Ref{APIVersion: "v1", Kind: "Pod", Namespace: namespace, Name: pod})
	if err != nil {
		return -1
	}
	st, _ := o.Object["status"].(map[string]any)
	list, _ := st["containerStatuses"].([]any)
	total := int64(0)
	for _, e := range list {
		m, _ := e.(map[string]any)
		n, _ := m["restartCount"].(int64)
		total += n
	}
	return total
}

// TestKindFaults does every node-level fault to real clusters, and proves for each that it bit, that Heal ends it, and, where it
// has a duration, that it ends without the harness.
func TestKindFaults(t *testing.T) {
	r, plan := upTestPair(t)
	ctx := t.Context()
	kafka := must[*kube.Client](t)(r.Client(Kafka))
	broker := Container{Kafka, Kafka, "triad-broker-1", "kafka"}
	ready := func(t *testing.T, limit time.Duration) {
		t.Helper()
		timed(t, "kafka and sink ready again", limit, func() error {
			if err := kafka.WaitReady(ctx, []kube.Ref{{APIVersion: "v1", Kind: "Pod", Namespace: Kafka, Name: broker.Pod}}, limit, nil); err != nil {
				return err
			}
			m := must[*kube.Client](t)(r.Client(Monitoring))
			return m.WaitReady(ctx, []kube.Ref{{APIVersion: "kafka.strimzi.io/v1", Kind: "KafkaConnect", Namespace: Monitoring, Name: "sink"}}, limit, nil)
		})
	}

	t.Run("kill", func(t *testing.T) {
		before := restarts(t, kafka, Kafka, broker.Pod)
		f := must[*Fault](t)(r.Kill(ctx, broker))
		bites(t, f)
		goneWithin(t, f, time.Minute)
		within(t, time.Minute, "restart is counted", func() (bool, string) {
			n := restarts(t, kafka, Kafka, broker.Pod)
			return n == before+1, ""
		})
		ready(t, 2*time.Minute)
	})
	t.Run("kill of nothing", func(t *testing.T) {
		for _, c := range []Container{{Kafka, Kafka, "no-such-pod", "kafka"}, {Kafka, Kafka, "x'; reboot; '", "kafka"}} {
			if _, err := r.Kill(ctx, c); err == nil {
				t.Errorf("kill of %s: no error", c)
			}
		}
	})
	t.Run("hold down ends by itself", func(t *testing.T) {
		f := must[*Fault](t)(r.HoldDown(ctx, broker, 5*time.Second))
		bites(t, f)
		if _, err := r.find(ctx, broker); err == nil {
			time.Sleep(300 * time.Millisecond)
			if _, err := r.find(ctx, broker); err == nil {
				t.Error("the container runs while it is held down")
			}
		}
		// 5 s and the grace of 10 s.
		goneWithin(t, f, 25*time.Second)
		ready(t, 2*time.Minute)
	})
	t.Run("hold down is healed", func(t *testing.T) {
		f := must[*Fault](t)(r.HoldDown(ctx, broker, time.Minute))
		bites(t, f)
		if err := f.Heal(ctx); err != nil {
			t.Fatal(err)
		}
		if err := f.Heal(ctx); err != nil {
			t.Error("healing twice:", err)
		}
		goneWithin(t, f, 2*time.Second)
		ready(t, 2*time.Minute)
	})
	t.Run("stop", func(t *testing.T) {
		f := must[*Fault](t)(r.Stop(ctx, broker, faultLast))
		bites(t, f)
		time.Sleep(3 * time.Second)
		if err := f.Heal(ctx); err != nil {
			t.Fatal(err)
		}
		goneWithin(t, f, 2*time.Second)
		ready(t, 2*time.Minute)
	})
	t.Run("stop ends by itself", func(t *testing.T) {
		f := must[*Fault](t)(r.Stop(ctx, broker, time.Second))
		bites(t, f)
		goneWithin(t, f, 20*time.Second)
		ready(t, 2*time.Minute)
	})
	for name, reject := range map[string]bool{"cut by drop": false, "cut by reject": true} {
		t.Run(name, func(t *testing.T) {
			f := must[*Fault](t)(r.Cut(ctx, Link{From: Monitoring, To: Kafka, Ports: []int{30094, 30100, 30101, 30102}, Way: Both}, reject, faultLast))
			bites(t, f)
			if _, err := r.sh(ctx, "triad-monitoring-control-plane", "timeout 3 bash -c '</dev/tcp/"+firstAddress(t, r, Kafka)+"/30094'"); err == nil {
				t.Error("the link carries a connection while it is cut")
			}
			if err := f.Heal(ctx); err != nil {
				t.Fatal(err)
			}
			goneWithin(t, f, 2*time.Second)
			ready(t, 2*time.Minute)
		})
	}
	t.Run("cut ends by itself", func(t *testing.T) {
		f := must[*Fault](t)(r.Cut(ctx, Link{From: Monitoring, To: Kafka, Way: Forward}, false, time.Second))
		bites(t, f)
		goneWithin(t, f, 20*time.Second)
	})
	t.Run("a cut and a stop that are given up", func(t *testing.T) {
		const node = "triad-kafka-control-plane"
		for after := 25 * time.Millisecond; after < time.Second; after += 75 * time.Millisecond {
			given, cancel := context.WithTimeout(ctx, after)
			for _, inject := range []func() (*Fault, error){
				func() (*Fault, error) {
					return r.Cut(given, Link{From: Kafka, To: Monitoring, Way: Forward}, false, time.Minute)
				},
				func() (*Fault, error) { return r.Stop(given, broker, time.Minute) },
			} {
				if f, err := inject(); err == nil {
					if err := f.Heal(ctx); err != nil {
						t.Fatal(err)
					}
				}
			}
			cancel()
		}
		time.Sleep(3 * time.Second) // a shell that was left to itself would be done
		if ids := must[[]string](t)(r.armedIn(ctx, node)); len(ids) != 0 {
			t.Errorf("the node carries %v", ids)
		}
		if left := must[string](t)(r.sh(ctx, node, "iptables-save | grep -c TRIAD-CUT; grep -l '^State:.T' /proc/[0-9]*/status; true")); left != "0" {
			t.Errorf("rules and stopped processes left: %q", left)
		}
		ready(t, 2*time.Minute)
	})
	t.Run("slow", func(t *testing.T) {
		f := must[*Fault](t)(r.Slow(ctx, Link{From: Kafka, To: Monitoring, Way: Forward}, Shape{BytesPerSecond: 100_000}, faultLast))
		bites(t, f)
		if _, err := r.Slow(ctx, Link{From: Kafka, To: Monitoring, Way: Forward}, Shape{BytesPerSecond: 1000}, faultLast); err == nil {
			t.Error("a second slow link on the same node: no error")
		}
		if p, err := f.Hits(ctx); err != nil || p.Hits == 0 {
			t.Errorf("the first slow link after the second was refused: %+v, %v", p, err)
		}
		if err := f.Heal(ctx); err != nil {
			t.Fatal(err)
		}
		goneWithin(t, f, 2*time.Second)
	})
	t.Run("delay is refused without netem", func(t *testing.T) {
		can := must[bool](t)(r.CanDelay(ctx, "triad-kafka-control-plane"))
		f, err := r.Slow(ctx, Link{From: Kafka, To: Monitoring, Way: Both}, Shape{Delay: 10 * time.Millisecond}, faultLast)
		if can {
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Heal(ctx); err != nil {
				t.Fatal(err)
			}
			return
		}
		if !errors.Is(err, ErrNoDelay) {
			t.Errorf("delay: %v, want ErrNoDelay", err)
		}
	})
	t.Run("freeze", func(t *testing.T) {
		f := must[*Fault](t)(r.FreezeCluster(ctx, Kafka, faultLast))
		bites(t, f)
		if err := kafka.Ready(ctx); err == nil {
			t.Error("the API server of a frozen cluster answers")
		}
		if err := f.Heal(ctx); err != nil {
			t.Fatal(err)
		}
		goneWithin(t, f, 2*time.Second)
		within(t, 30*time.Second, "api server answers", func() (bool, string) { return kafka.Ready(ctx) == nil, "" })
	})
	t.Run("freeze ends by the watchdog", func(t *testing.T) {
		f := must[*Fault](t)(r.FreezeCluster(ctx, Kafka, time.Second))
		bites(t, f)
		goneWithin(t, f, 20*time.Second)
		within(t, 30*time.Second, "api server answers", func() (bool, string) { return kafka.Ready(ctx) == nil, "" })
	})
	t.Run("noise", func(t *testing.T) {
		for _, kind := range []string{noiseCPU, noiseIO} {
			f := must[*Fault](t)(r.Noise(ctx, Kafka, kind, 2, faultLast))
			bites(t, f)
			if err := f.Heal(ctx); err != nil {
				t.Fatal(err)
			}
			goneWithin(t, f, 10*time.Second)
		}
		if _, err := r.Noise(ctx, Kafka, "memory", 2, faultLast); err == nil {
			t.Error("noise of an unknown kind: no error")
		}
	})
	t.Run("noise ends by itself", func(t *testing.T) {
		f := must[*Fault](t)(r.Noise(ctx, Kafka, noiseCPU, 2, time.Second))
		bites(t, f)
		goneWithin(t, f, 40*time.Second)
	})
	t.Run("through the API", func(t *testing.T) { apiFaults(t, testEnv(t, r, plan)) })
	t.Run("heal all", func(t *testing.T) {
		cut := must[*Fault](t)(r.Cut(ctx, Link{From: Monitoring, To: Kafka, Way: Both}, false, time.Minute))
		stop := must[*Fault](t)(r.Stop(ctx, broker, time.Minute))
		must[*Fault](t)(r.FreezeCluster(ctx, Monitoring, time.Minute))
		healed := must[[]Healed](t)(r.HealAll(ctx))
		if len(healed) != 4 { // the cut on two nodes, the stop, the freeze
			t.Errorf("healed: %+v", healed)
		}
		goneWithin(t, cut, time.Second)
		goneWithin(t, stop, time.Second)
		if again := must[[]Healed](t)(r.HealAll(ctx)); len(again) != 0 {
			t.Errorf("healed again: %+v", again)
		}
		ready(t, 2*time.Minute)
	})
	t.Run("flows", func(t *testing.T) {
		counts := must[[]RuleCount](t)(r.FlowCounts(ctx))
		used := map[string]int64{}
		for _, c := range counts {
			used[c.Rule] += c.Packets
		}
		if used["flow-index"] == 0 {
			t.Errorf("the declared flow index was never used: %v", used)
		}
		// From kafka to the store of monitoring: undeclared, and open if it were not for the rule.
		target := net.JoinHostPort(firstAddress(t, r, Monitoring), "30920")
		host, port, _ := strings.Cut(target, ":")
		_, err := kafka.Output(ctx, Kafka, broker.Pod, "kafka", "timeout", "3", "bash", "-c", "</dev/tcp/"+host+"/"+port)
		if err == nil {
			t.Error("a pod of kafka reaches the store of monitoring")
		}
		after := must[[]RuleCount](t)(r.FlowCounts(ctx))
		var refused int64
		for _, c := range after {
			if c.Node == "triad-kafka-control-plane" && c.Rule == "undeclared-monitoring" {
				refused += c.Packets
			}
		}
		if refused == 0 {
			t.Errorf("nothing was counted as refused: %+v", after)
		}
		// The same without the rule is open: the probe can tell.
		if _, err := r.sh(ctx, "triad-kafka-control-plane", "iptables -F "+flowsChain); err != nil {
			t.Fatal(err)
		}
		_, err = kafka.Output(ctx, Kafka, broker.Pod, "kafka", "timeout", "3", "bash", "-c", "</dev/tcp/"+host+"/"+port)
		if err != nil {
			t.Errorf("without rules the store is not reached either, so the probe proves nothing: %v", err)
		}
		if err := r.EnforceFlows(ctx, plan.Flows); err != nil {
			t.Fatal(err)
		}
	})
}

// testEnv is an environment without a run: what faults through an API need.
func testEnv(t *testing.T, r *Runtime, plan *Plan) *env {
	t.Helper()
	e := &env{Runtime: r, plan: plan, clients: map[string]*kube.Client{}}
	for _, c := range r.opts.Clusters {
		e.clients[c] = must[*kube.Client](t)(r.Client(c))
	}
	e.ports = must[map[int]int](t)(r.HostPorts())
	if err := e.storeAccess(t.Context()); err != nil {
		t.Fatal(err)
	}
	return e
}

// trickle writes a record of its own to Kafka each second for as long as the test lasts, through a broker's own tools: faults of the
// sink and the store show only while something flows.
func trickle(t *testing.T, e *env) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	ca := must[map[string][]byte](t)(e.clients[Kafka].SecretData(ctx, Kafka, "triad-cluster-ca-cert"))
	e.ca = x509.NewCertPool()
	if !e.ca.AppendCertsFromPEM(ca["ca.crt"]) {
		t.Fatal("the brokers' authority cannot be read")
	}
	user := must[map[string][]byte](t)(e.clients[Kafka].SecretData(ctx, Kafka, "fluentd"))
	e.users = map[string]string{"fluentd": string(user["password"])}
	c := must[*kgo.Client](t)(kgo.NewClient(append(e.kafkaOpts("fluentd"), kgo.SeedBrokers(e.bootstrap()...))...))
	wg.Go(func() {
		defer c.Close()
		for n := 0; ctx.Err() == nil; n++ {
			c.Produce(ctx, &kgo.Record{Topic: "service-topic", Key: fmt.Appendf(nil, "trickle-%d", n%6), Value: fmt.Appendf(nil, `{"log":"record %d of a test: %s"}`, n, strings.Repeat("x", 600))}, nil)
			time.Sleep(200 * time.Millisecond)
		}
	})
}

// settled waits until nothing of a fault through an API is left.
func settled(t *testing.T, f fault.Active, limit time.Duration) {
	t.Helper()
	within(t, limit, "the fault is gone", func() (bool, string) {
		gone, err := f.Gone(t.Context())
		return err == nil && gone, fmt.Sprint(err)
	})
}

func apiFaults(t *testing.T, e *env) {
	ctx := t.Context()
	trickle(t, e)
	struck := func(t *testing.T, f fault.Active, limit time.Duration) {
		t.Helper()
		within(t, limit, "the fault bites", func() (bool, string) {
			n, seen, err := f.Hits(ctx)
			return err == nil && n > 0, fmt.Sprint(seen, err)
		})
	}
	heal := func(t *testing.T, f fault.Active) {
		t.Helper()
		for range 2 { // healing twice is no error
			if err := f.Heal(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, inject := range map[string]func(time.Duration) (fault.Active, error){
		"es-throttle":   func(d time.Duration) (fault.Active, error) { return e.ThrottleStore(ctx, 1, d) },
		"es-read-only":  func(d time.Duration) (fault.Active, error) { return e.BlockStore(ctx, d) },
		"connect-pause": func(d time.Duration) (fault.Active, error) { return e.PauseConnect(ctx, d) },
	} {
		t.Run(name, func(t *testing.T) {
			f := must[fault.Active](t)(inject(time.Minute))
			struck(t, f, 30*time.Second)
			if gone, err := f.Gone(ctx); gone {
				t.Errorf("gone while it is on (%v)", err)
			}
			heal(t, f)
			settled(t, f, time.Minute)
		})
		t.Run(name+" ends by itself", func(t *testing.T) {
			f := must[fault.Active](t)(inject(time.Second))
			settled(t, f, time.Minute)
		})
	}
	t.Run("es-throttle of a share", func(t *testing.T) {
		_, err := e.ThrottleStore(ctx, 0.5, time.Minute)
		if _, ok := errors.AsType[*fault.UnavailableError](err); !ok {
			t.Errorf("throttling half of the requests: %v, want that it cannot be done", err)
		}
	})
	t.Run("es-read-only stays", func(t *testing.T) {
		f := must[fault.Active](t)(e.BlockStore(ctx, 2*time.Minute))
		time.Sleep(40 * time.Second) // the store looks at its disk every thirty
		if gone, err := f.Gone(ctx); gone {
			t.Errorf("the store has let go of the block (%v)", err)
		}
		heal(t, f)
		settled(t, f, time.Minute)
		if _, _, err := f.Hits(ctx); err != nil { // as a run asks once more
			t.Error(err)
		}
		if status, _, err := e.ask(ctx, http.MethodGet, "/service-topic/_doc/triad-block-probe", ""); status != http.StatusNotFound {
			t.Errorf("the document of the proof: HTTP %d, %v", status, err)
		}
	})
	t.Run("es-disk-full", func(t *testing.T) {
		f := must[fault.Active](t)(e.FillDisk(ctx, 2*time.Minute))
		struck(t, f, 90*time.Second)
		heal(t, f)
		settled(t, f, 2*time.Minute)
	})
	t.Run("connect-task-fail", func(t *testing.T) {
		f := must[fault.Active](t)(e.FailTask(ctx))
		struck(t, f, 5*time.Second)
		if ids := must[[]string](t)(e.armedIn(ctx, "triad-monitoring-control-plane")); len(ids) != 0 {
			t.Errorf("the store still refuses writes: %v", ids)
		}
		settled(t, f, 5*time.Minute) // by the operator
	})
	t.Run("es-kill", func(t *testing.T) {
		f := must[fault.Active](t)(e.KillStore(ctx))
		struck(t, f, 5*time.Second)
		settled(t, f, 2*time.Minute)
	})
}

func firstAddress(t *testing.T, r *Runtime, cluster string) string {
	t.Helper()
	addrs, err := r.addresses(context.WithoutCancel(t.Context()), cluster)
	if err != nil {
		t.Fatal(err)
	}
	return addrs[0]
}
