//go:build !embedded_only

package kind

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"triad/internal/kube"
	"triad/internal/manifests"
)

// setupTimeout is for the store's templates: the server needs half a minute on two cores, the calls a second.
const setupTimeout = 6 * time.Minute

// needsAnnotation names what a Job's image must have; without it the deploying code does the Job's work.
const needsAnnotation = "triad.dev/needs"

// jobs takes the Jobs out of a cluster's first objects and keeps those that have to run: one that has run with the same content is
// not run again, and one that differs is deleted first, because a Job cannot be changed.
func (d *deployment) jobs(ctx context.Context, c *kube.Client, name string, first []kube.Object) (jobs, rest []kube.Object, err error) {
	ran, err := d.record(ctx, c, name)
	if err != nil {
		return nil, nil, err
	}
	for _, o := range first {
		if o.GetKind() != "Job" {
			rest = append(rest, o)
			continue
		}
		sum, err := jobSum(o, first)
		if err != nil {
			return nil, nil, err
		}
		if ran["job."+o.GetName()] == sum {
			continue
		}
		if err := c.Delete(ctx, []kube.Ref{kube.RefOf(&o)}, time.Minute); err != nil {
			return nil, nil, err
		}
		o.SetAnnotations(mergeMap(o.GetAnnotations(), contentAnnotation, sum))
		jobs = append(jobs, o)
		if o.GetAnnotations()[needsAnnotation] != "curl" || !d.plan.noCurl {
			rest = append(rest, o)
		}
	}
	return jobs, rest, nil
}

// jobSum identifies a Job with the ConfigMaps that it mounts. Generated ones carry their content in their names already.
func jobSum(job kube.Object, all []kube.Object) (string, error) {
	h := sha256.New()
	enc := json.NewEncoder(h)
	if err := enc.Encode(job.Object["spec"]); err != nil {
		return "", fmt.Errorf("job %s: %w", job.GetName(), err)
	}
	for _, o := range all {
		if o.GetKind() == "ConfigMap" && mentions(job.Object, o.GetName()) {
			if err := enc.Encode(o.Object["data"]); err != nil {
				return "", fmt.Errorf("job %s: %w", job.GetName(), err)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// record returns what earlier deployments noted in the cluster.
func (d *deployment) record(ctx context.Context, c *kube.Client, name string) (map[string]string, error) {
	o, err := c.Get(ctx, kube.Ref{APIVersion: "v1", Kind: "ConfigMap", Namespace: name, Name: deploymentRecord})
	if kube.IsNotFound(err) {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	data, _ := o.Object["data"].(map[string]any)
	for k, v := range data {
		out[k], _ = v.(string)
	}
	return out, nil
}

// finishJobs waits for Jobs, does the work of those that the image cannot run, and notes them as done, beside those that were done before.
func (d *deployment) finishJobs(ctx context.Context, c *kube.Client, name string, jobs, first []kube.Object) error {
	if len(jobs) == 0 {
		return nil
	}
	done, err := d.record(ctx, c, name)
	if err != nil {
		return err
	}
	for i := range jobs {
		j := &jobs[i]
		started := time.Now()
		if j.GetAnnotations()[needsAnnotation] == "curl" && d.plan.noCurl {
			err = d.sendTemplates(ctx, c, name, first)
		} else {
			err = c.WaitReady(ctx, []kube.Ref{kube.RefOf(j)}, setupTimeout, nil)
		}
		if err != nil {
			return fmt.Errorf("job %s: %w", j.GetName(), err)
		}
		done["job."+j.GetName()] = j.GetAnnotations()[contentAnnotation]
		d.progress("deploy "+name, kube.StateInfo, fmt.Sprintf("job %s done after %s", j.GetName(), time.Since(started).Round(100*time.Millisecond)))
	}
	return c.Apply(ctx, []kube.Object{kube.NewConfigMap(name, deploymentRecord, done)}, nil)
}

// sendTemplates does what the Job elasticsearch-setup does, from here: every file of the generated ConfigMap is one PUT, in the order
// of the names, "--" standing for "/".
func (d *deployment) sendTemplates(ctx context.Context, c *kube.Client, name string, objects []kube.Object) error {
	ctx, cancel := context.WithTimeoutCause(ctx, setupTimeout, fmt.Errorf("elasticsearch did not take its templates within %s", setupTimeout))
	defer cancel()
	var files map[string]any
	for _, o := range objects {
		if o.GetKind() == "ConfigMap" && strings.HasPrefix(o.GetName(), "elasticsearch-setup-") && o.GetName() != "elasticsearch-setup-script" {
			files, _ = o.Object["data"].(map[string]any)
		}
	}
	if len(files) == 0 {
		return fmt.Errorf("templates of %s: there is no ConfigMap elasticsearch-setup", name)
	}
	refs := []kube.Ref{{APIVersion: "apps/v1", Kind: "StatefulSet", Namespace: name, Name: "elasticsearch"}}
	if err := c.WaitReady(ctx, refs, setupTimeout, d.progress); err != nil {
		return err
	}
	store, err := d.store(ctx, c, name)
	if err != nil {
		return err
	}
	defer store.http.CloseIdleConnections()
	names := make([]string, 0, len(files))
	for f := range files {
		names = append(names, f)
	}
	slices.Sort(names)
	for _, f := range names {
		body, _ := files[f].(string)
		if err := store.sendTemplate(ctx, f, body); err != nil {
			return err
		}
	}
	return nil
}

// store is the way to Elasticsearch through the API server, as the user that sets it up.
type store struct {
	http           *http.Client
	base           string
	user, password string
}

func (d *deployment) store(ctx context.Context, c *kube.Client, name string) (store, error) {
	s := store{http: c.HTTP(30 * time.Second), base: "http://elasticsearch." + name + ":9200/"}
	if !d.plan.secured() {
		return s, nil
	}
	tlsData, err := c.SecretData(ctx, name, manifests.ElasticTLSSecret)
	if err != nil {
		return s, err
	}
	users, err := c.SecretData(ctx, name, manifests.ElasticUsersSecret)
	if err != nil {
		return s, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(tlsData["ca.crt"]) {
		return s, fmt.Errorf("secret %s: ca.crt is no certificate", manifests.ElasticTLSSecret)
	}
	s.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	s.base = "https://elasticsearch." + name + ":9200/"
	s.user, s.password = "setup", string(users["setup"])
	return s, nil
}

func (s store) sendTemplate(ctx context.Context, file, body string) error {
	_, path, ok := strings.Cut(strings.TrimSuffix(file, ".json"), "--")
	if !ok {
		return fmt.Errorf("template %s: its name has no path", file)
	}
	path = strings.ReplaceAll(path, "--", "/")
	if alias, index, ok := cutAlias(path); ok {
		status, err := s.request(ctx, http.MethodHead, "_alias/"+alias, "")
		if err != nil {
			return err
		}
		if status == http.StatusOK {
			return nil
		}
		path = index
	}
	if _, err := s.request(ctx, http.MethodPut, path, body); err != nil {
		return fmt.Errorf("template %s: %w", file, err)
	}
	return nil
}

// cutAlias takes "alias/<name>/<index>" apart: an index that is made only while its alias is missing.
func cutAlias(path string) (alias, index string, ok bool) {
	rest, ok := strings.CutPrefix(path, "alias/")
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, "/")
}

// request sends one request. A status of 300 and more is an error, except for HEAD, which asks.
func (s store) request(ctx context.Context, method, path, body string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	if s.user != "" {
		req.SetBasicAuth(s.user, s.password)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if resp.StatusCode >= 300 && method != http.MethodHead {
		return resp.StatusCode, fmt.Errorf("%s /%s: %s: %s", method, path, resp.Status, answer)
	}
	return resp.StatusCode, nil
}
