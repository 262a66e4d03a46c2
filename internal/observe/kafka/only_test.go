package kafka

import (
	"strings"
	"testing"
)

// What may not be read is refused before a client is made.
func TestOtherTopicsAreRefused(t *testing.T) {
	for _, c := range []Config{
		{Topics: []string{"canary-topic", "service-topic"}},
		{Topics: []string{"canary-topic"}, DeadLetter: "dead-letter-topic"},
	} {
		c.Only = []string{"canary-topic"}
		_, err := Open(t.Context(), c)
		if err == nil || !strings.Contains(err.Error(), "may not be read here, only canary-topic") {
			t.Errorf("%v and %q: %v", c.Topics, c.DeadLetter, err)
		}
	}
}
