package manifests

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"go.yaml.in/yaml/v3"
)

// strict reads exactly one YAML document into a struct: unknown keys, a second document and an empty file are errors.
func strict(name string, content []byte, into any) error {
	dec := yaml.NewDecoder(bytes.NewReader(content))
	dec.KnownFields(true)
	if err := dec.Decode(into); err != nil {
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%s: the file is empty", name)
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: a second document; there must be one", name)
	}
	return nil
}

func (s Set) strictFile(rel string, into any) error {
	content, err := s.read(filepath.Join(s.dir, rel))
	if err != nil {
		return fmt.Errorf("manifests/%s: %w", rel, err)
	}
	return strict("manifests/"+rel, content, into)
}
