//go:build unix

package preflight

import "golang.org/x/sys/unix"

// freeBytes returns what an ordinary user can still write below a path.
func freeBytes(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:unconvert // Bsize differs between systems
}
