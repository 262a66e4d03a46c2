package probe

import (
	"context"
	"maps"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"triad/internal/evidence"
)

// Parts of the probing, as a scenario names them.
const (
	Links    = "links"    // between clusters
	ACLs     = "acls"     // of the brokers
	Policies = "policies" // inside a cluster
)

// Kinds of results, the attribute kind of their events.
const (
	KindLink   = "link"
	KindACL    = "acl"
	KindPolicy = "policy"
)

// States of a result.
const (
	Open    = "open"
	Closed  = "closed"
	Unknown = "unknown" // the probe gave no answer; Detail says why
	Skipped = "skipped" // the part could not be probed here; Detail says why
)

// Result is what one probe saw, beside what is declared.
type Result struct {
	Kind     string
	Name     string // datacenter->kafka:30094, fluentd->topic/service-topic:Write
	State    string
	Declared bool   // whether the manifests say that it is to be open
	Harness  bool   // declared by components/observer, or about its principal: not there in production
	Detail   string // what was answered
	Attrs    map[string]string
}

// Event is the result as evidence. The attribute observer marks what exists for the harness only, so that the claim can be
// judged with it and without it.
func (r Result) Event() evidence.Event {
	attrs := map[string]string{"kind": r.Kind, "declared": strconv.FormatBool(r.Declared)}
	maps.Copy(attrs, r.Attrs)
	if r.Harness {
		attrs["observer"] = "true"
	}
	return evidence.Event{Kind: evidence.EventProbe, Name: r.Name, State: r.State, Detail: r.Detail, Attrs: attrs}
}

// AsDeclared reports whether the probe saw what the manifests say.
func (r Result) AsDeclared() bool {
	if r.Declared {
		return r.State == Open
	}
	return r.State == Closed
}

// skipped is the one result of a part that cannot be probed. It is no proof: judging takes it for a missing answer.
func skipped(kind, part, why string) []Result {
	return []Result{{Kind: kind, Name: part, State: Skipped, Detail: why}}
}

// Declarer is an environment that knows the manifests which its system was made from.
type Declarer interface {
	// Declared returns what the manifests say, without the changes of a scenario's settings: those are what a probe may find.
	Declared() (Declared, error)
}

// Connect is one attempt to open a TCP connection from inside a cluster.
type Connect struct {
	From string `json:"from,omitempty"` // cluster
	To   string `json:"to,omitempty"`   // cluster, empty for an address inside of From
	Addr string `json:"addr"`           // host:port that was tried
	Port int    `json:"port,omitempty"`
	Open bool   `json:"open"`
	// Detail is the error of a closed one. A packet filter that rejects and a port on which nothing listens can read alike.
	Detail string `json:"detail,omitempty"`
}

// LinkProber can open connections from inside a cluster, on the path that workloads take. It is asked about several clusters at
// once, as PolicyProber is.
type LinkProber interface {
	// ProbeLinks tries every port on every node of every cluster of to, from a pod of the cluster from. to may hold from itself.
	ProbeLinks(ctx context.Context, from string, to []string, ports []int) ([]Connect, error)
}

// KafkaProber can log in to the brokers under any name.
type KafkaProber interface {
	// KafkaAs returns the bootstrap addresses and the options of a client with these credentials. An empty user does not log in.
	KafkaAs(user, password string) (brokers []string, opts []kgo.Opt, err error)
	// KafkaPassword returns the password of a principal as it was deployed.
	KafkaPassword(ctx context.Context, user string) (string, error)
}

// PolicyProber can find out whether the network of a cluster enforces network policies, and what they let through.
type PolicyProber interface {
	ProbePolicies(ctx context.Context, cluster string) (Enforcement, error)
}

// Enforcement is what a cluster's network makes of policies.
type Enforcement struct {
	// Enforced is the answer of a real test: between two pods that could talk, a policy that denies everything closed the way.
	Enforced bool
	Detail   string // what the test saw
	// Reached are attempts from a pod of the cluster's namespace to which no policy gives anything but DNS: to the cluster's DNS
	// (Service kube-dns) and to every container port of every pod of the namespace. Empty when nothing is enforced.
	Reached []PodConnect
}

// PodConnect is an attempt inside a cluster.
type PodConnect struct {
	Connect
	Pod string
	DNS bool // every pod may reach it
}

// Unavailable says why a runtime cannot probe a part. An environment without the interface of a part may implement it.
type Unavailable interface{ ProbeUnavailable(part string) string }
