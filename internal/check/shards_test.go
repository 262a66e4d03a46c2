package check

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestShardsAreOne: what n generators and n observers wrote, brought together, is judged as what one of each would have written: every count,
// every range, every percentile, of every history that has streams to share. A record that is in the partitions of two observers, each of
// which sees it for the first time, is a duplicate.
func TestShardsAreOne(t *testing.T) {
	files, err := filepath.Glob("testdata/*.history")
	if err != nil {
		t.Fatal(err)
	}
	shared := 0
	for _, f := range files {
		one := readHistory(t, f).story
		if len(one.streams) < 2 || len(one.damage) > 0 {
			continue
		}
		shared++
		t.Run(strings.TrimSuffix(filepath.Base(f), ".history"), func(t *testing.T) {
			t.Parallel()
			want := figuresOf(t, one)
			for _, n := range []int{2, 3, len(one.streams)} {
				many := readHistory(t, f).story
				many.shards, many.readers = n, n
				if got := figuresOf(t, many); !reflect.DeepEqual(got, want) {
					for k, v := range want {
						if !reflect.DeepEqual(got[k], v) {
							t.Errorf("%d shards: %s is\n%v, of one generator\n%v", n, k, got[k], v)
						}
					}
				}
			}
		})
	}
	if shared < 5 {
		t.Errorf("%d histories with streams to share", shared)
	}
}

// figuresOf is the whole result by its fields.
func figuresOf(t *testing.T, st *story) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal(marshal(t, judgeDir(t, st.write(t))), &out); err != nil {
		t.Fatal(err)
	}
	return out
}
