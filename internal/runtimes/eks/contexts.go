//go:build !embedded_only

package eks

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"triad/internal/kube"
	"triad/internal/scenario"
)

// What a cluster may be allowed beside being read, and beside the faults of its role.
const (
	allowCanary = "canary" // datacenter: the canary's generator is told to write, and the run is marked by a Lease
	allowPurge  = "purge"  // monitoring: the documents of the run are taken out of the store again
	allowJobs   = "jobs"   // each: a Job is made for a run with shards, of generators in datacenter, of observers in kafka, of readers in monitoring
)

// allowable are the actions that a role knows.
var allowable = map[string][]string{
	scenario.Datacenter: append([]string{allowCanary, allowJobs}, strikesOf(scenario.Datacenter)...), scenario.Kafka: append([]string{allowJobs}, strikesOf(scenario.Kafka)...),
	scenario.Monitoring: append([]string{allowPurge, allowJobs}, strikesOf(scenario.Monitoring)...),
}

// canaryUser is the one principal that this runtime logs in to Kafka with.
const canaryUser = "canary"

// Contexts is the file that names the clusters. Nothing is taken from anywhere else: not KUBECONFIG, not the current context.
type Contexts struct {
	APIVersion string            `yaml:"apiVersion" doc:"triad/v1"`
	SameServer bool              `yaml:"sameServer" doc:"the three roles may be in one API server"`
	Clusters   map[string]Target `yaml:"clusters" doc:"by role: datacenter, kafka, monitoring"`
	Faults     *Limits           `yaml:"faults" doc:"what bounds faults; without it none is injected"`
	File       string            `yaml:"-"`
	own        string            // the role whose cluster the program runs in, as its pod's service account; empty: none
}

// Target is one cluster and what may be done there.
type Target struct {
	ID         string   `yaml:"id" doc:"a name that people type to confirm that something is written there"`
	Kubeconfig string   `yaml:"kubeconfig" doc:"file; a relative one lies beside this file"`
	Context    string   `yaml:"context" doc:"context in it. With --in-cluster, the one cluster that has neither is that of the pod"`
	Address    string   `yaml:"address" doc:"kafka, monitoring: host:port at which brokers or store are reached, as an internal load balancer; default a port-forward"`
	Namespace  string   `yaml:"namespace" doc:"namespace; default the role"`
	Allow      []string `yaml:"allow" doc:"beside reading: canary (datacenter), purge (monitoring), jobs, and faults by their kind"`
	Login      *Login   `yaml:"login" doc:"kafka: the principal canary; monitoring: the store's user, where the store has users"`
}

// Login is a user with the files that hold what proves it. The harness reads no Secret of a cluster.
type Login struct {
	User         string `yaml:"user"`
	PasswordFile string `yaml:"passwordFile"`
	CAFile       string `yaml:"caFile" doc:"authority of the server's certificate"`
}

// idRE is what can be typed and put behind a flag without quotes.
var idRE = regexp.MustCompile(`^[a-z0-9][a-z0-9._/-]*$`)

// LoadContexts reads a contexts file. inCluster: the program runs in a pod of one of the clusters, which is the one that has no kubeconfig.
// The error joins every fault found, each with its place.
func LoadContexts(file string, inCluster bool) (*Contexts, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("contexts file: %w", err)
	}
	c := &Contexts{File: file}
	at, err := scenario.DecodeStrict(file, data, c)
	if err != nil {
		return nil, err
	}
	v := &contextsFile{file: file, at: at}
	if inCluster {
		v.inCluster(c)
	}
	v.contexts(c)
	return c, errors.Join(v.errs...)
}

// client opens the API server of a role. Nothing is asked yet.
func (c *Contexts) client(role string) (*kube.Client, error) {
	if role == c.own {
		return kube.OpenInCluster()
	}
	t := c.Clusters[role]
	return kube.Open(t.Kubeconfig, t.Context)
}

// contextsFile gathers what is wrong in a contexts file.
type contextsFile struct {
	file string
	at   map[string]scenario.Position
	errs []error
}

func (v *contextsFile) fail(path, format string, args ...any) {
	p, ok := v.at[path]
	for at := path; !ok; p, ok = v.at[at] {
		i := strings.LastIndexAny(at, ".[")
		if i < 0 {
			p = v.at[""]
			break
		}
		at = at[:i]
	}
	v.errs = append(v.errs, &scenario.Error{File: v.file, At: p, Path: path, Msg: fmt.Sprintf(format, args...)})
}

// oneOf says what is allowed in place of an unknown name, and the nearest spelling.
func (v *contextsFile) oneOf(path, what, got string, allowed []string) {
	if slices.Contains(allowed, got) {
		return
	}
	said := strings.Join(allowed, ", ")
	if said == "" {
		said = "nothing"
	}
	v.fail(path, "unknown %s %q; %sallowed: %s", what, got, scenario.DidYouMean(got, allowed), said)
}

func (v *contextsFile) contexts(c *Contexts) {
	if c.APIVersion != scenario.APIVersion {
		v.fail("apiVersion", "want %s, not %q", scenario.APIVersion, c.APIVersion)
	}
	for role := range c.Clusters {
		v.oneOf("clusters."+role, "role", role, scenario.ClusterNames)
	}
	if c.Faults != nil {
		v.limits(c.Faults)
	}
	ids := map[string]string{}
	for _, role := range scenario.ClusterNames {
		t, ok := c.Clusters[role]
		if !ok {
			v.fail("clusters", "no %s: all three roles are needed", role)
			continue
		}
		v.target(role, &t, role == c.own)
		if other := ids[t.ID]; other != "" && t.ID != "" {
			v.fail("clusters."+role+".id", "%q is the id of %s too; typing it would confirm both", t.ID, other)
		}
		ids[t.ID] = role
		c.Clusters[role] = t
	}
}

// inCluster finds the cluster of the pod.
func (v *contextsFile) inCluster(c *Contexts) {
	for _, role := range scenario.ClusterNames {
		if t, ok := c.Clusters[role]; !ok || t.Kubeconfig != "" || t.Context != "" {
			continue
		}
		if c.own != "" {
			v.fail("clusters."+role, "neither %s nor %s has a kubeconfig; --in-cluster: one of them is the pod's", c.own, role)
		}
		c.own = role
	}
	if c.own == "" {
		v.fail("clusters", "--in-cluster: leave kubeconfig and context away from the cluster that the pod runs in")
	}
}

func (v *contextsFile) target(role string, t *Target, own bool) {
	p := "clusters." + role
	if !idRE.MatchString(t.ID) {
		v.fail(p+".id", "%q: want a name of lower-case letters, digits, dots, dashes and slashes that says which cluster it is", t.ID)
	}
	if !own {
		if t.Context == "" {
			v.fail(p+".context", "missing: the current context is never taken")
		}
		t.Kubeconfig = v.path(p+".kubeconfig", t.Kubeconfig)
	}
	if t.Address != "" {
		v.address(p+".address", role, t.Address)
	}
	if t.Namespace == "" {
		t.Namespace = role
	}
	for i, a := range t.Allow {
		v.oneOf(fmt.Sprintf("%s.allow[%d]", p, i), "action in "+role, a, allowable[role])
	}
	switch {
	case role == scenario.Kafka && t.Login == nil:
		v.fail(p, "missing login: the canary is read back as the principal %s", canaryUser)
		return
	case role == scenario.Kafka && t.Login.User != canaryUser:
		v.fail(p+".login.user", "%q: only the principal %s is used, whose rights end at its topic", t.Login.User, canaryUser)
	case role == scenario.Datacenter && t.Login != nil:
		v.fail(p+".login", "nothing in datacenter asks for one")
	}
	if t.Login == nil {
		return
	}
	t.Login.PasswordFile = v.path(p+".login.passwordFile", t.Login.PasswordFile)
	t.Login.CAFile = v.path(p+".login.caFile", t.Login.CAFile)
	if t.Login.User == "" {
		v.fail(p+".login.user", "missing")
	}
}

// address wants a host and a port where there is something to reach.
func (v *contextsFile) address(at, role, address string) {
	host, port, err := net.SplitHostPort(address)
	n, perr := strconv.ParseUint(port, 10, 16)
	switch {
	case role == scenario.Datacenter:
		v.fail(at, "nothing in datacenter is reached from outside but through its API server")
	case err != nil || host == "" || perr != nil || n == 0:
		v.fail(at, "%q: want host:port", address)
	}
}

// path makes a path of the file absolute and demands that something is there.
func (v *contextsFile) path(at, p string) string {
	if p == "" {
		v.fail(at, "missing: a file")
		return ""
	}
	if !filepath.IsAbs(p) {
		p = filepath.Join(filepath.Dir(v.file), p)
	}
	if info, err := os.Stat(p); err != nil || info.IsDir() {
		v.fail(at, "%s is not a file that can be read", p)
	}
	return p
}

// password reads a login's password; a line end behind it is not part of it.
func (l *Login) password() (string, error) {
	b, err := os.ReadFile(l.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("password of %s: %w", l.User, err)
	}
	p := strings.TrimRight(string(b), "\r\n")
	if p == "" {
		return "", fmt.Errorf("password of %s: %s is empty", l.User, l.PasswordFile)
	}
	return p, nil
}
