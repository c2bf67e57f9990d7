package votable

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"consort/shared/xmltext"
)

// limit bounds, in bytes, what a Reader takes for the part before the rows, and then for each row.
const limit = 16 << 20

// Reader reads the first table of a document, row by row. It is not safe for concurrent use.
type Reader struct {
	d      *xmltext.Decoder
	space  string // namespace of the root
	meta   Meta
	status Status
	reason string // content of the INFO that gave the status
	rows   int
	err    error // ends the rows; sticks
}

// NewReader reads up to the first row. Of the metadata it keeps what Meta holds. The error is a
// *QueryError where the document reports one, and wraps ErrSyntax where there is no table in TABLEDATA.
func NewReader(r io.Reader) (*Reader, error) {
	vr := &Reader{d: xmltext.NewDecoder(r, limit)}
	if err := vr.readHead(); err != nil {
		return nil, fmt.Errorf("read VOTable: %w", err)
	}
	return vr, nil
}

// Meta returns what the document says before its rows. QUERY_STATUS is not among the Infos.
func (r *Reader) Meta() Meta { return r.meta }

// Status returns the document's QUERY_STATUS, "" if it has none. It is final after the last row.
func (r *Reader) Status() Status { return r.status }

// Row returns the texts of the next row's cells, as many as there are fields; null is "". After the last
// row it reads to the end of the document and returns io.EOF, or a *QueryError if the table is reported
// there to be incomplete.
func (r *Reader) Row() ([]string, error) {
	if r.err != nil {
		return nil, r.err
	}
	row, err := r.readRow()
	if err != nil {
		if err != io.EOF {
			err = fmt.Errorf("read VOTable: row %d: %w", r.rows+1, err)
		}
		r.err = err
		return nil, err
	}
	r.rows++
	return row, nil
}

func (r *Reader) readHead() error {
	if err := r.readRoot(); err != nil {
		return err
	}
	for {
		t, err := r.d.Token()
		if err == io.EOF {
			return r.noTable()
		}
		if err != nil {
			return err
		}
		element, ok := t.(xml.StartElement)
		if !ok {
			continue
		}
		if element.Name.Local == "TABLEDATA" && element.Name.Space == r.space {
			return r.startRows()
		}
		if err := r.headElement(element); err != nil {
			return err
		}
	}
}

func (r *Reader) readRoot() error {
	for {
		t, err := r.d.Token()
		if err == io.EOF {
			return fmt.Errorf("%w: it is empty", ErrSyntax)
		}
		if err != nil {
			return err
		}
		root, ok := t.(xml.StartElement)
		if !ok {
			continue
		}
		r.space = root.Name.Space
		if root.Name.Local != "VOTABLE" || r.space != "" && !strings.HasPrefix(r.space, "http://www.ivoa.net/xml/VOTable/") {
			return fmt.Errorf("%w: the root element is %.80q", ErrSyntax, root.Name.Local)
		}
		return nil
	}
}

func (r *Reader) noTable() error {
	if r.status == Failed {
		return &QueryError{Message: r.reason}
	}
	return fmt.Errorf("%w: there is no table with TABLEDATA", ErrSyntax)
}

func (r *Reader) startRows() error {
	if r.status == Failed {
		return &QueryError{Message: r.reason}
	}
	if len(r.meta.Fields) == 0 {
		return fmt.Errorf("%w: the table has no FIELD", ErrSyntax)
	}
	return nil
}

// headElement takes one element before the rows: it enters containers, keeps what Meta holds, and skips
// the rest.
func (r *Reader) headElement(e xml.StartElement) error {
	if e.Name.Space != r.space {
		return r.d.Skip()
	}
	switch e.Name.Local {
	case "RESOURCE":
		r.meta.Utype = attribute(e, "utype")
		return nil
	case "TABLE":
		// An earlier table without data leaves its columns behind.
		r.meta.Name, r.meta.Description, r.meta.Fields = attribute(e, "name"), "", nil
		return nil
	case "DATA":
		return nil
	case "BINARY", "BINARY2", "FITS":
		return fmt.Errorf("%w: data in %s is not read, only TABLEDATA", ErrSyntax, e.Name.Local)
	case "FIELD":
		return r.readField(e)
	case "INFO":
		return r.readInfo(e)
	case "DESCRIPTION":
		// Of the document's, the resource's and the table's description the last one wins.
		return r.d.DecodeElement(&r.meta.Description, &e)
	}
	return r.d.Skip()
}

func (r *Reader) readField(e xml.StartElement) error {
	var x struct {
		Name        string `xml:"name,attr"`
		Datatype    string `xml:"datatype,attr"`
		Arraysize   string `xml:"arraysize,attr"`
		Unit        string `xml:"unit,attr"`
		UCD         string `xml:"ucd,attr"`
		Utype       string `xml:"utype,attr"`
		XType       string `xml:"xtype,attr"`
		Description string `xml:"DESCRIPTION"`
	}
	if err := r.d.DecodeElement(&x, &e); err != nil {
		return err
	}
	r.meta.Fields = append(r.meta.Fields, Field{Name: x.Name, Datatype: Datatype(x.Datatype), Arraysize: x.Arraysize,
		Unit: x.Unit, UCD: x.UCD, Utype: x.Utype, XType: x.XType, Description: x.Description})
	return nil
}

func (r *Reader) readInfo(e xml.StartElement) error {
	var x struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
		Text  string `xml:",chardata"`
	}
	if err := r.d.DecodeElement(&x, &e); err != nil {
		return err
	}
	if x.Name == queryStatus {
		r.status, r.reason = Status(x.Value), x.Text
		return nil
	}
	r.meta.Infos = append(r.meta.Infos, Info{Name: x.Name, Value: x.Value, Text: x.Text})
	return nil
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}

func (r *Reader) readRow() ([]string, error) {
	for {
		r.d.Refill()
		t, err := r.d.Token()
		if err != nil {
			return nil, unexpectedEnd(err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			if t.Name.Local != "TR" {
				return nil, fmt.Errorf("%w: <%.80s> in TABLEDATA", ErrSyntax, t.Name.Local)
			}
			return r.readCells()
		case xml.EndElement:
			return nil, r.finish()
		}
	}
}

func (r *Reader) readCells() ([]string, error) {
	row := make([]string, 0, len(r.meta.Fields))
	for {
		t, err := r.d.Token()
		if err != nil {
			return nil, unexpectedEnd(err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			if t.Name.Local != "TD" || attribute(t, "encoding") != "" || len(row) == len(r.meta.Fields) {
				return nil, fmt.Errorf("%w: unexpected <%.80s> in TR", ErrSyntax, t.Name.Local)
			}
			text, err := r.readText()
			if err != nil {
				return nil, err
			}
			row = append(row, text)
		case xml.EndElement:
			if len(row) != len(r.meta.Fields) {
				return nil, fmt.Errorf("%w: %d cells for %d fields", ErrSyntax, len(row), len(r.meta.Fields))
			}
			return row, nil
		}
	}
}

// readText reads the content of a TD up to its end tag.
func (r *Reader) readText() (string, error) {
	var text []byte
	for {
		t, err := r.d.Token()
		if err != nil {
			return "", unexpectedEnd(err)
		}
		switch t := t.(type) {
		case xml.CharData:
			text = append(text, t...)
		case xml.StartElement:
			return "", fmt.Errorf("%w: <%.80s> in TD", ErrSyntax, t.Name.Local)
		case xml.EndElement:
			return string(text), nil
		}
	}
}

// finish reads what follows the rows: only a status there matters. It returns io.EOF if all is well.
func (r *Reader) finish() error {
	for {
		r.d.Refill()
		t, err := r.d.Token()
		if err != nil {
			return unexpectedEnd(err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			if t.Name.Local == "INFO" && t.Name.Space == r.space {
				if err := r.readInfo(t); err != nil {
					return err
				}
			}
		case xml.EndElement:
			if t.Name.Local == "VOTABLE" && t.Name.Space == r.space {
				return r.endDocument()
			}
		}
	}
}

func (r *Reader) endDocument() error {
	r.d.Refill()
	if err := r.d.End(); err != nil {
		return err
	}
	if r.status == Failed {
		return &QueryError{Message: r.reason}
	}
	return io.EOF
}

// unexpectedEnd keeps an io.EOF in the midst of a document from passing for its end.
func unexpectedEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
