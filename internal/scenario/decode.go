package scenario

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Position is a place in a file, both 1-based.
type Position struct {
	Line, Column int
}

// Error is one thing that is wrong in a file.
type Error struct {
	File string
	At   Position
	Path string // faults[0].for
	Msg  string // what is wrong, what is allowed, nearest spelling
}

// Error prints file:line:column: path: message.
func (e *Error) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("%s:%d:%d: %s", e.File, e.At.Line, e.At.Column, e.Msg)
	}
	return fmt.Sprintf("%s:%d:%d: %s: %s", e.File, e.At.Line, e.At.Column, e.Path, e.Msg)
}

// decoder walks a YAML tree beside a Go type and remembers where everything stood. yaml.v3's own strict mode names
// neither columns nor what would be allowed, and drops strictness below a custom UnmarshalYAML.
type decoder struct {
	file string
	errs []error
	at   map[string]Position // by path, for what validation finds later
}

// DecodeStrict reads one YAML document into out, a pointer to a struct with yaml tags: unknown and duplicate keys, a
// second document, an empty file, anchors and wrong types are errors with their place. It returns the place of every
// path.
func DecodeStrict(file string, data []byte, out any) (map[string]Position, error) {
	d := &decoder{file: file, at: map[string]Position{}}
	if at, ok := notUTF8(data); ok {
		return nil, &Error{file, at, "", "not UTF-8: save the file as UTF-8"}
	}
	dec := yaml.NewDecoder(strings.NewReader(string(data)))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		return nil, d.syntax(err)
	}
	if len(doc.Content) == 0 || doc.Content[0].Kind == yaml.ScalarNode && doc.Content[0].Tag == "!!null" {
		return nil, &Error{file, Position{1, 1}, "", "the file is empty"}
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		return nil, &Error{file, Position{second.Line, second.Column}, "", "a second YAML document; one file holds one document"}
	}
	d.value(doc.Content[0], reflect.ValueOf(out).Elem(), "")
	return d.at, errors.Join(d.errs...)
}

func (d *decoder) syntax(err error) error {
	msg := err.Error()
	if msg == "EOF" {
		return &Error{d.file, Position{1, 1}, "", "the file is empty"}
	}
	msg = strings.TrimPrefix(msg, "yaml: ")
	line := 1
	if rest, ok := strings.CutPrefix(msg, "line "); ok {
		if num, text, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(num); err == nil {
				line, msg = n, text
			}
		}
	}
	if strings.Contains(msg, "cannot start any token") {
		msg += "; YAML is indented with spaces, not with tabs"
	}
	return &Error{d.file, Position{line, 1}, "", "not YAML: " + msg}
}

// notUTF8 is the first place of a text that is not UTF-8. What a byte order mark says to be UTF-16 is left to the decoder.
func notUTF8(data []byte) (Position, bool) {
	if utf8.Valid(data) || bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return Position{}, false
	}
	at := Position{1, 1}
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		if r == utf8.RuneError && n == 1 {
			break
		}
		at.Column++
		if r == '\n' {
			at = Position{at.Line + 1, 1}
		}
		data = data[n:]
	}
	return at, true
}

func (d *decoder) fail(n *yaml.Node, path, format string, args ...any) {
	d.errs = append(d.errs, &Error{d.file, Position{n.Line, n.Column}, path, fmt.Sprintf(format, args...)})
}

func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) {
	d.at[path] = Position{n.Line, n.Column}
	if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		d.at[path] = Position{n.Line, n.Column + 1} // of the text: a message may count on from there
	}
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		d.fail(n, path, "anchors and aliases are not allowed")
		return
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), path)
		return
	}
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr()); ok {
		if n.Kind != yaml.ScalarNode {
			d.fail(n, path, "want a single value, not a %s", kindName(n))
		} else if err := u.UnmarshalText([]byte(n.Value)); err != nil {
			d.fail(n, path, "%v", err)
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.mapping(n, v, path)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.fail(n, path, "want a list, not a %s", kindName(n))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, c := range n.Content {
			d.value(c, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.Map:
		if n.Kind != yaml.MappingNode {
			d.fail(n, path, "want a mapping, not a %s", kindName(n))
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for i := 0; i+1 < len(n.Content); i += 2 {
			e := reflect.New(v.Type().Elem()).Elem()
			d.value(n.Content[i+1], e, join(path, n.Content[i].Value))
			v.SetMapIndex(reflect.ValueOf(n.Content[i].Value), e)
		}
	default:
		d.scalar(n, v, path)
	}
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.ScalarNode {
		d.fail(n, path, "want a single value, not a %s", kindName(n))
		return
	}
	var err error
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.Value)
	case reflect.Bool:
		var b bool
		b, err = strconv.ParseBool(n.Value)
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		var i int64
		i, err = strconv.ParseInt(n.Value, 10, 64)
		v.SetInt(i)
	case reflect.Uint64, reflect.Uint32:
		var u uint64
		u, err = strconv.ParseUint(n.Value, 10, v.Type().Bits())
		v.SetUint(u)
	case reflect.Float64:
		var f float64
		if f, err = strconv.ParseFloat(n.Value, 64); err == nil && (math.IsNaN(f) || math.IsInf(f, 0)) {
			err = strconv.ErrRange
		}
		v.SetFloat(f)
	default:
		err = fmt.Errorf("cannot hold a value")
	}
	if err != nil {
		d.fail(n, path, "%q is not a %s", n.Value, map[reflect.Kind]string{reflect.Bool: "boolean (true or false)", reflect.Float64: "number"}[v.Kind()]+
			map[bool]string{true: "whole number"}[v.Kind() != reflect.Bool && v.Kind() != reflect.Float64])
	}
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, path, "want a mapping, not a %s", kindName(n))
		return
	}
	fields := map[string]int{}
	var names []string
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if name != "" && name != "-" {
			fields[name] = i
			names = append(names, name)
		}
	}
	slices.Sort(names)
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		f, ok := fields[key.Value]
		switch line, twice := seen[key.Value]; {
		case !ok:
			d.fail(key, join(path, key.Value), "unknown key; %sallowed: %s", DidYouMean(key.Value, names), strings.Join(names, ", "))
			continue
		case twice:
			d.fail(key, join(path, key.Value), "key is there already, on line %d", line)
			continue
		}
		seen[key.Value] = key.Line
		d.value(n.Content[i+1], v.Field(f), join(path, key.Value))
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func kindName(n *yaml.Node) string {
	return map[yaml.Kind]string{yaml.SequenceNode: "list", yaml.MappingNode: "mapping", yaml.ScalarNode: "single value"}[n.Kind]
}
