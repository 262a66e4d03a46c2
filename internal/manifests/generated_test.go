package manifests

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

func value(t *testing.T, o Object, key string) string {
	t.Helper()
	v, _ := o.Field("data", key)
	text, _ := v.(string)
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) == 0 {
		t.Fatalf("%s: no value %q", o, key)
	}
	return string(b)
}

func TestGeneratedObjectsAreAllThatPodsReferTo(t *testing.T) {
	s := open(t)
	flows, err := s.Flows(Added)
	if err != nil {
		t.Fatal(err)
	}
	d := Deployment{
		NodeAddresses: map[string][]string{"kafka": {"172.18.0.3"}, "monitoring": {"172.18.0.4", "172.18.0.2"}},
		KafkaCA:       []byte("ca"), KafkaUser: Credentials{"fluentd", "p"}, RemoteWrite: Credentials{"agent", "secret"},
		Grafana: Credentials{"admin", "g"}, KibanaKey: strings.Repeat("k", 32),
	}
	passwords := map[string]string{}
	for _, u := range ElasticUsers() {
		passwords[u] = "password of " + u
	}
	for _, c := range rendered() {
		r := render(t, s, c, "kind")
		made, err := Generated(c, "kind", flows, d)
		if err != nil {
			t.Fatal(err)
		}
		if c == "monitoring" {
			elastic, err := ElasticSecrets(passwords, nil, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			made = append(made, elastic...)
		}
		have := map[string]bool{}
		for _, o := range append(r.Objects, made...) {
			have[o.String()] = true
		}
		for _, o := range r.Objects {
			for ref, keys := range references(map[string]any(o)) {
				if strings.HasPrefix(ref, "optional ") {
					continue
				}
				if !have[ref] {
					t.Errorf("%s: %s refers to %s, which is neither in the manifests nor generated", c, o, ref)
					continue
				}
				for _, k := range keys {
					made, err := Find(append(slices.Clone(r.Objects), made...), strings.Split(ref, "/")[0], strings.Split(ref, "/")[1])
					if _, ok := made.Field("data", k); err != nil || !ok {
						t.Errorf("%s: %s wants key %s of %s", c, o, k, ref)
					}
				}
			}
		}
		// A Service without a selector has a slice, and the slice the name of its port.
		for _, o := range r.Resources("Service") {
			if _, selects := o.Field("spec", "selector"); selects {
				continue
			}
			slice, err := Find(made, "EndpointSlice", o.Name()+"-triad")
			if err != nil {
				t.Errorf("%s: %s: %v", c, o, err)
				continue
			}
			ports, _ := o.Field("spec", "ports")
			want := ports.([]any)[0].(map[string]any)["name"]
			if got := slice["ports"].([]any)[0].(map[string]any)["name"]; got != want || slice.Labels()["kubernetes.io/service-name"] != o.Name() {
				t.Errorf("%s: %s: port %v, want %v; labels %v", c, o, got, want, slice.Labels())
			}
		}
	}
	if _, err := Generated("datacenter", "kind", flows, Deployment{}); err == nil || !strings.Contains(err.Error(), "no address of a node of") {
		t.Errorf("without addresses: %v", err)
	}
	made, err := Generated("datacenter", "eks", flows, Deployment{})
	if err != nil || len(made) != 1 {
		t.Fatalf("eks: %v %v", made, err)
	}
	eks, err := Find(render(t, s, "datacenter", "eks").Objects, "ConfigMap", EndpointsConfigMap)
	if err != nil {
		t.Fatal(err)
	}
	for k, want := range made[0].texts("data") {
		if got := eks.texts("data")[k]; got != want {
			t.Errorf("eks endpoints: %s is %q in git and %q generated", k, got, want)
		}
	}
}

// references are the ConfigMaps and Secrets that a pod names, with the keys it wants of them.
func references(v any) map[string][]string {
	out := map[string][]string{}
	add := func(kind string, name any, keys ...string) {
		if n, _ := name.(string); n != "" {
			out[kind+"/"+n] = append(out[kind+"/"+n], keys...)
		}
	}
	items := func(m map[string]any) (keys []string) {
		list, _ := m["items"].([]any)
		for _, e := range list {
			keys = append(keys, e.(map[string]any)["key"].(string))
		}
		return keys
	}
	var walk func(v any)
	walk = func(v any) {
		switch t := v.(type) {
		case map[string]any:
			for k, e := range t {
				m, _ := e.(map[string]any)
				switch {
				case m == nil:
				case k == "configMap", k == "configMapRef":
					add("ConfigMap", m["name"], items(m)...)
				case k == "configMapKeyRef":
					add("ConfigMap", m["name"], m["key"].(string))
				case k == "secret":
					add("Secret", m["secretName"], items(m)...)
				case k == "secretKeyRef":
					add("Secret", m["name"], m["key"].(string))
				case k == "passwordSecret":
					add("Secret", m["secretName"], m["password"].(string))
				}
				walk(e)
			}
		case []any:
			for _, e := range t {
				walk(e)
			}
		}
	}
	walk(v)
	return out
}

func TestRemoteWriteSecretLetsTheAgentsIn(t *testing.T) {
	made, err := Generated("monitoring", "kind", nil, Deployment{RemoteWrite: Credentials{"agent", "secret"}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Find(made, "Secret", RemoteWriteSecret)
	if err != nil {
		t.Fatal(err)
	}
	var web struct {
		Users map[string]string `yaml:"basic_auth_users"`
	}
	if err := strict("web.yml", []byte(value(t, s, "web.yml")), &web); err != nil {
		t.Fatal(err)
	}
	if err := bcrypt.CompareHashAndPassword([]byte(web.Users["agent"]), []byte("secret")); err != nil {
		t.Error(err)
	}
	if _, err := Generated("monitoring", "kind", nil, Deployment{KibanaKey: "short"}); err == nil {
		t.Error("a key that Kibana refuses must be refused here")
	}
}

// Users and roles that eks.md has a platform make are those that kind makes; the harness is no user there.
func TestElasticUsersInTheDocs(t *testing.T) {
	b, err := os.ReadFile("../../docs/eks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(b), "| user | role | who |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	name := regexp.MustCompile("`([a-z_-]+)`")
	got := map[string][]string{}
	for line := range strings.SplitSeq(table, "\n") {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			t.Fatalf("not a row: %q", line)
		}
		for _, user := range name.FindAllStringSubmatch(cells[1], -1) {
			for _, role := range name.FindAllStringSubmatch(cells[2], -1) {
				got[user[1]] = append(got[user[1]], role[1])
			}
		}
	}
	want := maps.Clone(elasticUsers)
	delete(want, "observer")
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("eks.md: %v, want %v", got, want)
	}
	// The command that makes them, and the names of the certificate.
	made := map[string][]string{}
	for _, m := range regexp.MustCompile(`(?m)^for u in (.*); do$`).FindAllStringSubmatch(string(b), -1) {
		for pair := range strings.FieldsSeq(m[1]) {
			user, roles, _ := strings.Cut(pair, ":")
			made[user] = strings.Split(roles, ",")
		}
	}
	for _, roles := range want {
		slices.Sort(roles)
	}
	for _, roles := range made {
		slices.Sort(roles)
	}
	if !maps.EqualFunc(made, want, slices.Equal) {
		t.Errorf("the command in eks.md makes %v, want %v", made, want)
	}
	passwords := map[string]string{}
	for _, u := range ElasticUsers() {
		passwords[u] = "p-" + u
	}
	secrets, err := ElasticSecrets(passwords, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(value(t, secrets[0], "tls.crt")))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range cert.DNSNames {
		names = append(names, "DNS:"+n)
	}
	for _, ip := range cert.IPAddresses {
		names = append(names, "IP:"+ip.String())
	}
	if !strings.Contains(string(b), "subjectAltName="+strings.Join(names, ",")+"'") {
		t.Errorf("the certificate in eks.md is not for %s", strings.Join(names, ","))
	}
}

func TestElasticSecrets(t *testing.T) {
	var seen []string
	passwords := map[string]string{}
	for _, u := range ElasticUsers() {
		passwords[u] = "p-" + u
	}
	made, err := ElasticSecrets(passwords, []string{"172.18.0.9", "triad-monitoring-control-plane"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(value(t, made[0], "ca.crt"))) {
		t.Fatal("no authority")
	}
	block, _ := pem.Decode([]byte(value(t, made[0], "tls.crt")))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"elasticsearch.monitoring.svc", "elasticsearch-2.elasticsearch-headless.monitoring.svc", "172.18.0.9", "triad-monitoring-control-plane"} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for line := range strings.SplitSeq(strings.TrimSpace(value(t, made[1], "users")), "\n") {
		name, hash, _ := strings.Cut(line, ":")
		if err := bcrypt.CompareHashAndPassword([]byte(hash), []byte("p-"+name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Every role that a user has is either Elasticsearch's own or defined in the component.
	roles, err := open(t).read(open(t).Dir() + "/components/elasticsearch-security/monitoring/roles.yml")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(strings.TrimSpace(value(t, made[1], "users_roles")), "\n") {
		role, _, _ := strings.Cut(line, ":")
		if strings.HasPrefix(role, "triad_") && !strings.Contains(string(roles), "\n"+role+":") {
			t.Errorf("role %s is nowhere defined", role)
		}
	}
	// Names of Elasticsearch's own realm, which is asked first and answers for them alone.
	for _, name := range []string{"elastic", "kibana", "kibana_system", "logstash_system", "beats_system", "apm_system", "remote_monitoring_user"} {
		if slices.Contains(ElasticUsers(), name) {
			t.Errorf("%s is a reserved name: the file realm is never asked for it", name)
		}
	}
	// Who logs in does so by a name that has a password.
	for _, o := range render(t, open(t), "monitoring", "eks").Objects {
		b, err := o.YAML()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?:elasticsearch\.username|connection\.username|basicAuthUser): ([a-z]\S+)|name: ES_USER\s+value: (\S+)`).FindAllStringSubmatch(string(b), -1) {
			if user := m[1] + m[2]; !slices.Contains(ElasticUsers(), user) {
				t.Errorf("%s logs in as %s, users are %v", o, user, ElasticUsers())
			} else {
				seen = append(seen, user)
			}
		}
	}
	if slices.Sort(seen); !slices.Equal(slices.Compact(seen), []string{"connect", "grafana", "kibana-server", "people", "setup"}) {
		t.Errorf("logged in as %v", seen)
	}
	delete(passwords, "connect")
	if _, err := ElasticSecrets(passwords, nil, time.Now()); err == nil || !strings.Contains(err.Error(), "no password for connect") {
		t.Errorf("without a password: %v", err)
	}
}
