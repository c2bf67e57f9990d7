package samedata

import (
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxToken bounds one piece of text, or one tag, in bytes: each is held in memory.
const maxToken = 64 << 20

// event is what counts of an XML token. Text is gathered until the next tag.
type event struct {
	name  string // of a tag that begins
	attrs []xml.Attr
	text  string
	end   bool // a tag ends
	over  bool // the document does
}

// differVOTable compares two documents tag by tag and says where the first difference is. Comments, processing
// instructions, namespaces of one meaning, the order of attributes, blanks around text, and what tells when and where
// the file was made do not count. A piece of text may have up to most bytes.
func differVOTable(x, y *source, most int) (string, error) {
	a, b := newTags(x, most), newTags(y, most)
	for {
		p, err := a.next()
		if err != nil {
			return "", err
		}
		q, err := b.next()
		if err != nil {
			return "", err
		}
		if !p.equal(&q) {
			return fmt.Sprintf("%s: %s", a.path(), p.difference(&q)), nil
		}
		if p.over {
			return "", nil
		}
	}
}

func (e *event) equal(o *event) bool {
	return e.name == o.name && e.text == o.text && e.end == o.end && e.over == o.over && slices.Equal(e.attrs, o.attrs)
}

func (e *event) difference(o *event) string {
	switch {
	case e.name != o.name || e.end != o.end || e.over != o.over:
		return "the elements differ"
	case e.text != o.text:
		return "the text differs"
	}
	return "the attributes of " + e.name + " differ"
}

// tags reads a document as events.
type tags struct {
	d      *xml.Decoder
	meter  *meter
	open   []string
	counts map[string]int // of rows, to tell where a difference is
}

func newTags(s *source, most int) *tags {
	t := &tags{meter: &meter{below: s, most: most}, counts: map[string]int{}}
	t.d = xml.NewDecoder(t.meter)
	return t
}

// meter refuses a token that is too large to be held.
type meter struct {
	below *source
	most  int
	since int
}

var errToken = malformed("a piece of text is too large to be compared")

// Read gives small pieces, so that since counts what the token needs and not what the decoder reads ahead.
func (m *meter) Read(p []byte) (int, error) {
	if m.since > m.most {
		return 0, errToken
	}
	n, err := m.below.Read(p[:min(len(p), 32<<10)])
	m.since += n
	return n, err
}

// next gives the next event. Errors of the document are errMalformed.
func (t *tags) next() (event, error) {
	var text strings.Builder
	for {
		t.meter.since = 0
		token, err := t.d.Token()
		if err != nil {
			return t.failure(err, text.String())
		}
		switch token := token.(type) {
		case xml.CharData:
			if text.Len()+len(token) > t.meter.most {
				return event{}, errToken
			}
			text.Write(token)
		case xml.Directive:
			return event{}, malformed("a document type declaration")
		case xml.StartElement:
			if t.creation(&token) {
				if err := t.d.Skip(); err != nil {
					return t.failure(err, "")
				}
				continue
			}
			e := event{name: token.Name.Local, attrs: attributes(token.Attr), text: t.trim(text.String())}
			t.open = append(t.open, e.name)
			if e.name == "TR" {
				t.counts["TR"]++
			}
			return e, nil
		case xml.EndElement:
			e := event{end: true, text: t.trim(text.String())}
			t.open = t.open[:len(t.open)-1]
			if token.Name.Local == "TABLE" {
				t.counts["TR"] = 0
			}
			return e, nil
		}
	}
}

func (t *tags) failure(err error, text string) (event, error) {
	var syntax *xml.SyntaxError
	switch {
	case err == io.EOF:
		return event{over: true, text: strings.TrimSpace(text)}, nil
	case t.meter.below.in.failed != nil:
		return event{}, t.meter.below.in.failed
	case errors.As(err, &syntax):
		return event{}, malformed("line %d: %s", syntax.Line, syntax.Msg)
	case errors.Is(err, errMalformed):
		return event{}, err
	}
	return event{}, malformed("%v", err)
}

// trim takes away the blanks that writers put in to make a document readable. Base64 may be broken anywhere.
func (t *tags) trim(text string) string {
	if len(t.open) > 0 && t.open[len(t.open)-1] == "STREAM" {
		return strings.Join(strings.Fields(text), "")
	}
	return strings.TrimSpace(text)
}

// path says where the reader is, for people.
func (t *tags) path() string {
	where := strings.Join(t.open, "/")
	if n := t.counts["TR"]; n > 0 {
		return fmt.Sprintf("%s, row %d", where, n)
	}
	return cmp.Or(where, "the end")
}

// attributes are those that mean something, in order. Schema locations and prefixes only help to read.
func attributes(attrs []xml.Attr) []xml.Attr {
	var kept []xml.Attr
	for _, a := range attrs {
		if a.Name.Space == "xmlns" || a.Name.Local == "xmlns" || a.Name.Local == "schemaLocation" || a.Name.Local == "noNamespaceSchemaLocation" {
			continue
		}
		kept = append(kept, a)
	}
	slices.SortFunc(kept, func(a, b xml.Attr) int {
		return cmp.Or(cmp.Compare(a.Name.Space, b.Name.Space), cmp.Compare(a.Name.Local, b.Name.Local))
	})
	return kept
}

// creationNames are parameters without a UCD that tell when a file was made, as far as names are usual.
var creationNames = []string{"date", "created", "creationdate", "creation_date", "creation-date", "creationtime", "creation_time", "timestamp"}

// creation tells whether an element says when, where or by whom the file was made rather than what is in it: a PARAM
// or INFO with the UCD time.creation, one of a program's run time (Source-Extractor: time.event.end;meta.software),
// its User, Host and Path, or outside of tables one of the usual names.
func (t *tags) creation(e *xml.StartElement) bool {
	if e.Name.Local != "PARAM" && e.Name.Local != "INFO" {
		return false
	}
	var name, ucd string
	for _, a := range e.Attr {
		switch a.Name.Local {
		case "name":
			name = strings.ToLower(a.Value)
		case "ucd":
			ucd = strings.ToLower(a.Value)
		}
	}
	first, second, _ := strings.Cut(ucd, ";")
	switch {
	case first == "time.creation":
		return true
	case strings.HasPrefix(first, "time.") && second == "meta.software":
		return true
	case ucd == "meta.curation" && (name == "user" || name == "host"), ucd == "meta.dataset" && name == "path":
		return true
	}
	return ucd == "" && !slices.Contains(t.open, "TABLE") && slices.Contains(creationNames, name)
}
