package brokers

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestTopicsMadeByClients: topics that clients create, extend, delete and create again are placed, led and failed over.
func TestTopicsMadeByClients(t *testing.T) {
	t.Parallel()
	cfg := quick()
	cfg.AutoCreate, cfg.DefaultPartitions = true, 2
	c, _ := startCluster(t, cfg, Options{})
	ctx := ctxFor(t, 20*time.Second)
	cl := client(t, c, kgo.AllowAutoTopicCreation())
	adm := kadm.NewClient(cl)
	if _, err := adm.CreateTopic(ctx, 3, 3, nil, "made"); err != nil {
		t.Fatal(err)
	}
	produce := func(topic string, part int32) {
		t.Helper()
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: part, Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatalf("%s/%d: %v", topic, part, err)
		}
	}
	check := func(topic string, parts int) {
		t.Helper()
		time.Sleep(100 * time.Millisecond) // the client answers from what it learned less than 50 ms ago
		md, err := adm.Metadata(ctx, topic)
		if err != nil || len(md.Topics[topic].Partitions) != parts {
			t.Fatalf("metadata of %s: %v %+v", topic, err, md.Topics)
		}
		for _, p := range md.Topics[topic].Partitions {
			if int(p.Leader) != c.Leader(topic, int(p.Partition)) || p.Leader != c.fake.LeaderFor(topic, p.Partition) {
				t.Errorf("%s/%d: leader %d, machine %d, kfake %d", topic, p.Partition, p.Leader, c.Leader(topic, int(p.Partition)), c.fake.LeaderFor(topic, p.Partition))
			}
			if !slices.Contains(p.ISR, p.Leader) || len(p.Replicas) != 3 {
				t.Errorf("%s/%d: %+v", topic, p.Partition, p)
			}
		}
	}
	check("made", 3)
	produce("made", 0)
	if _, err := adm.CreatePartitions(ctx, 2, "made"); err != nil {
		t.Fatal(err)
	}
	check("made", 5)
	produce("auto", 1)
	check("auto", 2)
	if _, err := adm.DeleteTopics(ctx, "made"); err != nil {
		t.Fatal(err)
	}
	if c.Leader("made", 0) != -1 {
		t.Error("a deleted topic has a leader")
	}
	if _, err := adm.CreateTopic(ctx, 3, 3, nil, "made"); err != nil {
		t.Fatal(err)
	}
	check("made", 3)
	victim := c.Leader("auto", 1)
	kill(t, c, victim)
	produce("auto", 1)
	if c.Leader("auto", 1) == victim {
		t.Error("acknowledged by a dead leader")
	}
}

// TestTransactionsFollowTheirCoordinator: the transactional id is known at the broker that takes over.
func TestTransactionsFollowTheirCoordinator(t *testing.T) {
	t.Parallel()
	c, _ := startCluster(t, quick(), Options{})
	ctx := ctxFor(t, 30*time.Second)
	commit := func(cl *kgo.Client, value string) {
		t.Helper()
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "t", Partition: 0, Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatalf("produce: %v", err)
		}
		if err := cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
			t.Fatalf("commit: %v", err)
		}
	}
	first := client(t, c, kgo.TransactionalID("tx"))
	commit(first, "one")
	coord := kadm.NewClient(first).FindTxnCoordinators(ctx, "tx")["tx"]
	if coord.Err != nil {
		t.Fatal(coord.Err)
	}
	victim := int(coord.NodeID)
	kill(t, c, victim)
	if err := c.wait(ctx, "fencing", func() bool { return c.m.nodes[victim].fenced }); err != nil {
		t.Fatal(err)
	}
	// The client asks a broker taken at random for the coordinator and gives up when that one is dead, so this one knows
	// only the living.
	living := slices.Delete(c.Addrs(), victim, victim+1)
	commit(client(t, c, kgo.TransactionalID("tx"), kgo.SeedBrokers(living...)), "two")
	cons := client(t, c, kgo.ConsumeTopics("t"), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	var seen []string
	for len(seen) < 2 && ctx.Err() == nil {
		cons.PollFetches(ctx).EachRecord(func(r *kgo.Record) { seen = append(seen, string(r.Value)) })
	}
	if !slices.Equal(seen, []string{"one", "two"}) {
		t.Errorf("seen %v", seen)
	}
}

func TestRetention(t *testing.T) {
	t.Parallel()
	cfg := quick()
	cfg.RetentionCheck = 50 * time.Millisecond
	cfg.Topics[0].Config = map[string]string{"retention.ms": "200"}
	c, _ := startCluster(t, cfg, Options{})
	cl := client(t, c)
	ctx := ctxFor(t, 10*time.Second)
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "t", Partition: 0, Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for c.fake.PartitionInfo("t", 0).LogStartOffset != 1 {
		if ctx.Err() != nil {
			t.Fatal("the record was never deleted")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestWrongUse(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(c *Config)
		want   string
	}{
		"replicas": {func(c *Config) { c.Topics[0].Replicas = 4 }, "4 replicas on 3 brokers"},
		"twice":    {func(c *Config) { c.Topics = append(c.Topics, c.Topics[0]) }, "declared twice"},
		"interval": {func(c *Config) { c.HeartbeatInterval = time.Minute }, "heartbeat interval"},
		"acl":      {func(c *Config) { c.Authorize = true }, "authorization without authentication"},
		"setting":  {func(c *Config) { c.Topics[0].Config = map[string]string{"no.such": "1"} }, "topic t"},
	} {
		cfg := quick()
		tc.change(&cfg)
		if c, err := New(cfg, Options{}); err == nil {
			c.Close()
			t.Errorf("%s: accepted", name)
		} else if !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	c, _ := startCluster(t, quick(), Options{})
	if err := c.Start(0); err == nil || !strings.Contains(err.Error(), "it is running") {
		t.Errorf("start of a running broker: %v", err)
	}
	if err := c.Kill(7); err == nil {
		t.Error("kill of a broker that does not exist")
	}
	kill(t, c, 0)
	if err := c.Kill(0); err == nil {
		t.Error("kill of a dead broker")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.WaitHealthy(ctx); err == nil {
		t.Error("healthy with a dead broker")
	}
	c.Close()
	c.Close()
	if err := c.Start(0); err == nil {
		t.Error("start after close")
	}
}

// TestCloseDuringChanges: a cluster that closes while its time line moves leaves nothing behind (goleak looks).
func TestCloseDuringChanges(t *testing.T) {
	t.Parallel()
	for i := range 30 {
		cfg := quick()
		cfg.SessionTimeout, cfg.HeartbeatInterval, cfg.StartTime = 20*time.Millisecond, 5*time.Millisecond, time.Millisecond
		c, err := New(cfg, Options{Seed: uint64(i)})
		if err != nil {
			t.Fatal(err)
		}
		kill(t, c, i%3)
		start(t, c, i%3)
		time.Sleep(time.Duration(i) * time.Millisecond)
		done := make(chan struct{})
		go func() { defer close(done); c.Close() }()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatal("close did not end")
		}
	}
}
