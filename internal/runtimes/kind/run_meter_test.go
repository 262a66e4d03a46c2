//go:build !embedded_only

package kind

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

func TestIncreases(t *testing.T) {
	var x increases
	if _, ok := x.total(Kafka); ok {
		t.Error("a total of nothing")
	}
	x.read(Kafka, "a/1", 5*time.Second)
	x.read(Kafka, "a/2", 3*time.Second)
	x.read(Monitoring, "b/1", time.Second)
	base, _ := x.total(Kafka)
	x.read(Kafka, "a/1", 6*time.Second)
	x.read(Kafka, "a/3", 2*time.Second) // in the place of 2
	x.read(Kafka, "a/1", time.Second)   // started anew under its number
	if sum, ok := x.total(Kafka); !ok || sum-base != 4*time.Second {
		t.Errorf("%v more, want 4 s", sum-base)
	}
	if sum, _ := x.total(Monitoring); sum != time.Second {
		t.Errorf("%v of another cluster", sum)
	}
}

// An answer of Elasticsearch 8.19.21, of which stacks and idle threads are left out.
const hotAnswer = `::: {elasticsearch-0}{zcrMma_pR0enKjzt0NXijg}{cdfhilmrstw}{8.19.21}
   Hot threads at 2026-11-28T22:03:06.919Z, interval=5s, busiestThreads=1000, ignoreIdleThreads=false:
   
   100.0% [cpu=0.0%, other=100.0%] (5s out of 5s) cpu usage by thread 'elasticsearch[readiness-service]'
     unique snapshot
   24.8% [cpu=7.4%, other=17.3%] (1.2s out of 5s) cpu usage by thread 'elasticsearch[elasticsearch-0][refresh][T#1]'
     unique snapshot
   3.0% [cpu=0.5%, other=2.6%] (152ms out of 5s) cpu usage by thread 'elasticsearch[elasticsearch-0][search][T#2]'
   1.7% [cpu=0.5%, other=1.1%] (83ms out of 5s) cpu usage by thread 'elasticsearch[elasticsearch-0][search][T#1]'
   1.3% [cpu=0.3%, other=1.0%] (64ms out of 5s) cpu usage by thread 'elasticsearch[elasticsearch-0][search][T#3]'
   1.1% [cpu=1.1%, idle=98.9%] (4.9s out of 5s) cpu usage by thread 'elasticsearch[elasticsearch-0][transport_worker][T#2]'
   1.0% [cpu=0.4%, other=0.6%] (51ms out of 5s) cpu usage by thread 'elasticsearch[elasticsearch-0][search][T#4]'
   0.0% [cpu=0.0%, other=0.0%] (670.4micros out of 5s) cpu usage by thread 'elasticsearch[elasticsearch-0][generic][T#4]'
`

func TestSearchShare(t *testing.T) {
	if got, err := searchShare(hotAnswer); err != nil || math.Abs(got-0.017) > 1e-9 {
		t.Errorf("%v, %v, want 0.017 processors", got, err)
	}
	if got, err := searchShare("::: {elasticsearch-0}\n   Hot threads at now:\n"); err == nil {
		t.Errorf("%v of an answer without threads", got)
	}
}

// What was asked while the store was away is neither used nor watched.
func TestSearchersCountWhatTheyWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s searchers
		calls := 0
		watch := func(ctx context.Context) (time.Duration, error) {
			calls++
			if calls == 2 {
				return 0, errors.New("away")
			}
			select {
			case <-time.After(hotWindow):
				return time.Second, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		if r := s.readings(watch); r[0].Used != 0 || r[1].Used != 0 {
			t.Errorf("%+v at the beginning", r)
		}
		time.Sleep(2*hotWindow + 2*time.Second)
		if r := s.readings(watch); r[0].Used != 2*time.Second || r[1].Used != 2*hotWindow {
			t.Errorf("%+v, want 2 s in two windows", r)
		}
		s.end()
	})
	(&searchers{}).end() // never asked
}
