package promapi

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// targetsEvery is how often AwaitTargets asks: the resolution of what it measures.
const targetsEvery = 250 * time.Millisecond

// AwaitTargets waits until at least want targets of a cluster answer their scrapes, as the central Prometheus knows it
// by up. It returns how many do; when ctx ends before, with what was last seen. Samples from before since do not count:
// a cluster of that name may have been there.
func (c Client) AwaitTargets(ctx context.Context, cluster string, want int, since time.Time) (up int, err error) {
	last := "nothing was asked"
	for {
		series, qerr := c.Raw(ctx, "up{cluster="+strconv.Quote(cluster)+"}", since, time.Now())
		up = 0
		for _, s := range series {
			if n := len(s.Samples); n > 0 && s.Samples[n-1].Value == 1 {
				up++
			}
		}
		if qerr == nil && up >= want {
			return up, nil
		}
		if qerr == nil {
			last = fmt.Sprintf("%d of %d series of up are 1, %d are wanted", up, len(series), want)
		} else if ctx.Err() == nil {
			last = qerr.Error()
		}
		select {
		case <-ctx.Done():
			return up, fmt.Errorf("targets of %s: %w: %s", cluster, context.Cause(ctx), last)
		case <-time.After(targetsEvery):
		}
	}
}
