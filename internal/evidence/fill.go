package evidence

import "strings"

// FillGauge is the series that tells the fill of a buffer.
type FillGauge struct {
	Name   string // empty: nothing tells it
	Labels Labels
	limit  float64 // bytes
}

// roomLeft ends the name of a gauge that tells the room left in a buffer, in hundredths of its limit.
const roomLeft = "_available_capacity_percent"

// NodeMetrics is the source whose name inputs and outputs for figures of nodes bear. Its records in a topic are of no run, but for those that a
// load generator puts in there.
const NodeMetrics = "system-metrics"

// OfNodeMetrics reports whether a buffer holds figures of nodes alone: an output's of the agent or the aggregator that bears their name.
func (b Buffer) OfNodeMetrics() bool {
	l := b.FillGauge().Labels
	return l["name"] == NodeMetrics || l["plugin_id"] == "out_"+strings.ReplaceAll(NodeMetrics, "-", "_")
}

// FillGauge reads the buffer's Gauge, which is name{label="value",...}. An aggregator has a buffer for each output, and where the gauge
// does not say which, the place of the limit does.
func (b Buffer) FillGauge() FillGauge {
	g := FillGauge{limit: float64(b.Bytes)}
	g.Name, g.Labels = ParseSelector(b.Gauge)
	if strings.HasPrefix(g.Name, "fluentd_output_status_") && g.Labels["plugin_id"] == "" {
		for word := range strings.FieldsSeq(b.Source) {
			if strings.HasPrefix(word, "out_") {
				g.Labels["plugin_id"] = word
			}
		}
	}
	return g
}

// Fill is what a sample says of the fill of one instance, in the unit of the limit (bytes, or what the program counts instead); false: the
// sample is of another series.
func (g FillGauge) Fill(x Sample) (float64, bool) {
	if g.Name == "" || g.Name != x.Name || !x.Labels.Match(g.Labels) {
		return 0, false
	}
	if strings.HasSuffix(g.Name, roomLeft) {
		return max(1-x.Value/100, 0) * g.limit, true
	}
	return x.Value, true
}

// InBytes reports whether the fill can be held against a limit in bytes. Some programs tell it in chunks only.
func (g FillGauge) InBytes() bool {
	return strings.Contains(g.Name, "byte") || strings.Contains(g.Name, "size") || strings.HasSuffix(g.Name, roomLeft)
}

// ParseSelector reads name{label="value",...}; what it cannot read of the labels is left out.
func ParseSelector(s string) (name string, labels Labels) {
	labels = Labels{}
	name, rest, ok := strings.Cut(s, "{")
	if !ok {
		return strings.TrimSpace(name), labels
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSpace(rest), "}"), ",") {
		if k, v, ok := strings.Cut(part, "="); ok {
			labels[strings.TrimSpace(k)] = strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	return strings.TrimSpace(name), labels
}
