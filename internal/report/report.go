package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"triad/internal/check"
	"triad/internal/evidence"
)

// Files that WriteAll writes into the run directory, beside evidence.ResultFile.
const (
	HTMLFile    = "report.html"
	SummaryFile = "summary.md"
	JUnitFile   = "junit.xml"
)

// WriteAll writes result.json, report.html, summary.md and junit.xml into the directory of r. All four are rendered and
// lie on disk under temporary names before the first takes its place, so an error of rendering or a full disk leaves
// what was there before; result.json is renamed last.
func WriteAll(r *evidence.Run, res *check.Result) error {
	files := []struct {
		name   string
		render func(io.Writer) error
	}{
		{HTMLFile, func(w io.Writer) error { return HTML(w, r, res) }},
		{SummaryFile, func(w io.Writer) error { return Summary(w, res) }},
		{JUnitFile, func(w io.Writer) error { return JUnit(w, res) }},
		{evidence.ResultFile, func(w io.Writer) error { return JSON(w, res) }},
	}
	var written []string
	undo := func(err error) error {
		for _, f := range written {
			err = errors.Join(err, os.Remove(f))
		}
		return err
	}
	for _, f := range files {
		var b bytes.Buffer
		if err := f.render(&b); err != nil {
			return undo(fmt.Errorf("render %s: %w", f.name, err))
		}
		tmp := filepath.Join(r.Dir, f.name+".new")
		written = append(written, tmp)
		if err := os.WriteFile(tmp, b.Bytes(), 0o644); err != nil {
			os.Remove(tmp) // may be there in part
			written = written[:len(written)-1]
			return undo(fmt.Errorf("report: %w", err))
		}
	}
	for _, f := range files {
		if err := os.Rename(written[0], filepath.Join(r.Dir, f.name)); err != nil {
			return undo(fmt.Errorf("report: %w", err))
		}
		written = written[1:]
	}
	return nil
}

// JSON writes result.json: the result indented by two spaces, with a final newline.
func JSON(w io.Writer, res *check.Result) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(res)
}
