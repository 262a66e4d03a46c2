package argocd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"triad/internal/manifests"
)

// What the three kinds of External Secrets may say here, by the names of its API in the version that apps/secrets-*.yaml pin: what is not used is
// left out, so that a key which is misspelt, or which nobody has looked at, fails the tests.
type (
	described struct {
		Name        string            `yaml:"name"`
		Namespace   string            `yaml:"namespace"`
		Labels      map[string]string `yaml:"labels"`
		Annotations map[string]string `yaml:"annotations"`
	}
	storeRef struct {
		Kind string `yaml:"kind"`
		Name string `yaml:"name"`
	}
	remote struct {
		Key      string `yaml:"key"`
		Property string `yaml:"property"`
	}
	secretStore struct {
		APIVersion string    `yaml:"apiVersion"`
		Kind       string    `yaml:"kind"`
		Metadata   described `yaml:"metadata"`
		Spec       struct {
			Provider struct {
				AWS struct {
					Service string `yaml:"service"`
					Region  string `yaml:"region"`
				} `yaml:"aws"`
			} `yaml:"provider"`
		} `yaml:"spec"`
	}
	externalSecret struct {
		APIVersion string    `yaml:"apiVersion"`
		Kind       string    `yaml:"kind"`
		Metadata   described `yaml:"metadata"`
		Spec       struct {
			RefreshInterval string   `yaml:"refreshInterval"`
			SecretStoreRef  storeRef `yaml:"secretStoreRef"`
			Target          struct {
				Name           string `yaml:"name"`
				CreationPolicy string `yaml:"creationPolicy"`
				DeletionPolicy string `yaml:"deletionPolicy"`
				Template       struct {
					Data map[string]string `yaml:"data"`
				} `yaml:"template"`
			} `yaml:"target"`
			Data []struct {
				SecretKey string `yaml:"secretKey"`
				RemoteRef remote `yaml:"remoteRef"`
			} `yaml:"data"`
			DataFrom []struct {
				Extract remote `yaml:"extract"`
			} `yaml:"dataFrom"`
		} `yaml:"spec"`
	}
	pushSecret struct {
		APIVersion string    `yaml:"apiVersion"`
		Kind       string    `yaml:"kind"`
		Metadata   described `yaml:"metadata"`
		Spec       struct {
			RefreshInterval string     `yaml:"refreshInterval"`
			DeletionPolicy  string     `yaml:"deletionPolicy"`
			UpdatePolicy    string     `yaml:"updatePolicy"`
			SecretStoreRefs []storeRef `yaml:"secretStoreRefs"`
			Selector        struct {
				Secret struct {
					Name string `yaml:"name"`
				} `yaml:"secret"`
			} `yaml:"selector"`
			Data []struct {
				Match struct {
					SecretKey string `yaml:"secretKey"`
					RemoteRef struct {
						RemoteKey string `yaml:"remoteKey"`
						Property  string `yaml:"property"`
					} `yaml:"remoteRef"`
				} `yaml:"match"`
			} `yaml:"data"`
		} `yaml:"spec"`
	}
)

// readCredential decodes one object strictly. Policies and services have values of the API.
func readCredential(b []byte) error {
	var kind struct {
		Kind string `yaml:"kind"`
	}
	if err := yaml.Unmarshal(b, &kind); err != nil {
		return err
	}
	decode := func(into any) error {
		d := yaml.NewDecoder(bytes.NewReader(b))
		d.KnownFields(true)
		return d.Decode(into)
	}
	one := func(field, got string, of ...string) error {
		if !slices.Contains(of, got) {
			return fmt.Errorf("%s: %q is none of %v", field, got, of)
		}
		return nil
	}
	switch kind.Kind {
	case "SecretStore":
		var o secretStore
		return errors.Join(decode(&o), one("apiVersion", o.APIVersion, "external-secrets.io/v1"), one("service", o.Spec.Provider.AWS.Service, "SecretsManager"))
	case "ExternalSecret":
		var o externalSecret
		return errors.Join(decode(&o), one("apiVersion", o.APIVersion, "external-secrets.io/v1"), one("store", o.Spec.SecretStoreRef.Kind, "SecretStore"),
			one("creationPolicy", o.Spec.Target.CreationPolicy, "Owner", "Orphan", "Merge", "None"), one("deletionPolicy", o.Spec.Target.DeletionPolicy, "Delete", "Merge", "Retain"))
	case "PushSecret":
		var o pushSecret
		return errors.Join(decode(&o), one("apiVersion", o.APIVersion, "external-secrets.io/v1alpha1"),
			one("updatePolicy", o.Spec.UpdatePolicy, "Replace", "IfNotExists"), one("deletionPolicy", o.Spec.DeletionPolicy, "Delete", "None"))
	}
	return fmt.Errorf("kind %q is none of %v", kind.Kind, credentials)
}

// documents are the objects of a file, each as YAML of its own.
func documents(t *testing.T, file string) [][]byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for d := yaml.NewDecoder(bytes.NewReader(b)); ; {
		var o yaml.Node
		if err := d.Decode(&o); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		text, err := yaml.Marshal(&o)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, text)
	}
}

func TestCredentialsAreDecodedStrictly(t *testing.T) {
	kinds := map[string][]byte{}
	for _, cluster := range manifests.Clusters() {
		file := filepath.Join("clusters", cluster, "credentials.yaml")
		for _, b := range documents(t, file) {
			if err := readCredential(b); err != nil {
				t.Errorf("%s: %v\n%s", file, err, b)
			}
			for _, k := range credentials {
				if strings.Contains(string(b), "kind: "+k+"\n") {
					kinds[k] = b
				}
			}
		}
	}
	for _, c := range []struct{ kind, old, new, want string }{
		{"SecretStore", "region:", "regoin:", "regoin"},
		{"SecretStore", "SecretsManager", "SecretManager", "SecretManager"},
		{"ExternalSecret", "refreshInterval:", "refreshinterval:", "refreshinterval"},
		{"ExternalSecret", "deletionPolicy: Retain", "deletionPolicy: Keep", "Keep"},
		{"ExternalSecret", "external-secrets.io/v1\n", "external-secrets.io/v1beta1\n", "v1beta1"},
		{"PushSecret", "remoteKey:", "key:", "key"},
		{"PushSecret", "updatePolicy: Replace", "updatePolicy: Overwrite", "Overwrite"},
		{"PushSecret", "kind: PushSecret", "kind: PushedSecret", "PushedSecret"},
	} {
		text := string(kinds[c.kind])
		if !strings.Contains(text, c.old) {
			t.Fatalf("%s: %q is not in\n%s", c.kind, c.old, text)
		}
		if err := readCredential([]byte(strings.Replace(text, c.old, c.new, 1))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q for %q: %v", c.kind, c.new, c.old, err)
		}
	}
}
