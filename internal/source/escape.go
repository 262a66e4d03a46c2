package source

import (
	"encoding/binary"
	"math/bits"
)

// AppendEscaped appends what stands between the quotes when s, which is UTF-8, travels as a string of a JSON document. It goes through
// eight bytes at a time, because a line has few that need escaping.
func AppendEscaped(dst, s []byte) []byte {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for len(s) >= 8 {
		w := binary.LittleEndian.Uint64(s)
		quote, slash := w^'"'*ones, w^'\\'*ones
		// The top bit of each byte that is less than 0x20, a quote or a backslash; a borrow can set it in bytes behind such a
		// one as well, so only the first counts.
		special := ((w-0x20*ones)&^w | (quote-ones)&^quote | (slash-ones)&^slash) & tops
		dst = binary.LittleEndian.AppendUint64(dst, w)
		if special == 0 {
			s = s[8:]
			continue
		}
		n := bits.TrailingZeros64(special) / 8
		dst = appendEscaped(dst[:len(dst)-8+n], s[n])
		s = s[n+1:]
	}
	for _, c := range s {
		dst = appendEscaped(dst, c)
	}
	return dst
}

func appendEscaped(dst []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch {
	case c == '"' || c == '\\':
		return append(dst, '\\', c)
	case c < 0x20:
		return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
	}
	return append(dst, c)
}
