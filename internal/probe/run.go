package probe

import "context"

// Run probes the named parts of an environment and returns every result. A part that the environment cannot probe is one result
// with the state Skipped: it is no proof.
func Run(ctx context.Context, env any, parts []string) []Result {
	var out []Result
	dec, ok := env.(Declarer)
	if !ok {
		for _, p := range parts {
			out = append(out, skipped(kindOf[p], p, unavailable(env, p))...)
		}
		return out
	}
	d, err := dec.Declared()
	for _, p := range parts {
		if err != nil {
			out = append(out, Result{Kind: kindOf[p], Name: p, State: Unknown, Detail: err.Error()})
			continue
		}
		switch p {
		case Links:
			if e, ok := env.(LinkProber); ok {
				out = append(out, BetweenClusters(ctx, e, d)...)
				continue
			}
		case ACLs:
			if e, ok := env.(KafkaProber); ok {
				out = append(out, Brokers(ctx, e, d)...)
				continue
			}
		case Policies:
			if e, ok := env.(PolicyProber); ok {
				out = append(out, InsideClusters(ctx, e, d)...)
				continue
			}
		}
		out = append(out, skipped(kindOf[p], p, unavailable(env, p))...)
	}
	return out
}

var kindOf = map[string]string{Links: KindLink, ACLs: KindACL, Policies: KindPolicy}

func unavailable(env any, part string) string {
	if u, ok := env.(Unavailable); ok {
		if why := u.ProbeUnavailable(part); why != "" {
			return why
		}
	}
	return "this runtime cannot probe it"
}
