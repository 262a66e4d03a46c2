package esfake

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"unsafe"
)

// pages hand out memory that a file backs: documents and their indices grow with every record, and a store that runs for hours must not
// hold them in the process. The kernel writes them out when it wants the memory back. A nil *pages hands out memory of the process.
//
// What is handed out holds no pointers, and is never given back piece by piece: the file is gone from its folder from the beginning, and
// its memory when the last owner of the pages is. Whoever reads such memory must therefore hold the pages, through a Server, an index or
// a snapshot, as every handler of a connection does.
type pages struct {
	mu   sync.Mutex
	file *os.File
	size int64
	maps *mappings
	full error // why the file takes no more
}

// mappings are apart from their pages, so that the pages can be seen to be unreachable.
type mappings struct {
	file *os.File
	all  [][]byte
}

// newPages makes the file in a folder.
func newPages(dir string) (*pages, error) {
	f, err := os.CreateTemp(dir, "documents-")
	if err != nil {
		return nil, fmt.Errorf("documents: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("documents: %w", err)
	}
	p := &pages{file: f, maps: &mappings{file: f}}
	runtime.AddCleanup(p, (*mappings).free, p.maps)
	if p.get(1); p.full != nil {
		return nil, p.full // not every file system can
	}
	return p, nil
}

// get returns n zero bytes, aligned for any type. Where the file takes no more, they are the process's.
func (p *pages) get(n int) []byte {
	if p == nil {
		return make([]byte, n)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	whole := (n + pageSize - 1) / pageSize * pageSize
	if p.full == nil {
		b, err := mapFile(p.file, p.size, whole)
		if err == nil {
			p.size += int64(whole)
			p.maps.all = append(p.maps.all, b)
			return b[:n:n]
		}
		p.full = err
	}
	return make([]byte, n)
}

// pageSize is a multiple of every page size in use.
const pageSize = 64 << 10

// entries returns n zero values of a type without pointers.
func entries[T any](p *pages, n int) []T {
	if p == nil {
		return make([]T, n)
	}
	var one T
	b := p.get(n * int(unsafe.Sizeof(one)))
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n)
}
