//go:build !embedded_only

package eks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"triad/internal/kube"
	"triad/internal/scenario"
)

// Allow says what a run of s would do and lets it pass when everything holds: the scenario is a canary's, the clusters are what they are
// called, the rights are there, and somebody has confirmed each cluster in which something is written. It writes nothing.
//
// began is when the load of a run began that goes on; zero: the run is new. One that goes on is asked for all of it again: clusters, rights and
// windows are what they are now, and who goes on need not be who began.
func (s *System) Allow(ctx context.Context, sc *scenario.Scenario, began time.Time) error {
	if err := refuse(sc); err != nil {
		return err
	}
	if err := s.contexts.permit(sc, time.Now(), began); err != nil {
		return err
	}
	if err := s.guard(ctx, s.contexts.running(sc, !began.IsZero())); err != nil {
		return err
	}
	if err := s.contexts.permit(sc, time.Now(), began); err != nil { // people take their time to confirm
		return err
	}
	s.allowed, s.began = sc, began
	return nil
}

// guard takes one list of actions through every gate.
func (s *System) guard(ctx context.Context, actions []action) error {
	if err := s.open(); err != nil {
		return err
	}
	who, err := s.identities(ctx)
	if err != nil {
		return err
	}
	s.print(s.out, actions, who)
	if err := s.mayDo(ctx, actions, who); err != nil {
		return err
	}
	if err := s.roles(ctx); err != nil {
		return err
	}
	return s.confirm(actions)
}

// open makes the clients and demands three different API servers. It speaks to none of them.
func (s *System) open() error {
	if len(s.clients) > 0 {
		return nil
	}
	servers := map[string]string{}
	clients := map[string]*kube.Client{}
	for _, role := range scenario.ClusterNames {
		c, err := s.contexts.client(role)
		if err != nil {
			return &RefusedError{fmt.Sprintf("%s: clusters.%s: %v", s.contexts.File, role, err)}
		}
		server := address(c.Server())
		if other := servers[server]; other != "" && !s.contexts.SameServer {
			return &RefusedError{fmt.Sprintf("%s: %s and %s are one API server, %s; three are wanted, unless the file says sameServer: true", s.contexts.File, other, role, server)}
		}
		servers[server], clients[role] = role, c
	}
	s.clients = clients
	return nil
}

// address is an API server's address without what can be written in two ways.
func address(server string) string {
	u, err := url.Parse(server)
	if err != nil || u.Host == "" {
		return strings.ToLower(server)
	}
	if u.Port() == "" {
		u.Host += map[string]string{"https": ":443", "http": ":80"}[u.Scheme]
	}
	return strings.ToLower(u.Host) + strings.TrimRight(u.Path, "/")
}

// each asks all three clusters at once and joins what went wrong, in the order of the roles.
func (s *System) each(fn func(role string, c *kube.Client) error) error {
	errs := make([]error, len(scenario.ClusterNames))
	var wg sync.WaitGroup
	for i, role := range scenario.ClusterNames {
		wg.Go(func() { errs[i] = fn(role, s.clients[role]) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (s *System) identities(ctx context.Context) (map[string]string, error) {
	var mu sync.Mutex
	who := map[string]string{}
	err := s.each(func(role string, c *kube.Client) error {
		user, err := c.Identity(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", role, err)
		}
		mu.Lock()
		defer mu.Unlock()
		who[role] = user
		return nil
	})
	return who, err
}

// mayDo asks every API server for every right, and prints what is missing as the Role that would grant it.
func (s *System) mayDo(ctx context.Context, actions []action, who map[string]string) error {
	var mu sync.Mutex
	lacking := map[string][]kube.Right{}
	err := s.each(func(role string, c *kube.Client) error {
		missing, err := c.Missing(ctx, rightsOf(actions, role))
		mu.Lock()
		defer mu.Unlock()
		if len(missing) > 0 {
			lacking[role] = missing
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(lacking) == 0 {
		return nil
	}
	var text strings.Builder
	for _, role := range scenario.ClusterNames {
		if len(lacking[role]) == 0 {
			continue
		}
		var names []string
		for _, r := range lacking[role] {
			names = append(names, r.String())
		}
		role2, err := kube.RoleFor("triad-canary", who[role], lacking[role])
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "%s: %s may not %s; who administers context %s may grant it:\n%s", role, who[role], strings.Join(names, ", "), s.clients[role].Name(), role2)
	}
	return &RefusedError{"rights are missing\n" + text.String()}
}

// marksOf are the components by which a role is recognised. Node exporters and agents run in all three.
var marksOf = map[string][]string{
	scenario.Datacenter: {"fluent-bit", "fluentd", "inputgen"},
	scenario.Kafka:      {"kafka"},
	scenario.Monitoring: {"elasticsearch", "kafka-connect", "grafana", "kibana", "alertmanager"},
}

// needed are the components without which a role cannot be what it is called.
var needed = map[string][]string{
	scenario.Datacenter: {"fluent-bit", "fluentd", "inputgen"}, scenario.Kafka: {"kafka"}, scenario.Monitoring: {"elasticsearch", "kafka-connect"},
}

// roles looks into the three namespaces and refuses clusters that are not what the file calls them.
func (s *System) roles(ctx context.Context) error {
	return s.each(func(role string, c *kube.Client) error {
		ns := s.contexts.Clusters[role].Namespace
		pods, err := c.List(ctx, "v1", "Pod", ns, componentLabel)
		if err != nil {
			return fmt.Errorf("%s: %w", role, c.Explain(err))
		}
		found := map[string]bool{}
		for i := range pods {
			found[pods[i].GetLabels()[componentLabel]] = true
		}
		return looksLike(role, ns, found)
	})
}

const componentLabel = "triad.dev/component"

// looksLike compares what runs in a namespace with the role that it was given.
func looksLike(role, namespace string, found map[string]bool) error {
	names := slices.Sorted(maps.Keys(found))
	for _, other := range scenario.ClusterNames {
		for _, m := range marksOf[other] {
			if other != role && found[m] {
				return &RefusedError{fmt.Sprintf("what the file calls %s looks like %s: %s runs in its namespace %s (%s); roles are swapped, or the namespace is wrong", role, other, m, namespace, strings.Join(names, ", "))}
			}
		}
	}
	for _, n := range needed[role] {
		if !found[n] {
			said := "nothing of Triad's manifests"
			if len(names) > 0 {
				said = "only " + strings.Join(names, ", ")
			}
			return &RefusedError{fmt.Sprintf("what the file calls %s does not look like it: no pod of %s runs in its namespace %s, %s", role, n, namespace, said)}
		}
	}
	return nil
}

// confirm wants the id of every cluster in which something is written: on the command line, or typed.
func (s *System) confirm(actions []action) error {
	var missing []string
	for _, a := range actions {
		if a.allow != "" && !slices.Contains(s.contexts.Clusters[a.role].Allow, a.allow) {
			missing = append(missing, fmt.Sprintf("clusters.%s does not allow %s: %s", a.role, a.allow, a.what))
		}
	}
	if len(missing) > 0 {
		return &RefusedError{fmt.Sprintf("%s lets a cluster be read only, unless it allows more:\n  %s", s.contexts.File, strings.Join(missing, "\n  "))}
	}
	var ids []string
	for _, role := range writes(actions) {
		ids = append(ids, s.contexts.Clusters[role].ID)
	}
	if len(ids) == 0 && len(s.confirmed) > 0 {
		return &RefusedError{"--yes-production: nothing is written here, so there is nothing to confirm"}
	}
	for _, id := range s.confirmed {
		if !slices.Contains(ids, id) {
			return &RefusedError{fmt.Sprintf("--yes-production %s: %swritten to: %s", id, scenario.DidYouMean(id, ids), strings.Join(ids, ", "))}
		}
	}
	for _, id := range ids {
		if slices.Contains(s.confirmed, id) {
			continue
		}
		if s.ask == nil {
			return &RefusedError{fmt.Sprintf("nothing was written. To let it write, confirm each cluster: --yes-production %s", strings.Join(ids, " --yes-production "))}
		}
		typed, err := s.ask(fmt.Sprintf("type the id of the cluster to let it write there (%s): ", id))
		if err != nil {
			return &RefusedError{fmt.Sprintf("nothing was written: %s was not confirmed: %v", id, err)}
		}
		if strings.TrimSpace(typed) != id {
			return &RefusedError{fmt.Sprintf("nothing was written: %q is not %s", strings.TrimSpace(typed), id)}
		}
	}
	return nil
}
