package report

import (
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"triad/internal/check"
)

func TestFormat(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{count(0), "0"},
		{count(999), "999"},
		{count(1000), "1,000"},
		{count(1234567), "1,234,567"},
		{span(0), "0 s"},
		{span(999600 * time.Nanosecond), "1 ms"},
		{span(850 * time.Microsecond), "850 µs"},
		{span(12340 * time.Microsecond), "12.3 ms"},
		{span(1270 * time.Millisecond), "1.27 s"},
		{span(200 * time.Second), "3 m 20 s"},
		{span(220 * time.Minute), "3 h 40 m"},
		{span(7 * 24 * time.Hour), "7 d 0 h"},
		{span(-time.Second), "-1 s"},
		{interval(1.2e9, new(int64(1.45e9))), "1.2..1.45 s"},
		{interval(9e8, new(int64(1.1e9))), "900 ms..1.1 s"},
		{interval(5e8, nil), "500 ms"},
		{interval(5e8, new(int64(5e8))), "500 ms"},
		{number(0.4567), "0.457"},
		{number(12.345), "12.35"},
		{number(1234.5), "1,235"},
		{number(0.00012), "0.00012"},
		{number(-2500), "-2,500"},
		{size(0), "0 B"},
		{size(1536), "1.5 KiB"},
		{size(64 << 20), "64 MiB"},
		{quantity(0.1, "share of seconds"), "10 %"},
		{quantity(9.13, "s"), "9.13 s"},
		{quantity(12, "records"), "12 records"},
		{lostOf(check.Hop{LostMin: new(uint64(2)), LostMax: new(uint64(1500))}), "2..1,500"},
		{lostOf(check.Hop{}), none},
		{quote("a b"), "'a b'"},
		{quote("it's"), `'it'\''s'`},
		{quote("--seed"), "--seed"},
		{effectWords(0.12), "12 % worse"},
		{effectWords(-0.5), "50 % better"},
		{percentLabel(.5), "50 %"},
		{percentLabel(.999), "99.9 %"},
		{percentLabel(.99999), "99.999 %"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	for _, width := range []int{1, 7, 40} {
		for _, line := range fold("a few words and onethatismuchtoolongforaline ünïcödé", width) {
			if utf8.RuneCountInString(line) > width {
				t.Errorf("fold to %d: %q", width, line)
			}
		}
	}
}

// Merging buckets must keep every extreme, whatever the length.
func TestThinKeepsSpikes(t *testing.T) {
	for _, n := range []int{1, 479, 480, 481, 10000} {
		vals := make([]float64, n)
		for i := range vals {
			vals[i] = 5
		}
		vals[n/2], vals[n-1] = 1000, -3
		pts, step := thin(vals, time.Second)
		if len(pts) > maxPoints || step < time.Second {
			t.Fatalf("%d values: %d points of %v", n, len(pts), step)
		}
		c := &curve{pts: pts, step: step}
		lo, hi, _, at, ok := c.extremes(0, time.Duration(n)*time.Second)
		wantHi := 1000.0
		if n == 1 {
			wantHi = -3
		}
		if !ok || lo != -3 || hi != wantHi || n > 1 && (at > time.Duration(n/2)*time.Second || at+step <= time.Duration(n/2)*time.Second) {
			t.Errorf("%d values: %v to %v at %v", n, lo, hi, at)
		}
	}
}

// luminance is the relative luminance of a colour of the style sheet.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	var c [3]uint8
	if _, err := fmt.Sscanf(hex, "#%02x%02x%02x", &c[0], &c[1], &c[2]); err != nil {
		t.Fatalf("colour %q: %v", hex, err)
	}
	var l float64
	for i, w := range []float64{0.2126, 0.7152, 0.0722} {
		v := float64(c[i]) / 255
		if v <= 0.03928 {
			v /= 12.92
		} else {
			v = pow24((v + 0.055) / 1.055)
		}
		l += w * v
	}
	return l
}

// Text must have a contrast of 4.5 to what is behind it, curves of 3, in light and in dark.
func TestContrast(t *testing.T) {
	blocks := regexp.MustCompile(`(?s):root \{(.*?)\}`).FindAllStringSubmatch(pageCSS, -1)
	if len(blocks) != 3 {
		t.Fatalf("%d sets of colours, want light, dark and print", len(blocks))
	}
	for i := range blocks {
		vars := map[string]string{}
		for j, base := range blocks {
			if j == 0 || j == i {
				for _, m := range regexp.MustCompile(`--([a-z0-9-]+): (#[0-9a-f]{3,6});`).FindAllStringSubmatch(base[1], -1) {
					hex := m[2]
					if len(hex) == 4 {
						hex = "#" + strings.Repeat(hex[1:2], 2) + strings.Repeat(hex[2:3], 2) + strings.Repeat(hex[3:4], 2)
					}
					vars[m[1]] = hex
				}
			}
		}
		need := func(a, b string, least float64) {
			x, y := luminance(t, vars[a]), luminance(t, vars[b])
			if c := (max(x, y) + 0.05) / (min(x, y) + 0.05); c < least {
				t.Errorf("set %d: %s on %s has %.2f, want %.1f", i, a, b, c, least)
			}
		}
		for _, bg := range []string{"bg", "panel", "panel2"} {
			for _, fg := range []string{"fg", "mut", "link", "bad"} {
				need(fg, bg, 4.5)
			}
			for _, s := range []string{"s0", "s1", "s2", "s3"} {
				need(s, bg, 2.9)
			}
		}
		for _, v := range []string{"pass", "fail", "invalid", "inconclusive", "skipped"} {
			need("badge", v, 4.5)
		}
		need("fault-fg", "fault", 4.5)
		need("bad", "badbg", 4.5)
	}
}

func pow24(v float64) float64 { return math.Pow(v, 2.4) }
