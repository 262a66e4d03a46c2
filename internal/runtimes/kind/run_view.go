//go:build !embedded_only

package kind

import (
	"context"
	"slices"
	"time"

	"triad/internal/kube"
	"triad/internal/manifests"
	"triad/internal/runtimes"
	"triad/internal/view"
)

var (
	_ view.Source          = (*env)(nil)
	_ runtimes.Dashboarder = (*env)(nil)
)

// grafanaPort is the port of Grafana's container.
const grafanaPort = 3000

// Shown is what the dashboards of the manifests show, as they are committed: where Grafana's image is absent its files are not deployed.
func (e *env) Shown() (view.Shown, error) {
	set, err := manifests.Open(e.Options().Manifests)
	if err != nil {
		return view.Shown{}, err
	}
	objects, err := set.Render(Monitoring, overlay)
	if err != nil {
		return view.Shown{}, err
	}
	return view.Read(set, manifests.Rendered{Cluster: Monitoring, Overlay: overlay, Objects: objects})
}

// Grafana is reached through the API server, as every pod is; nil where it is left out or does not run.
func (e *env) Grafana() *runtimes.GrafanaAccess {
	if slices.Contains(e.plan.LeftOut, "grafana") {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c := e.clients[Monitoring]
	pods, err := c.List(ctx, "v1", "Pod", Monitoring, "triad.dev/component=grafana")
	if err != nil || len(pods) == 0 {
		e.session.Logger.Warn("no pod of grafana", "error", err)
		return nil
	}
	sec, err := c.SecretData(ctx, Monitoring, "triad-grafana")
	if err != nil {
		e.session.Logger.Warn("no password of grafana", "error", err)
		return nil
	}
	return &runtimes.GrafanaAccess{
		URL: kube.PodURL(pods[0].GetName(), Monitoring, grafanaPort), Client: c.HTTP(30 * time.Second),
		User: string(sec["username"]), Password: string(sec["password"]),
	}
}
