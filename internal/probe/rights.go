package probe

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// coordinatorErrors say that a broker is not the one to ask about a group. Kafka authorizes first; the embedded brokers look for
// the coordinator first, so that such an answer proves nothing there.
var coordinatorErrors = map[int16]bool{kerr.NotCoordinator.Code: true, kerr.CoordinatorNotAvailable.Code: true, kerr.CoordinatorLoadInProgress.Code: true}

// answer is what a broker said to one operation on one resource.
type answer struct {
	state  string
	detail string
}

// authorized are the codes that a handler gives only behind its authorization, by what was asked. Every other code is no answer:
// a broker that is in trouble proves neither right nor refusal.
var (
	topicCodes = []*kerr.Error{kerr.UnknownTopicOrPartition, kerr.LeaderNotAvailable, kerr.NotLeaderForPartition, kerr.InvalidRecord, kerr.CorruptMessage, kerr.OffsetOutOfRange}
	groupCodes = []*kerr.Error{
		kerr.NotCoordinator, kerr.CoordinatorNotAvailable, kerr.CoordinatorLoadInProgress, kerr.GroupIDNotFound, kerr.UnknownMemberID, kerr.IllegalGeneration,
		kerr.UnknownTopicOrPartition, kerr.TopicAuthorizationFailed,
	} // the topics of a commit are looked at behind its group
)

// judgeCode turns an error code into an answer: denied is the code that says so.
func judgeCode(code int16, denied *kerr.Error, authorized []*kerr.Error) answer {
	if code == 0 {
		return answer{Open, "no error"}
	}
	e := kerr.TypedErrorForCode(code)
	switch {
	case e == nil:
		return answer{Unknown, fmt.Sprintf("error code %d, which nobody knows", code)}
	case e.Code == denied.Code:
		return answer{Closed, e.Message}
	case slices.ContainsFunc(authorized, func(a *kerr.Error) bool { return a.Code == code }):
		return answer{Open, "authorized, then " + e.Message}
	}
	return answer{Unknown, e.Message}
}

// rights asks for every operation on every resource.
func (b *brokerProbe) rights(ctx context.Context, s *session, p Principal) []Result {
	one := func(typ, name, op, method string, a answer) Result {
		return Result{
			Kind: KindACL, Name: p.Name + "->" + typ + "/" + name + ":" + op, State: a.state, Detail: a.detail,
			Declared: p.Allowed(typ, name, op), Harness: p.Harness,
			Attrs: map[string]string{"principal": p.Name, "resource": typ + "/" + name, "operation": op, "method": method},
		}
	}
	var out []Result
	read, write := b.fetch(ctx, s), b.produce(ctx, s)
	told := map[string]kmsg.MetadataResponseTopic{}
	for _, t := range s.meta.Topics {
		if t.Topic != nil {
			told[*t.Topic] = t
		}
	}
	for _, t := range b.topics {
		m, ok := told[t]
		describe := answer{Unknown, "the brokers' answer does not name the topic"}
		if ok {
			describe = judgeCode(m.ErrorCode, kerr.TopicAuthorizationFailed, topicCodes)
		}
		out = append(out, one("topic", t, "Describe", methodExercised, describe), one("topic", t, "Read", methodExercised, read[t]), one("topic", t, "Write", methodExercised, write[t]))
		if ok && m.ErrorCode == 0 && m.AuthorizedOperations != math.MinInt32 {
			for _, op := range topicReported {
				out = append(out, one("topic", t, op, methodReported, bit(m.AuthorizedOperations, op)))
			}
		}
	}
	describe := b.describeGroups(ctx, s)
	for _, g := range b.groups {
		out = append(out, one("group", g, "Describe", methodExercised, describe[g]), one("group", g, "Read", methodExercised, b.commit(ctx, s, g)))
	}
	acls, list := b.describeACLs(ctx, s)
	out = append(out, one("cluster", "kafka", "Describe", methodExercised, acls))
	if acls.state == Open {
		out = append(out, b.clusterReported(ctx, s, one)...)
		if !b.listed {
			b.listed = true
			out = append(out, b.compare(list, p.Harness)...)
		}
	}
	return out
}

func bit(ops int32, op string) answer {
	if ops&(1<<operationBit[op]) != 0 {
		return answer{Open, "in the brokers' list of allowed operations"}
	}
	return answer{Closed, "not in the brokers' list of allowed operations"}
}

// all gives every resource the same answer, for requests that failed as a whole.
func all(names []string, a answer) map[string]answer {
	out := map[string]answer{}
	for _, n := range names {
		out[n] = a
	}
	return out
}

func unanswered(err error) answer { return answer{Unknown, err.Error()} }

// fetch asks for records of a partition that no topic has.
func (b *brokerProbe) fetch(ctx context.Context, s *session) map[string]answer {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 1, 0, 1
	for _, t := range b.topics {
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.PartitionMaxBytes = noPartition, 1
		rt := kmsg.NewFetchRequestTopic()
		rt.Topic, rt.Partitions = t, []kmsg.FetchRequestTopicPartition{rp}
		req.Topics = append(req.Topics, rt)
	}
	resp, err := ask[*kmsg.FetchResponse](ctx, s, req)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return all(b.topics, unanswered(err))
	}
	out := all(b.topics, answer{Unknown, "the brokers' answer does not name the topic"})
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			out[t.Topic] = judgeCode(p.ErrorCode, kerr.TopicAuthorizationFailed, topicCodes)
		}
	}
	return out
}

// produce sends nothing to a partition that no topic has.
func (b *brokerProbe) produce(ctx context.Context, s *session) map[string]answer {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, int32(askTime.Milliseconds())
	for _, t := range b.topics {
		rp := kmsg.NewProduceRequestTopicPartition()
		rp.Partition, rp.Records = noPartition, []byte{} // not nil: Kafka's broker takes a null for a bug of its own
		rt := kmsg.NewProduceRequestTopic()
		rt.Topic, rt.Partitions = t, []kmsg.ProduceRequestTopicPartition{rp}
		req.Topics = append(req.Topics, rt)
	}
	resp, err := ask[*kmsg.ProduceResponse](ctx, s, req)
	if err != nil {
		return all(b.topics, unanswered(err))
	}
	out := all(b.topics, answer{Unknown, "the brokers' answer does not name the topic"})
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			out[t.Topic] = judgeCode(p.ErrorCode, kerr.TopicAuthorizationFailed, topicCodes)
		}
	}
	return out
}

func (b *brokerProbe) describeGroups(ctx context.Context, s *session) map[string]answer {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = b.groups
	resp, err := ask[*kmsg.DescribeGroupsResponse](ctx, s, req)
	if err != nil {
		return all(b.groups, unanswered(err))
	}
	out := all(b.groups, answer{Unknown, "the brokers' answer does not name the group"})
	for _, g := range resp.Groups {
		out[g.Group] = judgeCode(g.ErrorCode, kerr.GroupAuthorizationFailed, groupCodes)
	}
	return out
}

// commit tries a commit that cannot succeed, at every broker until one is the group's coordinator.
func (b *brokerProbe) commit(ctx context.Context, s *session, group string) answer {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation, req.MemberID = group, noGeneration, nobody
	rp := kmsg.NewOffsetCommitRequestTopicPartition()
	rp.Partition = noPartition
	rt := kmsg.NewOffsetCommitRequestTopic()
	rt.Topic, rt.Partitions = undeclared, []kmsg.OffsetCommitRequestTopicPartition{rp}
	req.Topics = []kmsg.OffsetCommitRequestTopic{rt}
	last := answer{Unknown, "no broker took the group for its own"}
	for _, id := range s.brokers {
		resp, err := askBroker[*kmsg.OffsetCommitResponse](ctx, s, id, req)
		if err != nil {
			last = unanswered(err)
			continue
		}
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
			last = answer{Unknown, fmt.Sprintf("broker %d: the answer does not name the partition", id)}
			continue
		}
		code := resp.Topics[0].Partitions[0].ErrorCode
		if coordinatorErrors[code] {
			continue
		}
		return judgeCode(code, kerr.GroupAuthorizationFailed, groupCodes)
	}
	return last
}

func (b *brokerProbe) clusterReported(ctx context.Context, s *session, one func(typ, name, op, method string, a answer) Result) []Result {
	req := kmsg.NewPtrDescribeClusterRequest()
	req.IncludeClusterAuthorizedOperations = true
	resp, err := ask[*kmsg.DescribeClusterResponse](ctx, s, req)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	var out []Result
	for _, op := range clusterReported {
		var a answer
		if err != nil {
			a = unanswered(err)
		} else {
			a = bit(resp.ClusterAuthorizedOperations, op)
		}
		out = append(out, one("cluster", "kafka", op, methodReported, a))
	}
	return out
}
