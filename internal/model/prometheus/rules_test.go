package prometheus

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const testRules = `groups:
- name: g
  interval: 5s
  rules:
  - {record: "job:up:sum", expr: "sum by (job) (up)", labels: {kind: made}}
  - {alert: Down, expr: "job:up:sum < 2", for: 10s, keep_firing_for: 10s, labels: {severity: page}, annotations: {summary: "{{ $value }} of {{ $labels.job }}"}}
  - {alert: Bad, expr: "up * on (job) group_left () up"}
  - {alert: NoKubelet, expr: "kubelet:cpu > 1"}
  - {record: "kubelet:cpu", expr: "sum(container_cpu)"}
`

// rulesRig is a receiver with rules whose evaluations the test times itself.
func rulesRig(t *testing.T) (r *Receiver, notes []string) {
	t.Helper()
	cfg, _, err := ParseReceiver([]byte("global: {evaluation_interval: 5s}\nrule_files: [/etc/rules/*.yaml, /etc/none/*.yaml]\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r, left, err := NewReceiver(cfg, ReceiverOptions{
		Options: Options{Root: t.TempDir()}, Rules: map[string][]byte{"/etc/rules/a.yaml": []byte(testRules), "/etc/other.yaml": []byte("not: rules")},
		Absent: func(m string) bool { return strings.HasPrefix(m, "container_") },
	})
	if err != nil {
		t.Fatal(err)
	}
	h, err := openHead(cfg, 1000, t.TempDir(), r.metrics)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.log.close() })
	r.head, r.engine = h, newEngine(h)
	for _, n := range left {
		notes = append(notes, n.Key+": "+n.Value+n.Why)
	}
	return r, notes
}

func (r *Receiver) up(t *testing.T, ts time.Time, values ...float64) {
	t.Helper()
	var in []scraped
	for i, v := range values {
		in = append(in, scraped{labels: LabelsFrom(map[string]string{"__name__": "up", "job": "j", "instance": string(rune('a' + i))}), point: point{ts.UnixMilli(), v}})
	}
	if refused, err := r.head.appendScrape(in); err != nil || refused != (refusals{}) {
		t.Fatalf("%v %v", refused, err)
	}
}

// state is what the API says of the alert, "" when it is not listed, and how its rule is.
func (r *Receiver) state(t *testing.T, name string) (state, health string) {
	t.Helper()
	data, aerr := r.rules(httptest.NewRequest(http.MethodGet, "/api/v1/rules", http.NoBody))
	if aerr != nil {
		t.Fatal(aerr)
	}
	for _, g := range data.(map[string]any)["groups"].([]groupJSON) {
		for _, x := range g.Rules {
			if x.Name == name {
				for _, a := range x.Alerts {
					state = a.State
				}
				return state, x.Health
			}
		}
	}
	t.Fatalf("no rule %s", name)
	return "", ""
}

// An alert waits for its time, keeps firing for its time, and is gone; a restart forgets what was pending.
func TestAlertStates(t *testing.T) {
	r, notes := rulesRig(t)
	want := []string{"rule_files: /etc/none/*.yamlno file of that name is in the pod"}
	for _, n := range []string{"NoKubelet", "kubelet:cpu"} {
		want = append(want, "g."+n+": not evaluated: it rests on container_cpu, which nothing here exposes")
	}
	if d := cmp.Diff(want, notes); d != "" {
		t.Error(d)
	}
	g := r.groups[0]
	start := time.Now().Truncate(time.Second).Add(-5 * time.Minute)
	for i, step := range []struct {
		up   float64
		down bool
		want string
	}{
		{1, false, ""},
		{0, false, statePending},
		{0, false, statePending},
		{0, false, stateFiring}, // 10 s after it began to hold
		{1, false, stateFiring}, // keep_firing_for
		{1, false, stateFiring},
		{1, false, ""},
		{0, false, statePending},
		{0, true, statePending}, // the process is away: nothing is evaluated
		{0, false, statePending},
		{0, false, statePending},
		{0, false, stateFiring},
	} {
		ts := start.Add(time.Duration(i) * 5 * time.Second)
		r.up(t, ts, 1, step.up)
		var in *Injected
		if step.down {
			in = r.Inject(Fault{Down: true})
		}
		g.evaluate(t.Context(), ts)
		if in != nil {
			in.Remove()
		}
		if got, health := r.state(t, "Down"); got != step.want || health != healthOK {
			t.Errorf("at %d s: %q (%s), want %q", i*5, got, health, step.want)
		}
	}
	// Every label set of "up" matches both sides: a rule that cannot be evaluated says so.
	if _, health := r.state(t, "Bad"); health != healthErr {
		t.Errorf("a many-to-many match is %s", health)
	}
	data, aerr := r.alerts(nil)
	if aerr != nil {
		t.Fatal(aerr)
	}
	all := data.(map[string]any)["alerts"].([]alertJSON)
	if len(all) != 1 || all[0].Annotations["summary"] != "1 of j" || !maps.Equal(all[0].Labels, map[string]string{"alertname": "Down", "job": "j", "kind": "made", "severity": "page"}) {
		t.Errorf("%+v", all)
	}
	// What was recorded, and the alert itself, can be queried; before the last firing the series had ended.
	end := start.Add(55 * time.Second)
	for q, want := range map[string]int{
		"job:up:sum{kind=\"made\"}": 1, `ALERTS{alertname="Down",alertstate="firing"}`: 1, `ALERTS{alertstate="pending"}`: 0, "ALERTS_FOR_STATE": 1,
		"count_over_time(ALERTS{alertstate=\"firing\"}[1m]) == 4": 1,
	} {
		v, err := r.engine.vector(t.Context(), q, end)
		if err != nil || len(v) != want {
			t.Errorf("%s: %v %v, want %d series", q, v, err, want)
		}
	}
}

func TestQueryKinds(t *testing.T) {
	r, _ := rulesRig(t)
	now := time.Now().Truncate(time.Second)
	for i := range 13 {
		r.up(t, now.Add(time.Duration(i-12)*5*time.Second), float64(i))
	}
	srv := httptest.NewServer(r.handler())
	t.Cleanup(srv.Close)
	for q, want := range map[string]string{
		"rate(up[1m])":       `"infos":["PromQL info: metric might not be a counter`,
		"1 + 1":              `"resultType":"scalar","result":["T","2"]`,
		`"text"`:             `"resultType":"string","result":["T","text"]`,
		"sum(up":             `"errorType":"bad_data"`,
		"up + on (x) up[1m]": `"errorType":"bad_data"`,
	} {
		resp, err := srv.Client().PostForm(srv.URL+"/api/v1/query", url.Values{"query": {q}, "time": {now.Format(time.RFC3339)}})
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if cerr := resp.Body.Close(); err != nil || cerr != nil {
			t.Fatal(err, cerr)
		}
		stamp, err := json.Marshal(now.Unix())
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.ReplaceAll(string(b), "["+string(stamp)+",", `["T",`); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", q, got, want)
		}
	}
}

func TestRuleFilesAreJudged(t *testing.T) {
	cfg := ReceiverConfig{RuleFiles: []string{"/r/*.yaml"}, EvaluationInterval: time.Minute}
	_, _, err := NewReceiver(cfg, ReceiverOptions{Rules: map[string][]byte{"/r/a.yaml": []byte("groups: [{name: g, rules: [{alert: A, expr: 'sum(up'}]}]")}})
	if err == nil || !strings.Contains(err.Error(), "a.yaml") || !strings.Contains(err.Error(), "unclosed left parenthesis") {
		t.Errorf("%v", err)
	}
	r, _, err := NewReceiver(cfg, ReceiverOptions{Rules: map[string][]byte{"/r/a.yaml": []byte("groups: [{name: g, rules: [{alert: A, expr: up}]}]")}})
	if err != nil || !slices.ContainsFunc(r.groups, func(g *ruleGroup) bool { return g.interval == time.Minute }) {
		t.Errorf("%v %v", r, err)
	}
}
