package scenario

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration written as 90s, 1h30m, 250ms or 2d.
type Duration time.Duration

// D returns d as a time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

// String prints d as Go does.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes d as Load reads it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a duration; a bare number is refused because its unit would be a guess.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// The most that a file may say of a time, a rate and a size. What is larger is a typing error, and sums of it would overflow.
const (
	maxDuration = 366 * 24 * time.Hour
	maxRate     = 1e9     // a second
	maxBytes    = 1 << 50 // 1 PiB
)

// ParseDuration reads Go durations and whole or decimal days (2d, 1.5d), up to 366 days.
func ParseDuration(s string) (time.Duration, error) {
	const day = float64(24 * time.Hour)
	var v time.Duration
	if days, ok := strings.CutSuffix(s, "d"); ok {
		f, err := strconv.ParseFloat(days, 64)
		if err != nil || math.IsNaN(f) {
			return 0, fmt.Errorf("%q is not a duration; write 90s, 1h30m, 250ms or 2d", s)
		}
		v = time.Duration(min(max(f*day, -day), float64(maxDuration)+day))
	} else {
		var err error
		if v, err = time.ParseDuration(s); err != nil {
			return 0, fmt.Errorf("%q is not a duration; write 90s, 1h30m, 250ms or 2d", s)
		}
	}
	switch {
	case v < 0:
		return 0, fmt.Errorf("%q is negative", s)
	case v > maxDuration:
		return 0, fmt.Errorf("%q is longer than 366d", s)
	}
	return v, nil
}

// Rate is a number of records in a second, written as 500/s, 30/m or 1000/h.
type Rate float64

// String prints r per second.
func (r Rate) String() string { return strconv.FormatFloat(float64(r), 'g', -1, 64) + "/s" }

// MarshalText writes r as Load reads it.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads a rate.
func (r *Rate) UnmarshalText(b []byte) error {
	num, unit, ok := strings.Cut(string(b), "/")
	f, err := strconv.ParseFloat(strings.TrimSpace(num), 64)
	per := map[string]float64{"s": 1, "m": 60, "h": 3600}[unit]
	if !ok || err != nil || per == 0 || !(f >= 0) {
		return fmt.Errorf("%q is not a rate; write 500/s, 30/m or 1000/h", b)
	}
	if f/per > maxRate {
		return fmt.Errorf("%q is above %g/s", b, maxRate)
	}
	*r = Rate(f / per)
	return nil
}

// Share is a part of a whole, written as 10% or 0.1.
type Share float64

// String prints s in per cent.
func (s Share) String() string { return strconv.FormatFloat(float64(s)*100, 'g', 12, 64) + "%" }

// MarshalText writes s as Load reads it.
func (s Share) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a share.
func (s *Share) UnmarshalText(b []byte) error {
	num, per := strings.CutSuffix(string(b), "%")
	f, err := strconv.ParseFloat(strings.TrimSpace(num), 64)
	if err != nil || !(f >= 0) || f > 1e6 {
		return fmt.Errorf("%q is not a share; write 10%% or 0.1", b)
	}
	if per {
		f /= 100
	}
	*s = Share(f)
	return nil
}

// Size is a number of bytes, written as 256B, 1KiB, 10MiB, 1kB.
type Size int64

// String prints s with a binary unit when it is a whole number of it.
func (s Size) String() string {
	for _, u := range []struct {
		n int64
		s string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if int64(s) >= u.n && int64(s)%u.n == 0 {
			return strconv.FormatInt(int64(s)/u.n, 10) + u.s
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// MarshalText writes s as Load reads it.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(b []byte) error {
	v, err := ParseSize(string(b))
	*s = Size(v)
	return err
}

// ParseSize reads a number of bytes with a unit: B, kB, MB, GB (powers of 1000), KiB, MiB, GiB (powers of 1024).
func ParseSize(t string) (int64, error) {
	i := strings.IndexFunc(t, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	units := map[string]float64{"B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
	if i > 0 {
		f, err := strconv.ParseFloat(t[:i], 64)
		if u := units[strings.TrimSpace(t[i:])]; err == nil && u > 0 {
			if f*u > maxBytes {
				return 0, fmt.Errorf("%q is above 1048576GiB", t)
			}
			return int64(f * u), nil
		}
	}
	return 0, fmt.Errorf("%q is not a size; write 256B, 1KiB or 10MiB", t)
}

// Time is a place on the run's one time line: an offset from the start of the load (20s) or from the start of a phase
// (during, during+5s, after-2s).
type Time struct {
	Phase  string
	Offset time.Duration
}

// String prints t as Load reads it.
func (t Time) String() string {
	switch {
	case t.Phase == "":
		return t.Offset.String()
	case t.Offset == 0:
		return t.Phase
	case t.Offset < 0:
		return t.Phase + t.Offset.String()
	}
	return t.Phase + "+" + t.Offset.String()
}

// MarshalText writes t as Load reads it.
func (t Time) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads a place on the time line.
func (t *Time) UnmarshalText(b []byte) error {
	s := string(b)
	if s != "" && s[0] >= '0' && s[0] <= '9' {
		d, err := ParseDuration(s)
		*t = Time{Offset: d}
		return err
	}
	name, rest, sign := s, "", time.Duration(1)
	if i := strings.IndexAny(s, "+"); i >= 0 {
		name, rest = s[:i], s[i+1:]
	} else if i := strings.LastIndex(s, "-"); i >= 0 && i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9' {
		name, rest, sign = s[:i], s[i+1:], -1
	}
	if !validPhase(name) {
		return fmt.Errorf("%q is no time; write 20s (from the start of the load) or during+5s; phases are %s", s, strings.Join(PhaseNames, ", "))
	}
	*t = Time{Phase: name}
	if rest == "" {
		return nil
	}
	d, err := ParseDuration(rest)
	t.Offset = sign * d
	return err
}
