package votable

import (
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"consort/shared/xmltext"
)

const (
	start = xmltext.Header + `<VOTABLE version="1.4" xmlns="` + Namespace + `">` + "\n"

	// flushAt is how many bytes are gathered before they are written.
	flushAt = 32 << 10

	// timestamp is DALI's, with the microseconds that all our times have.
	timestamp = "2006-01-02T15:04:05.000000Z"
)

// Writer writes a table, or several one after another, row by row. It is not safe for concurrent use.
type Writer struct {
	w       io.Writer
	columns []column
	buf     []byte
	closed  bool
	err     error // the first error of w; sticks
}

type column struct {
	Field
	most int // greatest number of characters; -1: any
}

// NewWriter returns a Writer whose document starts with QUERY_STATUS=OK and m. Nothing is written to w
// if it returns an error, which then wraps ErrField.
func NewWriter(w io.Writer, m Meta) (*Writer, error) {
	columns, err := newColumns(m.Fields)
	if err != nil {
		return nil, err
	}
	return &Writer{w: w, columns: columns, buf: appendHead(make([]byte, 0, flushAt+4096), &m)}, nil
}

// NextTable ends the table and begins another one in the same RESOURCE, of whose Meta what concerns the
// table counts. After an error that wraps ErrField the Writer is as it was before the call.
func (w *Writer) NextTable(m Meta) error {
	if w.err != nil {
		return w.err
	}
	if w.closed {
		return ErrClosed
	}
	columns, err := newColumns(m.Fields)
	if err != nil {
		return err
	}
	w.columns = columns
	w.buf = appendTable(append(w.buf, tableEnd...), &m)
	if len(w.buf) >= flushAt {
		w.flush()
	}
	return w.err
}

const tableEnd = "</TABLEDATA></DATA></TABLE>\n"

func newColumns(fields []Field) ([]column, error) {
	if len(fields) == 0 {
		return nil, fmt.Errorf("%w: a table needs at least one", ErrField)
	}
	var columns []column
	for _, f := range fields {
		c, err := newColumn(f)
		if err != nil {
			return nil, err
		}
		columns = append(columns, c)
	}
	return columns, nil
}

var (
	sizePattern = regexp.MustCompile(`^(?:([1-9][0-9]{0,8})?\*|[1-9][0-9]{0,8}|)$`)
	ucdPattern  = regexp.MustCompile(`^[A-Za-z0-9_.:;-]*$`)
)

func newColumn(f Field) (column, error) {
	c := column{Field: f, most: 1}
	bad := func(format string, args ...any) (column, error) {
		return column{}, fmt.Errorf("%w %.80q: %s", ErrField, f.Name, fmt.Sprintf(format, args...))
	}
	if strings.TrimSpace(f.Name) == "" {
		return bad("it has no name")
	}
	if !ucdPattern.MatchString(f.UCD) {
		return bad("UCD %.80q has characters that UCDs never have", f.UCD)
	}
	switch f.Datatype {
	case Char, UnicodeChar:
		if !sizePattern.MatchString(f.Arraysize) {
			return bad("arraysize %.80q: want *, a number, or a number and *", f.Arraysize)
		}
		if f.Arraysize == "*" {
			c.most = -1
		} else if f.Arraysize != "" {
			c.most, _ = strconv.Atoi(strings.TrimSuffix(f.Arraysize, "*")) // the pattern has judged it
		}
	case Boolean, UnsignedByte, Short, Int, Long, Float, Double:
		if f.Arraysize != "" {
			return bad("arrays of %s are not written", f.Datatype)
		}
	default:
		return bad("datatype %.80q is not written", string(f.Datatype))
	}
	return c, nil
}

func appendHead(dst []byte, m *Meta) []byte {
	dst = append(dst, start+`<RESOURCE type="results"`...)
	dst = appendAttr(dst, "utype", m.Utype)
	dst = append(dst, ">\n"...)
	dst = appendInfo(dst, Info{Name: queryStatus, Value: string(OK)})
	for _, i := range m.Infos {
		dst = appendInfo(dst, i)
	}
	return appendTable(dst, m)
}

func appendTable(dst []byte, m *Meta) []byte {
	dst = append(dst, "<TABLE"...)
	dst = appendAttr(dst, "name", m.Name)
	dst = appendAttr(dst, "utype", m.TableUtype)
	dst = append(dst, ">\n"...)
	dst = appendDescription(dst, m.Description)
	for i := range m.Fields {
		dst = appendField(dst, &m.Fields[i])
	}
	return append(dst, "<DATA><TABLEDATA>\n"...)
}

func appendField(dst []byte, f *Field) []byte {
	dst = append(dst, "<FIELD"...)
	dst = appendAttr(dst, "name", f.Name)
	dst = appendAttr(dst, "datatype", string(f.Datatype))
	dst = appendAttr(dst, "arraysize", f.Arraysize)
	dst = appendAttr(dst, "unit", f.Unit)
	dst = appendAttr(dst, "ucd", f.UCD)
	dst = appendAttr(dst, "utype", f.Utype)
	dst = appendAttr(dst, "xtype", f.XType)
	dst = append(dst, '>')
	dst = appendDescription(dst, f.Description)
	return append(dst, "</FIELD>\n"...)
}

func appendDescription(dst []byte, text string) []byte {
	if text == "" {
		return dst
	}
	dst = append(dst, "<DESCRIPTION>"...)
	dst = xmltext.AppendText(dst, text)
	return append(dst, "</DESCRIPTION>"...)
}

// appendInfo writes name and value even if empty: the schema requires both.
func appendInfo(dst []byte, i Info) []byte {
	dst = append(dst, `<INFO name="`...)
	dst = xmltext.AppendAttr(dst, i.Name)
	dst = append(dst, `" value="`...)
	dst = xmltext.AppendAttr(dst, i.Value)
	dst = append(dst, `">`...)
	dst = xmltext.AppendText(dst, i.Text)
	return append(dst, "</INFO>\n"...)
}

func appendAttr(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(dst, ' ')
	dst = append(dst, name...)
	dst = append(dst, `="`...)
	dst = xmltext.AppendAttr(dst, value)
	return append(dst, '"')
}

// Row writes one row: a cell for each column, each nil (null), string, bool, int, int64, float64 or
// time.Time (in UTC as DALI's timestamp; zero is null). Empty text reads back as null. An error that
// wraps ErrCell leaves the document as it was before the call; any other is final.
func (w *Writer) Row(cells ...any) error {
	if w.err != nil {
		return w.err
	}
	if w.closed {
		return ErrClosed
	}
	if len(cells) != len(w.columns) {
		return fmt.Errorf("%w: %d cells for %d columns", ErrCell, len(cells), len(w.columns))
	}
	row := append(w.buf, "<TR>"...)
	for i, cell := range cells {
		row = append(row, "<TD>"...)
		var err error
		if row, err = w.columns[i].append(row, cell); err != nil {
			return err
		}
		row = append(row, "</TD>"...)
	}
	w.buf = append(row, "</TR>\n"...)
	if len(w.buf) >= flushAt {
		w.flush()
	}
	return w.err
}

func (w *Writer) flush() {
	if w.err != nil {
		return
	}
	if _, err := w.w.Write(w.buf); err != nil {
		w.err = fmt.Errorf("write VOTable: %w", err)
	}
	w.buf = w.buf[:0]
}

// Close ends the document. It does not close the writer underneath.
func (w *Writer) Close() error { return w.end(nil) }

// CloseOverflow ends the document and marks it as cut off at a limit.
func (w *Writer) CloseOverflow() error {
	return w.end(&Info{Name: queryStatus, Value: string(Overflow)})
}

// CloseError ends the document and marks it as incomplete, for a failure after rows were sent.
func (w *Writer) CloseError(message string) error {
	return w.end(&Info{Name: queryStatus, Value: string(Failed), Text: message})
}

func (w *Writer) end(status *Info) error {
	if w.closed {
		return w.err
	}
	w.closed = true
	w.buf = append(w.buf, tableEnd...)
	if status != nil {
		w.buf = appendInfo(w.buf, *status)
	}
	w.buf = append(w.buf, "</RESOURCE></VOTABLE>\n"...)
	w.flush()
	return w.err
}

// AppendError appends a whole document that says only that a request failed and why (DALI 1.1, 4.2).
func AppendError(dst []byte, message string) []byte {
	dst = append(dst, start+`<RESOURCE type="results">`+"\n"...)
	dst = appendInfo(dst, Info{Name: queryStatus, Value: string(Failed), Text: message})
	return append(dst, "</RESOURCE></VOTABLE>\n"...)
}

func (c *column) append(dst []byte, cell any) ([]byte, error) {
	switch v := cell.(type) {
	case nil:
		return dst, nil
	case string:
		return c.appendText(dst, v)
	case time.Time:
		if v.IsZero() {
			return dst, nil
		}
		return c.appendText(dst, v.UTC().Format(timestamp))
	case bool:
		if c.Datatype != Boolean {
			return nil, c.mismatch(cell)
		}
		return strconv.AppendBool(dst, v), nil
	case int:
		return c.appendInt(dst, int64(v))
	case int64:
		return c.appendInt(dst, v)
	case float64:
		return c.appendFloat(dst, v)
	}
	return nil, c.mismatch(cell)
}

func (c *column) mismatch(cell any) error {
	return fmt.Errorf("%w: column %s of %s cannot hold a %T", ErrCell, c.Name, c.Datatype, cell)
}

func (c *column) appendText(dst []byte, s string) ([]byte, error) {
	if c.Datatype != Char && c.Datatype != UnicodeChar {
		return nil, c.mismatch(s)
	}
	if !xmltext.Legal(s) {
		return nil, fmt.Errorf("%w: column %s: text %.80q has characters that XML cannot hold", ErrCell, c.Name, s)
	}
	units := 0 // what unicodeChar counts: UTF-16 units
	for _, r := range s {
		if units++; r > 0xFFFF {
			units++
		}
		if r > 0x7F && c.Datatype == Char {
			return nil, fmt.Errorf("%w: column %s of char: text %.80q is not ASCII", ErrCell, c.Name, s)
		}
	}
	if c.most >= 0 && units > c.most {
		return nil, fmt.Errorf("%w: column %s: text %.80q has more than %d characters", ErrCell, c.Name, s, c.most)
	}
	return xmltext.AppendText(dst, s), nil
}

func (c *column) appendInt(dst []byte, v int64) ([]byte, error) {
	low, high := int64(math.MinInt64), int64(math.MaxInt64)
	switch c.Datatype {
	case UnsignedByte:
		low, high = 0, math.MaxUint8
	case Short:
		low, high = math.MinInt16, math.MaxInt16
	case Int:
		low, high = math.MinInt32, math.MaxInt32
	case Long:
	case Float, Double:
		return c.appendFloat(dst, float64(v))
	default:
		return nil, c.mismatch(v)
	}
	if v < low || v > high {
		return nil, fmt.Errorf("%w: column %s of %s cannot hold %d", ErrCell, c.Name, c.Datatype, v)
	}
	return strconv.AppendInt(dst, v, 10), nil
}

func (c *column) appendFloat(dst []byte, v float64) ([]byte, error) {
	bits := 64
	switch c.Datatype {
	case Float:
		bits = 32
		if math.Abs(v) > math.MaxFloat32 && !math.IsInf(v, 0) {
			return nil, fmt.Errorf("%w: column %s of float cannot hold %g", ErrCell, c.Name, v)
		}
	case Double:
	default:
		return nil, c.mismatch(v)
	}
	return strconv.AppendFloat(dst, v, 'g', -1, bits), nil // NaN, +Inf and -Inf as VOTable spells them
}
