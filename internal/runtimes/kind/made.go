//go:build !embedded_only

package kind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"triad/internal/images"
	"triad/internal/kube"
	"triad/internal/manifests"
)

// Variables with names of assets, separated by commas: what a person has said yes to.
const (
	acceptLicense = "TRIAD_ACCEPT_LICENSE" // the terms of the asset
	trustFirst    = "TRIAD_TRUST_FIRST"    // the archive that is found first, where the manifests pin none
)

// pinnedMade are the images that have to be made for the image set of the options.
func (r *Runtime) pinnedMade() ([]manifests.Made, error) {
	list, err := manifests.Pinned(r.opts.Manifests)
	if err != nil {
		return nil, err
	}
	assets, err := manifests.PinnedAssets(r.opts.Manifests)
	if err != nil {
		return nil, err
	}
	return list.Made(r.opts.Images, assets)
}

// MakeImages makes the images that no registry has, where the engine has them not, and returns the references of all of them.
func (r *Runtime) MakeImages(ctx context.Context) ([]string, error) {
	made, err := r.pinnedMade()
	if err != nil {
		return nil, err
	}
	var refs []string
	for _, m := range made {
		if err := r.ensureMade(ctx, m); err != nil {
			return nil, err
		}
		refs = append(refs, m.Ref)
	}
	return refs, nil
}

// ensureMade makes an image that the engine has not, and one anew that was made here of another base or archive. An image of that name that somebody
// else made is used as it is.
func (r *Runtime) ensureMade(ctx context.Context, m manifests.Made) error {
	id, err := r.engine.ImageID(ctx, m.Ref)
	if err != nil {
		return fmt.Errorf("image %s: %w", m.Ref, err)
	}
	if id != "" {
		of, err := images.MadeOf(ctx, r.engine, m.Ref)
		if err != nil {
			return fmt.Errorf("image %s: %w", m.Ref, err)
		}
		baseID, err := r.engine.ImageID(ctx, m.Base)
		if err != nil {
			return fmt.Errorf("image %s: %w", m.Base, err)
		}
		if of == "" || r.stillOf(m, of, baseID) {
			return nil
		}
	}
	archive, sum, err := r.archive(ctx, m.Asset)
	if err != nil {
		return fmt.Errorf("image %s: %w", m.Ref, err)
	}
	_, arch := r.platform()
	base, err := images.Resolve(ctx, r.engine, arch, []string{m.Base}, r.progress)
	if err != nil {
		return fmt.Errorf("image %s: %w", m.Ref, err)
	}
	started := time.Now()
	r.progress("image of "+m.Component, kube.StateStart, fmt.Sprintf("%s of %s and %s %s", m.Ref, m.Base, m.Asset.Name, m.Asset.Version))
	recipe := images.Recipe{Ref: m.Ref, Base: base[0].Ref, Zip: archive, Below: m.Below, MadeOf: madeOf(base[0].ID, sum)}
	if err := images.Make(ctx, r.engine, r.info, recipe, filepath.Join(r.opts.StateDir, "images")); err != nil {
		return err
	}
	r.progress("image of "+m.Component, kube.StateDone, fmt.Sprintf("%s made in %s", m.Ref, time.Since(started).Round(100*time.Millisecond)))
	return nil
}

func madeOf(baseID, sum string) string { return baseID + " " + sum }

// stillOf says whether an image is of the base and the archive that are asked for, as far as both are known: who removed the base or the note of the
// checksum has asked for nothing else.
func (r *Runtime) stillOf(m manifests.Made, of, baseID string) bool {
	base, sum, _ := strings.Cut(of, " ")
	if baseID == "" {
		baseID = base
	}
	want := r.knownSum(m.Asset)
	if want == "" {
		want = sum
	}
	return of == madeOf(baseID, want)
}

// canMake is the look of the preflight. The archive is fetched for it: what cannot be had or is not what it should be is known before clusters are made.
func (r *Runtime) canMake(ctx context.Context, m manifests.Made) (detail, fix string) {
	_, sum, err := r.archive(ctx, m.Asset)
	var refused *refusedAssetError
	switch {
	case err == nil:
		return fmt.Sprintf("of %s and %s %s (checksum %s)", m.Base, m.Asset.Name, m.Asset.Version, sum), ""
	case errors.As(err, &refused):
		return "it is made, and " + refused.what, refused.fix
	}
	return "it is made, and " + err.Error(), fmt.Sprintf("set %s to the file, or to a folder with it", m.Asset.Env)
}

// refusedAssetError is a file that is not used, and what makes it good.
type refusedAssetError struct{ what, fix string }

func (e *refusedAssetError) Error() string { return e.what + ": " + e.fix }

// archive returns the archive of an asset and its checksum: from the file or folder that the asset's variable names, from the cache, or from its URL.
// Wherever it comes from, it is refused when its terms are not accepted, when its checksum is another than the pinned one, and when none is pinned and
// nobody has said to trust the first; then its checksum is noted in the state folder and holds from there on.
func (r *Runtime) archive(ctx context.Context, a manifests.Asset) (b []byte, sum string, err error) {
	f, want := a.Files[0], r.knownSum(a)
	if a.Accept != "" && !saidYes(acceptLicense, a.Name) {
		fix := fmt.Sprintf("read %s; who accepts it calls again with `%s=%s", a.Accept, acceptLicense, a.Name)
		if want == "" && !saidYes(trustFirst, a.Name) {
			fix += fmt.Sprintf(" %s=%s`; the second because manifests/assets.yaml pins no checksum: that of the archive that is found is kept in %s", trustFirst, a.Name, r.sumFile(a))
		} else {
			fix += "`"
		}
		return nil, "", &refusedAssetError{fmt.Sprintf("nobody has accepted the licence of %s, %s", a.Name, a.License), fix}
	}
	from := os.Getenv(a.Env)
	if from != "" {
		if info, err := os.Stat(from); err == nil && info.IsDir() {
			from = filepath.Join(from, path.Base(f.URL))
		}
		if b, err = os.ReadFile(from); err != nil {
			return nil, "", fmt.Errorf("asset %s: %w (%s names the file, or a folder with it)", a.Name, err, a.Env)
		}
		sum = checksum(b)
	} else {
		from = f.URL
		if b, sum, err = r.fetch(ctx, f.URL, want, archiveTimeout, archiveMaxBytes); err != nil {
			return nil, "", fmt.Errorf("asset %s: %w (or set %s to the file)", a.Name, err, a.Env)
		}
	}
	switch {
	case want != "" && sum != want:
		return nil, "", &refusedAssetError{
			fmt.Sprintf("%s has the checksum %s, pinned is %s", from, sum, want),
			fmt.Sprintf("it is not the file that was pinned: get another by %s, or find out why it has changed before manifests/assets.yaml or %s says so too", a.Env, r.sumFile(a)),
		}
	case want == "" && !saidYes(trustFirst, a.Name):
		return nil, "", &refusedAssetError{
			fmt.Sprintf("no checksum is pinned for %s; it has %s", from, sum),
			fmt.Sprintf("compare it and write it into manifests/assets.yaml, or call again with `%s=%s` too, which keeps it in %s", trustFirst, a.Name, r.sumFile(a)),
		}
	}
	if err := images.CheckPlugins(b); err != nil {
		return nil, "", fmt.Errorf("asset %s: %s: %w", a.Name, from, err)
	}
	if want == "" {
		if err := writeFileAtomic(r.sumFile(a), fmt.Appendf(nil, "%s  %s\n", sum, path.Base(f.URL)), 0o644); err != nil {
			return nil, "", fmt.Errorf("asset %s: %w", a.Name, err)
		}
	}
	return b, sum, nil
}

// saidYes says whether a variable lists the asset.
func saidYes(env, asset string) bool {
	return slices.Contains(strings.Split(os.Getenv(env), ","), asset)
}

// sumFile is where the checksum of an archive is kept that was trusted when it was found first, in the form of sha256sum.
func (r *Runtime) sumFile(a manifests.Asset) string {
	return filepath.Join(r.opts.StateDir, "assets", path.Base(a.Files[0].URL)+".sha256")
}

// knownSum is the checksum that the archive has to have: the manifests', else the one that was trusted; "" when nobody has said.
func (r *Runtime) knownSum(a manifests.Asset) string {
	if a.Files[0].SHA256 != "" {
		return a.Files[0].SHA256
	}
	b, err := os.ReadFile(r.sumFile(a))
	if err != nil {
		return ""
	}
	sum, _, _ := strings.Cut(string(b), " ")
	return sum
}
