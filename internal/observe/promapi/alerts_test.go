package promapi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAlertsAndRules(t *testing.T) {
	// Answers as Prometheus 3.16 gives them.
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/v1/alerts":
			fmt.Fprint(w, `{"status":"success","data":{"alerts":[{"labels":{"alertname":"A","cluster":"kafka"},"annotations":{},"state":"firing","activeAt":"2026-11-27T10:00:00.5Z","value":"2e+00"}]}}`)
		case "/api/v1/rules":
			fmt.Fprint(w, `{"status":"success","data":{"groups":[{"name":"g","file":"f","interval":5,"limit":0,"evaluationTime":0.1,"lastEvaluation":"2026-11-27T10:00:00Z","rules":[{"state":"firing","name":"A","query":"up","duration":15,"keepFiringFor":0,"labels":{},"annotations":{},"alerts":[],"health":"err","lastError":"many","evaluationTime":0.1,"lastEvaluation":"2026-11-27T10:00:00Z","type":"alerting"}]}]}}`)
		}
	}))
	t.Cleanup(srv.Close)
	c := Client{Base: srv.URL, HTTP: srv.Client()}
	a, err := c.Alerts(t.Context())
	if err != nil || len(a) != 1 || a[0].Name() != "A" || a[0].State != Firing || a[0].ActiveAt.UnixMilli()%1000 != 500 {
		t.Errorf("%+v %v", a, err)
	}
	r, err := c.Rules(t.Context())
	if err != nil || len(r) != 1 || r[0].Group != "g" || r[0].Health != "err" || r[0].LastError != "many" || r[0].Interval != 5*time.Second {
		t.Errorf("%+v %v", r, err)
	}
	if _, err := (Client{Base: "http://127.0.0.1:1"}).Alerts(t.Context()); err == nil {
		t.Error("alerts of nobody")
	}
	srv.Client().CloseIdleConnections()
}

func TestFollower(t *testing.T) {
	since := time.Unix(1000, 0)
	alert := func(state string, at time.Time) Alert {
		return Alert{Labels: map[string]string{"alertname": "A", "x": "1"}, State: state, ActiveAt: at}
	}
	var f Follower
	var got []string
	for i, list := range [][]Alert{
		{alert(Firing, since)}, // there before anybody looked
		{},
		{alert(Pending, since.Add(time.Minute))},
		{alert(Pending, since.Add(time.Minute))},
		{alert(Firing, since.Add(time.Minute))},
		{alert(Firing, since.Add(2*time.Minute))}, // it went and came back in between
		{alert(Pending, since.Add(3*time.Minute))},
		{},
	} {
		for _, c := range f.Read(time.Duration(i)*time.Second, time.Duration(i)*time.Second+100*time.Millisecond, list) {
			got = append(got, fmt.Sprintf("%s %s (%v, %v] %v", c.Name, c.State, c.After, c.At, c.Labels))
		}
	}
	want := []string{
		"A firing (100ms, 100ms] map[x:1]",
		"A resolved (0s, 1.1s] map[x:1]",
		"A pending (1s, 2.1s] map[x:1]",
		"A firing (3s, 4.1s] map[x:1]",
		"A resolved (4s, 5.1s] map[x:1]",
		"A firing (4s, 5.1s] map[x:1]",
		"A resolved (5s, 6.1s] map[x:1]",
		"A pending (5s, 6.1s] map[x:1]",
		"A inactive (6s, 7.1s] map[x:1]",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
