//go:build !embedded_only

package kind

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"triad/internal/kube"
)

// The controller that is struck leads the metadata quorum; the one that metadata names is any broker.
func TestControllerLeadsTheQuorum(t *testing.T) {
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	brokers, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.TLS(&tls.Config{Certificates: certified.TLS.Certificates}), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "observer", "pw"))
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
	e := &env{ports: map[int]int{kafkaPort: port}, ca: x509.NewCertPool(), users: map[string]string{"observer": "pw"}, clients: map[string]*kube.Client{}}
	e.ca.AddCert(certified.Certificate())

	var named int32
	if err := e.kafkaAdmin(t.Context(), func(ctx context.Context, c *kgo.Client) error {
		m, err := kadm.NewClient(c).BrokerMetadata(ctx)
		named = m.Controller
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var leader, refused atomic.Int32
	leader.Store((named + 1) % 3)
	// kfake has no quorum: it learns that it can be asked for one, and what it says.
	brokers.ControlKey(int16(kmsg.ApiVersions), func(r kmsg.Request) (kmsg.Response, error, bool) {
		brokers.KeepControl()
		resp := r.ResponseKind().(*kmsg.ApiVersionsResponse)
		for key, highest := range map[kmsg.Key]int16{kmsg.Metadata: 12, kmsg.SASLHandshake: 1, kmsg.SASLAuthenticate: 2, kmsg.ApiVersions: 4, kmsg.DescribeQuorum: 2} {
			k := kmsg.NewApiVersionsResponseApiKey()
			k.ApiKey, k.MaxVersion = int16(key), highest
			resp.ApiKeys = append(resp.ApiKeys, k)
		}
		return resp, nil, true
	})
	brokers.ControlKey(int16(kmsg.DescribeQuorum), func(r kmsg.Request) (kmsg.Response, error, bool) {
		brokers.KeepControl()
		q, resp := r.(*kmsg.DescribeQuorumRequest), r.ResponseKind().(*kmsg.DescribeQuorumResponse)
		if len(q.Topics) != 1 || q.Topics[0].Topic != "__cluster_metadata" || len(q.Topics[0].Partitions) != 1 || q.Topics[0].Partitions[0].Partition != 0 {
			t.Errorf("asked for %+v", q.Topics)
		}
		part, topic := kmsg.NewDescribeQuorumResponseTopicPartition(), kmsg.NewDescribeQuorumResponseTopic()
		part.LeaderID, part.ErrorCode, topic.Topic = leader.Load(), int16(refused.Load()), "__cluster_metadata"
		topic.Partitions = append(topic.Partitions, part)
		resp.Topics = append(resp.Topics, topic)
		return resp, nil, true
	})
	if id, err := e.broker(t.Context(), "controller"); err != nil || id != leader.Load() {
		t.Errorf("controller: broker %d, %v; want %d, metadata names %d", id, err, leader.Load(), named)
	}
	leader.Store(-1)
	if id, err := e.broker(t.Context(), "controller"); err == nil {
		t.Errorf("a quorum without a leader: broker %d", id)
	}
	leader.Store(0)
	refused.Store(int32(kerr.NotLeaderForPartition.Code))
	if id, err := e.broker(t.Context(), "controller"); err == nil {
		t.Errorf("an answer of one that does not lead: broker %d", id)
	}
}
