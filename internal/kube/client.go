//go:build !embedded_only

package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
)

// FieldManager is the owner of every field that Triad sets by server-side apply.
const FieldManager = "triad"

// requestTimeout bounds one API request that is not a stream.
const requestTimeout = 30 * time.Second

// Object is one Kubernetes object as rendered or read.
type Object = unstructured.Unstructured

// ProgressFunc hears what a long step is doing: the step's name, one of the State values, and a short detail for people.
// It may be called from several goroutines at once.
type ProgressFunc func(step, state, detail string)

// The states that a ProgressFunc hears.
const (
	StateStart = "start" // the step began
	StateInfo  = "info"  // it goes on, with news
	StateDone  = "done"  // it ended well
	StateSkip  = "skip"  // nothing had to be done; detail says why
	StateFail  = "fail"  // it ended badly; detail says why
)

// Client is a connection to one cluster. It is safe for concurrent use and holds nothing that has to be closed.
type Client struct {
	name   string
	config *rest.Config
	dyn    dynamic.Interface
	disco  discovery.CachedDiscoveryInterface
	mapper *restmapper.DeferredDiscoveryRESTMapper
	core   *rest.RESTClient
	// throttled counts answers 429. The library waits as they ask and tries again by itself; when its time runs out, its error no longer says why.
	throttled *atomic.Int64
}

// Open returns a client for a context of a kubeconfig file. An empty context takes the file's current one. Only the given file is
// read: neither KUBECONFIG nor the user's own file plays a part. It does not speak to the cluster yet.
func Open(kubeconfig, kubecontext string) (*Client, error) {
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: kubecontext}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s, context %q: %w", kubeconfig, kubecontext, err)
	}
	name := kubecontext
	if name == "" {
		name = kubeconfig
	}
	return newClient(name, config)
}

// OpenInCluster returns a client for the cluster in which the program runs, as the service account of its pod.
func OpenInCluster() (*Client, error) {
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, fmt.Errorf("not in a pod that has a service account: %w", err)
	}
	return newClient("in-cluster", config)
}

func newClient(name string, config *rest.Config) (*Client, error) {
	config = rest.CopyConfig(config)
	// The default of 5 requests a second makes a deployment of sixty objects take most of a minute.
	config.QPS, config.Burst = 100, 200
	config.UserAgent = "triad"
	config.WarningHandler = rest.NoWarnings{}
	throttled := new(atomic.Int64)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &throttleCount{next, throttled} })
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("client of %s: %w", name, err)
	}
	dyn, err := dynamic.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("client of %s: %w", name, err)
	}
	disco, err := discovery.NewDiscoveryClientForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("client of %s: %w", name, err)
	}
	coreConfig := rest.CopyConfig(config)
	coreConfig.APIPath = "/api"
	coreConfig.GroupVersion = &schema.GroupVersion{Version: "v1"}
	coreConfig.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	core, err := rest.RESTClientForConfigAndClient(coreConfig, httpClient)
	if err != nil {
		return nil, fmt.Errorf("client of %s: %w", name, err)
	}
	cached := memory.NewMemCacheClient(disco)
	return &Client{name: name, config: config, dyn: dyn, disco: cached, mapper: restmapper.NewDeferredDiscoveryRESTMapper(cached), core: core, throttled: throttled}, nil
}

// throttleCount counts the answers with which a server asks to come back later.
type throttleCount struct {
	next http.RoundTripper
	n    *atomic.Int64
}

// RoundTrip passes a request on.
func (t *throttleCount) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := t.next.RoundTrip(r)
	if err == nil && res.StatusCode == http.StatusTooManyRequests {
		t.n.Add(1)
	}
	return res, err
}

// Name returns the context that the client was opened with, for messages.
func (c *Client) Name() string { return c.name }

// Server returns the address of the API server.
func (c *Client) Server() string { return c.config.Host }

// Ready says whether the API server answers that it is ready, within two seconds.
func (c *Client) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Second, errors.New("no answer within 2 s"))
	defer cancel()
	_, err := c.core.Get().AbsPath("/readyz").DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("api server of %s: %w", c.name, withCause(ctx, err))
	}
	return nil
}

// Version returns the server's version, like v1.34.4.
func (c *Client) Version(context.Context) (string, error) {
	v, err := c.disco.ServerVersion()
	if err != nil {
		return "", fmt.Errorf("version of %s: %w", c.name, err)
	}
	return v.GitVersion, nil
}

// Ref names one object.
type Ref struct{ APIVersion, Kind, Namespace, Name string }

// String returns "Kind namespace/name".
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// RefOf returns the reference of an object.
func RefOf(o *Object) Ref {
	return Ref{APIVersion: o.GetAPIVersion(), Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName()}
}

// FromMaps turns decoded YAML or JSON objects into Objects. Numbers must be int64 or float64, as the Kubernetes decoders make them.
func FromMaps(maps []map[string]any) []Object {
	out := make([]Object, 0, len(maps))
	for _, m := range maps {
		out = append(out, Object{Object: m})
	}
	return out
}

// resource returns the endpoint of a kind in a namespace. The namespace is left out for kinds of the whole cluster.
func (c *Client) resource(apiVersion, kind, namespace string) (dynamic.ResourceInterface, error) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return nil, fmt.Errorf("api version %q: %w", apiVersion, err)
	}
	mapping, err := c.mapper.RESTMapping(schema.GroupKind{Group: gv.Group, Kind: kind}, gv.Version)
	if err != nil {
		return nil, fmt.Errorf("kind %s %s on %s: %w", apiVersion, kind, c.name, err)
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return c.dyn.Resource(mapping.Resource).Namespace(namespace), nil
	}
	return c.dyn.Resource(mapping.Resource), nil
}

// Get returns one object. IsNotFound tells a missing one from other errors.
func (c *Client) Get(ctx context.Context, r Ref) (*Object, error) {
	ri, err := c.resource(r.APIVersion, r.Kind, r.Namespace)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	o, err := ri.Get(ctx, r.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("get %s on %s: %w", r, c.name, err)
	}
	return o, nil
}

// List returns the objects of a kind. An empty namespace means all; an empty selector too. Selector is a label selector like "a=b,c".
func (c *Client) List(ctx context.Context, apiVersion, kind, namespace, selector string) ([]Object, error) {
	ri, err := c.resource(apiVersion, kind, namespace)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	l, err := ri.List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("list %s in %q on %s: %w", kind, namespace, c.name, err)
	}
	for i := range l.Items { // those of a list do not all carry what they are
		l.Items[i].SetAPIVersion(apiVersion)
		l.Items[i].SetKind(kind)
	}
	return l.Items, nil
}

// IsNotFound says whether an error of this package means that the object, or its whole kind, is not there.
func IsNotFound(err error) bool {
	return apierrors.IsNotFound(err) || meta.IsNoMatchError(err)
}

// podURL returns the address of a subresource of a pod, for streams.
func (c *Client) podURL(namespace, pod, sub string) *url.URL {
	return c.core.Get().Resource("pods").Namespace(namespace).Name(pod).SubResource(sub).URL()
}

// withCause prefers the reason why a context ended over the bare error that it led to.
func withCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && ctx.Err() != nil {
		return cause
	}
	return err
}

// group returns the API group of an apiVersion: "" for v1.
func group(apiVersion string) string {
	if g, _, ok := strings.Cut(apiVersion, "/"); ok {
		return g
	}
	return ""
}
