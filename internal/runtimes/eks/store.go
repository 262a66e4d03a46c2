//go:build !embedded_only

package eks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"triad/internal/kube"
	"triad/internal/observe/elastic"
	"triad/internal/record"
	"triad/internal/scenario"
)

// storePort is that of the store's Service and of its pods.
const storePort = 9200

// purgeRounds is how often the store is read again before what is still there counts as left: a document may have been on its way.
const (
	purgeRounds = 5
	purgeGap    = time.Second
)

// store is the search store as this runtime uses it: one index.
type store struct {
	access elastic.Access
	client *elastic.Client
}

// throughTheAPI prepares the way to the store: through the API server, unless the file names an address.
func (s *System) throughTheAPI() (*store, error) {
	t := s.contexts.Clusters[scenario.Monitoring]
	transport := &http.Transport{DialContext: s.clients[scenario.Monitoring].DialContext, MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second}
	at := fmt.Sprintf("elasticsearch.%s:%d", t.Namespace, storePort)
	if t.Address != "" {
		transport.DialContext, at = (&net.Dialer{}).DialContext, t.Address
	}
	st := &store{access: elastic.Access{URL: "http://" + at, Transport: transport}}
	if t.Login != nil {
		pool, err := authority(t.Login.CAFile)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
		st.access.URL = "https://" + at
		st.access.Username = t.Login.User
		if st.access.Password, err = t.Login.password(); err != nil {
			return nil, err
		}
	}
	var err error
	st.client, err = elastic.NewClient(st.access)
	return st, err
}

func authority(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("authority: %s holds no certificate", file)
	}
	return pool, nil
}

// documents are the documents of a run. Each was read, and carries the run's number in its own line: nothing is taken for the run's
// because a search found it.
func (st *store) documents(ctx context.Context, run uint32) ([]elastic.Hit, error) {
	var out []elastic.Hit
	err := st.client.All(ctx, []string{canaryTopic}, elastic.Prefix(run), func(h elastic.Hit) error {
		if h.Source.Log == nil {
			return nil
		}
		if tag, err := record.Parse([]byte(*h.Source.Log)); err != nil || tag.Run != run {
			return nil //nolint:nilerr // a line whose tag does not hold may be anybody's, and is left where it is
		}
		out = append(out, h)
		return nil
	})
	return out, err
}

// purged is what taking out has come to.
type purged struct {
	removed uint64 // documents
	records uint64 // that they were: one that was indexed twice is two documents
	left    uint64 // documents that were there at the last reading
}

// purge takes the documents of a run out and reads again until none is found.
func (st *store) purge(ctx context.Context, run uint32) (p purged, err error) {
	seen := map[[2]uint64]bool{}
	for round := range purgeRounds {
		docs, err := st.documents(ctx, run)
		if err != nil {
			return p, err
		}
		if p.left = uint64(len(docs)); p.left == 0 {
			return p, nil
		}
		if round == purgeRounds-1 {
			break
		}
		n, err := st.client.Remove(ctx, docs)
		p.removed += n
		if err != nil {
			return p, err
		}
		for _, h := range docs {
			if tag, err := record.Parse([]byte(*h.Source.Log)); err == nil {
				seen[[2]uint64{uint64(tag.Stream), tag.Seq}] = true
			}
		}
		p.records = uint64(len(seen))
		select {
		case <-time.After(purgeGap):
		case <-ctx.Done():
			return p, context.Cause(ctx)
		}
	}
	return p, nil
}

// brokerDialTime is what connecting to a broker may take, with the way through an API server and TLS. A broker that starts accepts connections
// many seconds before it answers on them, and a client that waits for it does not ask who leads its partitions now.
const brokerDialTime = 10 * time.Second

// dialer of the brokers: over the API server to the pods behind the names of the internal listener, which are the same on every platform.
func brokerDialer(c *kube.Client, namespace string, roots *x509.CertPool) func(ctx context.Context, network, host string) (net.Conn, error) {
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, brokerDialTime)
		defer cancel()
		target, port, name, err := brokerTarget(namespace, address)
		if err != nil {
			return nil, err
		}
		raw, err := c.Dial(ctx, target, port)
		if err != nil {
			return nil, err
		}
		return secured(ctx, raw, name, roots)
	}
}

// balancedDialer dials brokers by their own addresses, as load balancers and brokers announce them: those of the bootstrap address's own host or
// its domain, and no others, whatever a broker may answer.
func balancedDialer(bootstrap string, roots *x509.CertPool) func(ctx context.Context, network, host string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, brokerDialTime)
		defer cancel()
		host, err := sameDomain(bootstrap, address)
		if err != nil {
			return nil, err
		}
		raw, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return secured(ctx, raw, host, roots)
	}
}

// sameDomain returns the host of a broker's address when it is the bootstrap's, or in the same domain of at least two labels.
func sameDomain(bootstrap, address string) (host string, err error) {
	own, _, err := net.SplitHostPort(bootstrap)
	if err == nil {
		host, _, err = net.SplitHostPort(address)
	}
	if err != nil {
		return "", fmt.Errorf("broker address %q: %w", address, err)
	}
	_, domain, _ := strings.Cut(own, ".")
	_, theirs, _ := strings.Cut(host, ".")
	if host == own || net.ParseIP(own) == nil && strings.Contains(domain, ".") && theirs == domain {
		return host, nil
	}
	return "", fmt.Errorf("broker address %q is not in the domain of %s: not dialled", address, bootstrap)
}

func secured(ctx context.Context, raw net.Conn, name string, roots *x509.CertPool) (net.Conn, error) {
	conn := tls.Client(raw, &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12})
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("broker %s: %w", name, err)
	}
	return conn, nil
}
