package evidence

import (
	"fmt"
	"slices"
	"strings"
)

// Few is what is named of a list where all of it would be too much: its first n entries, and how many more there are.
func Few(list []string, n int) []string {
	if len(list) > n {
		return append(slices.Clone(list[:n]), fmt.Sprintf("and %d more", len(list)-n))
	}
	return list
}

// mostNamed is how many differences an event names.
const mostNamed = 20

// Named is the detail of an event that is about a list.
func Named(list []string) string { return strings.Join(Few(list, mostNamed), "; ") }
