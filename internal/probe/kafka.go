package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// How the brokers are asked, without leaving a trace in them.
//
// Kafka's request handlers authorize before they look at anything else, so a request that is bound to fail for another reason
// tells by its error whether it was authorized:
//
//   - Describe on a topic: Metadata without auto-creation.
//   - Read on a topic: Fetch of a partition that does not exist. Allowed answers UNKNOWN_TOPIC_OR_PARTITION; no record is read.
//   - Write on a topic: Produce of no bytes to a partition that does not exist. Allowed answers UNKNOWN_TOPIC_OR_PARTITION;
//     should the partition exist one day, a request without a record batch is still refused with INVALID_RECORD.
//   - Describe on a group: DescribeGroups.
//   - Read on a group: OffsetCommit of a topic that does not exist, by a member that does not exist, in a generation that does
//     not exist: three reasons to commit nothing, all looked at behind the authorization.
//   - Describe on the cluster: DescribeACLs, which is also the list that is compared with the declared rules.
//
// Denied answers TOPIC_, GROUP_ or CLUSTER_AUTHORIZATION_FAILED. These results carry method=exercised: the operation's own
// handler was asked. The other operations are method=reported: Metadata and DescribeCluster list, for whoever may describe a
// resource, which operations its authorizer would allow. What a principal that may not describe a resource could still alter or
// create there is not probed, nor are transactional ids and the deletion of groups.
const (
	methodExercised = "exercised"
	methodReported  = "reported"
	methodLogin     = "login"
	methodListed    = "listed" // by DescribeACLs
)

const (
	askTime       = 10 * time.Second // one request, with its retries
	noPartition   = math.MaxInt32    // Kafka numbers partitions from 0, and creates at most some thousand of them
	noGeneration  = math.MaxInt32
	undeclared    = "triad-undeclared" // a topic and a group that no rule is about
	offsetsTopic  = "__consumer_offsets"
	nobody        = "triad-nobody" // a principal that nobody made
	groupSuffix   = "probe"        // behind a prefix that a rule names
	wrongPassword = "not-the-password"
)

// version limits requests to those that name topics: from Produce 13 and Fetch 13 on they carry ids, which a principal without
// Describe cannot know. Kafka 4 serves all of these.
func version() kgo.Opt { return kgo.MaxVersions(kversion.V2_8_0()) }

// topicReported, clusterReported are the operations that only the brokers' own lists tell of.
var (
	topicReported   = []string{"Create", "Delete", "Alter", "DescribeConfigs", "AlterConfigs"}
	clusterReported = []string{"Create", "Alter", "ClusterAction", "DescribeConfigs", "AlterConfigs", "IdempotentWrite"}
)

var operationBit = map[string]kmsg.ACLOperation{
	"Read": kmsg.ACLOperationRead, "Write": kmsg.ACLOperationWrite, "Create": kmsg.ACLOperationCreate, "Delete": kmsg.ACLOperationDelete,
	"Alter": kmsg.ACLOperationAlter, "Describe": kmsg.ACLOperationDescribe, "ClusterAction": kmsg.ACLOperationClusterAction,
	"DescribeConfigs": kmsg.ACLOperationDescribeConfigs, "AlterConfigs": kmsg.ACLOperationAlterConfigs,
	"IdempotentWrite": kmsg.ACLOperationIdempotentWrite,
}

// Brokers probes every right of every declared principal, and that nobody else gets in. A right is judged by the declared rules
// alone. Results are in a fixed order.
func Brokers(ctx context.Context, env KafkaProber, d Declared) []Result {
	b := &brokerProbe{env: env, d: d, topics: append(slices.Clone(d.Topics), offsetsTopic, undeclared), groups: d.probeGroups()}
	var out []Result
	for _, p := range d.Principals {
		out = append(out, b.principal(ctx, p)...)
	}
	if b.friend.user == "" {
		// Without one good login a refused one proves nothing: the brokers may be away.
		return append(out, Result{Kind: KindACL, Name: "strangers->kafka:login", State: Unknown, Detail: "no declared principal could log in, so a refusal would mean nothing"})
	}
	return append(out, b.strangers(ctx)...)
}

// probeGroups are the groups to ask about: those that rules name, one for each prefix, and one that no rule is about.
func (d Declared) probeGroups() []string {
	out := slices.Clone(d.Groups)
	for _, p := range d.Principals {
		for _, r := range p.Rules {
			if r.Type == "group" && r.Prefix {
				out = append(out, r.Name+groupSuffix)
			}
		}
	}
	slices.Sort(out)
	return append(slices.Compact(out), undeclared)
}

type brokerProbe struct {
	env    KafkaProber
	d      Declared
	topics []string
	groups []string
	listed bool // the ACLs were compared
	// friend is a principal that was let in; empty when there is none.
	friend struct{ user, password string }
}

// principal probes one declared principal.
func (b *brokerProbe) principal(ctx context.Context, p Principal) []Result {
	login := Result{Kind: KindACL, Name: p.Name + "->kafka:login", Declared: true, Harness: p.Harness, Attrs: map[string]string{"principal": p.Name, "method": methodLogin}}
	password, err := b.env.KafkaPassword(ctx, p.Name)
	if err != nil {
		login.State, login.Detail = Unknown, err.Error()
		return []Result{login}
	}
	s, err := b.open(ctx, p.Name, password)
	if err != nil {
		login.State, login.Detail = Unknown, err.Error()
		if errors.Is(err, kerr.SaslAuthenticationFailed) {
			login.State = Closed
		}
		return []Result{login}
	}
	defer s.client.Close()
	b.friend.user, b.friend.password = p.Name, password
	login.State = Open
	return append([]Result{login}, b.rights(ctx, s, p)...)
}

// strangers tries to get in without being declared. Who does get in is probed like everybody else, with nothing declared.
func (b *brokerProbe) strangers(ctx context.Context) []Result {
	known := b.d.Principals[0].Name
	var out []Result
	for _, c := range []struct{ label, user, password string }{
		{"unknown principal", nobody, wrongPassword}, {known + " with a wrong password", known, wrongPassword}, {"no login", "", ""},
	} {
		r := Result{Kind: KindACL, Name: c.label + "->kafka:login", Attrs: map[string]string{"principal": c.user, "method": methodLogin}}
		s, err := b.open(ctx, c.user, c.password)
		if err != nil {
			r.State, r.Detail = b.refusal(ctx, err)
			out = append(out, r)
			continue
		}
		r.State, r.Detail = Open, "the brokers answered"
		out = append(out, r)
		out = append(out, b.rights(ctx, s, Principal{Name: c.label})...)
		s.client.Close()
	}
	return out
}

// refusal tells a refused login from brokers that could not be asked. Kafka says SASL_AUTHENTICATION_FAILED, and closes the
// connection of a client that asks before it has logged in without a word; the embedded brokers close it in both cases. A
// connection that was closed is a refusal only when somebody who may come in still can.
func (b *brokerProbe) refusal(ctx context.Context, err error) (state, detail string) {
	for _, e := range []error{kerr.SaslAuthenticationFailed, kerr.IllegalSaslState, kerr.UnsupportedSaslMechanism} {
		if errors.Is(err, e) {
			return Closed, err.Error()
		}
	}
	var first *kgo.ErrFirstReadEOF
	var op *net.OpError
	closed := errors.As(err, &first) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
	if !closed || errors.As(err, &op) && op.Op == "dial" {
		return Unknown, err.Error()
	}
	s, werr := b.open(ctx, b.friend.user, b.friend.password)
	if werr != nil {
		return Unknown, fmt.Sprintf("%v; and %s could not log in any more: %v", err, b.friend.user, werr)
	}
	s.client.Close()
	return Closed, "the brokers closed the connection (" + err.Error() + "), and let " + b.friend.user + " in right behind it"
}

// session is a client that is logged in.
type session struct {
	client  *kgo.Client
	brokers []int
	meta    *kmsg.MetadataResponse
}

// open logs in and asks about the topics, which every client may try.
func (b *brokerProbe) open(ctx context.Context, user, password string) (*session, error) {
	addrs, opts, err := b.env.KafkaAs(user, password)
	if err != nil {
		return nil, err
	}
	opts = append(opts, kgo.SeedBrokers(addrs...), kgo.ClientID("triad-probe"), version(), kgo.RequestRetries(1), kgo.RetryTimeout(askTime))
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("client of %s: %w", user, err)
	}
	req := kmsg.NewPtrMetadataRequest()
	req.IncludeTopicAuthorizedOperations = true
	for _, t := range b.topics {
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = new(t)
		req.Topics = append(req.Topics, rt)
	}
	ask, cancel := context.WithTimeoutCause(ctx, askTime, fmt.Errorf("no answer to a login within %v", askTime))
	defer cancel()
	resp, err := req.RequestWith(ask, client)
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("login: %w", err)
	}
	s := &session{client: client, meta: resp}
	for _, m := range resp.Brokers {
		s.brokers = append(s.brokers, int(m.NodeID))
	}
	slices.Sort(s.brokers)
	if len(s.brokers) == 0 {
		client.Close()
		return nil, errors.New("login: the brokers name none of themselves")
	}
	return s, nil
}

// ask puts a request to one broker, whichever answers first: who may do what does not depend on it.
func ask[R kmsg.Response](ctx context.Context, s *session, req kmsg.Request) (R, error) {
	var none R
	var errs []error
	for _, id := range s.brokers {
		r, err := askBroker[R](ctx, s, id, req)
		if err == nil {
			return r, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return none, errors.Join(errs...)
}

func askBroker[R kmsg.Response](ctx context.Context, s *session, broker int, req kmsg.Request) (R, error) {
	var none R
	limited, cancel := context.WithTimeoutCause(ctx, askTime, fmt.Errorf("no answer within %v", askTime))
	defer cancel()
	resp, err := s.client.Broker(broker).RetriableRequest(limited, req)
	if err != nil {
		return none, fmt.Errorf("broker %d: %w", broker, err)
	}
	r, ok := resp.(R)
	if !ok {
		return none, fmt.Errorf("broker %d: an answer of type %T", broker, resp)
	}
	return r, nil
}
