//go:build !embedded_only

package kind

import (
	"encoding/base64"
	"encoding/pem"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"triad/internal/images"
	"triad/internal/kube"
)

// Whoever has a cluster of their own must not find their next kubectl on one of Triad's: kind's library makes a whole cluster here, on an engine and an API
// server that only answer, and what it writes are the files of the state folder.
func TestUsersKubeconfigStays(t *testing.T) {
	const users = "apiVersion: v1\nkind: Config\nclusters:\n- {name: mine, cluster: {server: 'https://mine.test'}}\ncontexts:\n- {name: mine, context: {cluster: mine, user: me}}\nusers:\n- {name: me, user: {}}\ncurrent-context: mine\n"
	for _, named := range []bool{false, true} {
		home := t.TempDir()
		file := filepath.Join(home, ".kube", "config")
		t.Setenv("HOME", home)
		t.Setenv("KUBECONFIG", "")
		if named {
			file = filepath.Join(home, "named")
			t.Setenv("KUBECONFIG", file)
		}
		if err := writeFileAtomic(file, []byte(users), 0o600); err != nil {
			t.Fatal(err)
		}
		r := obliging(t)
		if err := r.EnsureClusters(t.Context()); err != nil {
			t.Fatal(err)
		}
		own, err := os.ReadFile(r.KubeconfigPath(Kafka))
		if err != nil || !strings.Contains(string(own), "current-context: "+Context(Kafka)) {
			t.Errorf("the cluster's own file: %v\n%s", err, own)
		}
		// A file that was lost is written again, from the cluster.
		if err := os.Remove(r.KubeconfigPath(Kafka)); err != nil {
			t.Fatal(err)
		}
		if err := r.EnsureClusters(t.Context()); err != nil {
			t.Fatal(err)
		}
		if again, err := os.ReadFile(r.KubeconfigPath(Kafka)); err != nil || string(again) != string(own) {
			t.Errorf("written again: %v\n%s", err, again)
		}
		if err := r.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(r.KubeconfigPath(Kafka)); err == nil {
			t.Error("the cluster is gone, its file is there")
		}
		if after, err := os.ReadFile(file); err != nil || string(after) != users {
			t.Errorf("the user's own file (KUBECONFIG: %v): %v\n%s", named, err, after)
		}
		if names, err := filepath.Glob(filepath.Join(home, "*")); err != nil || len(names) > 1 {
			t.Errorf("in the user's folder: %v, %v", names, err)
		}
	}
}

// obliging is a runtime on an engine that takes every command for done, as kind's library needs it to make a cluster of one node.
func obliging(t *testing.T) *Runtime {
	t.Helper()
	api, _ := newFakeAPI(t, "v1 nodes Node", "apps/v1 deployments Deployment")
	api.put(object(t, `{"apiVersion":"v1","kind":"Node","metadata":{"name":"node"},"status":{"conditions":[{"type":"Ready","status":"True"}]}}`))
	for namespace, name := range map[string]string{"kube-system": "coredns", "local-path-storage": "local-path-provisioner"} {
		api.put(object(t, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"namespace":%q,"name":%q,"generation":1},"spec":{"replicas":1},
			"status":{"observedGeneration":1,"replicas":1,"updatedReplicas":1,"readyReplicas":1,"availableReplicas":1,"conditions":[{"type":"Available","status":"True"}]}}`, namespace, name))
	}
	srv := httptest.NewTLSServer(api)
	t.Cleanup(srv.Close)
	host, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ca := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	dir, state := t.TempDir(), t.TempDir()
	node, mark := NamePrefix+Kafka+"-control-plane", filepath.Join(state, Kafka, "mark")
	script := `#!/bin/sh
made="` + dir + `/made"
case "$*" in
-v) echo 'Docker version 29';;
info*json\ .}}) echo '{"CgroupVersion":"2","CgroupDriver":"systemd","SecurityOptions":[]}';;
info*) echo;;
ps*Names*) test ! -e "$made" || echo ` + node + `;;
ps*) test ! -e "$made" || echo 1;;
container\ inspect*) echo '[{"Name":"/` + node + `","Image":"sha256:node","State":{"Status":"running"},"Config":{"Labels":{"` + roleLabel + `":"control-plane"}},"Mounts":[{"Destination":"` + ownerMark + `","Source":"` + mark + `"}]}]';;
image\ inspect*) echo sha256:node;;
inspect*type=image*) ;;
inspect*NetworkSettings.Ports*) printf '` + host + `\t` + port + `\n';;
inspect*NetworkSettings.Networks*) echo 172.18.0.2,;;
inspect*kind.role*) echo control-plane;;
inspect*) echo;;
network\ ls*) echo kind;;
network*) echo 172.18.0.0/16;;
run*) : > "$made";;
rm*) rm -f "$made";;
logs*) echo 'Reached target Multi-User System.';;
exec*/kind/version*) echo v1.37.0;;
exec*admin.conf)
  echo 'apiVersion: v1
kind: Config
clusters: [{name: kubernetes, cluster: {server: "https://node.test:6443", certificate-authority-data: ` + ca + `}}]
contexts: [{name: admin, context: {cluster: kubernetes, user: admin}}]
users: [{name: admin, user: {}}]
current-context: admin';;
exec*) cat > /dev/null;;
*) echo "unexpected: $*" >&2; exit 64;;
esac
`
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH")) // kind's library takes the engine from there
	return &Runtime{
		engine: images.Engine{Bin: filepath.Join(dir, "docker")}, log: slog.New(slog.DiscardHandler), progress: func(string, string, string) {}, clients: map[string]*kube.Client{},
		opts: Options{StateDir: state, NodeImage: "node:1", Nodes: 1, Clusters: []string{Kafka}, LogDir: filepath.Join(state, "logs")},
	}
}
