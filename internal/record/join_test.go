package record

import (
	"bytes"
	"hash/crc32"
	"math/rand/v2"
	"strconv"
	"testing"
)

func TestJoinAgainstTheWhole(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{0, 1, 7, 8, 120, 1000, 17000} {
		j := NewJoiner(n)
		for range 200 {
			line := make([]byte, n+r.IntN(300))
			for i := range line {
				line[i] = byte(r.Uint32())
			}
			cut := len(line) - n
			if got, want := j.Join(Sum(line[:cut]), Sum(line[cut:])), crc32.Checksum(line, castagnoli); got != want {
				t.Fatalf("%d bytes behind %d: %08x, want %08x", n, cut, got, want)
			}
		}
	}
}

func TestNumbersInTheirPlace(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for i := range 20000 {
		v := r.Uint64() >> r.IntN(64)
		if i == 0 {
			v = 0
		}
		want := strconv.FormatUint(v, 36)
		if Digits(v) != len(want) {
			t.Fatalf("%d has %d digits, want %d", v, Digits(v), len(want))
		}
		dst := bytes.Repeat([]byte("-"), len(want)+i%3)
		PutNumber(dst, v)
		if got := string(dst); got != "00"[:i%3]+want {
			t.Fatalf("%d is %s, want %s", v, got, want)
		}
		sum := uint32(v)
		var crc [CRCLen]byte
		PutSum(crc[:], sum)
		if got, err := strconv.ParseUint(string(crc[:]), 36, 32); err != nil || uint32(got) != sum {
			t.Fatalf("checksum %d is %s", sum, crc)
		}
	}
}

func BenchmarkPutNumber(b *testing.B) {
	var dst [12]byte
	for i := uint64(1764256493123456789); b.Loop(); i += 12345 {
		PutNumber(dst[:], i)
	}
}

func BenchmarkSum(b *testing.B) {
	line := bytes.Repeat([]byte("0123456789"), 15)
	for b.Loop() {
		Sum(line)
	}
}

func BenchmarkSumAligned(b *testing.B) {
	line := bytes.Repeat([]byte("0123456789"), 15)
	for b.Loop() {
		Sum(line[:88])
	}
}
