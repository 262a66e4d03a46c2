//go:build !embedded_only

package kind

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triad/internal/manifests"
)

func testClusters() map[string][]Node {
	return map[string][]Node{
		Datacenter: {{Name: "dc", IPv4: "10.0.0.1", IPv6: "fc00::1", Gateway: "10.0.0.254"}, {Name: "dc2", IPv4: "10.0.0.5", Gateway: "10.0.0.254"}},
		Kafka:      {{Name: "k1", IPv4: "10.0.0.2", IPv6: "fc00::2"}, {Name: "k2", IPv4: "10.0.0.3"}},
		Monitoring: {{Name: "m", IPv4: "10.0.0.4", IPv6: "fc00::4"}},
	}
}

// TestFlowRulesCloseWhatIsNotDeclared reads the rules as the kernel does: the first that matches decides.
func TestFlowRulesCloseWhatIsNotDeclared(t *testing.T) {
	flows := []manifests.Flow{
		{Name: "logs", From: manifests.End{Cluster: Datacenter}, To: manifests.End{Cluster: Kafka}, Ports: manifests.Ports{Kind: []int{30094, 30100}, EKS: []int{9094}}},
		{Name: "search", From: manifests.End{Cluster: "outside"}, To: manifests.End{Cluster: Monitoring}, Ports: manifests.Ports{EKS: []int{443}}},
	}
	rules := strings.Split(flowRules(Datacenter, testClusters(), flows), "\n")
	decide := func(in, dst, port string) string {
		for _, r := range rules {
			f := strings.Fields(r)
			if len(f) < 2 || f[0] != "-A" || strings.Contains(r, "ctstate") || strings.Contains(r, "! -o eth0") {
				continue
			}
			arg := func(flag string) string {
				if i := slices.Index(f, flag); i >= 0 {
					return f[i+1]
				}
				return ""
			}
			if d := arg("-d"); d != "" && !covers(d, dst) {
				continue
			}
			if p := arg("--dports") + arg("--dport"); p != "" && !slices.Contains(strings.Split(p, ","), port) {
				continue
			}
			if i := arg("-i"); i != "" && !strings.HasPrefix(in, strings.TrimSuffix(i, "+")) {
				continue
			}
			return arg("-j")
		}
		return "RETURN"
	}
	for _, tc := range []struct{ what, in, dst, port, want string }{
		{"declared", "veth1", "10.0.0.2", "30094", "RETURN"},
		{"declared, second node", "veth1", "10.0.0.3", "30100", "RETURN"},
		{"another port of the same cluster", "veth1", "10.0.0.2", "30101", "REJECT"},
		{"another cluster", "veth1", "10.0.0.4", "30920", "REJECT"},
		{"another cluster, from the node", "", "10.0.0.4", "30920", "REJECT"},
		{"names at the gateway", "veth1", "10.0.0.254", "53", "RETURN"},
		{"anything else at the gateway", "veth1", "10.0.0.254", "443", "REJECT"},
		{"out of the network", "veth1", "192.0.2.1", "443", "REJECT"},
		{"the node itself, out of the network", "", "192.0.2.1", "443", "RETURN"},
		{"a service without endpoints", "veth1", "10.96.7.8", "80", "RETURN"},
		{"own node", "veth1", "10.0.0.1", "10250", "RETURN"},
	} {
		if got := decide(tc.in, tc.dst, tc.port); got != tc.want {
			t.Errorf("%s: %s, want %s\n%s", tc.what, got, tc.want, strings.Join(rules, "\n"))
		}
	}
	for _, proto := range []string{"udp", "tcp"} {
		if n := strings.Count(strings.Join(rules, "\n"), "-d 10.0.0.254 -p "+proto+" --dport 53 "); n != 1 {
			t.Errorf("%d rules for names over %s, of one gateway", n, proto)
		}
	}
	if strings.Contains(strings.Join(rules, "\n"), "search") {
		t.Error("a flow from outside has a rule on a node")
	}
	for _, r := range rules {
		if strings.HasPrefix(r, "-A") && !strings.Contains(r, ruleMark) {
			t.Errorf("rule without the mark: %s", r)
		}
	}
	if six := flowRules6(Datacenter, testClusters()); !strings.Contains(six, "-d fc00::4") || strings.Contains(six, "-d fc00::1") {
		t.Errorf("rules for IPv6:\n%s", six)
	}
}

// covers says whether an address or subnet of a rule covers an address.
func covers(rule, addr string) bool {
	p, err := netip.ParsePrefix(rule)
	if err != nil {
		return rule == addr
	}
	return p.Contains(netip.MustParseAddr(addr))
}

func TestCutScriptsUndoWhatTheyDo(t *testing.T) {
	for _, reject := range []bool{true, false} {
		inject, undo := cutScripts("abcd1234", testClusters()[Kafka], []int{30094, 30100}, false, reject)
		for _, hook := range []string{"FORWARD", "OUTPUT"} {
			if !strings.Contains(inject, "-I "+hook+" 1 ") || !strings.Contains(undo, "-D "+hook+" ") {
				t.Errorf("reject %v: %s is not both hooked and unhooked", reject, hook)
			}
		}
		if !strings.Contains(undo, "-F TRIAD-CUT-abcd1234") || !strings.Contains(undo, "-X TRIAD-CUT-abcd1234") {
			t.Errorf("the chain stays:\n%s", undo)
		}
		if strings.Count(inject, "--dport 30100 ") != 2 {
			t.Errorf("not every port is cut on both nodes:\n%s", inject)
		}
		if answers, _ := cutScripts("abcd1234", testClusters()[Kafka], []int{30094}, true, reject); strings.Count(answers, "--ctdir REPLY --ctorigdstport 30094 ") != 2 {
			t.Errorf("answers are not known by what was asked:\n%s", answers)
		}
		if strings.Contains(inject, "tcp-reset") != reject || strings.Contains(inject, "-j DROP") == reject {
			t.Errorf("reject %v:\n%s", reject, inject)
		}
	}
	if inject, _ := cutScripts("abcd1234", testClusters()[Kafka], nil, false, true); strings.Count(inject, "-j DROP") != 2 {
		t.Errorf("without ports everything else has to vanish, on both nodes:\n%s", inject)
	}
}

func TestCounters(t *testing.T) {
	got := countRules(`Chain TRIAD-FLOWS (2 references)
    pkts      bytes target     prot opt in     out     source               destination
      12      720 RETURN     tcp  --  *      *       0.0.0.0/0            10.0.0.2             multiport dports 30094 /* triad:flow-logs */
       3      180 REJECT     all  --  *      *       0.0.0.0/0            10.0.0.4             /* triad:undeclared-monitoring */ reject-with icmp-port-unreachable
       9      100 ACCEPT     all  --  *      *       0.0.0.0/0            0.0.0.0/0            /* somebody else's */
`)
	want := []RuleCount{{Rule: "flow-logs", Packets: 12}, {Rule: "undeclared-monitoring", Packets: 3}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
	packets, over := parseClass("class htb 1:10 root leaf 10: prio 0 rate 8Mbit ceil 8Mbit burst 16Kb cburst 1600b \n Sent 1234 bytes 56 pkt (dropped 1, overlimits 7 requeues 0) \n backlog 0b 0p requeues 0\n")
	if packets != 56 || over != 7 {
		t.Errorf("class: %d packets, %d held back, want 56 and 7", packets, over)
	}
}

func TestDurationsAreBounded(t *testing.T) {
	r := &Runtime{}
	for _, d := range []time.Duration{0, -time.Second, maxFault + 1} {
		if err := r.armed(t.Context(), "node", "id", "", "", d); err == nil {
			t.Errorf("duration %s: no error", d)
		}
	}
}

func TestNamesThatAreNoNames(t *testing.T) {
	for _, c := range []Container{{Pod: "a;b", Namespace: "n", Name: "c"}, {Pod: "p", Namespace: "", Name: "c"}, {Pod: "p", Namespace: "n", Name: "$(x)"}} {
		if c.check() == nil {
			t.Errorf("%+v: no error", c)
		}
	}
	if err := (Container{Pod: "triad-broker-1", Namespace: "kafka", Name: "kafka"}).check(); err != nil {
		t.Error(err)
	}
}

func TestMentions(t *testing.T) {
	o := manifests.Object{"kind": "X", "spec": map[string]any{"a": []any{map[string]any{"secretName": "triad-kafka-ca"}}}}
	if !mentions(o, "triad-kafka-ca") || mentions(o, "triad-kafka") {
		t.Error("mentions looks for whole texts")
	}
}

func TestParseUnix(t *testing.T) {
	if got := parseUnix("1700000000.5\n"); !got.Equal(time.Unix(1700000000, 500_000_000)) {
		t.Errorf("time %s", got)
	}
}

// A link is what one cluster opens to another, and none of what the other opens.
func TestLinkPorts(t *testing.T) {
	set, err := manifests.Open("../../../manifests")
	if err != nil {
		t.Fatal(err)
	}
	flows, err := set.Flows("observer")
	if err != nil {
		t.Fatal(err)
	}
	for link, want := range map[[2]string][]int{
		{Datacenter, Kafka}: {30094, 30100, 30101, 30102}, {Monitoring, Kafka}: {30094, 30100, 30101, 30102}, {Kafka, Monitoring}: {30909}, {Datacenter, Monitoring}: {30909},
	} {
		if got, err := linkPorts(flows, link[0], link[1]); err != nil || !slices.Equal(got, want) {
			t.Errorf("%v: %v, %v", link, got, err)
		}
	}
	if got, err := linkPorts(flows, Kafka, Datacenter); err == nil {
		t.Errorf("a link that is not there: %v", got)
	}
}
