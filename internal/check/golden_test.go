package check

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triad/internal/evidence"
	"triad/internal/scenario"
)

var update = flag.Bool("update", false, "write golden files anew")

// Any run directory that is put into testdata/runs is judged again, and must say what its result.json says.
func TestRejudge(t *testing.T) {
	dirs, err := filepath.Glob("testdata/runs/*/" + evidence.HeaderFile)
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no saved runs: %v", err)
	}
	schema := loadSchema(t)
	for _, d := range dirs {
		dir := filepath.Dir(d)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			got := marshal(t, judgeDir(t, dir))
			path := filepath.Join(dir, evidence.ResultFile)
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("judged again (-saved +now):\n%s", diff)
			}
			var v any
			if err := json.Unmarshal(got, &v); err != nil {
				t.Fatal(err)
			}
			for _, msg := range schema.check("", schema.root, v) {
				t.Error(msg)
			}
		})
	}
}

// With -update the runs of the present format are made from histories. Those of older formats stay as they were written:
// their directories bear no format (the first) or an older one.
func TestSaveRuns(t *testing.T) {
	if !*update {
		t.Skip("only with -update")
	}
	for _, name := range []string{"clean", "recovery", "hop-collect-dropped-but-delivered"} {
		to := filepath.Join("testdata/runs", fmt.Sprintf("%s-format%d", name, evidence.Schema))
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(to, os.DirFS(readHistory(t, "testdata/"+name+".history").story.write(t))); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, evidence.ResultFile), marshal(t, judgeDir(t, to)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func marshal(t *testing.T, res *Result) []byte {
	t.Helper()
	b, err := json.MarshalIndent(res, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

// The schema must refuse what is no result; that it accepts those of all histories is part of their test.
func TestSchemaRefuses(t *testing.T) {
	schema := loadSchema(t)
	v := map[string]any{}
	if err := json.Unmarshal(marshal(t, judgeDir(t, readHistory(t, "testdata/clean.history").story.write(t))), &v); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(){
		"missing verdict":      func() { delete(v, "verdict") },
		"unknown verdict":      func() { v["verdict"] = "maybe" },
		"null checks":          func() { v["checks"] = nil },
		"text for a number":    func() { v["hops"].([]any)[0].(map[string]any)["in"] = "many" },
		"missing check detail": func() { delete(v["checks"].([]any)[0].(map[string]any), "detail") },
	} {
		before := bytes.Clone(mustJSON(t, v))
		spoil()
		if len(schema.check("", schema.root, v)) == 0 {
			t.Errorf("%s: the schema accepts it", name)
		}
		v = map[string]any{}
		if err := json.Unmarshal(before, &v); err != nil {
			t.Fatal(err)
		}
	}
	v["hops"].([]any)[0].(map[string]any)["in"] = nil
	if msgs := schema.check("", schema.root, v); len(msgs) > 0 {
		t.Errorf("an unknown figure must be allowed to be null: %v", msgs)
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// jsonSchema is as much of a validator as the published schema uses.
type jsonSchema struct{ root, defs map[string]any }

func loadSchema(t *testing.T) jsonSchema {
	t.Helper()
	b, err := ResultJSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(b, &root); err != nil {
		t.Fatal(err)
	}
	defs, _ := root["$defs"].(map[string]any)
	for _, key := range []string{"schema_version", "run", "scenario", "runtime", "seed", "verdict", "reasons", "checks", "hops", "latency", "recovery", "faults", "skipped"} {
		if !slices.Contains(root["required"].([]any), any(key)) {
			t.Errorf("%s is not required", key)
		}
	}
	return jsonSchema{root, defs}
}

func (j jsonSchema) check(path string, s map[string]any, v any) []string {
	if ref, ok := s["$ref"].(string); ok {
		d, ok := j.defs[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
		if !ok {
			return []string{path + ": no definition " + ref}
		}
		return j.check(path, d, v)
	}
	if one, ok := s["oneOf"].([]any); ok {
		n := 0
		for _, o := range one {
			if len(j.check(path, o.(map[string]any), v)) == 0 {
				n++
			}
		}
		if n != 1 {
			return []string{fmt.Sprintf("%s: fits %d of the alternatives", path, n)}
		}
		return nil
	}
	if enum, ok := s["enum"].([]any); ok && !slices.Contains(enum, v) {
		return []string{fmt.Sprintf("%s: %v is none of %v", path, v, enum)}
	}
	var msgs []string
	switch s["type"] {
	case "object":
		m, ok := v.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s: %T is no object", path, v)}
		}
		req, _ := s["required"].([]any)
		for _, k := range req {
			if _, ok := m[k.(string)]; !ok {
				msgs = append(msgs, fmt.Sprintf("%s: %v is missing", path, k))
			}
		}
		props, _ := s["properties"].(map[string]any)
		for k, x := range m {
			if p, ok := props[k].(map[string]any); ok {
				msgs = append(msgs, j.check(path+"."+k, p, x)...)
			} else if p, ok := s["additionalProperties"].(map[string]any); ok {
				msgs = append(msgs, j.check(path+"."+k, p, x)...)
			} else if props != nil {
				msgs = append(msgs, path+"."+k+" is not in the schema")
			}
		}
	case "array":
		a, ok := v.([]any)
		if !ok {
			return []string{fmt.Sprintf("%s: %T is no list", path, v)}
		}
		items, _ := s["items"].(map[string]any)
		for i, x := range a {
			msgs = append(msgs, j.check(fmt.Sprintf("%s[%d]", path, i), items, x)...)
		}
	case "string":
		if _, ok := v.(string); !ok {
			msgs = append(msgs, fmt.Sprintf("%s: %T is no string", path, v))
		}
	case "integer":
		if f, ok := v.(float64); !ok || f != math.Trunc(f) {
			msgs = append(msgs, fmt.Sprintf("%s: %v is no whole number", path, v))
		}
	case "number":
		if _, ok := v.(float64); !ok {
			msgs = append(msgs, fmt.Sprintf("%s: %T is no number", path, v))
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			msgs = append(msgs, fmt.Sprintf("%s: %T is no boolean", path, v))
		}
	case "null":
		if v != nil {
			msgs = append(msgs, fmt.Sprintf("%s: %v is not null", path, v))
		}
	}
	return msgs
}

// Judging must not depend on the moment of judging.
func TestNowIsOnlyWritten(t *testing.T) {
	dir := readHistory(t, "testdata/recovery.history").story.write(t)
	judge := func(now time.Time) *Result {
		r, err := evidence.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		res, err := Judge(r, now)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	a, b := judge(time.Unix(1, 0)), judge(time.Unix(2e9, 0))
	b.Judged = a.Judged
	if d := cmp.Diff(a, b); d != "" {
		t.Error(d)
	}
}

// Every check of the catalogue has a judge, and no judge is without a row there.
func TestEveryCheckIsJudged(t *testing.T) {
	for _, k := range scenario.Checks {
		if kinds[k.Name] == nil {
			t.Errorf("check %s of the catalogue is not judged", k.Name)
		}
	}
	if len(kinds) != len(scenario.Checks) {
		t.Errorf("%d judges, %d checks in the catalogue", len(kinds), len(scenario.Checks))
	}
}
