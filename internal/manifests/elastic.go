package manifests

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// elasticValidity is how long generated certificates hold. They live as long as a kind cluster; a platform's own issuer renews
// sooner.
const elasticValidity = 825 * 24 * time.Hour

// elasticUsers are the users of Elasticsearch by task, with their roles (components/elasticsearch-security). None has a name that
// Elasticsearch reserves (elastic, kibana, kibana_system, and others): such a name is never looked for in files.
var elasticUsers = map[string][]string{
	"connect":       {"triad_sink"},
	"setup":         {"triad_setup"},
	"kibana-server": {"kibana_system"},
	"grafana":       {"triad_reader"},
	"people":        {"triad_reader", "kibana_admin"},
	"canary":        {"triad_canary"},
	"observer":      {"superuser"}, // it sets and clears the read-only block, reads every index and closes points in time
}

// ElasticUsers returns the names of the users that ElasticSecrets wants a password for, sorted.
func ElasticUsers() []string { return slices.Sorted(maps.Keys(elasticUsers)) }

// ElasticSecrets returns the two Secrets that components/elasticsearch-security needs: certificates of an authority made for the
// purpose, and the file realm's users with the given passwords (one for each of ElasticUsers). addresses are names and addresses
// beside those of the Services under which the server is reached, such as those of the nodes. Every call makes a new authority:
// keep what is there unless it is to be rotated. The hashes cost about 50 ms a user.
func ElasticSecrets(passwords map[string]string, addresses []string, now time.Time) ([]Object, error) {
	ca, caKey, err := newCertificate(&x509.Certificate{
		Subject: pkix.Name{CommonName: "triad elasticsearch"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil, now)
	if err != nil {
		return nil, err
	}
	leaf := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "elasticsearch"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames: []string{
			"elasticsearch", "elasticsearch.monitoring", "elasticsearch.monitoring.svc", "elasticsearch.monitoring.svc.cluster.local",
			"elasticsearch-headless.monitoring.svc", "*.elasticsearch-headless.monitoring.svc", "localhost",
		},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	for _, a := range addresses {
		if ip := net.ParseIP(a); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, a)
		}
	}
	cert, key, err := newCertificate(leaf, ca, caKey, now)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("key of elasticsearch: %w", err)
	}
	users, err := userFiles(passwords)
	if err != nil {
		return nil, err
	}
	return []Object{
		secret("monitoring", ElasticTLSSecret, map[string]string{
			"ca.crt": pemText("CERTIFICATE", ca.Raw), "tls.crt": pemText("CERTIFICATE", cert.Raw), "tls.key": pemText("PRIVATE KEY", der),
		}),
		secret("monitoring", ElasticUsersSecret, users),
	}, nil
}

// userFiles are the two files of Elasticsearch's file realm, and each user's password under the user's name.
func userFiles(passwords map[string]string) (map[string]string, error) {
	out := map[string]string{}
	var users, roles strings.Builder
	members := map[string][]string{}
	for _, name := range ElasticUsers() {
		password := passwords[name]
		if password == "" {
			return nil, fmt.Errorf("users of elasticsearch: no password for %s", name)
		}
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
		if err != nil {
			return nil, fmt.Errorf("users of elasticsearch: %s: %w", name, err)
		}
		fmt.Fprintf(&users, "%s:%s\n", name, hash)
		out[name] = password
		for _, r := range elasticUsers[name] {
			members[r] = append(members[r], name)
		}
	}
	for _, r := range slices.Sorted(maps.Keys(members)) {
		fmt.Fprintf(&roles, "%s:%s\n", r, strings.Join(members[r], ","))
	}
	out["users"], out["users_roles"] = users.String(), roles.String()
	return out, nil
}

// newCertificate signs a template with the parent's key, or with its own when there is no parent.
func newCertificate(template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey, now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate of %s: %w", template.Subject.CommonName, err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, fmt.Errorf("certificate of %s: %w", template.Subject.CommonName, err)
	}
	template.SerialNumber = serial
	// An hour back: clocks of containers and hosts differ after a suspend.
	template.NotBefore, template.NotAfter = now.Add(-time.Hour), now.Add(elasticValidity)
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate of %s: %w", template.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
