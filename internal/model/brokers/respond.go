package brokers

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// respond turns kfake's response into the cluster's. It returns b itself when nothing has to change.
func (c *Cluster) respond(cn *conn, q request, b []byte) ([]byte, error) {
	v := c.view.Load()
	switch kmsg.Key(q.key) {
	case kmsg.Metadata, kmsg.DescribeCluster, kmsg.DescribeTopicPartitions:
		return c.rewrite(q, b, func(r kmsg.Response) error { c.describe(r); return nil })
	case kmsg.DeleteTopics:
		c.forgetDeleted()
	case kmsg.Produce:
		if v.holds > 0 && q.acks == -1 {
			return c.rewrite(q, b, func(r kmsg.Response) error { return c.holdProduce(cn, q, r.(*kmsg.ProduceResponse)) })
		}
	case kmsg.Fetch:
		c.counters.out[cn.f.id].Add(uint64(len(b)))
		if v.holds > 0 {
			return c.rewrite(q, b, func(r kmsg.Response) error { return c.cutFetch(cn, q, r.(*kmsg.FetchResponse)) })
		}
	case kmsg.ListOffsets:
		if v.holds > 0 {
			return c.rewrite(q, b, func(r kmsg.Response) error { c.cutOffsets(r.(*kmsg.ListOffsetsResponse)); return nil })
		}
	case kmsg.OffsetForLeaderEpoch:
		return c.rewrite(q, b, func(r kmsg.Response) error { c.epochEnds(r.(*kmsg.OffsetForLeaderEpochResponse)); return nil })
	case kmsg.JoinGroup:
		if q.join != nil {
			return b, c.answerJoin(cn, q.join)
		}
	case kmsg.OffsetCommit:
		if at, ok := v.offsets[q.group]; ok && v.parts[at].hold != nil {
			return c.rewrite(q, b, func(r kmsg.Response) error {
				return c.holdCommit(cn, q, v.parts[at].hold, r.(*kmsg.OffsetCommitResponse))
			})
		}
	}
	return b, nil
}

// rewrite decodes a response frame, lets fn change it and encodes it again.
func (c *Cluster) rewrite(q request, b []byte, fn func(kmsg.Response) error) ([]byte, error) {
	resp := kmsg.ResponseForKey(q.key)
	resp.SetVersion(q.version)
	body := b[8:]
	if resp.IsFlexible() && len(body) > 0 {
		body = body[1:] // kfake writes no tags in the header
	}
	if err := resp.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("response of kfake, key %d version %d: %w", q.key, q.version, err)
	}
	if err := fn(resp); err != nil {
		return nil, err
	}
	out := make([]byte, 8, len(b)+64)
	copy(out[4:], b[4:8])
	if resp.IsFlexible() {
		out = append(out, 0)
	}
	out = resp.AppendTo(out)
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	return out, nil
}

// epochEnds answers for epochs to which kfake has no batch yet: between a move of the leader and the next record it says
// "unknown", which clients take for a truncated log, and they start over. A broker answers with the end of its log, and no
// log is truncated here.
func (c *Cluster) epochEnds(r *kmsg.OffsetForLeaderEpochResponse) {
	for i := range r.Topics {
		t := &r.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			if p.ErrorCode != 0 || p.EndOffset != -1 {
				continue
			}
			if info := c.fake.PartitionInfo(t.Topic, p.Partition); info != nil {
				p.LeaderEpoch, p.EndOffset = info.Epoch, info.HighWatermark
			}
		}
	}
}

// describe makes a response about brokers and partitions say what the machine says. Leaders and epochs are kfake's, which
// are the machine's, except for partitions without a leader.
func (c *Cluster) describe(resp kmsg.Response) {
	switch r := resp.(type) {
	case *kmsg.MetadataResponse:
		for _, t := range r.Topics {
			if t.Topic != nil && t.ErrorCode == 0 && c.view.Load().topics[*t.Topic] < len(t.Partitions) {
				c.adoptIn(t)
			}
		}
		v := c.view.Load()
		r.Brokers = slices.DeleteFunc(r.Brokers, func(b kmsg.MetadataResponseBroker) bool { return !v.brokers[b.NodeID] })
		for i := range r.Brokers {
			r.Brokers[i].Rack = nil
		}
		r.ControllerID = v.controller
		for i := range r.Topics {
			t := &r.Topics[i]
			if t.Topic == nil {
				continue
			}
			for j := range t.Partitions {
				p := &t.Partitions[j]
				pv, ok := v.parts[tp{*t.Topic, p.Partition}]
				if !ok || p.ErrorCode != 0 {
					continue
				}
				p.Replicas, p.ISR, p.OfflineReplicas = pv.replicas, pv.isr, pv.offline
				if pv.leader < 0 {
					p.Leader, p.ErrorCode = -1, kerr.LeaderNotAvailable.Code
				}
			}
		}
	case *kmsg.DescribeClusterResponse:
		v := c.view.Load()
		r.ControllerID = v.controller
		r.Brokers = slices.DeleteFunc(r.Brokers, func(b kmsg.DescribeClusterResponseBroker) bool { return !v.brokers[b.NodeID] })
		for i := range r.Brokers {
			r.Brokers[i].Rack = nil
		}
	case *kmsg.DescribeTopicPartitionsResponse:
		v := c.view.Load()
		for i := range r.Topics {
			t := &r.Topics[i]
			if t.Topic == nil {
				continue
			}
			for j := range t.Partitions {
				p := &t.Partitions[j]
				pv, ok := v.parts[tp{*t.Topic, p.Partition}]
				if !ok {
					continue
				}
				p.Replicas, p.ISR, p.OfflineReplicas = pv.replicas, pv.isr, pv.offline
				if pv.leader < 0 {
					p.LeaderID, p.ErrorCode = -1, kerr.LeaderNotAvailable.Code
				}
			}
		}
	}
}

// adoptIn takes a topic that a client created into the machine and corrects the leaders that were answered before.
func (c *Cluster) adoptIn(t kmsg.MetadataResponseTopic) {
	c.adopt(*t.Topic)
	v := c.view.Load()
	for j := range t.Partitions {
		p := &t.Partitions[j]
		if pv, ok := v.parts[tp{*t.Topic, p.Partition}]; ok && p.Leader != pv.leader && pv.leader >= 0 {
			p.Leader = pv.leader
			p.LeaderEpoch++ // the move to there
		}
	}
}

// errGone ends the write of a response whose client is gone.
var errGone = net.ErrClosed

// holdProduce keeps an acks=all response until the high watermark has passed its records, as the leader's purgatory does.
func (c *Cluster) holdProduce(cn *conn, q request, r *kmsg.ProduceResponse) error {
	held := false
	for i := range r.Topics {
		t := &r.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			if p.ErrorCode != 0 {
				continue
			}
			code, waited, err := c.await(cn, q, t.Topic, t.TopicID, p.Partition, p.BaseOffset)
			if err != nil {
				return err
			}
			held = held || waited
			if code != 0 {
				p.ErrorCode, p.BaseOffset, p.LogAppendTime, p.LogStartOffset = code, -1, -1, -1
			}
		}
	}
	if held {
		cn.f.hit(func(h *Hits) { h.ProducesHeld++ })
	}
	return nil
}

// await blocks until a record at offset is below the high watermark of its partition.
func (c *Cluster) await(cn *conn, q request, topic string, id [16]byte, part int32, offset int64) (code int16, waited bool, err error) {
	for {
		v := c.view.Load()
		if topic == "" {
			topic = v.ids[id]
		}
		h := v.parts[tp{topic, part}].hold
		if h == nil || offset < h.hw {
			return 0, waited, nil
		}
		waited = true
		timer := time.NewTimer(time.Until(q.deadline))
		select {
		case <-h.released:
			timer.Stop()
			if h.short {
				cn.f.hit(func(h *Hits) { h.ProducesRefused++ })
				return kerr.NotEnoughReplicasAfterAppend.Code, true, nil
			}
		case <-timer.C:
			cn.f.hit(func(h *Hits) { h.ProducesTimedOut++ })
			return kerr.RequestTimedOut.Code, true, nil
		case <-cn.done:
			timer.Stop()
			return 0, true, errGone
		case <-c.done:
			timer.Stop()
			return 0, true, errGone
		}
	}
}

// cutFetch ends a fetch at the high watermark: consumers do not see what is not replicated. When nothing is left the
// response waits as long as the client allows, as a fetch without data does.
func (c *Cluster) cutFetch(cn *conn, q request, r *kmsg.FetchResponse) error {
	v := c.view.Load()
	var stalled *hold
	other := r.ErrorCode != 0
	for i := range r.Topics {
		t := &r.Topics[i]
		name := t.Topic
		if name == "" {
			name = v.ids[t.TopicID]
		}
		for j := range t.Partitions {
			p := &t.Partitions[j]
			h := v.parts[tp{name, p.Partition}].hold
			if h != nil && p.ErrorCode == 0 && p.HighWatermark > h.hw {
				p.HighWatermark = h.hw
				p.LastStableOffset = min(p.LastStableOffset, h.hw)
				p.RecordBatches = below(p.RecordBatches, h.hw)
				stalled = h
			}
			other = other || p.ErrorCode != 0 || len(p.RecordBatches) > 0
		}
	}
	if stalled == nil {
		return nil
	}
	cn.f.hit(func(h *Hits) { h.FetchesCut++ })
	if other {
		return nil
	}
	timer := time.NewTimer(time.Until(q.deadline))
	defer timer.Stop()
	select {
	case <-stalled.released:
	case <-timer.C:
	case <-cn.done:
		return errGone
	case <-c.done:
		return errGone
	}
	return nil
}

// below returns the record batches that start before offset. A batch is appended as a whole, so none straddles it.
func below(batches []byte, offset int64) []byte {
	const header = 12 // base offset and length
	at := 0
	for len(batches)-at >= header {
		if int64(binary.BigEndian.Uint64(batches[at:])) >= offset {
			break
		}
		n := header + int(binary.BigEndian.Uint32(batches[at+8:]))
		if n > len(batches)-at {
			break
		}
		at += n
	}
	return batches[:at]
}

// cutOffsets answers "latest" with the high watermark.
func (c *Cluster) cutOffsets(r *kmsg.ListOffsetsResponse) {
	v := c.view.Load()
	for i := range r.Topics {
		t := &r.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			if h := v.parts[tp{t.Topic, p.Partition}].hold; h != nil && p.ErrorCode == 0 && p.Offset > h.hw {
				p.Offset = h.hw
			}
		}
	}
}

// holdCommit keeps the answer to an offset commit while the group's partition is stalled, at most for
// offsets.commit.timeout.ms; Kafka's coordinator then answers COORDINATOR_NOT_AVAILABLE.
func (c *Cluster) holdCommit(cn *conn, q request, h *hold, r *kmsg.OffsetCommitResponse) error {
	cn.f.hit(func(h *Hits) { h.CommitsHeld++ })
	timer := time.NewTimer(time.Until(q.deadline))
	defer timer.Stop()
	code := int16(0)
	select {
	case <-h.released:
		if h.short {
			code = kerr.CoordinatorNotAvailable.Code
		}
	case <-timer.C:
		code = kerr.CoordinatorNotAvailable.Code
	case <-cn.done:
		return errGone
	case <-c.done:
		return errGone
	}
	if code == 0 {
		return nil
	}
	for i := range r.Topics {
		for j := range r.Topics[i].Partitions {
			if p := &r.Topics[i].Partitions[j]; p.ErrorCode == 0 {
				p.ErrorCode = code
			}
		}
	}
	return nil
}
