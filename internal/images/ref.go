package images

import "strings"

// NodeRef returns the name under which an image is kept in a node. A reference by digest loses it: an image archive carries tags
// only, and what was loaded is known by its id. A reference with a digest and no tag gets a tag made from the digest.
func NodeRef(ref string) string {
	name, digest, ok := strings.Cut(ref, "@")
	if !ok {
		return ref
	}
	slash := strings.LastIndex(name, "/")
	if strings.Contains(name[slash+1:], ":") {
		return name
	}
	_, hash, _ := strings.Cut(digest, ":")
	return name + ":sha256-" + hash[:min(12, len(hash))]
}
