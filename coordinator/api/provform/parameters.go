package provform

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/api/fault"
	"consort/coordinator/api/request"
	"consort/shared/prov"
)

// Parameters takes parameters from a form and keeps the first error.
type Parameters struct {
	Form *request.Form
	Err  error
}

// Fail keeps the first error.
func (p *Parameters) Fail(err error) {
	if p.Err == nil {
		p.Err = err
	}
}

// Take gives the value of a parameter that may be given once. An empty one is not given. The form keeps it, for the
// address of the next page.
func (p *Parameters) Take(name string) (string, bool) {
	values := p.Form.TakeAll(name)
	for _, v := range values {
		p.Form.Add(name, v)
	}
	if len(values) > 1 {
		p.Fail(fault.BadRequest(name + " is given more than once"))
	}
	if len(values) == 0 || values[0] == "" {
		return "", false
	}
	return values[0], true
}

// Option is a value and what it means. Values match in any case.
type Option[T any] struct {
	Name  string
	Value T
}

// Booleans are the values of parameters that are on or off.
var Booleans = []Option[bool]{{"0", false}, {"1", true}, {"false", false}, {"true", true}}

// Choose reads a parameter with few values; missing is its value where it is not given.
func Choose[T any](p *Parameters, name string, missing T, options []Option[T]) T {
	text, given := p.Take(name)
	if !given {
		return missing
	}
	var names []string
	for _, o := range options {
		if strings.EqualFold(o.Name, text) {
			return o.Value
		}
		names = append(names, o.Name)
	}
	p.Fail(Wrong(name, text, strings.Join(names, ", ")))
	return missing
}

// Wrong is the error for a parameter with a value that it cannot have.
func Wrong(name, value, allowed string) error {
	return fault.BadRequest(fmt.Sprintf("%s=%s: allowed are %s", name, Shorten(strconv.Quote(value)), allowed))
}

// Shorten makes a stranger's text fit for a message or a title.
func Shorten(text string) string {
	if r := []rune(text); len(r) > 80 {
		return string(r[:79]) + "…"
	}
	return text
}

// Look is what a client may choose of any document, whatever it tells of.
type Look struct {
	Model          prov.Model
	GraphDirection string // of a picture
	Attributes     bool   // notes in a picture
	Data           bool   // put the files into an RO-Crate
}

var (
	models     = []Option[prov.Model]{{"W3C", prov.W3C}, {"IVOA", prov.IVOA}}
	directions = []Option[string]{{"LR", "LR"}, {"RL", "RL"}, {"TB", "TB"}, {"BT", "BT"}}
)

// ChooseModel reads MODEL.
func ChooseModel(p *Parameters, missing prov.Model) prov.Model {
	return Choose(p, "MODEL", missing, models)
}

// TakeLook reads MODEL, GD, ATTRIBUTES and DATA; attributes tells whether pictures have notes unless that is asked for.
func TakeLook(p *Parameters, attributes bool) Look {
	return Look{
		Model:          ChooseModel(p, prov.W3C),
		GraphDirection: Choose(p, "GD", "LR", directions),
		Attributes:     Choose(p, "ATTRIBUTES", attributes, Booleans),
		Data:           Choose(p, "DATA", false, Booleans),
	}
}

// LookOf reads from the query how the whole record of a job is to look. Other parameters are ignored (DALI 1.1, section
// 3.1). The picture of a whole record has notes only when they are asked for: it has many nodes.
func LookOf(c *fiber.Ctx) (Look, error) {
	query, err := request.Query(c)
	if err != nil {
		return Look{}, err
	}
	p := &Parameters{Form: query.Form()}
	return TakeLook(p, false), p.Err
}

// Options are how a document of this look is written.
func (l Look) Options() Options {
	return Options{Model: l.Model, Direction: l.GraphDirection, Attributes: l.Attributes}
}
