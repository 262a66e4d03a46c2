//go:build !embedded_only

package kind

import (
	"archive/zip"
	"bytes"
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"triad/internal/images"
	"triad/internal/manifests"
)

// sinkZip is an archive of one plugin.
func sinkZip(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create("sink/lib/sink.jar")
	if err == nil {
		_, err = w.Write([]byte("program"))
	}
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const testSinkEnv = "TRIAD_TEST_SINK"

func testSink(url, sum string) manifests.Asset {
	return manifests.Asset{
		Name: "sink", Version: "1", License: "Licence 1", Accept: "https://licence.test/1", Env: testSinkEnv,
		Files: []manifests.AssetFile{{URL: url, SHA256: sum}},
	}
}

// Nothing is fetched before its terms are accepted; an archive is used when its checksum is the one that the manifests or the state folder has, and one
// that nobody has pinned only when it is said that the first is trusted.
func TestArchiveIsHeldAgainstItsChecksum(t *testing.T) {
	good := sinkZip(t)
	sum, other := checksum([]byte(good)), checksum(nil)
	for _, tc := range []struct {
		name, pinned, noted, content string
		accept, trust                string
		want                         []string // of the error; none: it is used
		fetched                      bool
		keeps                        bool
	}{
		{name: "terms not accepted", pinned: sum, want: []string{"Licence 1", "https://licence.test/1", "TRIAD_ACCEPT_LICENSE=sink`"}},
		{name: "terms of another accepted", pinned: sum, accept: "sin,sinks", want: []string{"TRIAD_ACCEPT_LICENSE=sink`"}},
		{name: "neither accepted nor pinned", want: []string{"TRIAD_ACCEPT_LICENSE=sink TRIAD_TRUST_FIRST=sink`"}},
		{name: "pinned", pinned: sum, accept: "other,sink", fetched: true},
		{name: "pinned, and another came", pinned: other, accept: "sink", trust: "sink", want: []string{sum, other, testSinkEnv}, fetched: true},
		{name: "not pinned", accept: "sink", want: []string{sum, "manifests/assets.yaml", "TRIAD_TRUST_FIRST=sink"}, fetched: true},
		{name: "first trusted", accept: "sink", trust: "sink", fetched: true, keeps: true},
		{name: "trusted before", noted: sum, accept: "sink", fetched: true, keeps: true},
		{name: "trusted before, and another came", noted: other, accept: "sink", trust: "sink", want: []string{sum, other}, fetched: true},
		{name: "first trusted, and no archive", content: "<html>moved</html>", accept: "sink", trust: "sink", want: []string{"zip"}, fetched: true},
	} {
		for _, local := range []bool{false, true} {
			t.Run(tc.name+map[bool]string{true: ", from a file"}[local], func(t *testing.T) {
				if tc.content == "" {
					tc.content = good
				}
				s := serve(t, tc.content)
				t.Setenv(acceptLicense, tc.accept)
				t.Setenv(trustFirst, tc.trust)
				t.Setenv(testSinkEnv, "")
				r := &Runtime{opts: Options{StateDir: t.TempDir()}}
				a := testSink(s.URL+"/sink-1.zip", tc.pinned)
				if local {
					file := filepath.Join(t.TempDir(), path.Base(a.Files[0].URL))
					if err := os.WriteFile(file, []byte(tc.content), 0o600); err != nil {
						t.Fatal(err)
					}
					t.Setenv(testSinkEnv, file)
					if tc.trust != "" { // a folder with it is as good
						t.Setenv(testSinkEnv, filepath.Dir(file))
					}
				}
				if tc.noted != "" {
					if err := writeFileAtomic(r.sumFile(a), []byte(tc.noted+"  sink-1.zip\n"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				b, got, err := r.archive(t.Context(), a)
				if len(tc.want) == 0 && (err != nil || string(b) != good || got != sum) {
					t.Errorf("%d bytes, checksum %s, %v", len(b), got, err)
				}
				for _, want := range tc.want {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("error %v does not say %q", err, want)
					}
				}
				if fetched := s.fetched.Load() > 0; fetched != (tc.fetched && !local) {
					t.Errorf("fetched: %v", fetched)
				}
				noted, err := os.ReadFile(r.sumFile(a))
				if keeps := err == nil && string(noted) == sum+"  sink-1.zip\n"; keeps != tc.keeps {
					t.Errorf("noted %q, %v", noted, err)
				}
			})
		}
	}
}

// A file that is not there says which variable named it.
func TestArchiveFromAFileThatIsNotThere(t *testing.T) {
	t.Setenv(acceptLicense, "sink")
	t.Setenv(testSinkEnv, filepath.Join(t.TempDir(), "none.zip"))
	r := &Runtime{opts: Options{StateDir: t.TempDir()}}
	m := manifests.Made{Ref: "made/here:1", Base: "far/kafka:1", Asset: testSink("https://far.test/sink-1.zip", checksum(nil))}
	if detail, fix := r.canMake(t.Context(), m); !strings.Contains(detail, "none.zip") || !strings.Contains(fix, testSinkEnv) {
		t.Errorf("%q, %q", detail, fix)
	}
}

// What the engine has is used: an image of somebody else's whatever it is of, one that was made here when it is of what is asked for.
func TestImageThatIsThereIsNotMade(t *testing.T) {
	pinned, other := checksum([]byte("pinned")), checksum([]byte("other"))
	for _, tc := range []struct {
		name, of, base, sum string
		make                bool
	}{
		{"somebody else's", "", "sha256:base", pinned, false},
		{"of the same", "sha256:base " + pinned, "sha256:base", pinned, false},
		{"of another archive", "sha256:base " + other, "sha256:base", pinned, true},
		{"of another base", "sha256:old " + pinned, "sha256:base", pinned, true},
		{"the base is gone", "sha256:old " + pinned, "", pinned, false},
		{"nothing pinned", "sha256:base " + other, "sha256:base", "", false},
	} {
		t.Setenv(acceptLicense, "") // making would end here, and say so
		r := &Runtime{opts: Options{StateDir: t.TempDir()}, engine: imageEngine(t, tc.base, tc.of)}
		err := r.ensureMade(t.Context(), manifests.Made{Ref: "made/here:1", Base: "far/kafka:1", Asset: testSink("https://far.test/sink-1.zip", tc.sum)})
		if made := err != nil && strings.Contains(err.Error(), acceptLicense); made != tc.make || !made && err != nil {
			t.Errorf("%s: would be made: %v (%v), want %v", tc.name, made, err, tc.make)
		}
	}
}

// imageEngine knows two images: made/here:1, of what is given, and far/kafka:1 with the given id, "" when it is not there.
func imageEngine(t *testing.T, base, of string) images.Engine {
	t.Helper()
	gone := "echo 'No such image' >&2; exit 1"
	has := "echo " + base
	if base == "" {
		has = gone
	}
	return caseEngine(t, `image*Labels*made/here:1) echo '`+of+`';;
image*made/here:1) echo sha256:made;;
image*far/kafka:1) `+has+`;;`)
}

// A missing image is made of what the engine and the archive's URL have, before nodes are looked at, and is not made again.
func TestMissingImageIsMadeOnce(t *testing.T) {
	t.Setenv(acceptLicense, "")
	t.Setenv(trustFirst, "")
	s, dir := serve(t, sinkZip(t)), t.TempDir()
	var base bytes.Buffer
	if err := tarball.Write(name.MustParseReference("far/kafka:1"), empty.Image, &base); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "base"), base.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	e := caseEngine(t, `image*Labels*made/here:1) grep -ao 'made-of":"[^"]*' '`+dir+`/loaded' | head -n 1 | cut -d '"' -f 3;;
image*made/here:1) test -e '`+dir+`/loaded' && echo sha256:made || { echo 'No such image' >&2; exit 1; };;
image*far/kafka:1) echo sha256:base;;
save*far/kafka:1) cat '`+dir+`/base';;
load*) echo load >> '`+dir+`/calls'; cat > '`+dir+`/loaded';;`)
	var said []string
	r := &Runtime{opts: Options{StateDir: t.TempDir()}, engine: e, progress: func(step, state, _ string) { said = append(said, step+" "+state) }}
	m := manifests.Made{Component: "connect", Ref: "made/here:1", Base: "far/kafka:1", Asset: testSink(s.URL+"/sink-1.zip", ""), Below: "/opt/kafka/plugins"}
	p := &Plan{Clusters: []string{Monitoring}, Images: map[string][]string{Monitoring: {m.Ref}}, made: []manifests.Made{m}}
	if err := r.LoadImages(t.Context(), p); err == nil || !strings.Contains(err.Error(), acceptLicense) {
		t.Errorf("loading without the licence: %v", err)
	}
	t.Setenv(acceptLicense, "sink")
	t.Setenv(trustFirst, "sink")
	for range 2 {
		if err := r.ensureMade(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		t.Setenv(trustFirst, "") // what was noted holds
	}
	if of, err := images.MadeOf(t.Context(), e, m.Ref); err != nil || of != madeOf("sha256:base", checksum([]byte(s.content))) {
		t.Errorf("made of %q, %v", of, err)
	}
	if calls, err := os.ReadFile(filepath.Join(dir, "calls")); err != nil || string(calls) != "load\n" || s.fetched.Load() != 1 {
		t.Errorf("loaded %q, fetched %d times, %v: want each once", calls, s.fetched.Load(), err)
	}
	if want := []string{"images start", "image of connect start", "image of connect done"}; !slices.Equal(said, want) {
		t.Errorf("progress %q, want %q", said, want)
	}
}

// The image of Kafka Connect is made of the Kafka image, which an image set may name elsewhere; a set that has an image of Kafka Connect, as a lab's, has
// nothing made, and needs neither archive nor licence.
func TestWhatIsMadeFollowsTheImageSet(t *testing.T) {
	t.Setenv(acceptLicense, "")
	list, err := manifests.Pinned("../../../manifests")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, base string // no base: nothing is made
		set        manifests.ImageSet
	}{
		{"none", list.Images["kafka"].Reference, manifests.ImageSet{}},
		{"a mirror", "mirror.test/kafka:1", manifests.ImageSet{Images: map[string]string{"kafka": "mirror.test/kafka:1"}}},
		{"swapped", "", manifests.ImageSet{Images: map[string]string{"kafka-connect": "mirror.test/connect:1"}}},
		{"absent", "", manifests.ImageSet{Absent: []string{"kafka-connect"}}},
	} {
		r := &Runtime{opts: Options{StateDir: t.TempDir(), Manifests: "../../../manifests", Images: tc.set}}
		made, err := r.pinnedMade()
		if err != nil {
			t.Fatal(err)
		}
		refs, looks, err := r.images()
		if err != nil {
			t.Fatal(err)
		}
		if tc.base == "" {
			if len(made) > 0 || len(looks) > 0 {
				t.Errorf("%s: %+v is made", tc.name, made)
			}
			continue
		}
		ref := list.Images["kafka-connect"].Reference
		if len(made) != 1 || made[0].Ref != ref || made[0].Base != tc.base || made[0].Below != "/opt/kafka/plugins" || made[0].Asset.Name != "elasticsearch-sink" {
			t.Errorf("%s: made %+v", tc.name, made)
		}
		if !strings.Contains(strings.Join(refs, " "), ref) || looks[ref] == nil {
			t.Errorf("%s: the preflight does not look for %s in %v", tc.name, ref, refs)
			continue
		}
		if detail, fix := looks[ref](t.Context()); !strings.Contains(detail, "Confluent Community License") || !strings.Contains(fix, "TRIAD_ACCEPT_LICENSE=elasticsearch-sink") {
			t.Errorf("%s: the preflight says %q, %q", tc.name, detail, fix)
		}
	}
}
