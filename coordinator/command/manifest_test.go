package command

import (
	"encoding/hex"
	"testing"
)

// TestManifestHash fixes the hash: agents and coordinators of different versions must agree on it.
func TestManifestHash(t *testing.T) {
	files := []*File{{Output: "o", Path: "p", Sha256: "00", Size: 1, ContentType: "text/plain"}}
	const want = "a7dc40f4a67001b051c70789f489817412a1225d37518888e7d9bb1049231c8c"
	part := PartHash(files)
	if got := hex.EncodeToString(part); got != want {
		t.Errorf("part: %s, want %s", got, want)
	}
	const whole = "7e3343e26c039a595557e89886640a71bee551a18a82b711ac17c4713bd1953c"
	if got := hex.EncodeToString(ManifestHash([][]byte{part, PartHash(nil)})); got != whole {
		t.Errorf("manifest: %s, want %s", got, whole)
	}
	for i, change := range []*File{
		{Output: "op", Sha256: "00", Size: 1, ContentType: "text/plain"}, // moved from one field to the next
		{Output: "o", Path: "p", Sha256: "00", Size: 2, ContentType: "text/plain"},
		{Output: "o", Path: "p", Sha256: "01", Size: 1, ContentType: "text/plain"},
		{Output: "o", Path: "p", Sha256: "00", Size: 1},
	} {
		if hex.EncodeToString(PartHash([]*File{change})) == want {
			t.Errorf("change %d does not change the hash", i)
		}
	}
}
