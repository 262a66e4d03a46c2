package brokers

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"strconv"
	"unicode/utf16"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// In Kafka the coordinator of a group is the leader of one partition of __consumer_offsets, and of a transactional id
// that of one of __transaction_state. kfake hashes the id together with a generation over its brokers, and all it
// offers is RehashCoordinators, which adds one to the generation. So the generation is searched under which every known
// id hashes to the broker that the machine wants; that is 3^k tries for k ids on three brokers, each a SHA-256.

// maxTries bounds the search. A try costs about half a microsecond.
const maxTries = 1 << 20

// exactIDs is how many ids, the latest first, are placed: so many that the expected number of tries, nodes^ids, stays
// far below maxTries (9 on three brokers). Those beyond it may be sent to a broker that is down, and then wait.
func exactIDs(nodes int) int {
	ids := 0
	for tries := 1; tries*nodes <= maxTries/32 && ids < 64; tries *= nodes {
		ids++
	}
	return ids
}

type coordKey struct {
	name string
	txn  bool
}

// coordinators is what is known of groups and transactional ids.
type coordinators struct {
	gen     uint64
	keys    map[coordKey]tp
	recent  []coordKey // the order in which they became known
	wanted  map[coordKey]int
	refused map[coordKey]*kfake.FaultHandle
}

// learn reads the ids of a FindCoordinator request, whose body (behind the client id) is src, before kfake does.
func (c *Cluster) learn(version int16, src []byte) {
	r := kbin.Reader{Src: src}
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.Version = version
	if req.IsFlexible() {
		kmsg.SkipTags(&r)
	}
	if err := req.ReadFrom(r.Src); err != nil {
		return // longer than what is kept of a request, or broken; kfake answers it by itself
	}
	if req.CoordinatorType > 1 {
		return // share groups
	}
	names := req.CoordinatorKeys
	if version < 4 {
		names = []string{req.CoordinatorKey}
	}
	v := c.view.Load()
	fresh := names[:0]
	for _, name := range names {
		if _, known := v.offsets[name]; name != "" && (!known || req.CoordinatorType == 1) {
			fresh = append(fresh, name)
		}
	}
	if len(fresh) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	added := false
	for _, name := range fresh {
		k := coordKey{name, req.CoordinatorType == 1}
		if _, known := c.coord.keys[k]; known {
			continue
		}
		topic, parts, replicas, minISR := offsetsTopic, c.cfg.OffsetsPartitions, c.cfg.OffsetsReplicas, c.cfg.MinISR
		if k.txn {
			topic, parts, replicas, minISR = txnTopic, c.cfg.TxnPartitions, c.cfg.TxnReplicas, c.cfg.TxnMinISR
		}
		if c.m.index[tp{topic, 0}] == nil {
			c.m.addTopic(topic, 0, parts, replicas, minISR)
		}
		c.coord.keys[k] = tp{topic, int32(javaHash(name) % uint32(parts))}
		c.coord.recent = append(c.coord.recent, k)
		added = true
	}
	if added {
		c.apply()
	}
}

// javaHash is what Kafka takes modulo the partitions: Utils.abs(String.hashCode()).
func javaHash(s string) uint32 {
	var h int32
	for _, u := range utf16.Encode([]rune(s)) {
		h = 31*h + int32(u)
	}
	return uint32(h) & 0x7fffffff
}

// steer moves kfake's coordinators to where the machine wants them. c.mu is held.
func (c *Cluster) steer() {
	k := &c.coord
	ids := k.recent[max(0, len(k.recent)-exactIDs(c.cfg.Nodes)):]
	want := make(map[coordKey]int, len(ids))
	for _, id := range ids {
		if p := c.m.index[k.keys[id]]; p != nil && p.leader >= 0 {
			want[id] = p.leader
		} else if last, ok := k.wanted[id]; ok {
			want[id] = last // without a leader it stays where it was: with a broker that is down
		}
	}
	if maps.Equal(want, k.wanted) {
		return
	}
	k.wanted = want
	fits := func(gen uint64) bool {
		prefix := strconv.AppendUint(nil, gen, 10)
		for id, node := range want {
			if fakeCoordinator(prefix, id.name, c.cfg.Nodes) != node {
				return false
			}
		}
		return true
	}
	for tries := range uint64(maxTries) {
		if !fits(k.gen + tries) {
			continue
		}
		for range tries {
			c.fake.RehashCoordinators()
		}
		k.gen += tries
		for id, node := range want {
			if got := c.fake.CoordinatorFor(id.name); got != int32(node) {
				c.log.Error("coordinator elsewhere", "id", id.name, "wanted", node, "is", got)
			}
		}
		return
	}
	c.log.Error("coordinators not placed", "ids", len(want))
}

// fakeCoordinator is kfake's placement; steer checks every result against kfake itself.
func fakeCoordinator(gen []byte, id string, nodes int) int {
	buf := make([]byte, 0, 64)
	buf = append(append(append(buf, gen...), 0, 0), id...)
	sum := sha256.Sum256(buf)
	var n uint64
	for i := range 4 {
		n ^= binary.BigEndian.Uint64(sum[i*8:])
	}
	return int(n % uint64(nodes))
}

// applyGroupRefusals answers group requests as a coordinator does that cannot write: COORDINATOR_NOT_AVAILABLE while its
// partition has no leader or too few in-sync replicas (the mapping of both errors in Kafka's group coordinator).
func (c *Cluster) applyGroupRefusals() {
	k := &c.coord
	if k.refused == nil {
		k.refused = map[coordKey]*kfake.FaultHandle{}
	}
	for id, at := range k.keys {
		p := c.m.index[at]
		bad := p != nil && (p.leader < 0 || p.refuses())
		h := k.refused[id]
		switch {
		case bad && h == nil:
			f := kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit, kmsg.SyncGroup}, Group: id.name, Err: kerr.CoordinatorNotAvailable, Count: -1}
			if id.txn {
				f.Keys, f.Group, f.TxnID = []kmsg.Key{kmsg.InitProducerID, kmsg.AddPartitionsToTxn, kmsg.EndTxn}, "", id.name
			}
			if p.leader < 0 {
				f.Keys = append(slices.Clone(f.Keys), kmsg.FindCoordinator)
			}
			k.refused[id] = c.fake.Fault(f)
		case !bad && h != nil:
			h.Remove()
			delete(k.refused, id)
		}
	}
}
