package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"triad/internal/manifests"
	"triad/internal/model"
	"triad/internal/model/brokers"
	"triad/internal/model/connect"
	"triad/internal/model/fluentd"
	prom "triad/internal/model/prometheus"
	"triad/internal/runtimes"
	"triad/internal/scenario"
	"triad/internal/view"
)

// overlay is the one whose manifests the embedded runtime models.
const overlay = "kind"

// config is everything that the models take from the manifests.
type config struct {
	committed   manifests.Set     // without the scenario's settings
	rendered    map[string][]byte // every object that parameters were read from, by cluster
	brokers     brokers.Config
	fluentBit   string // configuration text: parsed when its environment is known
	fluentd     string
	connect     connect.Config
	agents      map[string]prom.AgentConfig // by cluster
	receiver    prom.ReceiverConfig
	mounted     map[string][]byte // files that the receiver's pod mounts, by path: its rules among them
	shown       view.Shown        // what the dashboards of the manifests show
	setup       []manifests.SetupCall
	sinkGroup   string
	deadLetter  string
	logMaxBytes int64
	logMaxFiles int
	notModelled []string
}

func (c *config) skip(what string, rows []model.NotModelled) {
	for _, n := range rows {
		c.notModelled = append(c.notModelled, what+": "+n.String())
	}
}

// readConfig renders the manifests, with the scenario's settings, and reads every parameter.
func readConfig(set manifests.Set, kindDir string, s runtimes.Session) (*config, error) {
	var err error
	committed := set
	for _, c := range s.Scenario.Settings {
		if set, err = set.Replace(c.Config, c.Replace, c.With); err != nil {
			return nil, err
		}
	}
	all, err := set.RenderAll(overlay, "observer")
	if err != nil {
		return nil, err
	}
	c := &config{committed: committed, agents: map[string]prom.AgentConfig{}, rendered: map[string][]byte{}}
	for cluster, r := range all {
		if c.rendered[cluster], err = manifests.Stream(r.Objects); err != nil {
			return nil, err
		}
	}
	err = errors.Join(c.readKafka(all[scenario.Kafka]), c.readDatacenter(all[scenario.Datacenter]), c.readMonitoring(all[scenario.Monitoring]),
		c.readRotation(filepath.Join(kindDir, "datacenter.yaml")))
	return c, err
}

func (c *config) readKafka(r manifests.Rendered) error {
	text, err := r.ResourcesYAML("Kafka", "KafkaNodePool", "KafkaTopic", "KafkaUser", "ConfigMap")
	if err != nil {
		return err
	}
	cfg, skipped, err := brokers.ParseStrimzi([]byte(text))
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	c.brokers = cfg
	c.skip("kafka", skipped)
	return c.readAgent(r)
}

func (c *config) readDatacenter(r manifests.Rendered) error {
	var err error
	if c.fluentBit, err = r.ConfigFile("fluent-bit", "fluent-bit.yaml"); err != nil {
		return err
	}
	if c.fluentd, err = r.ConfigFile("fluentd", "fluentd.yaml"); err != nil {
		return err
	}
	return c.readAgent(r)
}

func (c *config) readAgent(r manifests.Rendered) error {
	text, args, err := r.Prometheus()
	if err != nil {
		return err
	}
	cfg, skipped, err := prom.ParseAgent([]byte(text), args)
	if err != nil {
		return fmt.Errorf("%s: prometheus agent: %w", r.Cluster, err)
	}
	c.agents[r.Cluster] = cfg
	c.skip(r.Cluster+" prometheus agent", skipped)
	return nil
}

func (c *config) readMonitoring(r manifests.Rendered) error {
	connectYAML, err := r.ResourcesYAML("KafkaConnect", "KafkaConnector", "ConfigMap")
	if err != nil {
		return err
	}
	cfg, skipped, err := connect.ParseStrimzi([]byte(connectYAML))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	c.connect = cfg
	c.skip("connect", skipped)
	if len(cfg.Connectors) != 1 {
		return fmt.Errorf("connect: %d connectors, the embedded runtime observes exactly one", len(cfg.Connectors))
	}
	sink := cfg.Connectors[0]
	c.sinkGroup = "connect-" + sink.Name // Connect's rule, unless the connector overrides its group
	if sink.Consumer.Group != "" {
		c.sinkGroup = sink.Consumer.Group
	}
	c.deadLetter = sink.Errors.DeadLetterTopic
	text, args, err := r.Prometheus()
	if err != nil {
		return err
	}
	if c.receiver, skipped, err = prom.ParseReceiver([]byte(text), args); err != nil {
		return fmt.Errorf("central prometheus: %w", err)
	}
	c.skip("central prometheus", skipped)
	if c.mounted, err = r.Mounted("prometheus"); err != nil {
		return err
	}
	if c.shown, err = view.Read(c.committed, r); err != nil {
		return err
	}
	c.setup, err = r.SetupCalls()
	return err
}

var (
	logSize  = regexp.MustCompile(`(?m)^\s*containerLogMaxSize:\s*"?(\d+)Mi"?\s*$`)
	logFiles = regexp.MustCompile(`(?m)^\s*containerLogMaxFiles:\s*(\d+)\s*$`)
)

// readRotation reads the kubelet's log rotation from the kind configuration.
func (c *config) readRotation(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("log rotation: %w", err)
	}
	size, files := logSize.FindSubmatch(b), logFiles.FindSubmatch(b)
	if size == nil || files == nil {
		return fmt.Errorf("log rotation: %s: no containerLogMaxSize (in Mi) or containerLogMaxFiles", file)
	}
	mib, _ := strconv.ParseInt(string(size[1]), 10, 64) // digits by the expression
	c.logMaxBytes = mib << 20
	c.logMaxFiles, _ = strconv.Atoi(string(files[1]))
	return nil
}

// parseFluentd parses the aggregator's configuration with the environment that a pod would get.
func (c *config) parseFluentd(env map[string]string) (fluentd.Config, error) {
	cfg, skipped, err := fluentd.Parse([]byte(c.fluentd), "fluentd.yaml", env)
	c.skip("fluentd", skipped)
	return cfg, err
}
