package check

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// expect compares one wanted line with a result; the message is empty when it holds.
func expect(res *Result, want string) string {
	f := strings.Fields(want)
	text := ""
	if head, tail, ok := strings.Cut(want, " ~ "); ok {
		f, text = strings.Fields(head), tail
	}
	switch f[0] {
	case "verdict":
		if string(res.Verdict) != f[1] {
			return fmt.Sprintf("it is %s: %v", res.Verdict, res.Reasons)
		}
		if text != "" && !strings.Contains(res.Summary, text) {
			return "summary: " + res.Summary
		}
	case "check":
		return expectCheck(res, f, text)
	case "failing": // exactly these checks are fail or invalid
		var bad []string
		for _, c := range res.Checks {
			if c.Verdict == Fail || c.Verdict == Invalid {
				bad = append(bad, c.Name)
			}
		}
		if got := strings.Join(bad, " "); got != strings.Join(f[1:], " ") {
			return "failing are: " + got
		}
	case "hop":
		for _, h := range res.Hops {
			if h.Name == f[1] {
				return pairs(f[2:], map[string]string{
					"lost": num(h.Lost), "min": num(h.LostMin), "max": num(h.LostMax), "in": num(h.In), "out": num(h.Out),
					"dup": num(h.Duplicated), "dead": num(h.DeadLettered), "certainty": h.Certainty,
				})
			}
		}
		return "no such hop"
	case "segment":
		for _, s := range res.Segments {
			if s.Name == f[1] {
				return pairs(f[2:], map[string]string{
					"in": fmt.Sprint(s.In), "out": fmt.Sprint(s.Out), "lost": fmt.Sprint(s.Lost), "dead": fmt.Sprint(s.DeadLettered),
					"unknown": fmt.Sprint(s.Unknown), "ranges": fmt.Sprint(len(s.Ranges)),
				})
			}
		}
		return "no such segment"
	case "range": // range SEGMENT STREAM LO-HI key=value
		for _, s := range res.Segments {
			for _, g := range s.Ranges {
				if s.Name == f[1] && fmt.Sprint(g.Stream) == f[2] && fmt.Sprintf("%d-%d", g.Lo, g.Hi) == f[3] {
					return pairs(f[4:], map[string]string{"hop": g.Hop, "from": g.From.String(), "to": g.To.String(), "samples": strings.Join(g.Samples, ",")})
				}
			}
		}
		return "no such range"
	case "total":
		t := res.Totals
		return pairs(f[1:], map[string]string{
			"lost": fmt.Sprint(t.Lost), "unknown": fmt.Sprint(t.Unknown), "dropped": fmt.Sprint(t.Dropped), "frozen": fmt.Sprint(t.Frozen),
			"acked": fmt.Sprint(t.Acknowledged), "kafka": fmt.Sprint(t.SeenKafka), "seen": fmt.Sprint(t.Seen), "dup": fmt.Sprint(t.BrokerDup), "visible": fmt.Sprint(t.VisibleDup),
			"phantom": fmt.Sprint(t.Phantom), "foreign": fmt.Sprint(t.Foreign), "corrupt": fmt.Sprint(t.Corrupt), "dead": fmt.Sprint(t.DeadLettered),
			"scheduled": fmt.Sprint(t.Scheduled), "misordered": fmt.Sprint(t.Misordered), "rewrite": fmt.Sprint(t.SinkRewrite),
		})
	case "try": // try N VERDICT ~ why
		if res.Capacity == nil {
			return "no search"
		}
		n, err := strconv.Atoi(f[1])
		if err != nil || n < 1 || n > len(res.Capacity.Tries) {
			return fmt.Sprintf("%d tries", len(res.Capacity.Tries))
		}
		if t := res.Capacity.Tries[n-1]; string(t.Verdict) != f[2] || !strings.Contains(t.Why, text) {
			return fmt.Sprintf("%+v", t)
		}
	case "search":
		if res.Capacity == nil {
			return "no search"
		}
		float := func(v *float64) string {
			if v == nil {
				return "null"
			}
			return strconv.FormatFloat(*v, 'g', 6, 64)
		}
		return pairs(f[1:], map[string]string{"passed": float(res.Capacity.Passed), "failed": float(res.Capacity.Failed), "next": float(res.Capacity.Next), "upper": strings.ReplaceAll(res.Capacity.Upper, " ", "_")})
	case "fault": // fault NAME VERDICT ~ detail
		for _, x := range res.Recovery.Faults {
			if x.Fault == f[1] {
				if string(x.Verdict) != f[2] || !strings.Contains(x.Detail, text) {
					return fmt.Sprintf("%+v", x)
				}
				return ""
			}
		}
		return "no such fault"
	case "trend": // trend OF WHAT VERDICT ~ detail
		for _, x := range res.Trends {
			if x.Of == f[1] && strings.ReplaceAll(x.What, " ", "_") == f[2] {
				if string(x.Verdict) != f[3] || !strings.Contains(x.Detail, text) {
					return string(x.Verdict) + ": " + x.Detail
				}
				return ""
			}
		}
		return fmt.Sprintf("no such trend: %+v", res.Trends)
	case "restart": // restart POD FAULT ~ how; - in place of a fault: none explains it
		for _, x := range res.Restarts {
			if x.Pod == f[1] && strings.Contains(x.How(), text) {
				if cmp.Or(x.Fault, "-") != f[2] {
					return fmt.Sprintf("explained by %q", x.Fault)
				}
				return ""
			}
		}
		return fmt.Sprintf("no such restart: %+v", res.Restarts)
	case "recovery":
		return expectRecovery(res, f[1:])
	case "buffer":
		for _, b := range res.Buffers {
			if b.Hop == f[1] && strings.Contains(b.Sentence, text) {
				return ""
			}
		}
		return fmt.Sprintf("%+v", res.Buffers)
	case "skipped":
		if !slices.ContainsFunc(res.Skipped, func(s Skip) bool { return s.What == f[1] && strings.Contains(s.Why, text) }) {
			return fmt.Sprintf("%+v", res.Skipped)
		}
	default:
		return "unknown wish"
	}
	return ""
}

func expectCheck(res *Result, f []string, text string) string {
	var c *Check // spaces in the name of a threshold are written as underscores
	for i := range res.Checks {
		if strings.ReplaceAll(res.Checks[i].Name, " ", "_") == f[1] {
			c = &res.Checks[i]
		}
	}
	if f[2] == "absent" {
		if c != nil {
			return "it is there: " + string(c.Verdict)
		}
		return ""
	}
	if c == nil {
		return "no such check"
	}
	if string(c.Verdict) != f[2] {
		return fmt.Sprintf("it is %s: %s", c.Verdict, c.Detail)
	}
	if text != "" && !strings.Contains(c.Detail, text) {
		return "detail: " + c.Detail
	}
	v := "null"
	if c.Value != nil {
		v = strconv.FormatFloat(*c.Value, 'g', 6, 64)
	}
	return pairs(f[3:], map[string]string{"value": v, "rests": strings.ReplaceAll(strings.Join(c.Rests, ","), " ", "")})
}

// expectRecovery compares times with a slack of 0.3 s.
func expectRecovery(res *Result, wants []string) string {
	r := res.Recovery
	have := map[string]*int64{"noticed": r.Noticed, "first_good": r.FirstGood, "drained": r.Drained, "in_band": r.InBand}
	for _, w := range wants {
		k, v, _ := strings.Cut(w, "=")
		got := have[k]
		if v == "null" {
			if got != nil {
				return fmt.Sprintf("%s is %v", k, time.Duration(*got))
			}
			continue
		}
		d, err := time.ParseDuration(v)
		if err != nil || got == nil {
			return fmt.Sprintf("%s is %v (%v)", k, got, err)
		}
		if diff := time.Duration(*got) - d; diff.Abs() > 300*time.Millisecond {
			return fmt.Sprintf("%s is %v", k, time.Duration(*got))
		}
	}
	return ""
}

func pairs(wants []string, have map[string]string) string {
	for _, w := range wants {
		k, v, _ := strings.Cut(w, "=")
		got, ok := have[k]
		if !ok {
			return "no figure " + k
		}
		if got != v {
			return fmt.Sprintf("%s is %s", k, got)
		}
	}
	return ""
}

func num(n *uint64) string {
	if n == nil {
		return "null"
	}
	return strconv.FormatUint(*n, 10)
}
