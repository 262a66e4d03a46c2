package connect

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"triad/internal/manifests"
)

// The sink must not give up before the brokers have thrown away what it waits for: its retries and the time for which a full buffer may stay full are
// held against the retention of the topics that it reads. The waits are random, so their sum has a mean, and no lower bound but this: n
// independent waits, each uniform from 0 to its range, add up to less than h with a chance of at most h^n / (n! * product of the ranges), the part of
// the box of all waits that a corner with edges of h takes. Any of the waits may be left out of it, so the smallest figure counts.
func TestRetriesOutlastTheBrokers(t *testing.T) {
	set, err := manifests.Open("../../../manifests")
	if err != nil {
		t.Fatal(err)
	}
	for _, overlay := range manifests.Overlays() {
		render := func(cluster string) manifests.Rendered {
			objects, err := set.Render(cluster, overlay)
			if err != nil {
				t.Fatal(err)
			}
			return manifests.Rendered{Cluster: cluster, Overlay: overlay, Objects: objects}
		}
		sink := render("monitoring").Resources("KafkaConnector")
		if len(sink) != 1 {
			t.Fatalf("%s: %d connectors", overlay, len(sink))
		}
		setting := func(o manifests.Object, key string) string {
			v, _ := o.Field("spec", "config", key)
			switch v := v.(type) {
			case int64:
				return strconv.FormatInt(v, 10)
			case string:
				return v
			}
			t.Fatalf("%s: %s has no %s", overlay, o, key)
			return ""
		}
		millis := func(o manifests.Object, key string) time.Duration {
			n, err := strconv.ParseInt(setting(o, key), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return time.Duration(n) * time.Millisecond
		}
		var horizon time.Duration
		read := strings.Split(setting(sink[0], "topics"), ",")
		for _, o := range render("kafka").Resources("KafkaTopic") {
			for _, topic := range read {
				if o.Name() == topic {
					horizon = max(horizon, millis(o, "retention.ms"))
				}
			}
		}
		retries, err := strconv.Atoi(setting(sink[0], "max.retries"))
		if err != nil || horizon == 0 {
			t.Fatal(overlay, err, horizon)
		}
		backoff, h := millis(sink[0], "retry.backoff.ms"), horizon.Hours()
		means := make([]float64, max(retries, 21)+1) // hours until retry n, on average
		for n := 1; n < len(means); n++ {
			means[n] = means[n-1] + retryRange(backoff, n).Hours()/2
		}
		chance := 1.0 // of giving up within the horizon
		for n, part := 1, 1.0; n <= retries; n++ {
			part *= h / (float64(n) * retryRange(backoff, retries+1-n).Hours()) // the longest waits first
			chance = min(chance, part)
		}
		t.Logf("%s: the brokers keep %v; %d retries last %.0f h on average, less than %v with a chance below %.1g", overlay, horizon, retries, means[retries], horizon, chance)
		if means[retries] < h || chance > 1e-6 {
			t.Errorf("%s: retries last %.1f h on average and less than %v with a chance of %.1g; raise max.retries", overlay, means[retries], horizon, chance)
		}
		if full := millis(sink[0], "flush.timeout.ms"); full < horizon {
			t.Errorf("%s: a full buffer fails the task after %v, the brokers keep records for %v", overlay, full, horizon)
		}
		// The figures beside these settings in connect.yaml.
		if dozen := time.Duration(means[12] * float64(time.Hour)); dozen > 90*time.Second || means[20] > 11 || means[21] < 11 || means[21] > 12 {
			t.Errorf("%s: on average 12 retries take %v, 20 take %.1f h and 21 take %.1f h: not what connect.yaml says", overlay, dozen, means[20], means[21])
		}
	}
}
