package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// HasFiles says which of the given paths are in an image of the engine. The image is not run: it may have no shell.
func HasFiles(ctx context.Context, e Engine, ref string, paths ...string) (map[string]bool, error) {
	id, err := e.Run(ctx, "create", "--network=none", "--entrypoint", "/", ref)
	if err != nil {
		return nil, fmt.Errorf("contents of %s: %w", ref, err)
	}
	defer func() { _, _ = e.Run(context.WithoutCancel(ctx), "rm", "-f", "-v", id) }()
	have := make(map[string]bool, len(paths))
	for _, p := range paths {
		err := e.Pipe(ctx, nil, io.Discard, "cp", id+":/"+strings.TrimPrefix(p, "/"), "-")
		var ee *EngineError
		switch {
		case err == nil:
			have[p] = true
		case ctx.Err() != nil || !errors.As(err, &ee):
			return nil, fmt.Errorf("contents of %s: %w", ref, err)
		}
	}
	return have, nil
}
