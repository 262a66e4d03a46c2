//go:build !embedded_only

package kind

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"triad/internal/kube"
	"triad/internal/manifests"
)

// deploymentRecord is the ConfigMap in which a deployment notes what it has done for good, in each cluster's namespace.
const deploymentRecord = "triad-deployment"

// kafkaCluster is the name of the Kafka resource, from which Strimzi derives the names of its Secrets.
const kafkaCluster = "triad"

// principals says which Kafka user a cluster's clients use.
func principals() map[string]string {
	return map[string]string{Datacenter: "fluentd", Monitoring: "connect"}
}

// addresses returns the addresses of a cluster's nodes in the container network. They change when nodes are started again.
func (r *Runtime) addresses(ctx context.Context, cluster string) ([]string, error) {
	nodes, err := r.Nodes(ctx, cluster)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, n := range nodes {
		if n.IPv4 == "" {
			return nil, fmt.Errorf("node %s: has no address (is it running?)", n.Name)
		}
		out = append(out, n.IPv4)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("cluster %s: has no nodes", cluster)
	}
	return out, nil
}

// secrets are the values that are made once and kept in the clusters from then on: deploying again locks nobody out.
type secrets struct {
	remoteWrite manifests.Credentials
	keepWeb     bool // the central Prometheus lets it in already
	grafana     manifests.Credentials
	kibanaKey   string
	elastic     []manifests.Object // to apply; empty when the store has its own already, or no security
}

// secrets reads what the monitoring cluster has and makes what is missing. With existing, a cluster joins what is there: the credential
// of remote_write has to be there, because making one would lock everybody else out.
func (r *Runtime) secrets(ctx context.Context, p *Plan, existing bool) (secrets, error) {
	var s secrets
	read := func(name string) (map[string]string, error) {
		out := map[string]string{}
		if !existing && !slices.Contains(p.Clusters, Monitoring) {
			return out, nil
		}
		c, err := r.Client(Monitoring)
		if err != nil {
			return nil, err
		}
		data, err := c.SecretData(ctx, Monitoring, name)
		if err != nil && !kube.IsNotFound(err) {
			return nil, err
		}
		for k, v := range data {
			out[k] = string(v)
		}
		return out, nil
	}
	has, err := read(manifests.RemoteWriteSecret)
	if err != nil {
		return s, err
	}
	if existing && (has["username"] == "" || has["password"] == "") {
		return s, fmt.Errorf("secret %s of %s: it has no credential to join with", manifests.RemoteWriteSecret, Monitoring)
	}
	if s.remoteWrite, err = orNewCredentials(has, "triad"); err != nil {
		return s, err
	}
	s.keepWeb = manifests.LetsIn(has["web.yml"], s.remoteWrite)
	if has, err = read(manifests.GrafanaSecret); err != nil {
		return s, err
	}
	if s.grafana, err = orNewCredentials(has, "admin"); err != nil {
		return s, err
	}
	if has, err = read(manifests.KibanaSecret); err != nil {
		return s, err
	}
	if s.kibanaKey = has["encryption-key"]; s.kibanaKey == "" {
		if s.kibanaKey, err = newPassword(); err != nil {
			return s, err
		}
	}
	if !p.secured() {
		return s, nil
	}
	users, err := read(manifests.ElasticUsersSecret)
	if err != nil {
		return s, err
	}
	tls, err := read(manifests.ElasticTLSSecret)
	if err != nil {
		return s, err
	}
	if tls["tls.key"] != "" && !slices.ContainsFunc(manifests.ElasticUsers(), func(u string) bool { return users[u] == "" }) {
		return s, nil
	}
	passwords := map[string]string{}
	for _, u := range manifests.ElasticUsers() {
		if passwords[u], err = newPassword(); err != nil {
			return s, err
		}
	}
	addrs, err := r.addresses(ctx, Monitoring)
	if err != nil {
		return s, err
	}
	s.elastic, err = manifests.ElasticSecrets(passwords, append(addrs, NamePrefix+r.host(Monitoring)+"-control-plane"), time.Now())
	return s, err
}

// secured says whether the store of the plan has TLS and users: then its pods mount the Secret with the certificates.
func (p *Plan) secured() bool {
	return slices.ContainsFunc(p.Objects[Monitoring], func(o manifests.Object) bool {
		return o.Kind() == "StatefulSet" && mentions(o, manifests.ElasticTLSSecret)
	})
}

func orNewCredentials(has map[string]string, user string) (manifests.Credentials, error) {
	if has["username"] != "" && has["password"] != "" {
		return manifests.Credentials{Username: has["username"], Password: has["password"]}, nil
	}
	password, err := newPassword()
	return manifests.Credentials{Username: user, Password: password}, err
}

// newPassword returns 32 letters and digits, 160 bits.
func newPassword() (string, error) {
	b := make([]byte, 20)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("password: %w", err)
	}
	return strings.ToLower(base32.StdEncoding.EncodeToString(b)), nil
}

// generated returns what a cluster needs beside its manifests, without what comes from Kafka.
func (d *deployment) generated(ctx context.Context, cluster string) ([]kube.Object, error) {
	dep := manifests.Deployment{NodeAddresses: map[string][]string{}, RemoteWrite: d.secrets.remoteWrite}
	for _, f := range d.flows {
		if f.From.Cluster != cluster || f.Via == nil || dep.NodeAddresses[f.To.Cluster] != nil {
			continue
		}
		addrs, err := d.addresses(ctx, f.To.Cluster)
		if err != nil {
			return nil, err
		}
		dep.NodeAddresses[f.To.Cluster] = addrs
	}
	if cluster == Monitoring {
		if d.secrets.keepWeb {
			dep.RemoteWrite = manifests.Credentials{}
		}
		dep.Grafana, dep.KibanaKey = d.secrets.grafana, d.secrets.kibanaKey
	}
	objects, err := manifests.Generated(cluster, overlay, d.flows, dep)
	if err != nil {
		return nil, err
	}
	if cluster == Monitoring {
		objects = append(objects, d.secrets.elastic...)
	}
	return kube.FromMaps(manifests.Maps(objects)), nil
}

// copyKafkaAccess copies the brokers' CA and a cluster's principal from the kafka cluster. Called again after a rotation it replaces
// them; what takes them at its start is replaced when it is applied behind them, see stamp.
func (r *Runtime) copyKafkaAccess(ctx context.Context, cluster string) error {
	from, err := r.Client(Kafka)
	if err != nil {
		return err
	}
	to, err := r.Client(cluster)
	if err != nil {
		return err
	}
	ca, err := from.SecretData(ctx, Kafka, kafkaCluster+"-cluster-ca-cert")
	if err != nil {
		return err
	}
	user := principals()[cluster]
	data, err := from.SecretData(ctx, Kafka, user)
	if err != nil {
		return err
	}
	if len(ca["ca.crt"]) == 0 || len(data["password"]) == 0 {
		return fmt.Errorf("kafka user %s: its password, or the authority, is not there yet", user)
	}
	objects, err := manifests.Generated(cluster, overlay, nil, manifests.Deployment{
		KafkaCA: ca["ca.crt"], KafkaUser: manifests.Credentials{Username: user, Password: string(data["password"])},
	})
	if err != nil {
		return err
	}
	// Only the two Secrets: without flows the ConfigMap of endpoints would come out empty.
	objects = slices.DeleteFunc(objects, func(o manifests.Object) bool { return o.Kind() != "Secret" })
	return to.Apply(ctx, kube.FromMaps(manifests.Maps(objects)), nil)
}

// mergeMap returns a copy of m with one more entry.
func mergeMap(m map[string]string, k, v string) map[string]string {
	out := maps.Clone(m)
	if out == nil {
		out = map[string]string{}
	}
	out[k] = v
	return out
}
