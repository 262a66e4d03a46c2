package record

import "hash/crc32"

// Sum is the checksum of bytes that are part of a line.
func Sum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// SumOn is the checksum of bytes behind others that have the checksum given.
func SumOn(sum uint32, b []byte) uint32 { return crc32.Update(sum, castagnoli, b) }

// Joiner computes the checksum of two pieces one after the other from the checksums of both, for second pieces of one length. The
// checksum is linear: appending n bytes turns that of what stands before into a fixed linear function of it (of its 32 bits), here
// tabulated by byte, and the bytes themselves add theirs. So what lines have in common is not summed again for each.
type Joiner [4][256]uint32

// NewJoiner returns the joiner for second pieces of n bytes.
func NewJoiner(n int) *Joiner {
	zeros := make([]byte, n)
	none := crc32.Update(0, castagnoli, zeros)
	j := &Joiner{}
	for k := range j {
		for bit := range 8 {
			j[k][1<<bit] = crc32.Update(1<<(8*k+bit), castagnoli, zeros) ^ none
		}
		for v := range j[k] {
			if low := v & -v; low != v {
				j[k][v] = j[k][low] ^ j[k][v^low]
			}
		}
	}
	return j
}

// Join returns the checksum of the two pieces together.
func (j *Joiner) Join(first, second uint32) uint32 {
	return j[0][first&255] ^ j[1][first>>8&255] ^ j[2][first>>16&255] ^ j[3][first>>24] ^ second
}
