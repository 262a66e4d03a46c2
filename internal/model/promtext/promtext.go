package promtext

import (
	"bytes"
	"strconv"
	"strings"
)

// ContentType is the media type of the format.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Writer collects samples. The zero value is empty and ready.
type Writer struct {
	families []*family
	byName   map[string]*family
}

type family struct {
	name, help, kind string
	samples          bytes.Buffer
}

// Counter adds a sample of a counter. Labels are name and value in turn.
func (w *Writer) Counter(name, help string, value float64, labels ...string) {
	w.add(name, help, "counter", value, labels)
}

// Gauge adds a sample of a gauge. Labels are name and value in turn.
func (w *Writer) Gauge(name, help string, value float64, labels ...string) {
	w.add(name, help, "gauge", value, labels)
}

// Untyped adds a sample of which nobody says what it is. Labels are name and value in turn.
func (w *Writer) Untyped(name, help string, value float64, labels ...string) {
	w.add(name, help, "untyped", value, labels)
}

func (w *Writer) add(name, help, kind string, value float64, labels []string) {
	f := w.byName[name]
	if f == nil {
		if w.byName == nil {
			w.byName = map[string]*family{}
		}
		f = &family{name: name, help: help, kind: kind}
		w.byName[name] = f
		w.families = append(w.families, f)
	}
	b := &f.samples
	b.WriteString(name)
	for i := 0; i+1 < len(labels); i += 2 {
		if i == 0 {
			b.WriteByte('{')
		} else {
			b.WriteByte(',')
		}
		b.WriteString(labels[i])
		b.WriteString(`="`)
		b.WriteString(labelEscaper.Replace(labels[i+1]))
		b.WriteByte('"')
	}
	if len(labels) > 1 {
		b.WriteByte('}')
	}
	b.WriteByte(' ')
	b.Write(strconv.AppendFloat(nil, value, 'g', -1, 64))
	b.WriteByte('\n')
}

var (
	labelEscaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
	helpEscaper  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
)

// Bytes returns everything written so far.
func (w *Writer) Bytes() []byte {
	var b bytes.Buffer
	for _, f := range w.families {
		b.WriteString("# HELP " + f.name + " " + helpEscaper.Replace(f.help) + "\n# TYPE " + f.name + " " + f.kind + "\n")
		b.Write(f.samples.Bytes())
	}
	return b.Bytes()
}
