package connect

import (
	"context"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// flush is what preCommit does: buffered records are sent, and with flush.synchronously waited for.
func (t *task) flush(ctx context.Context) error {
	if err := t.eh.wait(ctx); err != nil {
		return err
	}
	if !t.c.Sink.FlushSynchronously {
		return t.bulk.flush(ctx)
	}
	if err := t.bulk.flush(ctx); err != nil {
		return err
	}
	if err := t.bulk.drain(ctx, t.c.Sink.FlushTimeout); err != nil {
		return err
	}
	if t.bulk.failure() == nil {
		t.offsets.reach()
	}
	return nil
}

// commitAsync starts a commit of everything safe unless one is under way.
func (t *task) commitAsync(now time.Time) {
	t.commitMu.Lock()
	busy := !t.committing.IsZero()
	if !busy {
		t.committing = now
		t.commitSeq++
		t.m.seq.Store(t.commitSeq)
	}
	seq := t.commitSeq
	t.commitMu.Unlock()
	if busy {
		return
	}
	if err := t.flush(t.ctx); err != nil {
		t.committed(seq, now, nil, err)
		return
	}
	offs := t.offsets.committable(nil)
	if len(offs) == 0 {
		t.committed(seq, now, nil, nil)
		return
	}
	t.cl.CommitOffsets(t.ctx, offs, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, res *kmsg.OffsetCommitResponse, err error) {
		t.committed(seq, now, offs, commitError(res, err))
	})
}

// commitSync commits what is safe of the given partitions (nil: all) and waits for the answer.
func (t *task) commitSync(parts map[string][]int32) {
	ctx, cancel := context.WithTimeout(t.ctx, t.w.cfg.Worker.OffsetFlushTimeout)
	defer cancel()
	start := time.Now()
	t.commitMu.Lock()
	t.commitSeq++
	seq := t.commitSeq
	t.m.seq.Store(seq)
	t.commitMu.Unlock()
	if err := t.flush(ctx); err != nil {
		t.log.Debug("flush before commit", slog.Any("error", err))
	}
	offs := t.offsets.committable(parts)
	if len(offs) == 0 {
		t.committed(seq, start, nil, nil)
		return
	}
	t.cl.CommitOffsetsSync(ctx, offs, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, res *kmsg.OffsetCommitResponse, err error) {
		t.committed(seq, start, offs, commitError(res, err))
	})
}

func commitError(res *kmsg.OffsetCommitResponse, err error) error {
	if err != nil || res == nil {
		return err
	}
	for _, topic := range res.Topics {
		for _, p := range topic.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}

// committed ends a commit.
func (t *task) committed(seq int64, start time.Time, offs map[string]map[int32]kgo.EpochOffset, err error) {
	t.commitMu.Lock()
	defer t.commitMu.Unlock()
	if err == nil {
		t.offsets.didCommit(offs)
	}
	if seq != t.commitSeq {
		t.m.commitSkips.Add(1) // an answer out of order
		return
	}
	t.committing = time.Time{}
	if err != nil {
		t.m.commitFailed.Add(1)
		t.log.Warn("offset commit failed", slog.String("connector", t.c.Name), slog.Int("task", t.id), slog.Any("error", err))
		return
	}
	t.m.commits.Add(1)
	t.m.commit.add(time.Since(start))
}

// expireCommit gives up on a commit that takes too long.
func (t *task) expireCommit(now time.Time) {
	t.commitMu.Lock()
	defer t.commitMu.Unlock()
	if !t.committing.IsZero() && now.Sub(t.committing) >= t.w.cfg.Worker.OffsetFlushTimeout {
		t.committing = time.Time{}
		t.m.commitFailed.Add(1)
	}
}
