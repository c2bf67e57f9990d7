package state

import (
	"encoding/hex"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"consort/coordinator/command"
)

// TestRequestDigest fixes the bytes: they are kept in states.
func TestRequestDigest(t *testing.T) {
	inputs := []*command.Input{{Name: "b", Sha256: sha("2")}, {Name: "a", Sha256: sha("1"), FileName: "any"}}
	given := []*command.Parameter{{Name: "t", Values: []string{"5", "6"}}}
	defaults := []*command.Parameter{{Name: "n", Values: []string{"7"}}, {Name: "t", Values: []string{"1"}}, {Name: "key", Secret: true}}
	got, ok := RequestDigest("sha256:abc", inputs, given, defaults)
	const want = "5ceb0f769d4cd5f3409bcb7d57531af01c3473657afd2dd554d40e46c5fa28f2"
	if hex.EncodeToString(got) != want || !ok {
		t.Errorf("%x, want %s", got, want)
	}
	if inputs[0].Name != "b" || len(given) != 1 {
		t.Error("the arguments were changed")
	}
	if _, ok := RequestDigest("d", nil, []*command.Parameter{{Name: "key", Secret: true}}, nil); ok {
		t.Error("a request with a secret has a digest")
	}
	if _, ok := RequestDigest("d", []*command.Input{{Name: "a"}}, nil, nil); ok {
		t.Error("a request for unknown content has a digest")
	}
}

// TestRequestDigestTells holds that two requests have one digest if and only if they mean the same.
func TestRequestDigestTells(t *testing.T) {
	text := rapid.SampledFrom([]string{"", "a", "b", "ab"})
	type request struct {
		definition string
		inputs     [][2]string // role, content
		values     map[string][]string
	}
	draw := rapid.Custom(func(t *rapid.T) request {
		return request{
			definition: text.Draw(t, "definition"),
			inputs: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) [2]string {
				return [2]string{text.Draw(t, "role"), text.Draw(t, "content")}
			}), 0, 2).Draw(t, "inputs"),
			values: rapid.MapOfN(text, rapid.SliceOfN(text, 1, 2), 0, 2).Draw(t, "values"),
		}
	})
	// digest gives some values as defaults, and all in an order that is drawn.
	digest := func(t *rapid.T, r request) string {
		var inputs []*command.Input
		for _, in := range r.inputs {
			inputs = append(inputs, &command.Input{Name: in[0], Sha256: sha(in[1])})
		}
		var given, defaults []*command.Parameter
		for name, values := range r.values {
			p := &command.Parameter{Name: name, Values: values}
			if rapid.Bool().Draw(t, "default") {
				defaults = append(defaults, p)
				continue
			}
			given = append(given, p)
			defaults = append(defaults, &command.Parameter{Name: name, Values: []string{"not used"}})
		}
		sum, ok := RequestDigest(r.definition, rapid.Permutation(inputs).Draw(t, "order"), given, defaults)
		if !ok {
			t.Fatal("no digest")
		}
		return string(sum)
	}
	same := func(a, b request) bool {
		sort := func(in [][2]string) [][2]string {
			in = slices.Clone(in)
			slices.SortFunc(in, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
			return in
		}
		if a.definition != b.definition || !slices.Equal(sort(a.inputs), sort(b.inputs)) || len(a.values) != len(b.values) {
			return false
		}
		for name, values := range a.values {
			if other, has := b.values[name]; !has || !slices.Equal(values, other) {
				return false
			}
		}
		return true
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw.Draw(t, "a"), draw.Draw(t, "b")
		if rapid.Bool().Draw(t, "the same") {
			b = a
		}
		if got, want := digest(t, a) == digest(t, b), same(a, b); got != want {
			t.Fatalf("%v and %v: one digest %v, want %v", a, b, got, want)
		}
	})
}
