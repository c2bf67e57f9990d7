package prov

import (
	"fmt"
	"iter"
	"slices"
	"time"
)

// Record is one statement of a graph.
type Record struct {
	Kind Kind
	// ID names the record. Elements must have one, most relations may, and the bare relations
	// (Specialization, Alternate, Membership) cannot.
	ID QName
	// Refs are the formal references in the order given at the Kind; the zero QName, or a shorter list,
	// leaves one out.
	Refs []QName
	// Time is when the relation happened, or when the activity started; End is when the activity ended.
	// Zero: not known. Zones are not kept.
	Time, End time.Time
	// Attrs are the free attributes. Their order serves readers only; PROV sees a set.
	Attrs []Attr
}

// Ref gives the formal reference at a position, or the zero QName.
func (r *Record) Ref(i int) QName {
	if i >= len(r.Refs) {
		return QName{}
	}
	return r.Refs[i]
}

// Attr gives the first value of the named attribute.
func (r *Record) Attr(name QName) (Value, bool) {
	for _, a := range r.Attrs {
		if a.Name == name {
			return a.Value, true
		}
	}
	return Value{}, false
}

// HasType tells whether a prov:type of the record is the qualified name t.
func (r *Record) HasType(t QName) bool { return slices.Contains(r.Attrs, Attr{nameType, Name(t)}) }

// times gives the formal times in the order of the kind's shape.
func (r *Record) times() [2]time.Time { return [2]time.Time{r.Time, r.End} }

// Graph is a set of records in which no two have the same kind and id, with the bundles named in it. The
// zero Graph is not usable; make one with New. It is not safe for concurrent changes.
type Graph struct {
	namespaces []Namespace
	records    [lastKind + 1][]*Record
	index      map[string]*Record // by recordKey
	bundles    []bundle
	parent     *Graph // of a bundle's graph
}

type bundle struct {
	id    QName
	graph *Graph
}

// New makes an empty graph. The prefixes prov, xsd and voprov are always declared; declaring them, or any
// prefix, with two IRIs is an ErrName, and so is another prefix for the namespace of PROV.
func New(namespaces ...Namespace) (*Graph, error) {
	g := &Graph{index: map[string]*Record{}}
	for _, ns := range append([]Namespace{{"prov", IRIProv}, {"xsd", IRIXSD}, {"voprov", IRIVOProv}}, namespaces...) {
		if err := g.declare(ns); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// declare adds a namespace to the document that g belongs to.
func (g *Graph) declare(ns Namespace) error {
	if g.parent != nil {
		return g.parent.declare(ns)
	}
	if !ValidPrefix(ns.Prefix) || !validIRI(ns.IRI) {
		return fmt.Errorf("%w: namespace %.40q <%.200q>", ErrName, ns.Prefix, ns.IRI)
	}
	if ns.IRI == IRIProv && ns.Prefix != "prov" {
		return fmt.Errorf("%w: prefix %q for the namespace of PROV, which is prov", ErrName, ns.Prefix)
	}
	switch known := g.iri(ns.Prefix); known {
	case ns.IRI:
		return nil
	case "":
		g.namespaces = append(g.namespaces, ns)
		return nil
	default:
		return fmt.Errorf("%w: prefix %q is declared as <%s> and as <%.200s>", ErrName, ns.Prefix, known, ns.IRI)
	}
}

// iri gives the IRI of a declared prefix, or nothing.
func (g *Graph) iri(prefix string) string {
	for _, ns := range g.Namespaces() {
		if ns.Prefix == prefix {
			return ns.IRI
		}
	}
	return ""
}

// Namespaces lists the declared namespaces of the document, which its bundles share.
func (g *Graph) Namespaces() []Namespace {
	if g.parent != nil {
		return g.parent.Namespaces()
	}
	return g.namespaces
}

// IRI resolves a qualified name.
func (g *Graph) IRI(q QName) (string, error) {
	if err := g.declared(q); err != nil {
		return "", err
	}
	return g.iri(q.Prefix) + q.Local, nil
}

func (g *Graph) declared(q QName) error {
	if !q.Valid() {
		return fmt.Errorf("%w: %.100q", ErrName, q.String())
	}
	if g.iri(q.Prefix) == "" {
		return fmt.Errorf("%w: the prefix of %.100q is not declared", ErrName, q.String())
	}
	return nil
}

// Add states a record. A record whose kind and id the graph has already is merged with it: what one leaves
// out the other supplies, attributes are united, and a formal attribute in which they differ is an
// ErrConflict. So adding twice changes nothing. The graph keeps no reference to the slices of r.
func (g *Graph) Add(r Record) error {
	n, err := g.normal(r)
	if err != nil {
		return fmt.Errorf("adding %v(%s): %w", r.Kind, r.ID, err)
	}
	key := recordKey(n)
	if old := g.index[key]; old != nil {
		if err := merge(old, n); err != nil {
			return fmt.Errorf("adding %v(%s): %w", r.Kind, r.ID, err)
		}
		return nil
	}
	g.records[n.Kind] = append(g.records[n.Kind], n)
	g.index[key] = n
	return nil
}

// normal checks a record and copies it in the form in which the graph keeps records: references without
// zeros at the end, times in UTC, attributes without repetition and with equal names side by side.
func (g *Graph) normal(r Record) (*Record, error) {
	if !r.Kind.valid() {
		return nil, fmt.Errorf("%w: no such kind", ErrRecord)
	}
	s := &shapes[r.Kind]
	if err := g.checkFormal(&r, s); err != nil {
		return nil, err
	}
	n := &Record{Kind: r.Kind, ID: r.ID, Refs: slices.Clone(r.Refs)}
	for len(n.Refs) > 0 && n.Refs[len(n.Refs)-1].IsZero() {
		n.Refs = n.Refs[:len(n.Refs)-1]
	}
	if !r.Time.IsZero() {
		n.Time = r.Time.UTC().Round(0)
	}
	if !r.End.IsZero() {
		n.End = r.End.UTC().Round(0)
	}
	for _, a := range r.Attrs {
		if err := g.declared(a.Name); err != nil {
			return nil, err
		}
		if a.Name.Prefix == "prov" && formalNames[a.Name.Local] {
			return nil, fmt.Errorf("%w: %s is a formal attribute, not a free one", ErrRecord, a.Name)
		}
		if err := a.Value.check(g.declared); err != nil {
			return nil, fmt.Errorf("attribute %s: %w", a.Name, err)
		}
	}
	n.Attrs = unite(make([]Attr, 0, len(r.Attrs)), r.Attrs)
	return n, nil
}

// checkFormal checks id, references and times of a record against its kind.
func (g *Graph) checkFormal(r *Record, s *shape) error {
	switch {
	case r.ID.IsZero() && r.Kind.IsElement():
		return fmt.Errorf("%w: no id", ErrRecord)
	case s.bare && (!r.ID.IsZero() || len(r.Attrs) > 0):
		return fmt.Errorf("%w: %s has neither id nor attributes", ErrRecord, s.name)
	case len(r.Refs) > len(s.refs):
		return fmt.Errorf("%w: %d references, at most %d possible", ErrRecord, len(r.Refs), len(s.refs))
	}
	if !r.ID.IsZero() {
		if err := g.declared(r.ID); err != nil {
			return err
		}
	}
	for i := range s.refs {
		q := r.Ref(i)
		if q.IsZero() {
			if i < s.required {
				return fmt.Errorf("%w: prov:%s is missing", ErrRecord, s.refs[i].name)
			}
			continue
		}
		if err := g.declared(q); err != nil {
			return fmt.Errorf("prov:%s: %w", s.refs[i].name, err)
		}
	}
	for i, t := range r.times() {
		if t.IsZero() {
			continue
		}
		if i >= len(s.times) {
			return fmt.Errorf("%w: %s does not take %d times", ErrRecord, s.name, i+1)
		}
		if !validTime(t) {
			return fmt.Errorf("%w: time outside the years 1 to 9999", ErrRecord)
		}
	}
	return nil
}

// fewAttrs is how many attributes are compared each with each sooner than sorted.
const fewAttrs = 24

// unite adds attributes that are not there yet, each after the last one of the same name.
func unite(attrs, more []Attr) []Attr {
	if len(attrs)+len(more) <= fewAttrs {
		for _, a := range more {
			attrs = insertAttr(attrs, a)
		}
		return attrs
	}
	order := map[QName]int{}
	seen := make(map[Attr]bool, len(attrs)+len(more))
	note := func(a Attr) bool {
		if seen[a] {
			return false
		}
		seen[a] = true
		if _, known := order[a.Name]; !known {
			order[a.Name] = len(order)
		}
		return true
	}
	for _, a := range attrs {
		note(a)
	}
	for _, a := range more {
		if note(a) {
			attrs = append(attrs, a)
		}
	}
	slices.SortStableFunc(attrs, func(a, b Attr) int { return order[a.Name] - order[b.Name] })
	return attrs
}

// insertAttr adds an attribute that is not there yet, after the last one of the same name.
func insertAttr(attrs []Attr, a Attr) []Attr {
	at := len(attrs)
	for i, b := range attrs {
		if b == a {
			return attrs
		}
		if b.Name == a.Name {
			at = i + 1
		}
	}
	return slices.Insert(attrs, at, a)
}

// merge adds to old what another record of the same key says, or changes nothing and gives an ErrConflict.
func merge(old, n *Record) error {
	s := &shapes[old.Kind]
	for i := range s.refs {
		if a, b := old.Ref(i), n.Ref(i); !a.IsZero() && !b.IsZero() && a != b {
			return fmt.Errorf("%w: prov:%s is %s and %s", ErrConflict, s.refs[i].name, a, b)
		}
	}
	was, is := old.times(), n.times()
	for i := range s.times {
		if !was[i].IsZero() && !is[i].IsZero() && !was[i].Equal(is[i]) {
			return fmt.Errorf("%w: prov:%s is %s and %s", ErrConflict, s.times[i], formatTime(was[i]), formatTime(is[i]))
		}
	}
	for i, q := range n.Refs {
		if i == len(old.Refs) {
			old.Refs = append(old.Refs, q)
		} else if old.Refs[i].IsZero() {
			old.Refs[i] = q
		}
	}
	if old.Time.IsZero() {
		old.Time = n.Time
	}
	if old.End.IsZero() {
		old.End = n.End
	}
	old.Attrs = unite(old.Attrs, n.Attrs)
	return nil
}

// recordKey is what makes two records the same one: kind and id, or the whole content without an id.
func recordKey(r *Record) string {
	if r.ID.IsZero() {
		return string(canonical(r))
	}
	return identityKey(r.Kind, r.ID)
}

func identityKey(k Kind, id QName) string {
	return string([]byte{byte(k)}) + id.Prefix + ":" + id.Local
}

// Get finds a record by kind and id. The caller must not change it.
func (g *Graph) Get(k Kind, id QName) (*Record, bool) {
	r, ok := g.index[identityKey(k, id)]
	return r, ok
}

// Records goes through the records of one kind in the order in which they were added. The caller must not
// change them.
func (g *Graph) Records(k Kind) iter.Seq[*Record] {
	return func(yield func(*Record) bool) {
		if !k.valid() {
			return
		}
		for _, r := range g.records[k] {
			if !yield(r) {
				return
			}
		}
	}
}

// All goes through all records of g, without those of its bundles, kind after kind.
func (g *Graph) All() iter.Seq[*Record] {
	return func(yield func(*Record) bool) {
		for k := Entity; k <= lastKind; k++ {
			for _, r := range g.records[k] {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// Len counts the records of g, without those of its bundles.
func (g *Graph) Len() int { return len(g.index) }

// Bundle gives the graph of the named bundle, made empty if it is new. Bundles hold no bundles (PROV-DM
// section 5.4): asking one for a bundle is an ErrRecord.
func (g *Graph) Bundle(id QName) (*Graph, error) {
	if g.parent != nil {
		return nil, fmt.Errorf("%w: bundle %s inside a bundle", ErrRecord, id)
	}
	if err := g.declared(id); err != nil {
		return nil, fmt.Errorf("making a bundle: %w", err)
	}
	for _, b := range g.bundles {
		if b.id == id {
			return b.graph, nil
		}
	}
	inner := &Graph{index: map[string]*Record{}, parent: g}
	g.bundles = append(g.bundles, bundle{id, inner})
	return inner, nil
}

// Bundles goes through the bundles in the order in which they were made.
func (g *Graph) Bundles() iter.Seq2[QName, *Graph] {
	return func(yield func(QName, *Graph) bool) {
		for _, b := range g.bundles {
			if !yield(b.id, b.graph) {
				return
			}
		}
	}
}

// Merge adds namespaces, records and bundles of another graph. After an error a part may have been added.
func (g *Graph) Merge(other *Graph) error {
	for _, ns := range other.Namespaces() {
		if err := g.declare(ns); err != nil {
			return err
		}
	}
	for r := range other.All() {
		if err := g.Add(*r); err != nil {
			return err
		}
	}
	for id, from := range other.Bundles() {
		into, err := g.Bundle(id)
		if err != nil {
			return err
		}
		if err := into.Merge(from); err != nil {
			return fmt.Errorf("bundle %s: %w", id, err)
		}
	}
	return nil
}
