// Package prov is the provenance graph: a general model of W3C PROV-DM able to carry the IVOA Provenance
// Data Model 1.0, the record of one job turned into such a graph, and the graph's serialisations.
//
// Everything here is a pure function of its arguments: the package stores nothing, follows no lineage from
// job to job and knows no HTTP. The graph, and the documents of MODEL=W3C, have the classes of the IVOA model
// as entities with a prov:type of the voprov vocabulary, and its own relations as wasInfluencedBy with such a
// type; documents of MODEL=IVOA, which exist as JSON and VOTable, have them as kinds of their own. [Formats]
// lists the serialisations. PROV-JSON, PROV-N and PROV-XML are read too, and hold the same: a graph comes back
// from each of them as it was.
//
// Every local name of the model is an NCName of ASCII letters, digits, '_', '-' and '.', so that the same
// qualified name is legal in PROV-N, PROV-JSON, PROV-XML, Turtle and VOTable alike; [Escape] makes any text
// such a name.
package prov

import "errors"

var (
	// ErrName says that a qualified name, a prefix, a namespace or an authority has not the required form,
	// or that a prefix is not declared.
	ErrName = errors.New("bad name")
	// ErrRecord says that a record lacks what its kind requires, or has what its kind forbids.
	ErrRecord = errors.New("bad record")
	// ErrConflict says that two records of the same kind and id disagree in a formal attribute.
	ErrConflict = errors.New("conflicting records")
	// ErrSyntax says that a document being read is not well-formed or not of its format.
	ErrSyntax = errors.New("bad provenance document")
	// ErrTooLarge says that a document being read goes beyond a limit of [Limits].
	ErrTooLarge = errors.New("provenance document too large")
	// ErrNotFound says that the graph has no such node.
	ErrNotFound = errors.New("not in the provenance graph")
)
