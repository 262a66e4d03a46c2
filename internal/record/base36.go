package record

const digits = "0123456789abcdefghijklmnopqrstuvwxyz"

// appendBase36 appends v without padding, as strconv.AppendUint does; it is here because two digits per division make
// it twice as fast and every line has four of them.
func appendBase36(dst []byte, v uint64) []byte {
	var buf [13]byte
	i := len(buf)
	for v >= 36*36 {
		q := v / (36 * 36)
		r := v - q*(36*36)
		i -= 2
		buf[i], buf[i+1] = digits[r/36], digits[r%36]
		v = q
	}
	if v >= 36 {
		i--
		buf[i] = digits[v%36]
		v /= 36
	}
	i--
	buf[i] = digits[v]
	return append(dst, buf[i:]...)
}

// pairs are all numbers of two digits: a table of 2.6 KB halves the divisions, of which every line has a dozen.
var pairs = func() (t [36 * 36][2]byte) {
	for i := range t {
		t[i] = [2]byte{digits[i/36], digits[i%36]}
	}
	return t
}()

// PutNumber fills dst with the last len(dst) digits of v, with leading zeros: a number of a token is written again in its place as
// long as it has as many digits (see Digits).
func PutNumber(dst []byte, v uint64) {
	for len(dst) >= 6 {
		end := len(dst) - 6
		put6((*[6]byte)(dst[end:]), uint32(v%(36*36*36*36*36*36)))
		dst, v = dst[:end], v/(36*36*36*36*36*36)
	}
	for n := uint32(v); len(dst) > 0; n /= 36 {
		dst[len(dst)-1] = digits[n%36]
		dst = dst[:len(dst)-1]
	}
}

// put6 writes six digits: they fit 32 bits, and none waits for another.
func put6(dst *[6]byte, v uint32) {
	a, b, c := v/(36*36*36*36), v/(36*36), v
	*(*[2]byte)(dst[0:2]) = pairs[a%(36*36)]
	*(*[2]byte)(dst[2:4]) = pairs[b%(36*36)]
	*(*[2]byte)(dst[4:6]) = pairs[c%(36*36)]
}

// Digits is the number of base36 digits of v.
func Digits(v uint64) int {
	n := 1
	for ; v >= 36; v /= 36 {
		n++
	}
	return n
}

// parseBase36 reads digits from offset i up to the first byte that is none, and returns that offset. It refuses an
// empty number, a leading zero (there is one way only to write a number) and more than 64 bits.
func parseBase36(line []byte, i int) (v uint64, end int, ok bool) {
	start := i
	ok = true
	for i < len(line) && isDigit36(line[i]) {
		d := uint64(value(line[i]))
		if v > (1<<64-1-d)/36 {
			ok = false
		}
		v = v*36 + d
		i++
	}
	if i == start || line[start] == '0' && i > start+1 {
		ok = false
	}
	return v, i, ok
}

func isDigit36(c byte) bool { return c-'0' <= 9 || c-'a' <= 'z'-'a' }

// isWord says whether c would join with a token: analyzers split words at everything else. Upper case counts, so that
// a flipped case bit at an edge cannot make a shorter token look whole.
func isWord(c byte) bool { return isDigit36(c) || c == '_' || c-'A' <= 'Z'-'A' }

// value returns the value of a base36 digit; c must be one.
func value(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c - 'a' + 10
}
