package votable

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// File is one member of a collection: a result that consists of many files.
type File struct {
	Path        string // relative, with slashes
	Size        int64  // bytes
	SHA256      string // 64 lower-case hexadecimal digits
	ContentType string // ASCII; "" if not known
	URL         string // absolute; ASCII, so percent-encoded
}

// Names of a manifest's columns.
const (
	pathColumn   = "path"
	sizeColumn   = "size"
	sha256Column = "sha256"
	typeColumn   = "content_type"
	urlColumn    = "url"
)

// Manifest writes the table of a collection's files.
type Manifest struct{ w *Writer }

// NewManifest returns a Manifest of the collection called name.
func NewManifest(w io.Writer, name, description string) (*Manifest, error) {
	vw, err := NewWriter(w, Meta{Name: name, Description: description, Fields: []Field{
		{Name: pathColumn, Datatype: UnicodeChar, Arraysize: "*", UCD: "meta.id;meta.main", Description: "Path inside the collection"},
		{Name: sizeColumn, Datatype: Long, Unit: "byte", UCD: "phys.size;meta.file", Description: "Size of the file"},
		{Name: sha256Column, Datatype: Char, Arraysize: "64", UCD: "meta.code", Description: "SHA-256 of the content, hexadecimal"},
		{Name: typeColumn, Datatype: Char, Arraysize: "*", UCD: "meta.code.mime", Description: "Media type"},
		{Name: urlColumn, Datatype: Char, Arraysize: "*", UCD: "meta.ref.url", Description: "Where to get the file"},
	}})
	if err != nil {
		return nil, err
	}
	return &Manifest{w: vw}, nil
}

// Add writes one file. Errors are those of Writer.Row.
func (m *Manifest) Add(f File) error {
	return m.w.Row(f.Path, f.Size, f.SHA256, f.ContentType, f.URL)
}

// Close ends the document.
func (m *Manifest) Close() error { return m.w.Close() }

// CloseError ends the document and marks it as incomplete.
func (m *Manifest) CloseError(message string) error { return m.w.CloseError(message) }

// ReadManifest calls each with every file of the manifest in r, in order, and returns the first error of
// the document or of each. Columns are found by name, so more may be added.
func ReadManifest(r io.Reader, each func(File) error) error {
	vr, err := NewReader(r)
	if err != nil {
		return err
	}
	names := []string{pathColumn, sizeColumn, sha256Column, typeColumn, urlColumn}
	index, err := vr.find(names)
	if err != nil {
		return err
	}
	for {
		row, err := vr.Row()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		f := File{Path: row[index[0]], SHA256: row[index[2]], ContentType: row[index[3]], URL: row[index[4]]}
		f.Size, err = strconv.ParseInt(strings.TrimSpace(row[index[1]]), 10, 64)
		if err != nil || f.Size < 0 {
			return fmt.Errorf("read manifest: row %d: %w: size %.80q", vr.rows, ErrSyntax, row[index[1]])
		}
		if err := each(f); err != nil {
			return err
		}
	}
}

// find returns the position of each named column.
func (r *Reader) find(names []string) ([]int, error) {
	var index []int
	for _, name := range names {
		at := -1
		for i, f := range r.meta.Fields {
			if f.Name == name {
				at = i
				break
			}
		}
		if at < 0 {
			return nil, fmt.Errorf("read manifest: %w: no column %q", ErrSyntax, name)
		}
		index = append(index, at)
	}
	return index, nil
}
