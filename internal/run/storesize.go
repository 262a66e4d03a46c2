package run

import (
	"context"
	"time"

	"triad/internal/evidence"
	"triad/internal/observe/elastic"
)

// storeSizeEvery is how often the store is asked what it keeps on its disk. Segments are merged within seconds, a disk that leaks leaks for hours.
const (
	storeSizeEvery = 10 * time.Second
	storeSizeTime  = 5 * time.Second
)

// storeSizes writes how much the store keeps of each topic, from before the load until after it. One that
// does not say at the beginning is noted; later it may be what a fault struck.
func (r *runner) storeSizes(ctx context.Context, c *elastic.Client) {
	first := true
	err := readEvery(ctx, storeSizeEvery, func() error {
		at := r.w.Now()
		ask, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeSizeTime)
		sizes, err := c.Sizes(ask, r.topics())
		cancel()
		if err != nil && first {
			r.note(evidence.EventNote, "size of the store", err.Error())
		}
		first = false
		var samples []evidence.Sample
		for topic, s := range sizes {
			labels := evidence.Labels{"topic": topic}
			samples = append(samples,
				evidence.Sample{Name: evidence.StoreBytesSeries, Labels: labels, Value: float64(s.Bytes)},
				evidence.Sample{Name: evidence.StoreDocumentsSeries, Labels: labels, Value: float64(s.Documents)})
		}
		if len(samples) == 0 {
			return nil
		}
		return r.w.Series.Add(at, samples...)
	})
	if err != nil {
		r.Logger.Debug("size of the store", "error", err)
	}
}
