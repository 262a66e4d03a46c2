package esfake

import (
	"fmt"
	"os"
	"syscall"
)

// mapFile makes the file n bytes longer and maps them. They are allocated first: a write into a hole of a full disk would kill the process.
func mapFile(f *os.File, at int64, n int) ([]byte, error) {
	if err := syscall.Fallocate(int(f.Fd()), 0, at, int64(n)); err != nil {
		return nil, fmt.Errorf("documents: %w", err)
	}
	b, err := syscall.Mmap(int(f.Fd()), at, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("documents: %w", err)
	}
	return b, nil
}

func (m *mappings) free() {
	for _, b := range m.all {
		_ = syscall.Munmap(b) // it was mapped, and nothing reads it any more
	}
	m.file.Close()
}
