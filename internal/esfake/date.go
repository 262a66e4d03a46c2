package esfake

import (
	"strconv"
	"strings"
	"time"
)

// parseDate reads a date in Elasticsearch's strict_date_optional_time form and returns unix nanoseconds.
func parseDate(s string) (int64, bool) {
	if len(s) < 10 || len(s) > 40 || s[4] != '-' || s[7] != '-' {
		return 0, false
	}
	for _, layout := range [...]string{
		time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04:05Z0700", "2006-01-02T15:04Z07:00",
		"2006-01-02T15:04", "2006-01-02",
	} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UnixNano(), true
		}
	}
	return 0, false
}

// dateValue reads a date of a document or a query: a date, or a number of milliseconds since 1970.
func dateValue(s string) (int64, bool) {
	if ns, ok := parseDate(s); ok {
		return ns, true
	}
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		return ms * int64(time.Millisecond), true
	}
	return 0, false
}

// dateMath reads a bound of a range query: a date, or now with one offset ("now-15m"). Rounding is not supported.
func dateMath(s string, now time.Time) (int64, bool) {
	rest, ok := strings.CutPrefix(s, "now")
	if !ok {
		return dateValue(s)
	}
	if rest == "" {
		return now.UnixNano(), true
	}
	if len(rest) < 3 {
		return 0, false
	}
	n, err := strconv.ParseInt(rest[:len(rest)-1], 10, 64)
	if err != nil {
		return 0, false
	}
	units := map[byte]time.Duration{
		's': time.Second, 'm': time.Minute, 'h': time.Hour, 'H': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour,
	}
	unit, ok := units[rest[len(rest)-1]]
	if !ok {
		return 0, false
	}
	return now.Add(time.Duration(n) * unit).UnixNano(), true
}

// parseTime reads a time value of Elasticsearch ("1s", "500ms", "-1"); a bare number is milliseconds.
func parseTime(s string) (time.Duration, bool) {
	if s == "-1" {
		return -1, true
	}
	for _, u := range [...]struct {
		suffix string
		unit   time.Duration
	}{
		{"nanos", time.Nanosecond},
		{"micros", time.Microsecond},
		{"ms", time.Millisecond},
		{"s", time.Second},
		{"m", time.Minute},
		{"h", time.Hour},
		{"d", 24 * time.Hour},
		{"", time.Millisecond},
	} {
		if num, ok := strings.CutSuffix(s, u.suffix); ok {
			if n, err := strconv.ParseInt(num, 10, 64); err == nil && n >= 0 {
				return time.Duration(n) * u.unit, true
			}
		}
	}
	return 0, false
}
