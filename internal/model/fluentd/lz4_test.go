package fluentd

import (
	"bytes"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A frame says in its descriptor how large a buffer its reader needs, and any decoder reads it.
func TestSmallBlocks(t *testing.T) {
	c := newSmallBlocks()
	for _, n := range []int{0, 1, 5000, 300_000} {
		src := []byte(strings.Repeat("a line of a log ", n/16+1)[:n])
		for range 2 { // a writer that was used before
			out, codec := c.Compress(&bytes.Buffer{}, src)
			if codec != kgo.CodecLz4 || len(out) < 6 || out[5]>>4 != 4 { // frame format: byte BD, bits 6 to 4: 4 is 64 KiB
				t.Fatalf("%d bytes: codec %v, frame % x", n, codec, out[:min(len(out), 7)])
			}
			back, err := kgo.DefaultDecompressor().Decompress(out, codec)
			if err != nil || !bytes.Equal(back, src) {
				t.Errorf("%d bytes: %d came back, %v", n, len(back), err)
			}
		}
	}
}
