//go:build !linux

package esfake

import (
	"errors"
	"os"
)

// mapFile is not there: documents stay in the process.
func mapFile(*os.File, int64, int) ([]byte, error) { return nil, errors.ErrUnsupported }

func (m *mappings) free() { m.file.Close() }
