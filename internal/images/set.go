package images

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Set swaps the images of a deployment: a private mirror, an air-gapped machine, a laboratory. Components are named as in
// manifests/images.yaml.
type Set struct {
	// Images maps a component to the reference that its pods run.
	Images map[string]string `yaml:"images"`
	// StandIns are components whose program is not the public one, though it carries its name.
	StandIns []string `yaml:"stand_ins"`
	// Absent are components whose image cannot be had: a model takes their place, or they are left out by name.
	Absent []string `yaml:"absent"`
}

// LoadSet reads an image set, strictly: an unknown key, a second document and an empty file are errors.
func LoadSet(file string) (Set, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return Set{}, fmt.Errorf("image set: %w", err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	var s Set
	if err := dec.Decode(&s); err != nil {
		return Set{}, fmt.Errorf("image set %s: %w", file, err)
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return Set{}, fmt.Errorf("image set %s: more than one document", file)
	}
	for c, ref := range s.Images {
		if strings.TrimSpace(ref) == "" {
			return Set{}, fmt.Errorf("image set %s: images.%s: empty reference", file, c)
		}
		if slices.Contains(s.Absent, c) {
			return Set{}, fmt.Errorf("image set %s: images.%s: is absent too", file, c)
		}
	}
	return s, nil
}

// NodeRef returns the name under which an image is kept in a node. A reference by digest loses it: an image archive carries tags
// only, and what was loaded is known by its id. A reference with a digest and no tag gets a tag made from the digest.
func NodeRef(ref string) string {
	name, digest, ok := strings.Cut(ref, "@")
	if !ok {
		return ref
	}
	slash := strings.LastIndex(name, "/")
	if strings.Contains(name[slash+1:], ":") {
		return name
	}
	_, hash, _ := strings.Cut(digest, ":")
	return name + ":sha256-" + hash[:min(12, len(hash))]
}
