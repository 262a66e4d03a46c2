package brokers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"triad/internal/model"
)

// strimziGroup is the API group of Strimzi's resources, and v1 the only version that Strimzi 1.x serves.
const (
	strimziGroup      = "kafka.strimzi.io/"
	strimziAPIVersion = "kafka.strimzi.io/v1"
)

// ParseStrimzi reads the Kafka, KafkaNodePool, KafkaTopic and KafkaUser resources of a rendered stream of YAML documents;
// others are somebody else's and passed over. Everything in the four kinds that the model does not honour is listed. Lines
// count from the start of the stream; the file of an entry is kind/name. It is an error when the stream is not YAML, when
// it holds no Kafka resource or two, another API version, or a value that cannot be read.
func ParseStrimzi(stream []byte) (Config, []model.NotModelled, error) {
	p := &strimziParser{cfg: Config{AutoCreate: true, DefaultReplicas: 1, MinISR: 1, BrokerConfig: map[string]string{}}}
	dec := yaml.NewDecoder(bytes.NewReader(stream))
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Config{}, nil, fmt.Errorf("strimzi resources: %w", err)
		}
		if len(doc.Content) == 1 {
			p.document(doc.Content[0])
		}
	}
	p.finish()
	if err := errors.Join(p.errs...); err != nil {
		return Config{}, nil, fmt.Errorf("strimzi resources: %w", err)
	}
	return p.cfg, p.not, nil
}

type strimziParser struct {
	cfg        Config
	not        []model.NotModelled
	errs       []error
	file       string
	kafkas     int
	pools      int
	brokers    int
	dedicated  int
	superUsers []string
	retention  map[string]string // log.retention.* as written
	configMaps []*yaml.Node
	metrics    *yaml.Node // spec.kafka.metricsConfig
}

func (p *strimziParser) bad(n *yaml.Node, format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf("%s:%d: %s", p.file, n.Line, fmt.Sprintf(format, args...)))
}

func (p *strimziParser) skip(n *yaml.Node, key, why string) {
	v := n.Value
	if n.Kind != yaml.ScalarNode {
		out, err := yaml.Marshal(n)
		if err == nil {
			v = strings.Join(strings.Fields(string(out)), " ")
		}
		if len(v) > 120 {
			v = v[:117] + "..."
		}
	}
	p.not = append(p.not, model.NotModelled{File: p.file, Line: n.Line, Key: key, Value: v, Why: why})
}

// fields calls fn for every key of a mapping.
func fields(n *yaml.Node, fn func(key string, val *yaml.Node)) {
	if n == nil || n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		fn(n.Content[i].Value, n.Content[i+1])
	}
}

// field returns the value at a path of keys, nil when there is none.
func field(n *yaml.Node, path ...string) *yaml.Node {
	for _, key := range path {
		var next *yaml.Node
		fields(n, func(k string, v *yaml.Node) {
			if k == key {
				next = v
			}
		})
		if n = next; n == nil {
			return nil
		}
	}
	return n
}

func text(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	return n.Value
}

func (p *strimziParser) number(n *yaml.Node, key string) int {
	v, err := strconv.Atoi(text(n))
	if err != nil || v < 0 {
		p.bad(n, "%s %q: want a whole number", key, text(n))
		return 0
	}
	return v
}

func (p *strimziParser) document(doc *yaml.Node) {
	api, kind := text(field(doc, "apiVersion")), text(field(doc, "kind"))
	if api == "v1" && kind == "ConfigMap" {
		p.configMaps = append(p.configMaps, doc)
		return
	}
	if !strings.HasPrefix(api, strimziGroup) {
		return
	}
	name := text(field(doc, "metadata", "name"))
	p.file = kind + "/" + name
	var read func(spec *yaml.Node, name string)
	switch kind {
	case "Kafka":
		p.kafkas++
		read = func(spec *yaml.Node, _ string) { p.kafka(spec) }
	case "KafkaNodePool":
		read = func(spec *yaml.Node, _ string) { p.pool(doc, spec) }
	case "KafkaTopic":
		read = p.topic
	case "KafkaUser":
		read = p.user
	default:
		return
	}
	if api != strimziAPIVersion {
		p.bad(doc, "apiVersion %s: want %s", api, strimziAPIVersion)
		return
	}
	spec := field(doc, "spec")
	if spec == nil {
		p.bad(doc, "no spec")
		return
	}
	read(spec, name)
}

func (p *strimziParser) pool(doc, spec *yaml.Node) {
	p.pools++
	fields(field(doc, "metadata", "annotations"), func(k string, v *yaml.Node) {
		if strings.HasPrefix(k, "strimzi.io/") {
			p.skip(v, "metadata.annotations."+k, "brokers are numbered from 0 in the order of the pools")
		}
	})
	replicas, broker, controller := 0, false, false
	fields(spec, func(k string, v *yaml.Node) {
		switch k {
		case "replicas":
			replicas = p.number(v, "spec.replicas")
		case "roles":
			for _, r := range v.Content {
				broker = broker || r.Value == "broker"
				controller = controller || r.Value == "controller"
			}
		case "storage":
			p.skip(v, "spec.storage", "a full disk and slow volumes are not modelled")
		default:
			p.skip(v, "spec."+k, "pods and their resources are not modelled")
		}
	})
	if broker {
		p.brokers += replicas
	} else if controller {
		p.dedicated += replicas
	}
}

func (p *strimziParser) topic(spec *yaml.Node, name string) {
	t := Topic{Name: name, Config: map[string]string{}}
	fields(spec, func(k string, v *yaml.Node) {
		switch k {
		case "topicName":
			t.Name = v.Value
		case "partitions":
			t.Partitions = p.number(v, "spec.partitions")
		case "replicas":
			t.Replicas = p.number(v, "spec.replicas")
		case "config":
			fields(v, func(ck string, cv *yaml.Node) {
				switch {
				case ck == "min.insync.replicas":
					t.MinISR = p.number(cv, "spec.config."+ck)
				case slices.Contains(topicSettings, ck):
					t.Config[ck] = cv.Value
				default:
					p.skip(cv, "spec.config."+ck, "the log of the fake brokers has no such setting")
				}
			})
		default:
			p.skip(v, "spec."+k, "unknown to the model")
		}
	})
	p.cfg.Topics = append(p.cfg.Topics, t)
}

// topicSettings are the topic settings that kfake honours.
var topicSettings = []string{
	"cleanup.policy", "compression.type", "delete.retention.ms", "max.message.bytes", "message.timestamp.type",
	"retention.bytes", "retention.ms", "segment.bytes", "segment.ms",
}

func (p *strimziParser) user(spec *yaml.Node, name string) {
	u := User{Name: name}
	scram := false
	fields(spec, func(k string, v *yaml.Node) {
		switch k {
		case "authentication":
			switch typ := text(field(v, "type")); typ {
			case "scram-sha-512":
				scram = true
				u.Mechanism = "SCRAM-SHA-512"
				if pw := field(v, "password"); pw != nil {
					p.skip(pw, "spec.authentication.password", "the password of the Secret is not read: one is generated")
				}
			default:
				p.skip(v, "spec.authentication", "the fake brokers know no principals from certificates: this user cannot log in")
			}
		case "authorization":
			if typ := field(v, "type"); text(typ) != "simple" {
				p.skip(v, "spec.authorization", "only simple authorization is modelled")
				return
			}
			if acls := field(v, "acls"); acls != nil {
				for _, a := range acls.Content {
					u.ACLs = append(u.ACLs, p.acl(a))
				}
			}
		case "quotas":
			p.skip(v, "spec.quotas", "clients are not throttled")
		default:
			p.skip(v, "spec."+k, "unknown to the model")
		}
	})
	if scram {
		p.cfg.Users = append(p.cfg.Users, u)
	}
}

func (p *strimziParser) acl(n *yaml.Node) ACL {
	var a ACL
	fields(n, func(k string, v *yaml.Node) {
		switch k {
		case "resource":
			a.Resource = text(field(v, "type"))
			a.Name = text(field(v, "name"))
			a.Prefix = text(field(v, "patternType")) == "prefix"
			if aclResource(a.Resource) == 0 {
				p.bad(v, "acl resource type %q", a.Resource)
			}
		case "operations":
			for _, op := range v.Content {
				a.Operations = append(a.Operations, op.Value)
			}
		case "operation":
			a.Operations = append(a.Operations, v.Value)
		case "type":
			a.Deny = v.Value == "deny"
		case "host":
			if v.Value != "*" {
				p.skip(v, "spec.authorization.acls.host", "every client comes from loopback: the ACL is taken for all hosts")
			}
		}
	})
	for _, op := range a.Operations {
		if aclOperation(op) == 0 {
			p.bad(n, "acl operation %q", op)
		}
	}
	return a
}

// finish puts together what depends on several resources.
func (p *strimziParser) finish() {
	p.file = "stream"
	if p.kafkas != 1 {
		p.errs = append(p.errs, fmt.Errorf("%d Kafka resources: want 1", p.kafkas))
		return
	}
	if p.brokers == 0 {
		p.errs = append(p.errs, errors.New("no KafkaNodePool with the broker role"))
		return
	}
	p.cfg.Nodes, p.cfg.Controllers = p.brokers, p.dedicated
	for i, u := range p.cfg.Users {
		p.cfg.Users[i].Super = slices.Contains(p.superUsers, u.Name)
	}
	p.exporter()
	p.cfg.Authorize = p.cfg.Authorize && p.cfg.Authenticate
	for _, unit := range []struct {
		key string
		ms  int64
	}{{"log.retention.hours", 3600_000}, {"log.retention.minutes", 60_000}, {"log.retention.ms", 1}} {
		if v, ok := p.retention[unit.key]; ok {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				p.errs = append(p.errs, fmt.Errorf("%s %q: want a whole number", unit.key, v))
				continue
			}
			if n > 0 {
				n *= unit.ms
			}
			p.cfg.BrokerConfig["log.retention.ms"] = strconv.FormatInt(n, 10)
		}
	}
	if err := p.cfg.withDefaults().validate(); err != nil {
		p.errs = append(p.errs, err)
	}
}
