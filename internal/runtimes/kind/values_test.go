//go:build !embedded_only

package kind

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triad/internal/kube"
	"triad/internal/manifests"
)

// What the committed manifests take from outside of git when their pods start. A program that comes to take more is seen here; Prometheus reads the
// files of its credentials again by itself.
func TestWhatPodsTakeAtTheirStart(t *testing.T) {
	set, err := manifests.Open("../../../manifests")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]source{}
	for _, c := range manifests.Clusters() {
		planned, err := set.Render(c, overlay, "observer")
		if err != nil {
			t.Fatal(err)
		}
		rendered := map[source]bool{}
		for _, o := range planned {
			rendered[source{kind: o.Kind(), name: o.Name()}] = true
		}
		for _, o := range kube.FromMaps(manifests.Maps(planned)) {
			if s := sources(&o, rendered); len(s) > 0 {
				got[c+" "+o.GetKind()+"/"+o.GetName()] = s
			}
		}
	}
	tls, users := manifests.ElasticTLSSecret, manifests.ElasticUsersSecret
	want := map[string][]source{
		"datacenter StatefulSet/fluentd": {
			{"ConfigMap", manifests.EndpointsConfigMap, ""},
			{"Secret", manifests.KafkaCASecret, "ca.crt"},
			{"Secret", manifests.KafkaUserSecret, "password"},
			{"Secret", manifests.KafkaUserSecret, "username"},
		},
		"monitoring KafkaConnect/sink": {
			{"Secret", tls, "ca.crt"}, {"Secret", users, "connect"}, {"Secret", manifests.KafkaCASecret, ""}, {"Secret", manifests.KafkaUserSecret, ""},
		},
		"monitoring StatefulSet/elasticsearch": {{"Secret", tls, ""}, {"Secret", users, "users"}, {"Secret", users, "users_roles"}},
		"monitoring Deployment/kibana": {
			{"Secret", tls, "ca.crt"}, {"Secret", users, "kibana-server"}, {"Secret", manifests.KibanaSecret, "encryption-key"},
		},
		"monitoring Deployment/grafana": {
			{"Secret", tls, "ca.crt"},
			{"Secret", users, "grafana"},
			{"Secret", manifests.GrafanaSecret, "password"},
			{"Secret", manifests.GrafanaSecret, "username"},
			{"Secret", manifests.RemoteWriteSecret, "password"},
			{"Secret", manifests.RemoteWriteSecret, "username"},
		},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(source{})); diff != "" {
		t.Errorf("taken at the start (-want +got):\n%s", diff)
	}
}

// Pods are replaced when a value that they took has changed, and by nothing else: neither by deploying again, nor by a key that they do not take, nor by
// a file that their program follows.
func TestChangedValuesReplacePods(t *testing.T) {
	api, c := newFakeAPI(t, "v1 secrets Secret", "v1 configmaps ConfigMap", "apps/v1 deployments Deployment", "apps/v1 statefulsets StatefulSet", "kafka.strimzi.io/v1 kafkaconnects KafkaConnect")
	workload := func(kind, name, annotations, pod string) kube.Object {
		return object(t, `{"apiVersion":"apps/v1","kind":%q,"metadata":{"namespace":"n","name":%q,"annotations":{%s}},"spec":{"template":{"metadata":{},"spec":%s}}}`, kind, name, annotations, pod)
	}
	rendered := object(t, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"n","name":"rendered"},"data":{"a":"1"}}`)
	objects := []kube.Object{
		workload("StatefulSet", "env", "", `{"containers":[{"env":[{"name":"P","valueFrom":{"secretKeyRef":{"name":"user","key":"password"}}}],"envFrom":[{"configMapRef":{"name":"endpoints"}}]}]}`),
		workload("Deployment", "file", "", `{"volumes":[{"name":"ca","secret":{"secretName":"ca","items":[{"key":"ca.crt","path":"ca.crt"}]}},{"name":"all","projected":{"sources":[{"secret":{"name":"user"}}]}}]}`),
		workload("StatefulSet", "follower", `"`+followsAnnotation+`":"user, ca"`, `{"volumes":[{"name":"u","secret":{"secretName":"user"}},{"name":"c","secret":{"secretName":"ca"}}]}`),
		workload("Deployment", "nothing", "", `{"volumes":[{"name":"c","configMap":{"name":"rendered"}}]}`),
		object(t, `{"apiVersion":"kafka.strimzi.io/v1","kind":"KafkaConnect","metadata":{"namespace":"n","name":"connect"},"spec":{"tls":{"trustedCertificates":[{"secretName":"ca","pattern":"*.crt"}]},"authentication":{"passwordSecret":{"secretName":"user","password":"password"}}}}`),
		rendered,
	}
	secret := func(name string, data map[string]string) {
		bytes := map[string][]byte{}
		for k, v := range data {
			bytes[k] = []byte(v)
		}
		api.put(kube.NewSecret("n", name, bytes))
	}
	secret("user", map[string]string{"username": "u", "password": "one"})
	secret("ca", map[string]string{"ca.crt": "one", "ca.p12": "one"})
	api.put(kube.NewConfigMap("n", "endpoints", map[string]string{"KAFKA_BROKERS": "one"}))
	planned := []manifests.Object{manifests.Object(rendered.Object)}
	d := &deployment{Runtime: &Runtime{progress: func(string, string, string) {}}, plan: &Plan{Objects: map[string][]manifests.Object{"n": planned}}}
	before := map[string]string{}
	// replaced deploys and returns the objects whose pods that replaces.
	replaced := func() []string {
		t.Helper()
		if err := d.apply(t.Context(), c, "n", objects); err != nil {
			t.Fatal(err)
		}
		now := map[string]string{}
		for _, o := range objects {
			live, err := c.Get(t.Context(), kube.RefOf(&o))
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range [][]string{{"spec", "template", "metadata", "annotations"}, {"spec", "template", "pod", "metadata", "annotations"}} {
				if a, ok := manifests.Object(live.Object).Field(append(path, valuesAnnotation)...); ok {
					now[o.GetName()], _ = a.(string)
				}
			}
		}
		var out []string
		for name, sum := range now {
			if before[name] != sum {
				out = append(out, name)
			}
		}
		before = maps.Clone(now)
		slices.Sort(out)
		return out
	}
	for _, tc := range []struct {
		what   string
		change func()
		want   []string
	}{
		{"the first time", func() {}, []string{"connect", "env", "file"}},
		{"again", func() {}, nil},
		{"a password", func() { secret("user", map[string]string{"username": "u", "password": "two"}) }, []string{"connect", "env", "file"}},
		{"again after it", func() {}, nil},
		{"a key that one of them takes with all others", func() { secret("ca", map[string]string{"ca.crt": "one", "ca.p12": "two"}) }, []string{"connect"}},
		{"an authority", func() { secret("ca", map[string]string{"ca.crt": "two", "ca.p12": "two"}) }, []string{"connect", "file"}},
		{"an address", func() { api.put(kube.NewConfigMap("n", "endpoints", map[string]string{"KAFKA_BROKERS": "two"})) }, []string{"env"}},
		{"what is rendered", func() {
			objects[5] = object(t, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"n","name":"rendered"},"data":{"a":"2"}}`)
		}, nil},
	} {
		tc.change()
		if diff := cmp.Diff(tc.want, replaced()); diff != "" {
			t.Errorf("%s: replaced (-want +got):\n%s", tc.what, diff)
		}
	}
	for _, o := range objects {
		if _, ok := manifests.Object(o.Object).Field("spec", "template", "metadata", "annotations", valuesAnnotation); ok {
			t.Errorf("%s: what was rendered was changed", o.GetName())
		}
	}
}

// Deploying again leaves the central Prometheus the file that lets its clients in, unless it does not any more.
func TestReceiverKeepsItsFile(t *testing.T) {
	api, c := newFakeAPI(t, "v1 secrets Secret")
	d := &Runtime{opts: Options{Clusters: []string{Monitoring}}, clients: map[string]*kube.Client{Monitoring: c}}
	p := &Plan{Clusters: []string{Monitoring}}
	web, err := manifests.WebConfig(manifests.Credentials{Username: "triad", Password: "one"})
	if err != nil {
		t.Fatal(err)
	}
	for password, kept := range map[string]bool{"one": true, "two": false} {
		api.put(kube.NewSecret(Monitoring, manifests.RemoteWriteSecret, map[string][]byte{"username": []byte("triad"), "password": []byte(password), "web.yml": []byte(web)}))
		s, err := d.secrets(t.Context(), p, false)
		if err != nil || s.keepWeb != kept || s.remoteWrite.Password != password {
			t.Errorf("password %q: kept %v, %+v, %v; want %v", password, s.keepWeb, s.remoteWrite, err, kept)
		}
	}
}

// A principal that has another password comes to the cluster that uses it with the next deployment, and to its pods.
func TestRotatedPrincipalReachesItsPods(t *testing.T) {
	from, kafka := newFakeAPI(t, "v1 secrets Secret")
	_, datacenter := newFakeAPI(t, "v1 secrets Secret", "apps/v1 statefulsets StatefulSet")
	from.put(kube.NewSecret(Kafka, kafkaCluster+"-cluster-ca-cert", map[string][]byte{"ca.crt": []byte("authority")}))
	d := &deployment{
		Runtime: &Runtime{clients: map[string]*kube.Client{Kafka: kafka, Datacenter: datacenter}, progress: func(string, string, string) {}},
		plan:    &Plan{}, kafka: make(chan struct{}),
	}
	close(d.kafka)
	fluentd := object(t, `{"apiVersion":"apps/v1","kind":"StatefulSet","metadata":{"namespace":%q,"name":"fluentd"},"spec":{"template":{"spec":{"containers":[{"env":[{"valueFrom":{"secretKeyRef":{"name":%q,"key":"password"}}}]}]}}}}`, Datacenter, manifests.KafkaUserSecret)
	var sums []any
	for _, password := range []string{"one", "one", "two"} {
		from.put(kube.NewSecret(Kafka, principals()[Datacenter], map[string][]byte{"password": []byte(password)}))
		if err := d.afterKafka(t.Context(), datacenter, Datacenter, []kube.Object{fluentd}); err != nil {
			t.Fatal(err)
		}
		live, err := datacenter.Get(t.Context(), kube.RefOf(&fluentd))
		if err != nil {
			t.Fatal(err)
		}
		sum, _ := manifests.Object(live.Object).Field("spec", "template", "metadata", "annotations", valuesAnnotation)
		sums = append(sums, sum)
	}
	if sums[0] == nil || sums[0] != sums[1] || sums[1] == sums[2] {
		t.Errorf("checksums: %q, want the third to differ", sums)
	}
}
