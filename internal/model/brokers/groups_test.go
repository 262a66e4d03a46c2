package brokers

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestGroupsFollowTheirCoordinator(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds of real time")
	}
	t.Parallel()
	cfg := quick()
	c, _ := startCluster(t, cfg, Options{})
	ctx := ctxFor(t, 60*time.Second)
	l := startLoad(t, c)
	adm := kadm.NewClient(client(t, c))
	groups := []string{"connect-a", "connect-b", "c", "d", "e"}
	seen := make([]int, len(groups))
	var wg sync.WaitGroup
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	for i, g := range groups {
		cons := client(t, c, kgo.ConsumerGroup(g), kgo.ConsumeTopics("t"), kgo.FetchMaxWait(100*time.Millisecond), kgo.HeartbeatInterval(100*time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
		wg.Go(func() {
			for stop.Err() == nil {
				fs := cons.PollFetches(stop)
				seen[i] += fs.NumRecords()
				// Failures are the point of the test: the next commit repeats what this one held.
				_ = cons.CommitUncommittedOffsets(stop)
			}
		})
	}
	time.Sleep(time.Second)
	for victim := range 3 {
		kill(t, c, victim)
		time.Sleep(2500 * time.Millisecond) // a controller takes up to a second to be missed, and its session as long
		for _, g := range groups {
			coord := adm.FindGroupCoordinators(ctx, g)[g]
			if coord.Err != nil || int(coord.NodeID) == victim {
				t.Errorf("coordinator of %s is %d with broker %d dead: %v", g, coord.NodeID, victim, coord.Err)
			}
		}
		start(t, c, victim)
		if err := c.WaitHealthy(ctx); err != nil {
			t.Fatal(err)
		}
	}
	l.finish(t)
	deadline := time.Now().Add(15 * time.Second)
	for _, g := range groups {
		for {
			lag, err := adm.Lag(ctx, g)
			if err == nil && lag.Error() == nil && lag[g].Lag.Total() == 0 && len(lag[g].Lag["t"]) == 6 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("group %s never caught up: %v %v", g, lag, err)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	cancel()
	wg.Wait()
	for i, n := range seen {
		if n < len(l.acked) {
			t.Errorf("group %s saw %d of %d", groups[i], n, len(l.acked))
		}
	}
	l.verify(t, c)
}

func TestMetricsEndpoint(t *testing.T) {
	t.Parallel()
	c, _ := startCluster(t, quick(), Options{})
	cl := client(t, c)
	ctx := ctxFor(t, 20*time.Second)
	victim := notController(c)
	other := (victim + 1) % 3
	part := int32(ledBy(t, c, other))
	for range 5 {
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "t", Partition: part, Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	kill(t, c, victim)
	time.Sleep(1200 * time.Millisecond)
	body := scrape(t, c, other)
	k := c.Counts()
	for _, want := range []string{
		`kafka_server_brokertopicmetrics_messagesin_total{topic="t"} 5`,
		"kafka_server_replicamanager_underreplicatedpartitions ",
		"kafka_controller_kafkacontroller_fencedbrokercount 1",
		"kafka_controller_kafkacontroller_offlinepartitionscount 0",
		fmt.Sprintf(`kafka_log_log_logendoffset{partition="%d",topic="t"} 5`, part),
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
	if k.UnderReplicated != 6 {
		t.Errorf("counts %+v", k)
	}
	if _, err := http.Get("http://" + c.MetricsAddrs()[victim] + "/metrics"); err == nil {
		t.Error("the exporter of a dead broker answers")
	}
	start(t, c, victim)
	if err := c.WaitHealthy(ctx); err != nil {
		t.Fatal(err)
	}
	if body := scrape(t, c, victim); !strings.Contains(body, "kafka_server_brokertopicmetrics_messagesin_total 0") {
		t.Errorf("counters of a restarted broker:\n%s", body)
	}
}

func scrape(t *testing.T, c *Cluster, id int) string {
	t.Helper()
	resp, err := http.Get("http://" + c.MetricsAddrs()[id] + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("scrape: %s %v", resp.Status, err)
	}
	http.DefaultClient.CloseIdleConnections()
	return string(b)
}

// TestEmptyGroupWaits: the first member that comes back to a group without members waits for others, and gets its partitions
// together with who came meanwhile; a group without a past is formed at once, and so is one that still has a member.
func TestEmptyGroupWaits(t *testing.T) {
	t.Parallel()
	cfg := quick()
	cfg.GroupDelay = 4 * time.Second
	c, _ := startCluster(t, cfg, Options{})
	ctx := ctxFor(t, 30*time.Second)
	join := func() (*kgo.Client, func() (time.Duration, int)) {
		began := time.Now()
		assigned := make(chan int, 16)
		cl := client(t, c, kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.HeartbeatInterval(100*time.Millisecond), kgo.Balancers(kgo.RangeBalancer()),
			kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { assigned <- len(parts["t"]) }))
		return cl, func() (time.Duration, int) {
			select {
			case n := <-assigned:
				return time.Since(began), n
			case <-ctx.Done():
				t.Fatal("no partitions")
				return 0, 0
			}
		}
	}
	first, got := join()
	if took, n := got(); took >= cfg.GroupDelay || n != 6 {
		t.Errorf("a group without a past gave %d partitions after %s, want all 6 before %s", n, took, cfg.GroupDelay)
	}
	first.Close()
	_, gotA := join()
	_, gotB := join()
	for _, got := range []func() (time.Duration, int){gotA, gotB} {
		if took, n := got(); took < cfg.GroupDelay || n != 3 {
			t.Errorf("a member of a group that was empty got %d partitions after %s, want 3 after %s", n, took, cfg.GroupDelay)
		}
	}
	_, gotC := join()
	if took, n := gotC(); took >= cfg.GroupDelay || n != 2 {
		t.Errorf("a member that joined others got %d partitions after %s, want 2 before %s", n, took, cfg.GroupDelay)
	}
}

// TestMemberGoneInJoin: a member whose connection breaks while its join waits is missed a session later, and not when the time of a
// rebalance is over.
func TestMemberGoneInJoin(t *testing.T) {
	t.Parallel()
	cfg := quick()
	c, _ := startCluster(t, cfg, Options{})
	ctx := ctxFor(t, 60*time.Second)
	parts := make(chan int, 16)
	client(t, c, kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.HeartbeatInterval(time.Second), kgo.SessionTimeout(6*time.Second), kgo.RebalanceTimeout(time.Hour),
		kgo.Balancers(kgo.RangeBalancer()), kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, p map[string][]int32) { parts <- len(p["t"]) }))
	all := func() {
		t.Helper()
		for n := 0; n != 6; {
			select {
			case n = <-parts:
			case <-ctx.Done():
				t.Fatal("the group waits for a member that is gone")
			}
		}
	}
	all()
	// The second one asks for a member id and joins; the first hears of it only with its next heartbeat.
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Addrs()...), kgo.RequestRetries(0))
	if err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.ProtocolType, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = "g", "consumer", 6000, 3_600_000
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
	res, err := req.RequestWith(ctx, cl)
	if err != nil || res.MemberID == "" {
		t.Fatal(err, res)
	}
	req.MemberID = res.MemberID
	gone := make(chan struct{})
	go func() { defer close(gone); _, _ = req.RequestWith(ctx, cl) }()
	for c.fake.GroupInfo("g").State == "Stable" && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	cl.Close()
	<-gone
	// Whatever it is given while the other one counts, in the end it has them all again.
	all()
}

// TestSessionsOutliveTheirCoordinator: members that a dead coordinator cannot hear are not missed for that.
func TestSessionsOutliveTheirCoordinator(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds of real time")
	}
	t.Parallel()
	cfg := quick()
	cfg.SessionTimeout = 9 * time.Second // of the broker: longer than that of the member
	c, _ := startCluster(t, cfg, Options{})
	ctx := ctxFor(t, 60*time.Second)
	cl := client(t, c, kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(time.Second))
	for c.fake.GroupInfo("g") == nil || c.fake.GroupInfo("g").State != "Stable" {
		if ctx.Err() != nil {
			t.Fatal("no group")
		}
		time.Sleep(10 * time.Millisecond)
	}
	was := c.fake.GroupInfo("g")
	dead := int(c.fake.CoordinatorFor("g"))
	kill(t, c, dead)
	moved := func() bool {
		p := c.m.index[c.coord.keys[coordKey{"g", false}]]
		return p.leader >= 0 && p.leader != dead
	}
	if err := c.wait(ctx, "another coordinator", moved); err != nil {
		t.Fatal(err)
	}
	is := c.fake.GroupInfo("g")
	if len(is.Members) != 1 || is.Members[0].MemberID != was.Members[0].MemberID {
		t.Errorf("members %+v, and they were %+v", is.Members, was.Members)
	}
	cl.Close()
}
