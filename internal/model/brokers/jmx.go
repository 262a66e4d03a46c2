package brokers

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"triad/internal/model/jmx"
)

// attribute is one attribute of one MBean.
type attribute struct {
	domain string
	props  string // "type=Log, name=Size, topic=t, partition=0", in the order of Kafka's object names
	name   string
	value  float64
}

// text is what the exporter matches its patterns against: domain<properties><composite keys>attribute: value.
func (a attribute) text() string {
	return a.domain + "<" + a.props + "><>" + a.name + ": " + strconv.FormatFloat(a.value, 'g', -1, 64)
}

func (a attribute) properties() [][2]string {
	var out [][2]string
	for p := range strings.SplitSeq(a.props, ", ") {
		k, v, _ := strings.Cut(p, "=")
		out = append(out, [2]string{k, v})
	}
	return out
}

// ExporterRules is the configuration of the JMX exporter: which attributes become which metrics.
type ExporterRules struct {
	LowercaseOutputName       bool           `yaml:"lowercaseOutputName"`
	LowercaseOutputLabelNames bool           `yaml:"lowercaseOutputLabelNames"`
	IncludeObjectNames        []string       `yaml:"includeObjectNames"`
	ExcludeObjectNames        []string       `yaml:"excludeObjectNames"`
	Rules                     []ExporterRule `yaml:"rules"`

	names jmx.Names
}

// ExporterRule maps the attributes that match Pattern (not anchored) to one metric. $1 and so on stand for groups.
type ExporterRule struct {
	Pattern string            `yaml:"pattern"`
	Name    string            `yaml:"name"`
	Labels  map[string]string `yaml:"labels"`
	Help    string            `yaml:"help"`
	Type    string            `yaml:"type"` // GAUGE, COUNTER or UNTYPED (the default)

	re *regexp.Regexp
}

// ParseExporterRules reads the exporter's YAML. Keys that it does not know are an error, since each would change names.
func ParseExporterRules(b []byte) (ExporterRules, error) {
	var r ExporterRules
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&r); err != nil {
		return ExporterRules{}, fmt.Errorf("exporter rules: %w", err)
	}
	if err := r.compile(); err != nil {
		return ExporterRules{}, err
	}
	return r, nil
}

func (r *ExporterRules) compile() error {
	var errs []error
	var err error
	if r.names, err = jmx.Parse(r.IncludeObjectNames, r.ExcludeObjectNames); err != nil {
		errs = append(errs, fmt.Errorf("exporter rules: %w", err))
	}
	r.Rules = slices.Clone(r.Rules)
	for i := range r.Rules {
		rule := &r.Rules[i]
		re, err := regexp.Compile(rule.Pattern)
		if err != nil {
			errs = append(errs, fmt.Errorf("exporter rule %d: %w", i+1, err))
			continue
		}
		rule.re = re
		if rule.Name == "" {
			errs = append(errs, fmt.Errorf("exporter rule %d: no name: the exporter's default names are not modelled", i+1))
		}
		if t := strings.ToUpper(rule.Type); !slices.Contains([]string{"", "GAUGE", "COUNTER", "UNTYPED"}, t) {
			errs = append(errs, fmt.Errorf("exporter rule %d: type %q", i+1, rule.Type))
		}
	}
	return errors.Join(errs...)
}

// usualRules are those of a cluster without metricsConfig; such a real cluster exports nothing, but whoever builds one in
// code wants to see something.
func usualRules() ExporterRules {
	return ExporterRules{LowercaseOutputName: true, LowercaseOutputLabelNames: true, Rules: []ExporterRule{
		{Pattern: `kafka.(server|controller)<type=(ReplicaManager|KafkaController), name=(\w+)><>Value`, Name: "kafka_$1_$2_$3", Type: "GAUGE"},
		{Pattern: `kafka.server<type=ReplicaManager, name=(\w+)PerSec><>Count`, Name: "kafka_server_replicamanager_$1_total", Type: "COUNTER"},
		{Pattern: `kafka.server<type=BrokerTopicMetrics, name=(\w+)PerSec, topic=(.+)><>Count`, Name: "kafka_server_brokertopicmetrics_$1_total", Labels: map[string]string{"topic": "$2"}, Type: "COUNTER"},
		{Pattern: `kafka.server<type=BrokerTopicMetrics, name=(\w+)PerSec><>Count`, Name: "kafka_server_brokertopicmetrics_$1_total", Type: "COUNTER"},
		{Pattern: `kafka.log<type=Log, name=(\w+), topic=(.+), partition=(.+)><>Value`, Name: "kafka_log_log_$1", Labels: map[string]string{"topic": "$2", "partition": "$3"}, Type: "GAUGE"},
	}}
}

// sample is one line of the exposition.
type sample struct {
	name, typ, labels string
	value             float64
}

// export turns attributes into the text format. The first rule that matches an attribute decides; an attribute that no
// rule matches is not exported.
func (r ExporterRules) export(attrs []attribute) []byte {
	var samples []sample
	in := false
	for i, a := range attrs {
		if i == 0 || a.domain != attrs[i-1].domain || a.props != attrs[i-1].props {
			in = r.names.Has(a.domain, a.properties())
		}
		if !in {
			continue
		}
		text := a.text()
		for _, rule := range r.Rules {
			m := rule.re.FindStringSubmatchIndex(text)
			if m == nil {
				continue
			}
			samples = append(samples, r.sample(rule, text, m, a.value))
			break
		}
	}
	slices.SortStableFunc(samples, func(a, b sample) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.labels, b.labels))
	})
	var b bytes.Buffer
	for i, s := range samples {
		if i > 0 && s.name == samples[i-1].name && s.labels == samples[i-1].labels {
			continue // the exporter drops a second sample of a series
		}
		if i == 0 || s.name != samples[i-1].name {
			fmt.Fprintf(&b, "# TYPE %s %s\n", s.name, s.typ)
		}
		fmt.Fprintf(&b, "%s%s %s\n", s.name, s.labels, strconv.FormatFloat(s.value, 'f', -1, 64))
	}
	return b.Bytes()
}

func (r ExporterRules) sample(rule ExporterRule, text string, m []int, value float64) sample {
	// Java's $1 ends where the digits end; Go's $1_x would be a group named 1_x.
	expand := func(tmpl string) string {
		return string(rule.re.ExpandString(nil, groupRef.ReplaceAllString(tmpl, "$${$1}"), text, m))
	}
	s := sample{name: unsafeName.ReplaceAllString(expand(rule.Name), "_"), typ: strings.ToLower(rule.Type), value: value}
	if s.typ == "" {
		s.typ = "untyped"
	}
	if r.LowercaseOutputName {
		s.name = strings.ToLower(s.name)
	}
	var labels []string
	for k, v := range rule.Labels {
		if r.LowercaseOutputLabelNames {
			k = strings.ToLower(k)
		}
		labels = append(labels, fmt.Sprintf("%s=%q", k, expand(v)))
	}
	if len(labels) > 0 {
		slices.Sort(labels)
		s.labels = "{" + strings.Join(labels, ",") + "}"
	}
	return s
}

var (
	groupRef   = regexp.MustCompile(`\$(\d+)`)
	unsafeName = regexp.MustCompile(`[^a-zA-Z0-9:_]`)
)
