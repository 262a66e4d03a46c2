package prometheus

import (
	"slices"
	"strconv"
	"strings"
)

const metricName = "__name__"

// Label is one name and value.
type Label struct{ Name, Value string }

// Labels is a label set, sorted by name, without empty values. The metric name is the label __name__.
type Labels []Label

// LabelsFrom makes a label set from a map; empty values are left out, as Prometheus treats them as absent.
func LabelsFrom(m map[string]string) Labels {
	ls := make(Labels, 0, len(m))
	for n, v := range m {
		if v != "" {
			ls = append(ls, Label{n, v})
		}
	}
	slices.SortFunc(ls, func(a, b Label) int { return strings.Compare(a.Name, b.Name) })
	return ls
}

// Get returns the value of a label, "" when it is absent.
func (l Labels) Get(name string) string {
	for _, x := range l {
		if x.Name == name {
			return x.Value
		}
	}
	return ""
}

// Map returns the set as a map that the caller may change.
func (l Labels) Map() map[string]string {
	m := make(map[string]string, len(l))
	for _, x := range l {
		m[x.Name] = x.Value
	}
	return m
}

// String prints the set as Prometheus does: {a="1", b="2"}.
func (l Labels) String() string {
	var b strings.Builder
	b.WriteByte('{')
	for i, x := range l {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(x.Name)
		b.WriteByte('=')
		b.WriteString(strconv.Quote(x.Value))
	}
	b.WriteByte('}')
	return b.String()
}

// key is the set as a map key. The separator cannot occur in valid UTF-8.
func (l Labels) key() string {
	var b strings.Builder
	for _, x := range l {
		b.WriteString(x.Name)
		b.WriteByte(0xff)
		b.WriteString(x.Value)
		b.WriteByte(0xff)
	}
	return b.String()
}
