//go:build !embedded_only

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"triad/internal/check"
	"triad/internal/kube"
	"triad/internal/runtimes/kind"
)

// TestKindEKSInCluster sends the canary from a pod of the datacenter, with the objects of docs/production-safety.md. What is different here: its
// names of clusters, and its way to the other API servers, which no flow declares. It stands in the node's network and goes through this test. The
// brokers are reached at the addresses of their Services, as they announce them, by a flow that is declared.
func TestKindEKSInCluster(t *testing.T) {
	l, ctx := newEKSLab(t, 15*time.Minute)
	own := l.clients[kind.Datacenter]
	before := l.documents(ctx)

	read := func(path ...string) []byte {
		b, err := os.ReadFile(filepath.Join(path...))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	dir := filepath.Dir(l.contexts)
	files := map[string][]byte{"password": read(dir, "canary.password"), "ca.crt": read(dir, "kafka-ca.crt")}
	for _, role := range []string{kind.Kafka, kind.Monitoring} {
		files[role+".kubeconfig"] = l.through(ctx, role)
	}
	files["eks.yaml"] = fmt.Appendf(nil, `apiVersion: triad/v1
clusters:
  datacenter: {id: lab-datacenter, allow: [canary]}
  kafka: {id: lab-kafka, kubeconfig: kafka.kubeconfig, context: %s, address: "triad-kafka-control-plane:30094", login: {user: canary, passwordFile: password, caFile: ca.crt}}
  monitoring: {id: lab-monitoring, kubeconfig: monitoring.kubeconfig, context: %s, allow: [purge]}
`, kind.Context(kind.Kafka), kind.Context(kind.Monitoring))
	config := map[string]string{"prod-canary.yaml": string(read(l.root, "scenarios", "prod-canary.yaml")), "images.yaml": string(read(l.root, "manifests", "images.yaml"))}
	objects := append(l.harness(ctx), kube.NewSecret(kind.Datacenter, "triad-harness", files), kube.NewConfigMap(kind.Datacenter, "triad-harness", config))
	remove := func() {
		t.Helper()
		ctx := context.WithoutCancel(ctx)
		for i := range objects {
			if err := own.Remove(ctx, kube.RefOf(&objects[i])); err != nil {
				t.Error(err)
			}
		}
		// The API leaves a Job's pods where they are.
		if _, err := own.DeleteLabelled(ctx, kind.Datacenter, "app.kubernetes.io/name=triad-harness", time.Minute); err != nil {
			t.Error(err)
		}
	}
	remove() // what a run of this test that was killed has left
	l.sim(ctx, append([]string{"down"}, l.confirm...)...)
	t.Cleanup(remove)
	if err := own.Apply(ctx, objects, nil); err != nil {
		t.Fatal(err)
	}

	pod := ""
	for tick := time.Tick(2 * time.Second); ; {
		select {
		case <-ctx.Done():
			t.Fatalf("the pod %q did not end in time", pod)
		case <-tick:
		}
		pods, err := own.List(ctx, "v1", "Pod", kind.Datacenter, "app.kubernetes.io/name=triad-harness")
		if err != nil {
			t.Fatal(err)
		}
		if len(pods) == 0 {
			continue
		}
		pod = pods[0].GetName()
		if phase, _, _ := unstructured.NestedString(pods[0].Object, "status", "phase"); phase == "Succeeded" || phase == "Failed" {
			break
		}
	}
	said, err := own.Logs(ctx, kind.Datacenter, pod, kube.LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	text, err := io.ReadAll(said)
	if err != nil {
		t.Fatal(err)
	}
	log, out, _ := strings.Cut(string(text), "\n{\n")
	t.Log(log)
	var res check.Result
	if err := json.NewDecoder(strings.NewReader("{\n" + out)).Decode(&res); err != nil {
		t.Fatal(err)
	}
	l.allOfTheCanary(res)
	for _, want := range []string{"in-cluster", "system:serviceaccount:datacenter:triad-harness"} {
		if !strings.Contains(log, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if n := l.documents(ctx); n != before {
		t.Errorf("%d documents are in the index, there were %d", n, before)
	}
	if out, _ := l.sim(ctx, "status"); !strings.Contains(out, "nothing is left") {
		t.Errorf("status: %s", out)
	}
}

// harness is what the page has a user apply: the Role with the rights of a run, and the Job with what it needs.
func (l *eksLab) harness(ctx context.Context) []kube.Object {
	l.t.Helper()
	page, err := os.ReadFile(filepath.Join(l.root, "docs", "production-safety.md"))
	if err != nil {
		l.t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	var out []kube.Object
	for _, b := range blocks {
		for text := range strings.SplitSeq(b[1], "\n---\n") {
			o := kube.Object{}
			if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
				l.t.Fatal(err)
			}
			if k := o.GetKind(); k == "" || k == "RoleBinding" && o.GetName() == "triad-observer" {
				continue // of people
			}
			o.SetNamespace(kind.Datacenter)
			out = append(out, o)
		}
	}
	var more map[string]any
	if err := yaml.Unmarshal(regexp.MustCompile("`({apiGroups: .*?})`").FindSubmatch(page)[1], &more); err != nil {
		l.t.Fatal(err)
	}
	image := l.image(ctx)
	for i := range out {
		switch o := out[i].Object; out[i].GetKind() {
		case "Role":
			rules, _, _ := unstructured.NestedSlice(o, "rules")
			if err := unstructured.SetNestedSlice(o, append(rules, more), "rules"); err != nil {
				l.t.Fatal(err)
			}
		case "Job":
			spec := o["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)
			spec["hostNetwork"], spec["dnsPolicy"] = true, "ClusterFirstWithHostNet"
			c := spec["containers"].([]any)[0].(map[string]any)
			c["image"] = image
			args := c["args"].([]any)
			for i, a := range args {
				args[i] = strings.Replace(a.(string), "prod-", "lab-", 1)
			}
		}
	}
	return out
}

// image is that of the canary's generator.
func (l *eksLab) image(ctx context.Context) string {
	l.t.Helper()
	o, err := l.clients[kind.Datacenter].Get(ctx, kube.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: kind.Datacenter, Name: "canary-inputgen"})
	if err != nil {
		l.t.Fatal(err)
	}
	containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
	return containers[0].(map[string]any)["image"].(string)
}

// through is a kubeconfig for the datacenter's nodes: the API server of another cluster, through a port of this test that is open in the
// container network for as long as it runs.
func (l *eksLab) through(ctx context.Context, role string) []byte {
	l.t.Helper()
	config, err := clientcmd.LoadFromFile(l.rt.KubeconfigPath(role))
	if err != nil {
		l.t.Fatal(err)
	}
	for _, c := range config.Clusters {
		server, err := url.Parse(c.Server)
		if err != nil {
			l.t.Fatal(err)
		}
		in, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(l.gateway(ctx), "0"))
		if err != nil {
			l.t.Fatal(err)
		}
		l.t.Cleanup(func() { in.Close() })
		go relay(in, server.Host)
		c.Server, c.TLSServerName = "https://"+in.Addr().String(), "kubernetes"
	}
	b, err := clientcmd.Write(*config)
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

// relay hands every connection on, until the listener is closed.
func relay(in net.Listener, to string) {
	for {
		c, err := in.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			out, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			defer out.Close()
			go func() {
				_, _ = io.Copy(out, c)
				_ = out.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(c, out)
		}()
	}
}

// gateway is this machine's address in the network of the datacenter's nodes.
func (l *eksLab) gateway(ctx context.Context) string {
	l.t.Helper()
	nodes, err := l.clients[kind.Datacenter].List(ctx, "v1", "Node", "", "")
	if err != nil || len(nodes) == 0 {
		l.t.Fatalf("%d nodes: %v", len(nodes), err)
	}
	addresses, _, _ := unstructured.NestedSlice(nodes[0].Object, "status", "addresses")
	own, err := net.InterfaceAddrs()
	if err != nil {
		l.t.Fatal(err)
	}
	for _, a := range addresses {
		node := net.ParseIP(fmt.Sprint(a.(map[string]any)["address"]))
		for _, o := range own {
			if n, ok := o.(*net.IPNet); ok && node != nil && n.Contains(node) {
				return n.IP.String()
			}
		}
	}
	l.t.Fatalf("no address of this machine lies in the network of the nodes: %v", addresses)
	return ""
}
