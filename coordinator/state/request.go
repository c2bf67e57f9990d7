package state

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"

	"consort/coordinator/command"
)

// RequestDigest names what a job was asked to compute: the definition, by its digest, the inputs, by role and
// SHA-256, and the values of all parameters, given or the definition's defaults. Neither the order of inputs
// and parameters counts, nor whether a value was given or is the default. It answers false for what must not
// be recognised again: a request with secrets, or with an input whose content is not known. The bytes are
// kept in the state: they never change.
func RequestDigest(digest string, inputs []*command.Input, parameters, defaults []*command.Parameter) ([]byte, bool) {
	if slices.ContainsFunc(inputs, func(in *command.Input) bool { return in.GetSha256() == "" }) ||
		slices.ContainsFunc(parameters, (*command.Parameter).GetSecret) {
		return nil, false
	}
	inputs = slices.SortedFunc(slices.Values(inputs), func(a, b *command.Input) int {
		return cmp.Or(cmp.Compare(a.GetName(), b.GetName()), cmp.Compare(a.GetSha256(), b.GetSha256()))
	})
	parameters = effective(parameters, defaults)
	slices.SortStableFunc(parameters, func(a, b *command.Parameter) int { return cmp.Compare(a.GetName(), b.GetName()) })

	h := fieldHash{sha256.New()}
	h.text("consort request 1")
	h.text(digest)
	h.number(len(inputs))
	for _, in := range inputs {
		h.text(in.GetName())
		h.text(in.GetSha256())
	}
	h.number(len(parameters))
	for _, p := range parameters {
		h.text(p.GetName())
		h.number(len(p.GetValues()))
		for _, value := range p.GetValues() {
			h.text(value)
		}
	}
	return h.Sum(nil), true
}

// effective are the parameters given and, after them, the defaults of those that were not.
func effective(given, defaults []*command.Parameter) []*command.Parameter {
	names := make(map[string]bool, len(given))
	for _, p := range given {
		names[p.GetName()] = true
	}
	all := slices.Clone(given)
	for _, p := range defaults {
		if !names[p.GetName()] && !p.GetSecret() {
			all = append(all, p)
		}
	}
	return all
}

// fieldHash hashes fields, each with its length in front, so that no two lists of fields look alike.
type fieldHash struct{ hash.Hash }

func (h fieldHash) number(n int) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	h.Write(b[:])
}

func (h fieldHash) text(s string) {
	h.number(len(s))
	h.Write([]byte(s))
}
