package esfake

import (
	"maps"
	"net/http"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// defaultRefresh is Elasticsearch's default of index.refresh_interval.
const defaultRefresh = time.Second

// block is a reason why an index refuses writes.
type block struct {
	key    string
	status int
	text   string
}

// blockKinds are the index blocks with the texts and statuses of Elasticsearch 8. The flood-stage block answers 429,
// the ones set by hand 403.
func blockKinds() []block {
	return []block{
		{"index.blocks.read_only", http.StatusForbidden, "FORBIDDEN/5/index read-only (api)"},
		{
			"index.blocks.read_only_allow_delete", http.StatusTooManyRequests,
			"TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, index has read-only-allow-delete block",
		},
		{"index.blocks.write", http.StatusForbidden, "FORBIDDEN/8/index write (api)"},
	}
}

// settings are the settings of an index, flat ("index.refresh_interval"), with those that have an effect parsed.
type settings struct {
	flat      map[string]string
	refresh   time.Duration // 0 or less: never
	blocks    []block
	limit     int      // index.mapping.total_fields.limit
	pipelines []string // ingest pipelines to run: default_pipeline, then final_pipeline
}

// flatten turns nested and dotted settings into dotted ones below "index.".
func flatten(in map[string]any) map[string]any {
	out := map[string]any{}
	var rec func(prefix string, v map[string]any)
	rec = func(prefix string, m map[string]any) {
		for k, v := range m {
			if sub, ok := v.(map[string]any); ok {
				rec(prefix+k+".", sub)
			} else {
				out[prefix+k] = v
			}
		}
	}
	rec("", in)
	for k, v := range out {
		if !strings.HasPrefix(k, "index.") {
			delete(out, k)
			out["index."+k] = v
		}
	}
	return out
}

// with returns the settings changed by a settings object; null removes one.
func (s settings) with(in map[string]any) (settings, *apiError) {
	flat := maps.Clone(s.flat)
	if flat == nil {
		flat = map[string]string{}
	}
	for k, v := range flatten(in) {
		if v == nil {
			delete(flat, k)
		} else {
			flat[k] = jsonText(v)
		}
	}
	out := settings{flat: flat, refresh: defaultRefresh, limit: fieldsLimit}
	if v, ok := flat["index.mapping.total_fields.limit"]; ok {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return s, errIllegal("Failed to parse value [%s] for setting [index.mapping.total_fields.limit]", v)
		}
		out.limit = n
	}
	if v, ok := flat["index.refresh_interval"]; ok {
		d, ok := parseTime(v)
		if !ok {
			return s, errIllegal("failed to parse setting [index.refresh_interval] with value [%s] as a time value", v)
		}
		out.refresh = d
	}
	for _, b := range blockKinds() {
		switch v := flat[b.key]; v {
		case "true":
			out.blocks = append(out.blocks, b)
		case "", "false":
		default:
			return s, errIllegal("Failed to parse value [%s] as only [true] or [false] are allowed.", v)
		}
	}
	for _, k := range []string{"index.default_pipeline", "index.final_pipeline"} {
		if p := flat[k]; p != "" && p != "_none" {
			out.pipelines = append(out.pipelines, p)
		}
	}
	return out, nil
}

// nested returns the settings in the form of GET _settings.
func (s settings) nested() map[string]any {
	out := map[string]any{}
	for k, v := range s.flat {
		at := out
		parts := strings.Split(k, ".")
		for _, p := range parts[:len(parts)-1] {
			next, ok := at[p].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[p] = next
			}
			at = next
		}
		at[parts[len(parts)-1]] = v
	}
	return out
}

// template is an index or component template: what a new index with a matching name starts with.
type template struct {
	name     string
	patterns []string
	priority float64
	composed []string // component templates, laid down before the template's own part
	settings map[string]any
	mappings map[string]any
	raw      map[string]any
}

// parseTemplate reads an index template; known tells which component templates exist.
func parseTemplate(name string, body map[string]any, known func(string) bool) (template, *apiError) {
	t, err := parseComponent(name, body)
	if err != nil {
		return t, err
	}
	if t.patterns = stringList(body["index_patterns"]); len(t.patterns) == 0 {
		return t, errIllegal("index_patterns is required in index template [%s]", name)
	}
	t.priority, _ = body["priority"].(float64)
	ignored := stringList(body["ignore_missing_component_templates"])
	for _, c := range stringList(body["composed_of"]) {
		switch {
		case known(c):
			t.composed = append(t.composed, c)
		case !slices.Contains(ignored, c):
			return t, errBadRequest("invalid_index_template_exception",
				"index_template [%s] invalid, cause [index template [%s] specifies component templates [%s] that do not exist]", name, name, c)
		}
	}
	for key := range body {
		switch key {
		case "index_patterns", "template", "priority", "version", "_meta", "composed_of", "ignore_missing_component_templates":
		default:
			return t, errIllegal("index template [%s]: [%s] is not supported", name, key)
		}
	}
	return t, nil
}

// parseComponent reads the part that index and component templates share.
func parseComponent(name string, body map[string]any) (template, *apiError) {
	t := template{name: name, raw: body}
	tmpl, _ := body["template"].(map[string]any)
	for key := range tmpl {
		if key != "settings" && key != "mappings" {
			return t, errIllegal("template [%s]: [template.%s] is not supported", name, key)
		}
	}
	t.settings, _ = tmpl["settings"].(map[string]any)
	t.mappings, _ = tmpl["mappings"].(map[string]any)
	// Refuse now what an index could not be made from later.
	if _, err := (settings{}).with(t.settings); err != nil {
		return t, err
	}
	_, err := newMapping().merge(t.mappings)
	return t, err
}

func stringList(v any) []string {
	if s, ok := v.(string); ok {
		return []string{s}
	}
	list, _ := v.([]any)
	var out []string
	for _, e := range list {
		out = append(out, jsonText(e))
	}
	return out
}

// bestTemplate returns the matching template with the highest priority.
func bestTemplate(all map[string]template, index string) (template, bool) {
	names := make([]string, 0, len(all))
	for n := range all {
		names = append(names, n)
	}
	sort.Strings(names)
	var best template
	found := false
	for _, n := range names {
		t := all[n]
		for _, p := range t.patterns {
			if matchName(p, index) && (!found || t.priority > best.priority) {
				best, found = t, true
			}
		}
	}
	return best, found
}

// matchName matches a name against a pattern in which only * is special.
func matchName(pattern, name string) bool {
	if !strings.ContainsAny(pattern, "*") {
		return pattern == name
	}
	// Index names hold no slash, so path.Match's * matches all of it; its other special characters are escaped.
	ok, err := path.Match(strings.NewReplacer("?", `\?`, "[", `\[`, `\`, `\\`).Replace(pattern), name)
	return err == nil && ok
}
