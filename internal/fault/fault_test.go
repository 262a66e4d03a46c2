package fault

import (
	"errors"
	"testing"

	"triad/internal/scenario"
)

func TestEveryKindHasARow(t *testing.T) {
	for _, k := range scenario.Faults {
		if table(k.Name) == nil {
			t.Errorf("fault %s of the catalogue cannot be injected", k.Name)
		}
		err := Check(struct{}{}, k.Name)
		var u *UnavailableError
		if k.Name != "nothing" && !errors.As(err, &u) {
			t.Errorf("fault %s: an environment without capabilities can do it: %v", k.Name, err)
		}
	}
}
