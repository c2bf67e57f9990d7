package prov

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
)

// canonical writes a record in one unambiguous way, with the attributes in order, each text preceded by its
// length.
func canonical(r *Record) []byte {
	out := []byte{byte(r.Kind)}
	text := func(s string) {
		out = binary.AppendUvarint(out, uint64(len(s)))
		out = append(out, s...)
	}
	text(r.ID.String())
	for i := range shapes[r.Kind].refs {
		text(r.Ref(i).String())
	}
	for i := range shapes[r.Kind].times {
		if t := r.times()[i]; t.IsZero() {
			text("")
		} else {
			text(formatTime(t))
		}
	}
	attrs := r.Attrs
	if !slices.IsSortedFunc(attrs, compareAttrs) {
		attrs = slices.SortedFunc(slices.Values(attrs), compareAttrs)
	}
	for _, a := range attrs {
		text(a.Name.String())
		text(a.Value.typ.String())
		text(a.Value.lang)
		text(a.Value.text)
	}
	return out
}

func compareAttrs(a, b Attr) int {
	return cmp.Or(
		compareNames(a.Name, b.Name),
		strings.Compare(a.Value.text, b.Value.text),
		compareNames(a.Value.typ, b.Value.typ),
		strings.Compare(a.Value.lang, b.Value.lang))
}

func compareNames(a, b QName) int {
	return cmp.Or(strings.Compare(a.Prefix, b.Prefix), strings.Compare(a.Local, b.Local))
}

// Equal tells whether two graphs declare the same namespaces and state the same records and bundles. The
// order of records, attributes and namespaces does not count.
func (g *Graph) Equal(other *Graph) bool {
	return maps.Equal(namespaceMap(g), namespaceMap(other)) && equalRecords(g, other)
}

func namespaceMap(g *Graph) map[string]string {
	m := map[string]string{}
	for _, ns := range g.Namespaces() {
		m[ns.Prefix] = ns.IRI
	}
	return m
}

func equalRecords(g, other *Graph) bool {
	if g.Len() != other.Len() || len(g.bundles) != len(other.bundles) {
		return false
	}
	for key, r := range g.index {
		o := other.index[key]
		if o == nil || !bytes.Equal(canonical(r), canonical(o)) {
			return false
		}
	}
	for _, b := range g.bundles {
		i := slices.IndexFunc(other.bundles, func(o bundle) bool { return o.id == b.id })
		if i < 0 || !equalRecords(b.graph, other.bundles[i].graph) {
			return false
		}
	}
	return true
}

// Unified gives a copy in canonical order: records of each kind by id and content, attributes by name and
// value, bundles and namespaces by name. Equal graphs have identical unified copies, hence identical
// documents.
func (g *Graph) Unified() *Graph {
	u := unifiedRecords(g)
	u.namespaces = slices.SortedFunc(slices.Values(g.Namespaces()), func(a, b Namespace) int { return strings.Compare(a.Prefix, b.Prefix) })
	for _, b := range g.bundles {
		inner := unifiedRecords(b.graph)
		inner.parent = u
		u.bundles = append(u.bundles, bundle{b.id, inner})
	}
	slices.SortFunc(u.bundles, func(a, b bundle) int { return compareNames(a.id, b.id) })
	return u
}

func unifiedRecords(g *Graph) *Graph {
	u := &Graph{index: make(map[string]*Record, len(g.index))}
	for key, r := range g.index {
		n := *r
		n.Refs = slices.Clone(r.Refs)
		n.Attrs = slices.SortedFunc(slices.Values(r.Attrs), compareAttrs)
		u.index[key] = &n
		u.records[n.Kind] = append(u.records[n.Kind], &n)
	}
	for k := range u.records {
		slices.SortFunc(u.records[k], func(a, b *Record) int {
			return cmp.Or(compareNames(a.ID, b.ID), bytes.Compare(canonical(a), canonical(b)))
		})
	}
	return u
}
