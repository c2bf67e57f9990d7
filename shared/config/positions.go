package config

import (
	"bytes"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// MaxDepth is how deep tables and arrays may be nested. It keeps the paths of a hostile file short.
const MaxDepth = 32

// Positions tells where in a TOML text each key stands, so that a check made after decoding can still
// name the line.
type Positions struct {
	entries []entry
	byPath  map[string]int
	lines   []int // offset at which each line starts
}

// entry is one key or array element of the text.
type entry struct {
	path []string // names, and "[2]" for the element of an array
	at   int      // offset in bytes
	kind unstable.Kind
	text string // of a scalar, as UnmarshalText would get it
}

// Locate finds the position of every key of a TOML text. With a broken text it returns what stands
// before the break, and an error.
func Locate(data []byte) (*Positions, error) {
	p := &Positions{byPath: map[string]int{}, lines: []int{0}}
	for i, c := range data {
		if c == '\n' {
			p.lines = append(p.lines, i+1)
		}
	}
	if at := tooDeep(data); at >= 0 {
		return p, &breakAt{at, fmt.Sprintf("nested deeper than %d levels", MaxDepth)}
	}
	w := walker{Positions: p, last: map[string]int{}}
	w.parser.Reset(data)
	for w.parser.NextExpression() {
		if err := w.expression(w.parser.Expression()); err != nil {
			return p, err
		}
	}
	err := w.parser.Error()
	var pe *unstable.ParserError
	if errors.As(err, &pe) {
		return p, &breakAt{int(w.parser.Range(pe.Highlight).Offset), pe.Message}
	}
	return p, err
}

// Find returns the line and column of a path such as "parameter[2].unit", or of the closest enclosing
// key that stands in the text; line 0 when there is none. The path of a top-level key has no dot.
func (p *Positions) Find(path string) (line, column int) {
	for path != "" {
		if i, ok := p.byPath[path]; ok {
			return p.position(p.entries[i].at)
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return 0, 0
}

// Has tells whether the path itself stands in the text.
func (p *Positions) Has(path string) bool {
	_, ok := p.byPath[path]
	return ok
}

func (p *Positions) position(offset int) (line, column int) {
	line = sort.SearchInts(p.lines, offset+1)
	return line, offset - p.lines[line-1] + 1
}

// at returns the path of the last entry that starts on the line, not right of the column.
func (p *Positions) at(line, column int) string {
	path := ""
	for _, e := range p.entries {
		if l, c := p.position(e.at); l == line && c <= column {
			path = pathString(e.path)
		}
	}
	return path
}

func (p *Positions) broken(file string, err error) *Error {
	e := &Error{File: file, Problem: err.Error()}
	var b *breakAt
	if errors.As(err, &b) {
		e.Line, e.Column = p.position(b.offset)
	}
	return e
}

// breakAt is a place where the text stops being TOML.
type breakAt struct {
	offset  int
	problem string
}

func (b *breakAt) Error() string { return b.problem }

// walker follows the expressions of a text and records where keys stand.
type walker struct {
	*Positions
	parser unstable.Parser
	table  []string       // path of the current [table]
	last   map[string]int // index of the last element of each [[array of tables]]
}

func (w *walker) expression(n *unstable.Node) error {
	switch n.Kind {
	case unstable.KeyValue:
		return w.keyValue(w.table, n)
	case unstable.Table, unstable.ArrayTable:
		return w.header(n)
	}
	return nil
}

// header moves to the table that a [header] or [[header]] names. Within it, the name of an array of
// tables means its last element.
func (w *walker) header(n *unstable.Node) error {
	var path []string
	at := 0
	for it := n.Key(); it.Next(); {
		at = int(it.Node().Raw.Offset)
		path = append(path, string(it.Node().Data))
		if len(path) > MaxDepth {
			return &breakAt{at, fmt.Sprintf("nested deeper than %d levels", MaxDepth)}
		}
		name := pathString(path)
		last, isArray := w.last[name]
		if it.IsLast() && n.Kind == unstable.ArrayTable {
			w.record(path, at, unstable.Array, "")
			if isArray {
				last++
			}
			w.last[name], isArray = last, true
		}
		if isArray {
			path = append(path, index(last))
		}
	}
	w.table = path
	w.record(path, at, unstable.InlineTable, "")
	return nil
}

func (w *walker) keyValue(parent []string, n *unstable.Node) error {
	path := append([]string(nil), parent...)
	at := -1
	for it := n.Key(); it.Next(); {
		if at < 0 {
			at = int(it.Node().Raw.Offset)
		}
		path = append(path, string(it.Node().Data))
		if len(path) > MaxDepth {
			return &breakAt{at, fmt.Sprintf("nested deeper than %d levels", MaxDepth)}
		}
		if !it.IsLast() {
			w.record(path, at, unstable.InlineTable, "")
		}
	}
	return w.value(path, n.Value(), at)
}

func (w *walker) value(path []string, n *unstable.Node, at int) error {
	if len(path) > MaxDepth {
		return &breakAt{at, fmt.Sprintf("nested deeper than %d levels", MaxDepth)}
	}
	w.record(path, at, n.Kind, string(n.Data))
	switch n.Kind {
	case unstable.InlineTable:
		for it := n.Children(); it.Next(); {
			if err := w.keyValue(path, it.Node()); err != nil {
				return err
			}
		}
	case unstable.Array:
		i := 0
		for it := n.Children(); it.Next(); {
			child := it.Node()
			if child.Kind == unstable.Comment {
				continue
			}
			if child.Raw.Length > 0 {
				at = int(child.Raw.Offset)
			}
			if err := w.value(append(path[:len(path):len(path)], index(i)), child, at); err != nil {
				return err
			}
			i++
		}
	}
	return nil
}

func (w *walker) record(path []string, at int, kind unstable.Kind, text string) {
	name := pathString(path)
	if _, known := w.byPath[name]; known {
		return
	}
	w.byPath[name] = len(w.entries)
	w.entries = append(w.entries, entry{append([]string(nil), path...), at, kind, text})
}

func index(i int) string { return "[" + strconv.Itoa(i) + "]" }

// pathString writes a path as errors show it: names joined by dots, indices in brackets.
func pathString(path []string) string {
	var b strings.Builder
	for i, part := range path {
		if i > 0 && !strings.HasPrefix(part, "[") {
			b.WriteByte('.')
		}
		b.WriteString(part)
	}
	return b.String()
}

// tooDeep returns the offset at which brackets outside strings and comments are nested so deep that
// parsing them, which recurses, is not worth trying, or -1.
func tooDeep(data []byte) int {
	depth := 0
	for i := 0; i < len(data); i++ {
		switch c := data[i]; c {
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case '#':
			i += lineLen(data[i:])
		case '"', '\'':
			i += stringLen(data[i:]) - 1
		}
		if depth > 2*MaxDepth {
			return i
		}
	}
	return -1
}

func lineLen(data []byte) int {
	if n := bytes.IndexByte(data, '\n'); n >= 0 {
		return n
	}
	return len(data)
}

// stringLen returns the length of the TOML string that data begins with, quotes included.
func stringLen(data []byte) int {
	quote := data[:1]
	if triple := bytes.Repeat(quote, 3); bytes.HasPrefix(data, triple) {
		quote = triple
	}
	for i := len(quote); i < len(data); i++ {
		switch {
		case data[i] == '\\' && quote[0] == '"':
			i++
		case bytes.HasPrefix(data[i:], quote):
			return i + len(quote)
		case data[i] == '\n' && len(quote) == 1:
			return i
		}
	}
	return len(data)
}
