package prov

import (
	"io"
	"mime"
	"slices"
	"strings"
)

// Format is a serialisation of graphs, under the names by which every surface offers it.
type Format struct {
	// Name is the value of RESPONSEFORMAT, e.g. "PROV-XML".
	Name string
	// Suffix makes the name of a job's result: "prov" and the suffix.
	Suffix string
	// MediaTypes are those that ask for the format. The first one is served, with its parameters.
	MediaTypes []string
	// Extension is that of files, with its dot.
	Extension string
	// Write writes a graph in UTF-8, record by record. Formats of the W3C serve their document for both models.
	Write func(w io.Writer, g *Graph, m Model) error
}

var formats = []Format{
	{"PROV-N", "n", []string{"text/provenance-notation; charset=utf-8"}, ".provn", w3cOnly(WriteN)},
	{"PROV-JSON", "json", []string{"application/json"}, ".json", writeEitherJSON},
	{"PROV-XML", "xml", []string{"application/provenance+xml", "application/xml", "text/xml"}, ".xml", w3cOnly(WriteXML)},
	{"PROV-VOTABLE", "vot", []string{"application/x-votable+xml"}, ".vot", WriteVOTable},
	{"PROV-TURTLE", "ttl", []string{"text/turtle; charset=utf-8"}, ".ttl", w3cOnly(WriteTurtle)},
	{"PROV-JSONLD", "jsonld", []string{"application/ld+json"}, ".jsonld", w3cOnly(WriteJSONLD)},
}

func w3cOnly(write func(io.Writer, *Graph) error) func(io.Writer, *Graph, Model) error {
	return func(w io.Writer, g *Graph, _ Model) error { return write(w, g) }
}

func writeEitherJSON(w io.Writer, g *Graph, m Model) error {
	if m == IVOA {
		return WriteIVOAJSON(w, g)
	}
	return WriteJSON(w, g)
}

// Formats lists the serialisations, in the order in which they are to be offered.
func Formats() []Format { return slices.Clone(formats) }

// FormatByName finds a format by its name, in letters of any case, or by one of its media types, whose
// parameters do not count.
func FormatByName(name string) (Format, bool) {
	wanted := baseType(name)
	for _, f := range formats {
		if strings.EqualFold(f.Name, strings.TrimSpace(name)) || slices.ContainsFunc(f.MediaTypes, func(m string) bool { return wanted != "" && baseType(m) == wanted }) {
			return f, true
		}
	}
	return Format{}, false
}

// baseType gives a media type in lower case without its parameters, or nothing for what is none.
func baseType(s string) string {
	base, _, err := mime.ParseMediaType(s)
	if err != nil || !strings.Contains(base, "/") {
		return ""
	}
	return base
}

// ParseModel finds a model by its name, in letters of any case.
func ParseModel(name string) (Model, bool) {
	for _, m := range []Model{W3C, IVOA} {
		if strings.EqualFold(string(m), name) {
			return m, true
		}
	}
	return "", false
}
