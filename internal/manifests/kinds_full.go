//go:build !embedded_only

package manifests

import (
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
)

// checkBuiltIn decodes an object strictly into Kubernetes' own type of its kind. It reports false when the kind is not one of
// Kubernetes' own. The API types are a build's worth of code, so the embedded build leaves them out.
func checkBuiltIn(o Object) ([]finding, bool) {
	content, err := o.JSON()
	if err != nil {
		return []finding{{nil, err.Error()}}, true
	}
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	_, _, err = decoder.Decode(content, nil, nil)
	switch {
	case err == nil:
		return nil, true
	case runtime.IsNotRegisteredError(err):
		return nil, false
	}
	if !runtime.IsStrictDecodingError(err) {
		return []finding{{nil, err.Error()}}, true
	}
	var out []finding
	for m := range strings.SplitSeq(strings.TrimPrefix(err.Error(), "strict decoding error: "), ", ") {
		out = append(out, finding{fieldOf(m), m})
	}
	return out, true
}

// quoted is the path in a message such as: unknown field "spec.containers[0].imagee".
var quoted = regexp.MustCompile(`"([^"]+)"`)

func fieldOf(message string) []string {
	m := quoted.FindStringSubmatch(message)
	if m == nil {
		return nil
	}
	return slices.DeleteFunc(strings.FieldsFunc(m[1], func(r rune) bool { return strings.ContainsRune(".[]", r) }), func(s string) bool { return s == "" })
}

const builtInKindsChecked = true
