//go:build !embedded_only && unix

package kind

import (
	"os"
	"os/exec"
	"syscall"
)

// startDetached starts a program in a session of its own, so that neither the end of the harness nor an interrupt from its terminal
// reaches it.
func startDetached(name string, args ...string) error {
	cmd := exec.Command(name, args...) //nolint:noctx // it must outlive every context of the harness
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir = os.TempDir()
	if err := cmd.Start(); err != nil {
		return err
	}
	// Reaped when it ends while the harness lives; otherwise by the system.
	go func() { _ = cmd.Wait() }()
	return nil
}
