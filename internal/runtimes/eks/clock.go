//go:build !embedded_only

package eks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"triad/internal/kube"
	observer "triad/internal/observe/agent"
	"triad/internal/observe/scrape"
	"triad/internal/runtimes"
	"triad/internal/scenario"
)

const (
	clockTries = 6 // round trips; the shortest says most, the first has a connection to make
	clockNodes = 5 // node exporters asked in one cluster
	clockTime  = 10 * time.Second
	nodePort   = 9100
)

// Clocks compares the clock of every cluster with the harness's. In datacenter it is that of the generators which write the run's records, in kafka of
// the observers where pods are: their clocks decide when a record is written and when it was seen. Elsewhere those of the nodes, by their exporters'
// time. All answer to any client: nothing is made for it, and no right more is needed than to read.
func (e *env) Clocks(ctx context.Context) []runtimes.ClockReading {
	ctx, cancel := context.WithTimeoutCause(ctx, clockTime, fmt.Errorf("clocks: no answer within %v", clockTime))
	defer cancel()
	out := make([]runtimes.ClockReading, len(scenario.ClusterNames))
	var wg sync.WaitGroup
	for i, role := range scenario.ClusterNames {
		wg.Go(func() {
			out[i] = runtimes.ClockReading{Cluster: role, Sees: role == scenario.Kafka && len(e.observers) > 0}
			out[i].Offset, out[i].Bound, out[i].Err = e.clock(ctx, role)
		})
	}
	wg.Wait()
	return out
}

// clock is the hull of the clocks of one cluster.
func (e *env) clock(ctx context.Context, role string) (offset, bound time.Duration, err error) {
	var asks []func(context.Context) (time.Time, error)
	switch {
	case role == scenario.Datacenter:
		for _, g := range e.sending() {
			asks = append(asks, func(ctx context.Context) (time.Time, error) {
				st, err := g.Status(ctx)
				return st.Time, err
			})
		}
	case role == scenario.Kafka && len(e.observers) > 0:
		for _, o := range e.observers {
			asks = append(asks, func(ctx context.Context) (time.Time, error) { return observer.Time(ctx, o) })
		}
	default:
		if asks, err = e.exporters(ctx, role); err != nil {
			return 0, 0, err
		}
	}
	var lo, hi time.Duration
	for i, ask := range asks {
		l, h, err := roundTrips(ctx, ask)
		if err != nil {
			return 0, 0, err
		}
		if i == 0 {
			lo, hi = l, h
		}
		lo, hi = min(lo, l), max(hi, h)
	}
	return (lo + hi) / 2, (hi - lo) / 2, nil
}

// exporters are the ways to ask the nodes of a cluster for their time.
func (e *env) exporters(ctx context.Context, role string) ([]func(context.Context) (time.Time, error), error) {
	c, ns := e.clients[role], e.contexts.Clusters[role].Namespace
	pods, err := c.List(ctx, "v1", "Pod", ns, componentLabel+"=node-exporter")
	if err != nil {
		return nil, c.Explain(err)
	}
	if len(pods) == 0 {
		return nil, fmt.Errorf("no node exporter runs in %s", ns)
	}
	client := c.HTTP(clockTime)
	var asks []func(context.Context) (time.Time, error)
	for i := range min(len(pods), clockNodes) {
		url := kube.PodURL(pods[i].GetName(), ns, nodePort) + "/metrics?collect[]=time"
		asks = append(asks, func(ctx context.Context) (time.Time, error) { return nodeTime(ctx, client, url) })
	}
	return asks, nil
}

// nodeTime reads node_time_seconds, the node's clock at the moment of the answer.
func nodeTime(ctx context.Context, client *http.Client, url string) (time.Time, error) {
	got, err := scrape.Target{URL: url}.Scrape(ctx, client)
	if err != nil {
		return time.Time{}, fmt.Errorf("node exporter: %w", err)
	}
	for _, m := range got {
		if m.Name == "node_time_seconds" {
			return time.Unix(0, int64(m.Value*1e9)), nil
		}
	}
	return time.Time{}, errors.New("node exporter: it does not say node_time_seconds")
}

// roundTrips asks several times and returns where the other clock stands to this one: the interval of the shortest round trip, in the
// whole of which the answer may have been given.
func roundTrips(ctx context.Context, ask func(context.Context) (time.Time, error)) (lo, hi time.Duration, err error) {
	var shortest time.Duration
	var failed error
	for range clockTries {
		sent := time.Now()
		there, err := ask(ctx)
		took := time.Since(sent)
		if err != nil {
			failed = err
			continue
		}
		if shortest == 0 || took < shortest {
			shortest = took
			lo, hi = there.Sub(sent)-took, there.Sub(sent)
		}
	}
	if shortest == 0 {
		return 0, 0, failed
	}
	return lo, hi, nil
}
