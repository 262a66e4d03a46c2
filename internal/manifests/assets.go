package manifests

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
)

// AssetFile is one file of an asset.
type AssetFile struct {
	URL    string `yaml:"url"`
	SHA256 string `yaml:"sha256"` // hex; empty means not known, and a download must not be used
}

// Asset is something that is not in the repository and has to be there before the manifests.
type Asset struct {
	Name     string      `yaml:"name"`
	Version  string      `yaml:"version"`
	License  string      `yaml:"license"`
	Accept   string      `yaml:"accept"`   // URL of terms that a person has to accept before the files are fetched; empty: none
	Env      string      `yaml:"env"`      // environment variable that names a local folder with the files
	Clusters []string    `yaml:"clusters"` // where it is applied; empty: nowhere, it is a part of an image
	Files    []AssetFile `yaml:"files"`
}

// Assets reads assets.yaml and checks it.
func (s Set) Assets() ([]Asset, error) {
	var doc struct {
		Assets []Asset `yaml:"assets"`
	}
	if err := s.strictFile("assets.yaml", &doc); err != nil {
		return nil, err
	}
	var errs []error
	for _, a := range doc.Assets {
		fail := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("manifests/assets.yaml: %s: "+format, append([]any{a.Name}, args...)...))
		}
		if a.Name == "" || a.Version == "" || a.License == "" || a.Env == "" || len(a.Files) == 0 {
			fail("an asset has a name, a version, a license, an env and files")
		}
		for _, c := range a.Clusters {
			if !slices.Contains(Clusters(), c) {
				fail("%q is not a cluster", c)
			}
		}
		for _, f := range a.Files {
			if u, err := url.Parse(f.URL); err != nil || u.Scheme != "https" {
				fail("%q is not an https URL", f.URL)
			}
			if b, err := hex.DecodeString(f.SHA256); f.SHA256 != "" && (err != nil || len(b) != 32) {
				fail("%q is not a SHA-256 in hex", f.SHA256)
			}
		}
	}
	return doc.Assets, errors.Join(errs...)
}
