package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The test binary is sim when it is called so: scripts and tests run the real main, in processes of its own.
func TestMain(m *testing.M) {
	// The tests wait for processes that wait for time to pass: more of them at once than there are processors. What the
	// command line says comes later and wins.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){"sim": main})
}

// root is the folder with scenarios/, manifests/ and kind/.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestScript(t *testing.T) {
	repo := root(t)
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("TRIAD_ROOT", repo)
			e.Setenv("NO_COLOR", "1")
			e.Values["t"] = e.T()
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond != "whole" {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			return len((&app{}).kubeCommands()) > 0, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"code": code, "json": jsonOnly},
	})
}

// busy are what a verdict says when the machine, not the system, was in the way.
var busy = []string{"the generator was late", "the machine was saturated", "dropped by the generator"}

// code runs a program and demands an exit code: code 3 sim run fails.yaml. A run that a busy machine spoilt is repeated, and what it
// left is removed first: what comes behind it in the script counts the runs. The third time the script is skipped with the reason.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N program args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	for try := 1; ; try++ {
		got := 0
		if err := ts.Exec(args[1], args[2:]...); err != nil {
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				ts.Fatalf("%v", err)
			}
			got = exit.ExitCode()
		}
		if got == want {
			return
		}
		noise := ""
		for _, b := range busy {
			if got == exitInvalid && args[2] == "run" && strings.Contains(ts.ReadFile("stdout"), b) {
				noise = b
			}
		}
		switch {
		case noise == "":
			ts.Fatalf("exit code %d, want %d", got, want)
		case try == 3:
			ts.Value("t").(testscript.T).Skip("the machine is too busy to tell: " + noise + ", three times")
		}
		ts.Logf("again: %s", noise)
		dir := runDirectory(ts.ReadFile("stdout"))
		if dir == "" {
			ts.Fatalf("the spoilt run does not say where it lies")
		}
		ts.Check(os.RemoveAll(ts.MkAbs(dir)))
	}
}

// runDirectory is where the run lies whose result was printed, as text or as JSON below reports/; empty when neither says.
func runDirectory(stdout string) string {
	for line := range strings.Lines(stdout) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "report: "); ok {
			return filepath.Dir(path)
		}
	}
	var res struct{ Run string }
	if json.Unmarshal([]byte(stdout), &res) != nil || res.Run == "" {
		return ""
	}
	return filepath.Join("reports", res.Run)
}

// jsonOnly demands that a stream or file holds one JSON value and nothing else.
func jsonOnly(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: json FILE")
	}
	d := json.NewDecoder(bytes.NewReader([]byte(ts.ReadFile(args[0]))))
	var v any
	ts.Check(d.Decode(&v))
	if d.More() {
		ts.Fatalf("%s holds more than one JSON value", args[0])
	}
}
