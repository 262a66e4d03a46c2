package prometheus

import (
	"encoding/binary"
	"errors"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// The message prometheus.WriteRequest of remote write 1.0 (specification at prometheus.io/docs/specs/prw/remote_write_spec).
// The official client package carries generated code for 2.0 only, so the three messages that a float sample needs are
// written here by hand:
//
//	WriteRequest { repeated TimeSeries timeseries = 1; }
//	TimeSeries   { repeated Label labels = 1; repeated Sample samples = 2; }
//	Label        { string name = 1; string value = 2; }
//	Sample       { double value = 1; int64 timestamp = 2; }

// timeSeries is one series with its samples in a write request.
type timeSeries struct {
	labels  Labels
	samples []point
}

// point is one sample: milliseconds since the epoch and value.
type point struct {
	t int64
	v float64
}

// writeRequest is the body of one remote write. It implements the size and marshal methods that the official client looks for.
type writeRequest struct{ series []timeSeries }

// SizeVT is the encoded size in bytes.
func (w *writeRequest) SizeVT() int {
	n := 0
	for i := range w.series {
		s := w.series[i].size()
		n += 1 + protowire.SizeBytes(s)
	}
	return n
}

// MarshalToSizedBufferVT encodes into b, which is SizeVT long.
func (w *writeRequest) MarshalToSizedBufferVT(b []byte) (int, error) {
	out := b[:0]
	for i := range w.series {
		s := &w.series[i]
		out = protowire.AppendTag(out, 1, protowire.BytesType)
		out = protowire.AppendVarint(out, uint64(s.size()))
		for _, l := range s.labels {
			out = protowire.AppendTag(out, 1, protowire.BytesType)
			out = protowire.AppendVarint(out, uint64(labelSize(l)))
			out = protowire.AppendTag(out, 1, protowire.BytesType)
			out = protowire.AppendString(out, l.Name)
			out = protowire.AppendTag(out, 2, protowire.BytesType)
			out = protowire.AppendString(out, l.Value)
		}
		for _, p := range s.samples {
			out = protowire.AppendTag(out, 2, protowire.BytesType)
			out = protowire.AppendVarint(out, uint64(pointSize(p)))
			out = protowire.AppendTag(out, 1, protowire.Fixed64Type)
			out = protowire.AppendFixed64(out, math.Float64bits(p.v))
			out = protowire.AppendTag(out, 2, protowire.VarintType)
			out = protowire.AppendVarint(out, uint64(p.t))
		}
	}
	return len(out), nil
}

func (s *timeSeries) size() int {
	n := 0
	for _, l := range s.labels {
		n += 1 + protowire.SizeBytes(labelSize(l))
	}
	for _, p := range s.samples {
		n += 1 + protowire.SizeBytes(pointSize(p))
	}
	return n
}

func labelSize(l Label) int {
	return 2 + protowire.SizeBytes(len(l.Name)) + protowire.SizeBytes(len(l.Value))
}

func pointSize(p point) int { return 2 + 8 + protowire.SizeVarint(uint64(p.t)) }

var errWire = errors.New("proto: wrong wire format of prometheus.WriteRequest")

// unmarshalWrite reads a WriteRequest. Unknown fields (metadata, exemplars, histograms) are skipped.
func unmarshalWrite(b []byte) ([]timeSeries, error) {
	var out []timeSeries
	err := eachField(b, func(num protowire.Number, typ protowire.Type, v []byte, _ uint64) error {
		if num != 1 || typ != protowire.BytesType {
			return nil
		}
		var s timeSeries
		err := eachField(v, func(num protowire.Number, typ protowire.Type, v []byte, _ uint64) error {
			if typ != protowire.BytesType {
				return nil
			}
			switch num {
			case 1:
				var l Label
				err := eachField(v, func(num protowire.Number, typ protowire.Type, v []byte, _ uint64) error {
					if typ == protowire.BytesType && num == 1 {
						l.Name = string(v)
					}
					if typ == protowire.BytesType && num == 2 {
						l.Value = string(v)
					}
					return nil
				})
				s.labels = append(s.labels, l)
				return err
			case 2:
				var p point
				err := eachField(v, func(num protowire.Number, typ protowire.Type, _ []byte, n uint64) error {
					if typ == protowire.Fixed64Type && num == 1 {
						p.v = math.Float64frombits(n)
					}
					if typ == protowire.VarintType && num == 2 {
						p.t = int64(n)
					}
					return nil
				})
				s.samples = append(s.samples, p)
				return err
			}
			return nil
		})
		out = append(out, s)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// eachField calls f for each field of a message: bytes for length-delimited fields, the number for the others.
func eachField(b []byte, f func(protowire.Number, protowire.Type, []byte, uint64) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errWire
		}
		b = b[n:]
		var bytes []byte
		var value uint64
		switch typ {
		case protowire.BytesType:
			bytes, n = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			value, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			if n = 8; len(b) < 8 {
				return errWire
			}
			value = binary.LittleEndian.Uint64(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return errWire
		}
		b = b[n:]
		if err := f(num, typ, bytes, value); err != nil {
			return err
		}
	}
	return nil
}
