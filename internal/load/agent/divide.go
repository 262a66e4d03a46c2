package agent

import (
	"triad/internal/scenario"
)

// Divide gives every stream to one of the agents that of returns for it: the one of its instance, in turn when there are fewer. An agent
// without a stream has no share.
func Divide(whole Plan, streams []scenario.Stream, of func(scenario.Stream) ([]Remote, error)) ([]Share, error) {
	var shares []Share
	at := map[string]int{}
	for _, st := range streams {
		agents, err := of(st)
		if err != nil {
			return nil, err
		}
		a := agents[st.Instance%len(agents)]
		i, ok := at[a.Name]
		if !ok {
			i = len(shares)
			at[a.Name] = i
			plan := whole
			plan.Streams = nil
			shares = append(shares, Share{Remote: a, Plan: plan})
		}
		shares[i].Plan.Streams = append(shares[i].Plan.Streams, st)
	}
	return shares, nil
}
