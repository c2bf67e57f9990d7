// Package votable writes and reads IVOA VOTable 1.4 documents with tables in TABLEDATA, row by row,
// in memory that does not grow with the tables, and the error documents of DALI. Of several tables the
// Reader sees the first. It is no general VOTable
// library: it neither writes arrays of numbers nor reads the binary serialisations, groups or parameters.
package votable

import "errors"

// Namespace is that of VOTable 1.3 and all later 1.x.
const Namespace = "http://www.ivoa.net/xml/VOTable/v1.3"

// ContentType is the media type of the documents (DALI 1.1, section 3.3).
const ContentType = "application/x-votable+xml"

var (
	// ErrField: a column's description cannot be written as VOTable.
	ErrField = errors.New("bad VOTable column")

	// ErrCell: a row does not suit the columns: wrong number of cells, wrong type, out of range, or text
	// that the column cannot hold.
	ErrCell = errors.New("bad VOTable cell")

	// ErrClosed: the document has ended already.
	ErrClosed = errors.New("VOTable is closed")

	// ErrSyntax: the document read is XML, but no table that this package reads.
	ErrSyntax = errors.New("not a readable VOTable")
)

// QueryError is the failure that a document reports with QUERY_STATUS=ERROR (DALI 1.1, section 4.2),
// before or after the rows. Rows read so far may be incomplete.
type QueryError struct{ Message string }

// Error gives the service's own words.
func (e *QueryError) Error() string { return "VOTable reports an error: " + e.Message }

// Datatype is the type of a column's cells.
type Datatype string

// The datatypes that the Writer knows. Char holds ASCII only, UnicodeChar any text that XML can hold.
const (
	Boolean      Datatype = "boolean"
	UnsignedByte Datatype = "unsignedByte"
	Short        Datatype = "short"
	Int          Datatype = "int"
	Long         Datatype = "long"
	Float        Datatype = "float"
	Double       Datatype = "double"
	Char         Datatype = "char"
	UnicodeChar  Datatype = "unicodeChar"
)

// Field describes a column. Empty strings are left out of the document.
type Field struct {
	Name        string
	Datatype    Datatype
	Arraysize   string // of Char and UnicodeChar: "*", "64", "64*"; "" is one character
	Unit        string // VOUnits
	UCD         string // UCD1+
	Utype       string
	XType       string // e.g. "timestamp"
	Description string
}

// Info is an INFO element: a remark about the table.
type Info struct {
	Name  string
	Value string
	Text  string // the element's content
}

// Meta is all that a document says before its rows.
type Meta struct {
	Name        string // of the table
	Description string // of the table
	TableUtype  string // of the table
	Utype       string // of the RESOURCE
	Infos       []Info // in the RESOURCE, after QUERY_STATUS
	Fields      []Field
}

// Status is the value of the INFO QUERY_STATUS; DALI 1.1, section 4.2.
type Status string

// The statuses of DALI.
const (
	OK       Status = "OK"
	Overflow Status = "OVERFLOW"
	Failed   Status = "ERROR"
)

const queryStatus = "QUERY_STATUS"
