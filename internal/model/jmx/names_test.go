package jmx

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	bean := [][2]string{{"type", "BrokerTopicMetrics"}, {"name", "BytesInPerSec"}, {"topic", "a"}}
	for _, tc := range []struct {
		include, exclude []string
		want             bool
	}{
		{nil, nil, true},
		{[]string{"kafka.server:type=BrokerTopicMetrics,*"}, nil, true},
		{[]string{"kafka.server:type=BrokerTopicMetrics"}, nil, false},
		{[]string{"kafka.server:name=BytesInPerSec,topic=a,type=BrokerTopicMetrics"}, nil, true},
		{[]string{"kafka.server:type=BrokerTopicMetrics,name=BytesInPerSec,topic=a,*"}, nil, true},
		{[]string{"kafka.server:type=BrokerTopicMetrics,name=Bytes*,topic=?"}, nil, true},
		{[]string{"kafka.server:type=BrokerTopicMetrics,name=Bytes,*"}, nil, false},
		{[]string{"kafka.server:type=BrokerTopicMetrics,partition=*,*"}, nil, false},
		{[]string{"kafka.log:*", "*:type=Broker*Metr??s,*"}, nil, true},
		{[]string{"kafka.log:*"}, nil, false},
		{nil, []string{"*:topic=*,*"}, false},
		{[]string{"kafka.server:*"}, []string{"kafka.server:name=BytesInPerSec,*"}, false},
	} {
		n, err := parseNames(tc.include, tc.exclude)
		if err != nil {
			t.Fatal(err)
		}
		if got := n.has("kafka.server", bean); got != tc.want {
			t.Errorf("include %q exclude %q: %v, want %v", tc.include, tc.exclude, got, tc.want)
		}
	}
}

func TestNamesErrors(t *testing.T) {
	for s, want := range map[string]string{"kafka.server": "no colon", "a:type": "key=value", "a:type=x,type=y": "twice", "a:": "key=value"} {
		if _, err := parseNames(nil, []string{s}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", s, err, want)
		}
	}
}
