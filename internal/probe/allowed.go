package probe

import (
	"slices"
	"strings"
)

// opAll stands for every operation in a rule.
const opAll = "All"

// operations are the names that Strimzi and Kafka give to what can be done to a resource.
var operations = []string{"Read", "Write", "Create", "Delete", "Alter", "Describe", "ClusterAction", "AlterConfigs", "DescribeConfigs", "IdempotentWrite"}

// implied are the operations of which each gives another one: Kafka's authorizer lets whoever may read, write, delete or alter a
// resource describe it too. It holds for allowing only: denying Read does not deny Describe.
var implied = map[string][]string{
	"Describe":        {"Read", "Write", "Delete", "Alter"},
	"DescribeConfigs": {"AlterConfigs"},
}

// Allowed answers as Kafka's StandardAuthorizer does for these rules: a rule that denies wins over all that allow, and what
// nothing allows is denied.
func (p Principal) Allowed(typ, name, operation string) bool {
	if p.Super {
		return true
	}
	allowed := false
	for _, r := range p.Rules {
		if !r.fits(typ, name) {
			continue
		}
		direct := slices.Contains(r.Operations, operation) || slices.Contains(r.Operations, opAll)
		if r.Deny {
			if direct {
				return false
			}
			continue
		}
		allowed = allowed || direct || slices.ContainsFunc(implied[operation], func(op string) bool { return slices.Contains(r.Operations, op) })
	}
	return allowed
}

// fits reports whether the rule is about the resource.
func (r Rule) fits(typ, name string) bool {
	switch {
	case r.Type != typ:
		return false
	case typ == "cluster": // there is one, and rules need not name it
		return true
	case r.Prefix:
		return strings.HasPrefix(name, r.Name)
	}
	return r.Name == name || r.Name == "*"
}
