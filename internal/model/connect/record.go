package connect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// sinkRecord is a record after its converters.
type sinkRecord struct {
	raw    *kgo.Record
	key    any    // nil, string, json.Number or other
	value  []byte // JSON; nil for a null value
	schema bool   // the value came with a schema
}

// dataError is Connect's DataException: this record is bad, others may be good.
type dataError struct{ msg string }

func (e *dataError) Error() string { return "org.apache.kafka.connect.errors.DataException: " + e.msg }

func badData(format string, args ...any) error { return &dataError{fmt.Sprintf(format, args...)} }

// convert runs the key and value converters.
func (c Connector) convert(r *kgo.Record) (sinkRecord, string, error) {
	out := sinkRecord{raw: r}
	key, _, err := c.Key.convert(r.Key)
	if err != nil {
		return out, "KEY_CONVERTER", err
	}
	if key != nil {
		if c.Key.Kind == "bytes" {
			out.key = key
		} else {
			dec := json.NewDecoder(bytes.NewReader(key))
			dec.UseNumber()
			if err := dec.Decode(&out.key); err != nil {
				return out, "KEY_CONVERTER", badData("%v", err)
			}
		}
	}
	out.value, out.schema, err = c.Value.convert(r.Value)
	return out, "VALUE_CONVERTER", err
}

// convert turns bytes into JSON on one line, nil for null.
func (c Converter) convert(b []byte) (out []byte, schema bool, err error) {
	if b == nil {
		return nil, false, nil
	}
	switch c.Kind {
	case "string":
		out, err := json.Marshal(string(b))
		return out, false, err
	case "bytes":
		out, err := json.Marshal(b) // base64, as the sink writes bytes
		return out, false, err
	}
	if len(b) == 0 {
		return nil, false, nil
	}
	if !json.Valid(b) {
		return nil, false, badData("Converting byte[] to Kafka Connect data failed due to serialization error: not JSON")
	}
	if c.Schemas {
		var env map[string]json.RawMessage
		if err := json.Unmarshal(b, &env); err != nil || len(env) != 2 || env["schema"] == nil || env["payload"] == nil {
			return nil, false, badData(`JsonConverter with schemas.enable requires "schema" and "payload" fields and may not contain additional fields. If you are trying to deserialize plain JSON data, set schemas.enable=false in your converter configuration.`)
		}
		b, schema = env["payload"], !bytes.Equal(bytes.TrimSpace(env["schema"]), []byte("null"))
	}
	if t := bytes.TrimSpace(b); bytes.Equal(t, []byte("null")) {
		return nil, schema, nil
	}
	if bytes.ContainsAny(b, "\n\r") {
		var flat bytes.Buffer
		if err := json.Compact(&flat, b); err != nil {
			return nil, false, badData("%v", err)
		}
		b = flat.Bytes()
	}
	return b, schema, nil
}

// indexName makes the name of an index from that of a topic, as the connector does.
func indexName(topic string) string {
	index := strings.ToLower(topic)
	if len(index) > 255 {
		index = index[:255]
	}
	if strings.HasPrefix(index, "-") || strings.HasPrefix(index, "_") {
		index = index[1:]
	}
	if index == "." || index == ".." {
		index = strings.ReplaceAll(index, ".", "dot")
	}
	return index
}

func (s Sink) ignoresKey(topic string) bool {
	return s.KeyIgnore || slices.Contains(s.KeyIgnoreTopics, topic)
}

func (s Sink) ignoresSchema(topic string) bool {
	return s.SchemaIgnore || slices.Contains(s.SchemaIgnoreTopics, topic)
}

// skips reports whether the record is passed over because it has no value.
func (s Sink) skips(r sinkRecord) bool { return r.value == nil && s.OnNull == Ignore }

var errNullValue = &exception{msg: "Cannot write null valued record."}

// action appends the bulk lines for a record. done is false when there is nothing to write; a dataError refuses the record.
func (s Sink) action(dst []byte, r sinkRecord) (out []byte, done bool, err error) {
	if r.value == nil {
		switch {
		case s.OnNull == Delete && r.key == nil:
			return dst, false, nil // nothing in the store can have its id
		case s.OnNull != Delete:
			return dst, false, badData("record from topic=%s partition=%d offset=%d has a null value (to ignore future records like this change the configuration property 'behavior.on.null.values' from 'fail' to 'ignore')",
				r.raw.Topic, r.raw.Partition, r.raw.Offset)
		}
	}
	ignoreKey := s.ignoresKey(r.raw.Topic)
	id, external := "", false
	switch {
	case ignoreKey && s.IDStrategy == IDTopicPartitionOffset:
		id = r.raw.Topic + "+" + strconv.Itoa(int(r.raw.Partition)) + "+" + strconv.FormatInt(r.raw.Offset, 10)
	case ignoreKey && s.IDStrategy == IDNone:
	default:
		if id, err = documentID(r.key); err != nil {
			return dst, false, err
		}
		external = !ignoreKey
	}
	verb := "index"
	switch {
	case r.value == nil:
		verb = "delete"
	case s.Upsert:
		verb, external = "update", false
	}
	dst = append(dst, `{"`...)
	dst = append(dst, verb...)
	dst = append(dst, `":{"_index":`...)
	dst = strconv.AppendQuote(dst, indexName(r.raw.Topic))
	if id != "" {
		q, err := json.Marshal(id)
		if err != nil {
			return dst, false, badData("%v", err)
		}
		dst = append(dst, `,"_id":`...)
		dst = append(dst, q...)
	}
	if external {
		dst = append(dst, `,"version_type":"external","version":`...)
		dst = strconv.AppendInt(dst, r.raw.Offset, 10)
	}
	dst = append(dst, "}}\n"...)
	switch verb {
	case "index":
		dst = append(dst, r.value...)
		dst = append(dst, '\n')
	case "update":
		dst = append(dst, `{"doc":`...)
		dst = append(dst, r.value...)
		dst = append(dst, `,"upsert":`...)
		dst = append(dst, r.value...)
		dst = append(dst, "}\n"...)
	}
	return dst, true, nil
}

// documentID makes a document id from a key.
func documentID(key any) (string, error) {
	switch k := key.(type) {
	case nil:
		return "", badData("Key is used as document id and can not be null.")
	case string:
		if k == "" {
			return "", badData("Key is used as document id and can not be empty.")
		}
		return k, nil
	case json.Number:
		if _, err := k.Int64(); err != nil {
			return "", badData("FLOAT64 is not supported as the document id.")
		}
		return k.String(), nil
	case bool:
		return "", badData("BOOLEAN is not supported as the document id.")
	case []byte:
		return "", badData("BYTES is not supported as the document id.")
	case []any:
		return "", badData("ARRAY is not supported as the document id.")
	}
	return "", badData("MAP is not supported as the document id.")
}
