//go:build !embedded_only

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"triad/internal/check"
	"triad/internal/kube"
	"triad/internal/runtimes/kind"
)

// TestKindRotation rotates the passwords with which Fluentd and Connect speak to the brokers, as Strimzi has it: a Secret that is deleted is made anew,
// with another password. The next run brings the new ones to the pods that took the old ones, and to no others, and loses nothing.
func TestKindRotation(t *testing.T) {
	if os.Getenv("TRIAD_KIND_TESTS") == "" {
		t.Skip("TRIAD_KIND_TESTS is not set: needs a container engine and takes minutes")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	a := &app{root: root, stdout: new(bytes.Buffer), stderr: new(bytes.Buffer), getenv: os.Getenv}
	rt, err := a.kind(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	up := func() {
		t.Helper()
		if _, err := rt.Up(ctx, kind.DeployOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	client := func(cluster string) *kube.Client {
		t.Helper()
		c, err := rt.Client(cluster)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	// pods are the identities of what stays from run to run: a pod of a Job does not.
	pods := func() map[string]string {
		t.Helper()
		out := map[string]string{}
		for _, cluster := range rt.Options().Clusters {
			list, err := client(cluster).List(ctx, "v1", "Pod", cluster, "")
			if err != nil {
				t.Fatal(err)
			}
			for i := range list {
				if !slices.ContainsFunc(list[i].GetOwnerReferences(), func(o metav1.OwnerReference) bool { return o.Kind == "Job" }) {
					out[cluster+"/"+list[i].GetName()] = string(list[i].GetUID())
				}
			}
		}
		return out
	}
	up()
	before := pods()
	kafka := client(kind.Kafka)
	for _, user := range []string{"fluentd", "connect"} {
		was, err := kafka.SecretData(ctx, kind.Kafka, user)
		if err != nil {
			t.Fatal(err)
		}
		// Its error says at most that the Secret was there again before it was seen to be gone.
		_ = kafka.Delete(ctx, []kube.Ref{{APIVersion: "v1", Kind: "Secret", Namespace: kind.Kafka, Name: user}}, 2*time.Second)
		// Strimzi looks every two minutes where it does not see the deletion itself.
		for end := time.Now().Add(3 * time.Minute); ; time.Sleep(time.Second) {
			now, err := kafka.SecretData(ctx, kind.Kafka, user)
			if err == nil && len(now["password"]) > 0 && !bytes.Equal(now["password"], was["password"]) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("user %s has no new password: %v", user, err)
			}
		}
	}
	res, _ := kindRun(t, "smoke")
	for _, c := range []string{"evidence", "loss", "corruption"} {
		verdictIs(t, res, c, check.Pass)
	}
	if res.Totals.Acknowledged == 0 || res.Totals.Seen < res.Totals.Acknowledged {
		t.Errorf("totals: %+v", res.Totals)
	}
	after := pods()
	for name, uid := range before {
		takes := strings.HasPrefix(name, "datacenter/fluentd-") || strings.HasPrefix(name, "monitoring/sink-connect-")
		if replaced := after[name] != uid; replaced != takes {
			t.Errorf("%s: replaced %v, want %v", name, replaced, takes)
		}
	}
	up()
	if again := pods(); fmt.Sprint(again) != fmt.Sprint(after) {
		t.Errorf("deploying again replaced pods: %v\nbefore: %v", again, after)
	}
}
