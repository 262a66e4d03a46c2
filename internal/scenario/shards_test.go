package scenario

import (
	"reflect"
	"strings"
	"testing"
)

// Shards own the streams that the same load has without them: nothing else changes.
func TestSharded(t *testing.T) {
	s, err := Parse("t.yaml", []byte(`apiVersion: triad/v1
name: t
title: t
phases: {before: 10s}
load:
  - {source: service, rate: 10/s, streams: 5}
  - {source: system-auth, rate: 10/s, streams: 5}
  - {source: system-auth, rate: 10/s, streams: 2, enter: kafka}
  - {source: control, rate: 10/s, streams: 4}
`))
	if err != nil {
		t.Fatal(err)
	}
	many, err := s.Sharded(3)
	if err != nil {
		t.Fatal(err)
	}
	var shards []int
	for _, l := range many.Load {
		shards = append(shards, l.Parallelism)
	}
	if !reflect.DeepEqual(shards, []int{3, 0, 2, 0}) || s.Load[0].Parallelism != 0 {
		t.Errorf("%v shards; before %d", shards, s.Load[0].Parallelism)
	}
	// What is written down is what is read again.
	text, err := many.YAML()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse("t.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	one, owners := s.Streams(), map[int]map[int]bool{}
	for i, st := range again.Streams() {
		if owners[st.Load] == nil {
			owners[st.Load] = map[int]bool{}
		}
		owners[st.Load][st.Instance] = true
		st.Instance = one[i].Instance
		if st != one[i] {
			t.Errorf("stream %d is %+v, without shards %+v", i, st, one[i])
		}
	}
	if len(owners[0]) != 3 || len(owners[2]) != 2 {
		t.Errorf("owners of streams: %v", owners)
	}
	if _, err := s.Sharded(0); err == nil {
		t.Error("no shards")
	}
	s.Load = s.Load[1:2]
	if _, err := s.Sharded(2); err == nil || !strings.Contains(err.Error(), "no load of the scenario can be shared") {
		t.Error(err)
	}
}
