//go:build !embedded_only && !unix

package kind

import "errors"

// startDetached is not written for this system: what needs a watchdog is refused.
func startDetached(string, ...string) error {
	return errors.New("no watchdog on this system")
}
