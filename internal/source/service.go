package source

import "math/bits"

// A JSON line is a head, which has all that belongs to the stream and the record, and a body, which is one of bodyCount: a service
// says the same things again and again. A body depends on seed, number and length alone, so whoever makes many lines keeps
// bodies and writes numbers into heads (see Writer).
const bodyCount = 256

// event is what distinguishes a record of a stream beside its tag.
type event struct{ body, user int }

func newEvent(r rng) event {
	v := r.next()
	user, _ := bits.Mul64(v, 900_000) // of the upper bits; the lower choose the body
	return event{int(v % bodyCount), 100_000 + int(user)}
}

// json writes a line of head and body.
func (g *gen) json(seed uint64, kind Kind) {
	e := newEvent(g.rng)
	g.head(kind, e)
	g.b = appendBody(g.b, seed, kind, e.body, g.room(0))
}

func (g *gen) head(kind Kind, e event) {
	if kind == SystemMetrics {
		g.metricsHead()
	} else {
		g.serviceHead(e)
	}
}

// appendBody appends the body of a number that closes a line in size bytes.
func appendBody(dst []byte, seed uint64, kind Kind, n, size int) []byte {
	g := gen{b: dst, start: len(dst), size: size, rng: newRNG(seed, uint32(n), bodySeq)}
	if kind == SystemMetrics {
		g.metricsBody()
	} else {
		g.serviceBody()
	}
	return g.b
}

// Sizes from which the head has the fields of a service that writes more: what the body needs then has room left.
const (
	deploymentFrom = 420
	hostFrom       = 470
)

func (g *gen) serviceHead(e event) {
	node := g.node
	g.str(`{"ts":"`)
	g.ts = len(g.b)
	g.rfc3339(3)
	g.str(`","service":"`)
	g.str(node.pick(services))
	if g.size >= deploymentFrom {
		g.str(`","region":"`)
		g.str(node.pick(regions))
		g.str(`","version":"`)
		g.str(node.pick(versions))
	}
	if g.size >= hostFrom {
		g.str(`","host":"`)
		g.host()
	}
	g.str(`","user_id":"u`)
	g.user = len(g.b)
	g.num(e.user)
	g.str(`","trace_id":"`)
	g.id()
	g.str(`","span_id":"`)
	g.due()
	g.str(`",`)
}

// serviceBody writes an event of one service instance. Level, status and message agree with each other: 88 % info, 1 %
// debug, 8 % warn, 3 % error. Fields a service would only write when it has room to spare come with larger sizes.
func (g *gen) serviceBody() {
	level, status, text := "info", "", ""
	switch n := g.rng.below(100); {
	case n < 3:
		level, status, text = "error", g.rng.pick(errorStatus), g.rng.pick(failures)
	case n < 11:
		level, status, text = "warn", g.rng.pick(warnStatus), g.rng.pick(warnings)
	case n < 12:
		level, status, text = "debug", g.rng.pick(okStatus), g.rng.pick(messages)
	default:
		status, text = g.rng.pick(okStatus), g.rng.pick(messages)
	}
	g.str(`"level":"`)
	g.str(level)
	g.str(`","method":"`)
	g.str(g.rng.pick(methods))
	g.str(`","route":"`)
	g.str(g.rng.pick(routes))
	g.str(`","status":`)
	g.str(status)
	g.str(`,"latency_ms":`)
	g.fixed(g.rng.tail(180), 2) // hundredths: from 1.8 ms, median 3 ms, rarely seconds
	// 60 bytes are kept for msg; each field is written only if its longest form fits.
	if g.room(60) >= 26 {
		g.str(`,"bytes":`)
		g.num(g.rng.tail(200))
	}
	if g.room(60) >= 30 {
		g.str(`,"client_ip":"`)
		g.ip(&g.rng)
		g.byte('"')
	}
	if g.room(60) >= 70 {
		g.str(`,"user_agent":"`)
		g.str(g.rng.pick(agents))
		g.byte('"')
	}
	g.str(`,"msg":"`)
	g.str(text)
	g.pad(g.room(2), serviceWords)
	g.str(`"}`)
}

// metricsHead and metricsBody write one record of a node's metrics: as many samples as fit, then the collectors they came from.
func (g *gen) metricsHead() {
	g.str(`{"ts":"`)
	g.ts = len(g.b)
	g.rfc3339(3)
	g.str(`","host":"`)
	g.host()
	g.str(`","job":"node","scrape_id":"`)
	g.id()
	g.str(`","batch_id":"`)
	g.due()
	g.str(`",`)
}

func (g *gen) metricsBody() {
	g.str(`"samples":[`)
	// A sample is at most 92 bytes long and the tail of the line, with one collector, 34.
	for first := true; first || g.room(34) >= 92; first = false {
		if !first {
			g.byte(',')
		}
		g.str(`{"name":"`)
		g.str(g.rng.pick(metricNames))
		g.str(`","instance":"`)
		g.str(g.rng.pick(devices))
		g.str(`","value":`)
		g.fixed(g.rng.tail(1<<20), 3)
		g.byte('}')
	}
	g.str(`],"collectors":"`)
	g.str(g.rng.pick(collectors))
	g.pad(g.room(2), collectorWords)
	g.str(`"}`)
}

// isJSON says whether lines of a kind are of head and body.
func isJSON(kind Kind) bool { return kind == Service || kind == SystemMetrics }

// userLen is the length of the number of a user.
const userLen = 6

// putUser writes the number of a user, in its place.
func putUser(dst []byte, n int) {
	_ = dst[userLen-1]
	for i := userLen - 1; i >= 0; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
}
