package source

// service writes an event of one service instance. Level, status and message agree with each other: 88 % info, 1 %
// debug, 8 % warn, 3 % error. Fields a service would only write when it has room to spare come with larger sizes.
func (g *gen) service() {
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
	node := g.node
	g.str(`{"ts":"`)
	g.rfc3339(3)
	g.str(`","level":"`)
	g.str(level)
	g.str(`","service":"`)
	g.str(node.pick(services))
	g.str(`","trace_id":"`)
	g.id()
	g.str(`","span_id":"`)
	g.due()
	g.str(`","method":"`)
	g.str(g.rng.pick(methods))
	g.str(`","route":"`)
	g.str(g.rng.pick(routes))
	g.str(`","status":`)
	g.str(status)
	g.str(`,"latency_ms":`)
	g.fixed(g.rng.tail(180), 2) // hundredths: from 1.8 ms, median 3 ms, rarely seconds
	g.str(`,"user_id":"u`)
	g.num(100000 + g.rng.below(900000))
	g.byte('"')
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
	if g.room(60) >= 50 {
		g.str(`,"region":"`)
		g.str(node.pick(regions))
		g.str(`","version":"`)
		g.str(node.pick(versions))
		g.byte('"')
	}
	if g.room(60) >= 36 {
		g.str(`,"host":"`)
		g.host()
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

// metrics writes one record of a node's metrics: as many samples as fit, then the collectors they came from.
func (g *gen) metrics() {
	g.str(`{"ts":"`)
	g.rfc3339(3)
	g.str(`","host":"`)
	g.host()
	g.str(`","job":"node","scrape_id":"`)
	g.id()
	g.str(`","batch_id":"`)
	g.due()
	g.str(`","samples":[`)
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
