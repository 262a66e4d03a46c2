package embedded

import (
	"testing"

	"triad/internal/fault"
	"triad/internal/scenario"
)

// What the catalogue promises of this runtime is what it can do, no more and no less.
func TestCatalogueOfFaults(t *testing.T) {
	for _, k := range scenario.Faults {
		if err := fault.Check((*system)(nil), k.Name); (err == nil) != k.Embedded {
			t.Errorf("fault %s: the catalogue says embedded %v, the runtime: %v", k.Name, k.Embedded, err)
		}
	}
}
