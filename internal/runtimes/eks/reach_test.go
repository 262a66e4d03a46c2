//go:build !embedded_only

package eks

import (
	"context"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"triad/internal/esfake"
	"triad/internal/kube"
	"triad/internal/model/brokers"
	"triad/internal/scenario"
)

func TestOnlyTheBalancersDomainIsDialled(t *testing.T) {
	for _, tc := range []struct {
		bootstrap, address string
		ok                 bool
	}{
		{"bootstrap.kafka.triad.internal:9094", "broker-0.kafka.triad.internal:9094", true},
		{"bootstrap.kafka.triad.internal:9094", "bootstrap.kafka.triad.internal:9094", true},
		{"bootstrap.kafka.triad.internal:9094", "broker-0.kafka.other.internal:9094", false},
		{"bootstrap.kafka.triad.internal:9094", "a.broker-0.kafka.triad.internal:9094", false},
		{"bootstrap.kafka.triad.internal:9094", "10.0.0.1:9094", false},
		{"bootstrap.internal:9094", "other.internal:9094", false}, // one label is no domain of anybody's
		{"10.0.0.1:9094", "10.0.0.1:9095", true},
		{"10.0.0.1:9094", "11.0.0.1:9094", false},
		{"10.0.0.1:9094", "10.0.0.1", false},
	} {
		if _, err := sameDomain(tc.bootstrap, tc.address); (err == nil) != tc.ok {
			t.Errorf("%s from %s: %v", tc.address, tc.bootstrap, err)
		}
	}
}

// TestBrokersByTheirAddress: brokers with TLS and logins are reached as the canary by an address of the file, and one that is not in its domain
// is not.
func TestBrokersByTheirAddress(t *testing.T) {
	c, err := brokers.New(brokers.Config{
		Authenticate: true, Authorize: true, Encrypt: true, Topics: []brokers.Topic{{Name: canaryTopic, Partitions: 1}},
		Users: []brokers.User{{Name: canaryUser, ACLs: []brokers.ACL{{Resource: "topic", Name: canaryTopic, Operations: []string{"Read", "Describe"}}}}},
	}, brokers.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	tr := newTrio(t)
	dir := t.TempDir()
	ca, password := write(t, dir, "ca.crt", string(c.CA())), write(t, dir, "password", c.Password(canaryUser))
	s, _ := tr.system(t, Options{}, func(f string) string {
		return strings.Replace(f, "    login: {user: canary", "    address: "+c.Addrs()[0]+"\n    login: {user: canary", 1)
	})
	k := s.contexts.Clusters[scenario.Kafka]
	k.Login.CAFile, k.Login.PasswordFile = ca, password
	s.clients = map[string]*kube.Client{scenario.Kafka: nil} // nothing goes through the API server
	e := &env{System: s}
	if err := e.brokers(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if id, err := e.broker(ctx, "leader"); err != nil || int(id) != c.Leader(canaryTopic, 0) {
		t.Errorf("leader %d, %v; want %d", id, err, c.Leader(canaryTopic, 0))
	}
	_, port, err := net.SplitHostPort(c.Addrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	k.Address = "127.0.0.2:" + port
	roots, err := authority(ca)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := balancedDialer(k.Address, roots)(ctx, "tcp", c.Addrs()[0]); err == nil || !strings.Contains(err.Error(), "not dialled") {
		t.Errorf("a broker beside the address: %v", err)
	}
}

// TestInCluster: the one cluster without kubeconfig is the pod's, and outside of a pod that is said.
func TestInCluster(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"kubeconfig", "password", "ca.crt"} {
		write(t, dir, f, "x")
	}
	own := strings.Replace(shipped, "    kubeconfig: kubeconfig\n    context: ctx-monitoring\n", "", 1)
	two := strings.Replace(own, "    kubeconfig: kubeconfig\n    context: ctx-kafka\n", "", 1)
	for text, want := range map[string]string{own: "", two: "neither kafka nor monitoring has a kubeconfig", shipped: "leave kubeconfig and context away"} {
		_, err := LoadContexts(write(t, dir, "eks.yaml", text), true)
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := LoadContexts(write(t, dir, "eks.yaml", own), false); err == nil || !strings.Contains(err.Error(), "clusters.monitoring.context: missing") {
		t.Errorf("without the flag: %v", err)
	}
	c, err := LoadContexts(write(t, dir, "eks.yaml", own), true)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := os.LookupEnv("KUBERNETES_SERVICE_HOST"); ok {
		t.Skip("this runs in a pod")
	}
	if _, err := c.client(scenario.Monitoring); err == nil || !strings.Contains(err.Error(), "not in a pod that has a service account") {
		t.Error(err)
	}
}

func TestAddresses(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"kubeconfig", "password", "ca.crt"} {
		write(t, dir, f, "x")
	}
	for where, want := range map[string]string{
		"    context: ctx-kafka\n    address: bootstrap.kafka.triad.internal:9094\n":  "",
		"    context: ctx-kafka\n    address: bootstrap.kafka.triad.internal\n":       `eks.yaml:12:14: clusters.kafka.address: "bootstrap.kafka.triad.internal": want host:port`,
		"    context: ctx-kafka\n    address: bootstrap.kafka.triad.internal:99999\n": "want host:port",
		"    context: ctx-datacenter\n    address: a.b.c:1\n":                         "nothing in datacenter is reached from outside",
	} {
		line, _, _ := strings.Cut(where, "\n")
		_, err := LoadContexts(write(t, dir, "eks.yaml", strings.Replace(shipped, line+"\n", where, 1)), false)
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", where, err, want)
		}
	}
}

// TestTheStoreByItsAddress: a store with users is reached by the address of the file over TLS, as the user of the file, and one whose certificate
// the file's authority has not signed is not.
func TestTheStoreByItsAddress(t *testing.T) {
	fake := esfake.New(esfake.Options{}).Handler()
	var asked, strangers atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if user, password, _ := r.BasicAuth(); user != canaryUser || password != "secret" {
			strangers.Add(1)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fake.ServeHTTP(w, r)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that are refused
	srv.StartTLS()
	t.Cleanup(srv.Close)
	ours := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	other, err := brokers.New(brokers.Config{Encrypt: true}, brokers.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	at := func(ca string) *store {
		t.Helper()
		tr, dir := newTrio(t), t.TempDir()
		s, _ := tr.system(t, Options{}, func(f string) string {
			return strings.Replace(f, "    allow: [purge]", "    allow: [purge]\n    address: "+srv.Listener.Addr().String()+"\n    login: {user: canary, passwordFile: password, caFile: ca.crt}", 1)
		})
		s.contexts.Clusters[scenario.Monitoring].Login.CAFile = write(t, dir, "ca.crt", ca)
		s.clients = map[string]*kube.Client{scenario.Monitoring: nil} // nothing goes through the API server
		st, err := s.throughTheAPI()
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	if docs, err := at(ours).documents(t.Context(), 7); err != nil || len(docs) != 0 || asked.Load() == 0 || strangers.Load() > 0 {
		t.Errorf("%d documents, %v; %d requests, %d without the user", len(docs), err, asked.Load(), strangers.Load())
	}
	n := asked.Load()
	if _, err := at(string(other.CA())).documents(t.Context(), 7); err == nil || !strings.Contains(err.Error(), "certificate signed by unknown authority") || asked.Load() != n {
		t.Errorf("a store of another authority: %v, after %d requests more", err, asked.Load()-n)
	}
}
