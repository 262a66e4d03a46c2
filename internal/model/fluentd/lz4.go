package fluentd

import (
	"bytes"
	"sync"

	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kgo"
)

// smallBlocks compresses as librdkafka does, in blocks of 64 KiB (rd_kafka_lz4_compress leaves blockSizeID at its default). franz-go's own writer
// makes blocks of 4 MiB, and whoever reads a batch needs a buffer of that size for it, however small the batch is.
type smallBlocks struct{ writers sync.Pool }

func newSmallBlocks() *smallBlocks {
	return &smallBlocks{sync.Pool{New: func() any {
		w := lz4.NewWriter(nil)
		_ = w.Apply(lz4.BlockSizeOption(lz4.Block64Kb)) // a size that there is
		return w
	}}}
}

// Compress writes src to dst as one lz4 frame.
func (s *smallBlocks) Compress(dst *bytes.Buffer, src []byte, _ ...kgo.CompressFlag) ([]byte, kgo.CompressionCodecType) {
	w := s.writers.Get().(*lz4.Writer)
	defer s.writers.Put(w)
	w.Reset(dst)
	if _, err := w.Write(src); err != nil {
		return nil, kgo.CodecError
	}
	if err := w.Close(); err != nil {
		return nil, kgo.CodecError
	}
	return dst.Bytes(), kgo.CodecLz4
}
