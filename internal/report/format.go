package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"triad/internal/check"
)

// none stands for a figure that cannot be known.
const none = "–"

// count prints n with a comma at each thousand.
func count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func countOr(n *uint64) string {
	if n == nil {
		return none
	}
	return count(*n)
}

// lostOf is the loss of a hop: one figure, or the range that it lies in, or both.
func lostOf(h check.Hop) string {
	switch {
	case h.LostMin == nil || h.LostMax == nil:
		return countOr(h.Lost)
	case h.Lost == nil:
		return count(*h.LostMin) + ".." + count(*h.LostMax)
	}
	return fmt.Sprintf("%s (%s..%s)", count(*h.Lost), count(*h.LostMin), count(*h.LostMax))
}

// lossy reports whether a hop lost, or may have lost, anything.
func lossy(h check.Hop) bool {
	return h.Lost != nil && *h.Lost > 0 || h.Lost == nil && h.LostMax != nil && *h.LostMax > 0
}

// number prints v with about four significant digits and commas.
func number(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return none
	case math.IsInf(v, 0):
		return "unbounded"
	case a >= 1000 && a < 1e15:
		s := count(uint64(math.Round(a)))
		if v < 0 {
			s = "-" + s
		}
		return s
	case a >= 1e15:
		return strconv.FormatFloat(v, 'e', 2, 64)
	case a >= 100:
		return trimZeros(strconv.FormatFloat(v, 'f', 1, 64))
	case a >= 0.01 || a == 0:
		return trimZeros(strconv.FormatFloat(v, 'f', 3-digits(a), 64))
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

func digits(a float64) int {
	if a < 1 {
		return 0
	}
	return int(math.Log10(a))
}

func trimZeros(s string) string {
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// span prints a duration for people: three significant digits and one unit, or two units from a minute on.
func span(d time.Duration) string {
	neg := ""
	if d < 0 {
		neg, d = "-", -d
	}
	switch {
	case d == 0:
		return "0 s"
	case d < 999500*time.Nanosecond:
		return neg + fmt.Sprintf("%.3g µs", float64(d)/1e3)
	case d < 999500*time.Microsecond:
		return neg + fmt.Sprintf("%.3g ms", float64(d)/1e6)
	case d < time.Minute:
		return neg + fmt.Sprintf("%.3g s", d.Seconds())
	case d < time.Hour:
		d = d.Round(time.Second)
		return neg + fmt.Sprintf("%d m %02d s", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		d = d.Round(time.Minute)
		return neg + fmt.Sprintf("%d h %02d m", d/time.Hour, d%time.Hour/time.Minute)
	case d >= math.MaxInt64/2:
		return "unbounded"
	}
	return neg + fmt.Sprintf("%d d %d h", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

func spanOr(ns *int64) string {
	if ns == nil {
		return none
	}
	return span(time.Duration(*ns))
}

// interval prints a latency, or the two ends of it where it is known only so far.
func interval(lower int64, upper *int64) string {
	lo := span(time.Duration(lower))
	if upper == nil || *upper == lower {
		return lo
	}
	hi := span(time.Duration(*upper))
	if lo == hi {
		return lo
	}
	if a, unit, ok := strings.Cut(lo, " "); ok && strings.HasSuffix(hi, " "+unit) && !strings.Contains(unit, " ") {
		return a + ".." + hi
	}
	return lo + ".." + hi
}

// instant prints an offset on the time line of the run.
func instant(d time.Duration) string {
	if d >= time.Hour {
		d = d.Round(time.Second)
		return fmt.Sprintf("%d:%02d:%02d", d/time.Hour, d%time.Hour/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func instantOr(ns *int64) string {
	if ns == nil {
		return none
	}
	return instant(time.Duration(*ns))
}

// size prints bytes in binary units.
func size(v float64) string {
	for i, unit := range []string{"B", "KiB", "MiB", "GiB", "TiB"} {
		if s := v / math.Pow(1024, float64(i)); math.Abs(s) < 1024 || i == 4 {
			if i == 0 {
				return number(math.Round(s)) + " B"
			}
			return trimZeros(fmt.Sprintf("%.1f", s)) + " " + unit
		}
	}
	return number(v)
}

// quantity prints a figure in its unit.
func quantity(v float64, unit string) string {
	switch unit {
	case "s", "seconds":
		if math.IsNaN(v) || math.Abs(v) > 9e9 {
			return number(v)
		}
		return span(time.Duration(math.Round(v * 1e9)))
	case "bytes":
		return size(v)
	case "":
		return number(v)
	case "/s":
		return number(v) + "/s"
	case "ratio":
		return number(100*v) + " %"
	}
	if strings.HasPrefix(unit, "share") {
		return number(100*v) + " %"
	}
	return number(v) + " " + unit
}

func quantityOr(v *float64, unit string) string {
	if v == nil {
		return none
	}
	return quantity(*v, unit)
}

// effectWords prints the effect on a victim, a share of its figure before; positive is worse.
func effectWords(share float64) string {
	switch v := number(math.Round(1000*math.Abs(share)) / 10); {
	case v == "0":
		return "no change"
	case share > 0:
		return v + " % worse"
	default:
		return v + " % better"
	}
}

// metricNames are the words for the latency metrics, in the order in which they are shown.
var metricNames = []struct{ metric, name string }{
	{"e2e_latency", "scheduled to searchable"},
	{"kafka_latency", "scheduled to readable in Kafka"},
	{"target_block", "write blocked by the system"},
	{"send_corrected", "send, from the scheduled time"},
	{"send_uncorrected", "send, from the attempt"},
	{"generator_lag", "generator late"},
	{"query_latency", "search query"},
}

// metricRank is the place of a metric in that order; an unknown one comes last.
func metricRank(m string) int {
	for i, x := range metricNames {
		if x.metric == m {
			return i
		}
	}
	return len(metricNames)
}

func metricName(m string) string {
	if i := metricRank(m); i < len(metricNames) {
		return metricNames[i].name
	}
	return m
}

// segmentNames are the words for the segments.
var segmentNames = map[string]string{"generate": "generator", "ledger-kafka": "written → Kafka", "kafka-search": "Kafka → search store"}

// segmentEnds are the two ends of a segment in a sentence.
var segmentEnds = map[string]string{"generate": "the generators and their files", "ledger-kafka": "the generators and Kafka", "kafka-search": "Kafka and the search store"}

func segmentName(s string) string {
	if n, ok := segmentNames[s]; ok {
		return n
	}
	return s
}
