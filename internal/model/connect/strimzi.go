package connect

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"triad/internal/model"
	"triad/internal/model/jmx"
)

// strimziAPI is the only version that Strimzi 1.x serves.
const strimziAPI = "kafka.strimzi.io/v1"

// ParseStrimzi reads the KafkaConnect resource of a rendered stream of YAML documents, the KafkaConnector resources that
// belong to it, and the ConfigMap with the rules of its JMX exporter. Other documents are somebody else's and passed
// over. What the model does not honour is listed; lines count from the start of the stream, and the file of an entry is
// kind/name. It is an error when there is no KafkaConnect or more than one, or a value that cannot be read.
func ParseStrimzi(stream []byte) (Config, []model.NotModelled, error) {
	p := &parser{}
	dec := yaml.NewDecoder(bytes.NewReader(stream))
	var connects, connectors, configMaps []*yaml.Node
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Config{}, nil, fmt.Errorf("connect resources: %w", err)
		}
		if len(doc.Content) != 1 {
			continue
		}
		root := doc.Content[0]
		kind := text(child(root, "kind"))
		switch kind {
		case "KafkaConnect", "KafkaConnector":
			p.file = kind + "/" + text(child(root, "metadata", "name"))
			if v := text(child(root, "apiVersion")); v != strimziAPI {
				p.bad(root, "apiVersion %q: want %s", v, strimziAPI)
				continue
			}
			if kind == "KafkaConnect" {
				connects = append(connects, root)
			} else {
				connectors = append(connectors, root)
			}
		case "ConfigMap":
			configMaps = append(configMaps, root)
		}
	}
	if len(connects) != 1 {
		p.errs = append(p.errs, fmt.Errorf("%d KafkaConnect resources, want one", len(connects)))
		return Config{}, nil, fmt.Errorf("connect resources: %w", errors.Join(p.errs...))
	}
	cfg := p.connect(connects[0], connectors, configMaps)
	if err := errors.Join(p.errs...); err != nil {
		return Config{}, nil, fmt.Errorf("connect resources: %w", err)
	}
	return cfg, p.not, nil
}

// parser collects faults and what is not modelled while one resource after the other is read.
type parser struct {
	file string
	errs []error
	not  []model.NotModelled
}

func (p *parser) bad(n *yaml.Node, format string, args ...any) {
	line := 0
	if n != nil {
		line = n.Line
	}
	p.errs = append(p.errs, fmt.Errorf("%s:%d: %s", p.file, line, fmt.Sprintf(format, args...)))
}

func (p *parser) skip(n *yaml.Node, key, why string) {
	v := n.Value
	if n.Kind != yaml.ScalarNode {
		if out, err := yaml.Marshal(n); err == nil {
			v = strings.Join(strings.Fields(string(out)), " ")
		}
	}
	if strings.Contains(key, "password") {
		v = "(hidden)"
	}
	if len(v) > 120 {
		v = strings.ToValidUTF8(v[:117], "") + "..."
	}
	p.not = append(p.not, model.NotModelled{File: p.file, Line: n.Line, Key: key, Value: v, Why: why})
}

// pairs calls fn for every key of a mapping.
func pairs(n *yaml.Node, fn func(key string, val *yaml.Node)) {
	if n == nil || n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		fn(n.Content[i].Value, n.Content[i+1])
	}
}

// child returns the value at a path of keys, nil when there is none.
func child(n *yaml.Node, path ...string) *yaml.Node {
	for _, key := range path {
		var next *yaml.Node
		pairs(n, func(k string, v *yaml.Node) {
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
	if n == nil || n.Tag == "!!null" {
		return ""
	}
	return n.Value
}

// Reasons for whole parts of a KafkaConnect that reach no model.
const (
	whyDeployment = "how the worker is deployed and watched: nothing of it reaches the model"
	whyMemory     = "memory and processor limits are not modelled: a worker never dies or stalls for lack of them"
	whySecurity   = "how to reach and authenticate to Kafka is what the caller's options say"
	whyGroup      = "one worker is all of its group, which keeps nothing in topics: it has its connectors when it starts"
)

func (p *parser) connect(root *yaml.Node, connectors, configMaps []*yaml.Node) Config {
	cfg := Config{
		Name: text(child(root, "metadata", "name")), Version: "4.3.1", Worker: defaultWorker(),
		Operator: Operator{Reconcile: 2 * time.Minute, Unit: time.Minute},
	}
	p.file = "KafkaConnect/" + cfg.Name
	var worker props
	pairs(child(root, "spec"), func(key string, v *yaml.Node) {
		switch key {
		case "version":
			cfg.Version = v.Value
		case "bootstrapServers":
			cfg.Brokers = splitList(v.Value)
		case "config":
			worker = newProps(v)
		case "metricsConfig":
			cfg.Metrics = p.metrics(v, configMaps)
		case "replicas":
			if v.Value != "1" {
				p.skip(v, "spec.replicas", "one worker runs every task, so its death stops all of them instead of a part")
			}
		case "groupId":
			cfg.Worker.Group = v.Value
		case "configStorageTopic", "offsetStorageTopic", "statusStorageTopic":
			p.skip(v, "spec."+key, whyGroup)
		case "tls", "authentication":
			p.skip(v, "spec."+key, whySecurity)
		case "resources", "jvmOptions":
			p.skip(v, "spec."+key, whyMemory)
		case "rack":
			p.skip(v, "spec.rack", "a consumer fetches from leaders only")
		default:
			p.skip(v, "spec."+key, whyDeployment)
		}
	})
	p.worker(&cfg, &worker)
	for _, c := range connectors {
		if text(child(c, "metadata", "labels", "strimzi.io/cluster")) != cfg.Name {
			continue // it belongs to another KafkaConnect
		}
		cfg.Connectors = append(cfg.Connectors, p.connector(c, &worker))
	}
	p.file = "KafkaConnect/" + cfg.Name
	worker.rest(p, "spec.config.", func(key string) string {
		switch {
		case strings.HasPrefix(key, "config.storage."), strings.HasPrefix(key, "offset.storage."), strings.HasPrefix(key, "status.storage."),
			key == "group.id", key == "connect.protocol":
			return whyGroup
		case strings.HasPrefix(key, "producer."):
			return "only dead letters are produced, with the client's defaults"
		}
		return ""
	})
	slices.SortFunc(cfg.Connectors, func(a, b Connector) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(cfg.Connectors); i++ {
		if cfg.Connectors[i].Name == cfg.Connectors[i-1].Name {
			p.bad(root, "two connectors are named %q", cfg.Connectors[i].Name)
		}
	}
	return cfg
}

// metrics reads spec.metricsConfig and the rules in the ConfigMap that it names.
func (p *parser) metrics(n *yaml.Node, configMaps []*yaml.Node) *jmx.Rules {
	if text(child(n, "type")) != "jmxPrometheusExporter" {
		p.skip(n, "spec.metricsConfig.type", "only the JMX exporter is modelled: no metrics are served")
		return nil
	}
	ref := child(n, "valueFrom", "configMapKeyRef")
	name, key := text(child(ref, "name")), text(child(ref, "key"))
	for _, cm := range configMaps {
		data := child(cm, "data", key)
		if data == nil || text(child(cm, "metadata", "name")) != name {
			continue
		}
		defer func(file string) { p.file = file }(p.file)
		p.file = "ConfigMap/" + name
		rules, unknown, err := jmx.ParseRules([]byte(data.Value))
		if err != nil {
			p.bad(data, "%s: %v", key, err)
		}
		for _, k := range slices.Sorted(maps.Keys(unknown)) {
			v := unknown[k]
			v.Line = data.Line // its own counts from the start of the text
			p.skip(&v, k, "a setting of the exporter that the model does not have")
		}
		return &rules
	}
	p.bad(n, "metricsConfig: no ConfigMap %s with the key %s", name, key)
	return nil
}

// props are the settings of a config mapping, with a record of which were read.
type props struct {
	nodes map[string]*yaml.Node
	order []string
	used  map[string]bool
}

func newProps(n *yaml.Node) props {
	s := props{nodes: map[string]*yaml.Node{}, used: map[string]bool{}}
	pairs(n, func(key string, v *yaml.Node) {
		if _, ok := s.nodes[key]; !ok {
			s.order = append(s.order, key)
		}
		s.nodes[key] = v
	})
	return s
}

// get reads one setting; the node is nil when it is absent.
func (s *props) get(key string) (string, *yaml.Node) {
	n := s.nodes[key]
	if n == nil || n.Tag == "!!null" {
		return "", nil
	}
	s.used[key] = true
	return n.Value, n
}

// rest lists what was not read.
func (s *props) rest(p *parser, prefix string, why func(key string) string) {
	for _, key := range s.order {
		if s.used[key] {
			continue
		}
		w := why(key)
		if w == "" {
			w = "unknown to the model, which behaves as if it were not set"
		}
		p.skip(s.nodes[key], prefix+key, w)
	}
}

func splitList(s string) []string {
	var out []string
	for e := range strings.SplitSeq(s, ",") {
		if e = strings.TrimSpace(e); e != "" {
			out = append(out, e)
		}
	}
	return out
}

// reader reads typed settings of one props, with faults at the right line.
type reader struct {
	p *parser
	s *props
}

func (r reader) number(dst *int, key string, low, high int) {
	v, n := r.s.get(key)
	if n == nil {
		return
	}
	i, err := strconv.Atoi(v)
	if err != nil || i < low || i > high {
		r.p.bad(n, "%s %q: want a whole number from %d to %d", key, v, low, high)
		return
	}
	*dst = i
}

func (r reader) bytes(dst *int32, key string) {
	i := int(*dst)
	r.number(&i, key, 0, 1<<31-1)
	*dst = int32(i)
}

func (r reader) millis(dst *time.Duration, key string, low int64) {
	v, n := r.s.get(key)
	if n == nil {
		return
	}
	ms, err := strconv.ParseInt(v, 10, 64)
	if err != nil || ms < low || ms > int64(1<<62/time.Millisecond) {
		r.p.bad(n, "%s %q: want milliseconds from %d", key, v, low)
		return
	}
	*dst = time.Duration(ms) * time.Millisecond
}

func (r reader) flag(dst *bool, key string) {
	v, n := r.s.get(key)
	if n == nil {
		return
	}
	switch strings.ToLower(v) {
	case "true":
		*dst = true
	case "false":
		*dst = false
	default:
		r.p.bad(n, "%s %q: want true or false", key, v)
	}
}

func (r reader) text(dst *string, key string) {
	if v, n := r.s.get(key); n != nil {
		*dst = v
	}
}

func (r reader) list(dst *[]string, key string) {
	if v, n := r.s.get(key); n != nil {
		*dst = splitList(v)
	}
}

// choice reads one of several words in any case.
func (r reader) choice(dst *string, key string, words ...string) {
	v, n := r.s.get(key)
	if n == nil {
		return
	}
	if w := strings.ToLower(v); slices.Contains(words, w) {
		*dst = w
		return
	}
	r.p.bad(n, "%s %q: want one of %s", key, v, strings.Join(words, ", "))
}
