package prov

import (
	"fmt"
	"net/url"
	"path"
	"strings"
)

// internal states what the code told of its own provenance, as a bundle, or why that could not be read: a code that
// errs there has made good results all the same.
func (b *builder) internal() {
	if b.rec.Internal == nil && b.rec.InternalError == "" || b.err != nil {
		return
	}
	id := InternalID(b.rec.Job)
	told, err := (*Graph)(nil), error(nil)
	if b.rec.InternalError == "" {
		if told, err = Ingest(b.rec.Internal, b.rec.Job, b.authority, InternalLimits()); err != nil {
			b.rec.InternalError = err.Error()
		}
	}
	if b.rec.InternalError != "" {
		b.add(Record{Kind: Entity, ID: id, Attrs: []Attr{{fedTerm("internalProvenanceError"), String(b.rec.InternalError)}}})
		return
	}
	b.add(Record{Kind: Entity, ID: id, Attrs: []Attr{{nameType, Name(typeBundle)}, {nameType, Name(fedTerm("InternalProvenance"))}}})
	if b.err = b.g.Merge(told); b.err == nil {
		b.err = b.sameFiles(id)
	}
}

// sameFiles joins the files that the code names by a location to the job's own inputs and results, where there is no
// doubt which is meant.
func (b *builder) sameFiles(id QName) error {
	bundle, err := b.g.Bundle(id)
	if err != nil {
		return err
	}
	known := b.filesByName()
	var same []Record
	for e := range bundle.Records(Entity) {
		if file, ok := located(e, known); ok {
			same = append(same, Record{Kind: Alternate, Refs: []QName{e.ID, file}})
		}
	}
	for _, r := range same {
		if err := bundle.Add(r); err != nil {
			return fmt.Errorf("joining the files of the code's own provenance: %w", err)
		}
	}
	return nil
}

// filesByName finds the inputs and results of the job by their paths in its working directory, as far as those are
// known. A name of two files finds none of them.
func (b *builder) filesByName() map[string]QName {
	known := map[string]QName{}
	put := func(name string, file QName) {
		if name = path.Clean("/" + name); name == "/" {
			return
		}
		if other, taken := known[name]; taken && other != file {
			file = QName{}
		}
		known[name] = file
	}
	for i := range b.rec.Inputs {
		in := &b.rec.Inputs[i]
		name := in.Path
		if name == "" {
			name = in.Name
		}
		put(name, b.sources[i].entity)
	}
	for _, r := range b.rec.Results {
		if !r.Collection {
			put(r.Name, ResultID(b.rec.Job, r.ID))
		}
		for _, m := range r.Members {
			put(m.Path, MemberID(b.rec.Job, r.ID, m.Path))
		}
	}
	return known
}

// located finds the file that an entity's location means: the one with the longest path that the location ends in.
func located(e *Record, known map[string]QName) (QName, bool) {
	location, ok := e.Attr(nameLocation)
	if !ok {
		if location, ok = e.Attr(voprovTerm("location")); !ok {
			return QName{}, false
		}
	}
	text := location.Text()
	if strings.HasPrefix(text, "file:") {
		u, err := url.Parse(text)
		if err != nil {
			return QName{}, false
		}
		text = u.Path
	}
	if len(text) > maxName {
		return QName{}, false
	}
	for rest := path.Clean("/" + text); rest != ""; {
		if file, found := known[rest]; found {
			return file, !file.IsZero()
		}
		next := strings.IndexByte(rest[1:], '/')
		if next < 0 {
			break
		}
		rest = rest[1+next:]
	}
	return QName{}, false
}

// acyclic checks that no relation of the kinds given leads from an entity back to itself, each kind by itself: nothing
// is derived from itself, and nothing is a part of itself.
func acyclic(g *Graph, kinds ...Kind) error {
	for _, k := range kinds {
		next := map[QName][]QName{}
		var nodes []QName // in the order of the document, so that an error is always the same
		for r := range g.Records(k) {
			nodes = append(nodes, r.Ref(0))
			next[r.Ref(0)] = append(next[r.Ref(0)], r.Ref(1))
		}
		if at, found := cycle(nodes, next); found {
			return fmt.Errorf("%w: %v leads from %s back to itself", ErrConflict, k, at)
		}
	}
	return nil
}

// cycle finds a node that a directed graph leads back to, without recursion: chains may be long.
func cycle(nodes []QName, next map[QName][]QName) (QName, bool) {
	const open, done = 1, 2
	state := map[QName]int{}
	for _, start := range nodes {
		for stack := []QName{start}; len(stack) > 0; {
			at := stack[len(stack)-1]
			if state[at] != 0 { // all after it have been looked at
				state[at], stack = done, stack[:len(stack)-1]
				continue
			}
			state[at] = open
			for _, to := range next[at] {
				switch state[to] {
				case open:
					return to, true
				case 0:
					stack = append(stack, to)
				}
			}
		}
	}
	return QName{}, false
}
