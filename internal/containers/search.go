//go:build !embedded_only

package containers

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"
)

const searchPort = "9200/tcp"

// Elasticsearch is a single real node without security.
type Elasticsearch struct {
	URL  string // seen from here
	Name string // in the network
	*Container
}

// StartElasticsearch brings up a node and waits until it answers. Settings are those of elasticsearch.yml.
func StartElasticsearch(tb testing.TB, network string, settings map[string]string) *Elasticsearch {
	tb.Helper()
	image := Image(tb, "elasticsearch")
	if network == "" {
		network = Network(tb)
	}
	env := map[string]string{
		"discovery.type": "single-node", "xpack.security.enabled": "false", "ES_JAVA_OPTS": "-Xms320m -Xmx320m", "node.store.allow_mmap": "false",
		"ingest.geoip.downloader.enabled": "false", "cluster.routing.allocation.disk.threshold_enabled": "false",
	}
	maps.Copy(env, settings)
	e := &Elasticsearch{Name: "elasticsearch"}
	e.Container = Run(tb, testcontainers.ContainerRequest{
		Image: image, Env: env, ExposedPorts: []string{searchPort},
		Networks: []string{network}, NetworkAliases: map[string][]string{network: {e.Name}},
	})
	e.URL = "http://" + e.Addr(searchPort)
	Eventually(tb, 3*time.Minute, "elasticsearch", func(ctx context.Context) error {
		_, _, err := Do(ctx, http.MethodGet, e.URL+"/_cluster/health?wait_for_status=yellow&timeout=4s", "")
		return err
	})
	return e
}

// Must makes a request that has to succeed and returns its answer.
func (e *Elasticsearch) Must(method, path, body string) string {
	e.tb.Helper()
	status, answer, err := Do(e.tb.Context(), method, e.URL+path, body)
	if err != nil {
		e.tb.Fatal(err)
	}
	if status >= 300 {
		e.tb.Fatalf("%s %s: HTTP %d: %s", method, path, status, answer)
	}
	return answer
}

// Do makes one request with a JSON body, or newline-delimited JSON where the body ends with a line break. A status of 500
// and above is an error.
func Do(ctx context.Context, method, url, body string) (status int, answer string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
		if strings.HasSuffix(body, "\n") {
			req.Header.Set("Content-Type", "application/x-ndjson")
		}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, "", err
	}
	if res.StatusCode >= 500 {
		return res.StatusCode, string(b), fmt.Errorf("%s %s: HTTP %d: %s", method, url, res.StatusCode, b)
	}
	return res.StatusCode, string(b), nil
}
