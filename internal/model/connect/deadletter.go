package connect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// errorHandler is the framework's error handling for one task: counters, log and dead-letter topic.
type errorHandler struct {
	cfg       Errors
	connector string
	task      int
	log       *slog.Logger
	m         *taskMetrics
	cl        *kgo.Client // nil without a dead-letter topic

	mu      sync.Mutex
	waiting int
	failed  error
	changed chan struct{}
}

// errTolerance is how the framework ends a task whose errors are not tolerated.
var errTolerance = errors.New("org.apache.kafka.connect.errors.ConnectException: Tolerance exceeded in error handler")

// newErrorHandler makes the dead-letter topic when it is missing, as Connect does when a task starts.
func newErrorHandler(ctx context.Context, c Connector, task int, opts []kgo.Opt, log *slog.Logger, m *taskMetrics) (*errorHandler, error) {
	h := &errorHandler{cfg: c.Errors, connector: c.Name, task: task, log: log, m: m, changed: make(chan struct{})}
	if c.Errors.DeadLetterTopic == "" {
		return h, nil
	}
	own := append(append([]kgo.Opt{}, opts...), kgo.ClientID(fmt.Sprintf("connector-dlq-producer-%s-%d", c.Name, task)),
		kgo.WithContext(ctx), kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1)) // Connect's own producer defaults
	cl, err := kgo.NewClient(own...)
	if err != nil {
		return nil, fmt.Errorf("dead-letter producer: %w", err)
	}
	h.cl = cl
	if err := h.ensureTopic(ctx); err != nil {
		cl.Close()
		return nil, err
	}
	return h, nil
}

func (h *errorHandler) ensureTopic(ctx context.Context) error {
	adm := kadm.NewClient(h.cl)
	for {
		topics, err := adm.ListTopics(ctx, h.cfg.DeadLetterTopic)
		if err == nil && topics.Has(h.cfg.DeadLetterTopic) {
			return nil
		}
		if err == nil {
			var res kadm.CreateTopicResponse
			res, err = adm.CreateTopic(ctx, 1, h.cfg.Replication, nil, h.cfg.DeadLetterTopic)
			if err == nil || errors.Is(res.Err, kerr.TopicAlreadyExists) {
				return nil
			}
			if ke := (*kerr.Error)(nil); errors.As(err, &ke) && !ke.Retriable {
				return fmt.Errorf("org.apache.kafka.connect.errors.ConnectException: Could not initialize dead letter queue with topic=%s: %w", h.cfg.DeadLetterTopic, err)
			}
		}
		t := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		case <-t.C:
		}
	}
}

func (h *errorHandler) close() {
	if h.cl != nil {
		h.cl.Close()
	}
}

// record counts and reports one record that could not be handled. It returns an error when errors are not tolerated.
func (h *errorHandler) record(r *kgo.Record, stage string, skipped bool, cause error) error {
	h.m.failures.Add(1)
	h.m.lastError.Store(time.Now().UnixMilli())
	h.send(r, stage, cause)
	if h.cfg.Log {
		h.m.logged.Add(1)
		h.log.Error("error encountered in task", slog.String("connector", h.connector), slog.Int("task", h.task), slog.String("stage", stage),
			slog.String("topic", r.Topic), slog.Int("partition", int(r.Partition)), slog.Int64("offset", r.Offset), slog.Any("error", cause))
	}
	if !h.cfg.TolerateAll {
		h.m.errors.Add(1)
		return fmt.Errorf("%w\nCaused by: %w", errTolerance, cause)
	}
	if skipped {
		h.m.errors.Add(1)
		h.m.skipped.Add(1)
	}
	return nil
}

// send produces the record to the dead-letter topic without waiting.
func (h *errorHandler) send(r *kgo.Record, stage string, cause error) {
	if h.cl == nil {
		return
	}
	out := &kgo.Record{Topic: h.cfg.DeadLetterTopic, Key: r.Key, Value: r.Value, Headers: append([]kgo.RecordHeader{}, r.Headers...), Timestamp: r.Timestamp}
	if h.cfg.Headers {
		for _, kv := range [][2]string{
			{"topic", r.Topic},
			{"partition", strconv.Itoa(int(r.Partition))},
			{"offset", strconv.FormatInt(r.Offset, 10)},
			{"connector.name", h.connector},
			{"task.id", strconv.Itoa(h.task)},
			{"stage", stage},
			{"class.name", SinkClass},
			{"exception.class.name", "java.lang.RuntimeException"},
			{"exception.message", cause.Error()},
			{"exception.stacktrace", cause.Error()},
		} {
			out.Headers = append(out.Headers, kgo.RecordHeader{Key: "__connect.errors." + kv[0], Value: []byte(kv[1])})
		}
	}
	h.m.dlqRequests.Add(1)
	h.mu.Lock()
	h.waiting++
	h.mu.Unlock()
	h.cl.Produce(context.Background(), out, func(_ *kgo.Record, err error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.waiting--
		if err != nil {
			h.m.dlqFailures.Add(1)
			if h.failed == nil {
				h.failed = fmt.Errorf("org.apache.kafka.connect.errors.ConnectException: could not write to the dead letter queue: %w", err)
			}
		}
		close(h.changed)
		h.changed = make(chan struct{})
	})
}

// wait returns when every dead letter so far is written; the framework does so before each commit.
func (h *errorHandler) wait(ctx context.Context) error {
	for {
		h.mu.Lock()
		left, err, changed := h.waiting, h.failed, h.changed
		h.mu.Unlock()
		if left == 0 || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
