package prov

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestUnite: many attributes are united as few are.
func TestUnite(t *testing.T) {
	attr := rapid.Custom(func(t *rapid.T) Attr {
		return Attr{provTerm(rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "name")), Int(rapid.Int32Range(0, 9).Draw(t, "value"))}
	})
	rapid.Check(t, func(t *rapid.T) {
		var have, want []Attr
		for _, more := range rapid.SliceOfN(rapid.SliceOfN(attr, 0, 3*fewAttrs), 1, 3).Draw(t, "attributes") {
			for _, a := range more {
				want = insertAttr(want, a)
			}
			have = unite(have, more)
		}
		if !slices.Equal(have, want) {
			t.Fatalf("united %v, one by one %v", have, want)
		}
	})
}
