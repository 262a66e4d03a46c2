package manifests

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sort"
	"strconv"

	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/bcrypt"
)

// Names of the objects that are made at deploy time. They are the only ones that are not in git: addresses of clusters that did
// not exist before, and secrets.
const (
	EndpointsConfigMap = "triad-endpoints"     // KAFKA_BROKERS, REMOTE_WRITE_URL
	KafkaCASecret      = "triad-kafka-ca"      // ca.crt
	KafkaUserSecret    = "triad-kafka-user"    // username, password
	RemoteWriteSecret  = "triad-remote-write"  // username, password; in monitoring web.yml too
	ElasticTLSSecret   = "elasticsearch-tls"   // ca.crt, tls.crt, tls.key
	ElasticUsersSecret = "elasticsearch-users" // users, users_roles, and each user's password under its name
	GrafanaSecret      = "triad-grafana"       // username, password of its administrator
	KibanaSecret       = "triad-kibana"        // encryption-key, at least 32 characters
)

// Credentials is a user name and a password.
type Credentials struct{ Username, Password string }

// Deployment is what is known only when clusters exist. Zero fields make no objects.
type Deployment struct {
	// NodeAddresses are the addresses of the nodes of each cluster, reachable from pods of the others.
	NodeAddresses map[string][]string
	KafkaCA       []byte      // PEM, from the Secret triad-cluster-ca-cert of the kafka cluster
	KafkaUser     Credentials // this cluster's principal: fluentd in datacenter, connect in monitoring, canary in kafka
	RemoteWrite   Credentials // the same in every cluster
	Grafana       Credentials // the administrator; monitoring only
	KibanaKey     string      // at least 32 characters; monitoring only
}

// Generated returns the objects that a cluster needs beside its manifests on kind: the ConfigMap of endpoints, the Secrets, and an
// EndpointSlice for every flow that leaves the cluster by a Service without a selector (on EKS these Services are ExternalNames,
// and no slice is made). It is a pure function of its arguments but for the salt of the password hash, which is made anew in each
// call; apply its Secret only when the password changed.
func Generated(cluster, overlay string, flows []Flow, d Deployment) ([]Object, error) {
	data := map[string]any{}
	services := map[string]Via{}
	targets := map[string]string{}
	for _, f := range flows {
		if f.From.Cluster != cluster || f.Via == nil {
			continue
		}
		services[f.Via.Service], targets[f.Via.Service] = *f.Via, f.To.Cluster
		host := f.Via.Service + "." + cluster + ".svc:" + strconv.Itoa(f.Via.Port)
		switch f.To.Component {
		case "kafka":
			data["KAFKA_BROKERS"] = host
		case "prometheus":
			data["REMOTE_WRITE_URL"] = "http://" + host + "/api/v1/write"
		}
	}
	out := []Object{generated("v1", "ConfigMap", cluster, EndpointsConfigMap, "data", data)}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		if overlay != "kind" {
			break
		}
		addresses := d.NodeAddresses[targets[name]]
		if len(addresses) == 0 {
			return nil, fmt.Errorf("endpoints of %s/%s: no address of a node of %s", cluster, name, targets[name])
		}
		o, err := endpointSlice(cluster, name, services[name].NodePort, addresses)
		if err != nil {
			return nil, err
		}
		// The port's name ties the slice to the Service's port.
		o["ports"].([]any)[0].(map[string]any)["name"] = portNames[name]
		out = append(out, o)
	}
	if len(d.KafkaCA) > 0 {
		out = append(out, secret(cluster, KafkaCASecret, map[string]string{"ca.crt": string(d.KafkaCA)}))
	}
	if d.KafkaUser != (Credentials{}) {
		out = append(out, secret(cluster, KafkaUserSecret, map[string]string{"username": d.KafkaUser.Username, "password": d.KafkaUser.Password}))
	}
	if d.RemoteWrite != (Credentials{}) {
		values := map[string]string{"username": d.RemoteWrite.Username, "password": d.RemoteWrite.Password}
		if cluster == "monitoring" {
			web, err := WebConfig(d.RemoteWrite)
			if err != nil {
				return nil, err
			}
			values["web.yml"] = web
		}
		out = append(out, secret(cluster, RemoteWriteSecret, values))
	}
	if cluster != "monitoring" {
		return out, nil
	}
	if d.Grafana != (Credentials{}) {
		out = append(out, secret(cluster, GrafanaSecret, map[string]string{"username": d.Grafana.Username, "password": d.Grafana.Password}))
	}
	if d.KibanaKey != "" {
		if len(d.KibanaKey) < 32 {
			return nil, fmt.Errorf("key of kibana: %d characters, want at least 32", len(d.KibanaKey))
		}
		out = append(out, secret(cluster, KibanaSecret, map[string]string{"encryption-key": d.KibanaKey}))
	}
	return out, nil
}

// portNames are the names that the manifests give the only port of a Service without a selector; a test compares.
var portNames = map[string]string{"kafka-external": "kafka", "central-prometheus": "http"}

// WebConfig returns the file for --web.config.file that lets one user in. The hash costs about 50 ms here and at every first
// request of a connection there (bcrypt cost 10, the library's default).
func WebConfig(c Credentials) (string, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(c.Password), bcrypt.DefaultCost)
	if err != nil {
		return "", fmt.Errorf("password of %s: %w", c.Username, err)
	}
	return fmt.Sprintf("basic_auth_users:\n  %q: %q\n", c.Username, hash), nil
}

// LetsIn says whether a file for --web.config.file lets a user in with the password that it has. It costs as much as WebConfig.
func LetsIn(web string, c Credentials) bool {
	var file struct {
		Users map[string]string `yaml:"basic_auth_users"`
	}
	return yaml.Unmarshal([]byte(web), &file) == nil && bcrypt.CompareHashAndPassword([]byte(file.Users[c.Username]), []byte(c.Password)) == nil
}

func generated(apiVersion, kind, namespace, name, key string, value any) Object {
	return Object{"apiVersion": apiVersion, "kind": kind, key: value, "metadata": map[string]any{
		"name": name, "namespace": namespace,
		"labels": map[string]any{ComponentLabel: Platform, "app.kubernetes.io/part-of": "triad", "app.kubernetes.io/managed-by": "triad"},
	}}
}

func secret(namespace, name string, values map[string]string) Object {
	data := map[string]any{}
	for k, v := range values {
		data[k] = base64.StdEncoding.EncodeToString([]byte(v))
	}
	o := generated("v1", "Secret", namespace, name, "data", data)
	o["type"] = "Opaque"
	return o
}

// endpointSlice makes the endpoints of a Service without a selector. One family of addresses only, as the API demands.
func endpointSlice(namespace, service string, port int, addresses []string) (Object, error) {
	addresses = slices.Clone(addresses)
	sort.Strings(addresses)
	family := ""
	var endpoints []any
	for _, a := range addresses {
		ip, err := netip.ParseAddr(a)
		if err != nil {
			return nil, fmt.Errorf("endpoints of %s/%s: %w", namespace, service, err)
		}
		f := "IPv4"
		if ip.Is6() {
			f = "IPv6"
		}
		if family == "" {
			family = f
		}
		if f != family {
			continue
		}
		endpoints = append(endpoints, map[string]any{"addresses": []any{a}, "conditions": map[string]any{"ready": true}})
	}
	o := generated("discovery.k8s.io/v1", "EndpointSlice", namespace, service+"-triad", "endpoints", endpoints)
	o["addressType"] = family
	o["ports"] = []any{map[string]any{"port": int64(port), "protocol": "TCP"}}
	labels := o["metadata"].(map[string]any)["labels"].(map[string]any)
	labels["kubernetes.io/service-name"] = service
	labels["endpointslice.kubernetes.io/managed-by"] = "triad"
	return o, nil
}
