// Package prov is the provenance surface: ProvSAP at /provsap, which answers with the graph around any node of the
// federation in every form; /id/… where the identifiers of records resolve; the tables of the model at /prov/tables;
// and the vocabulary of our own terms. What may be seen, and how it hangs together, package provenance decides.
package prov

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/api/fault"
	"consort/coordinator/api/provform"
	"consort/coordinator/api/request"
	"consort/coordinator/provenance"
	"consort/shared/prov"
	"consort/shared/userapi"
	"consort/shared/uws"
)

// Config wires a Surface.
type Config struct {
	Provenance *provenance.Service
	Crates     provform.Crates
}

// Surface is the routes.
type Surface struct{ Config }

// New returns the surface.
func New(cfg Config) *Surface { return &Surface{cfg} }

// Mount adds the routes.
func (s *Surface) Mount(r fiber.Router) {
	r.Get(provform.Path, s.query)
	r.Post(provform.Path, s.query)
	r.Get(provform.Path+"/capabilities", s.capabilities)
	r.Get("/id/:kind/:local", s.resolve)
	r.Get("/prov/tables", s.tables)
	r.Get("/prov/tables/:table", s.table)
	r.Get("/ns/fed", s.vocabulary)
}

// query answers a ProvSAP request.
func (s *Surface) query(c *fiber.Ctx) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	q, err := parse(form, c.Get(fiber.HeaderAccept))
	if err != nil {
		return err
	}
	for i, id := range q.IDs {
		q.IDs[i] = provform.ID(request.Base(c), id)
	}
	if !q.named {
		c.Vary(fiber.HeaderAccept)
	}
	if q.form.Name == provform.ROCrate {
		return s.crate(c, q)
	}
	answer, err := s.Provenance.Query(request.Context(c), request.Principal(c), q.Query)
	if err != nil {
		return explain(err)
	}
	graph := answer.Graph
	if q.empty {
		if graph, err = prov.New(graph.Namespaces()...); err != nil {
			return err
		}
		answer.Truncated = true
	}
	if answer.Truncated {
		overflow(c, form, answer.Next)
		if err := mark(graph, answer.Focus); err != nil {
			return err
		}
	}
	base := request.Base(c)
	look := q.Options()
	look.Focus, look.Title = answer.Focus, "Provenance of "+provform.Shorten(strings.Join(q.IDs, ", "))
	look.Link = func(node prov.QName) string { return provform.NodeURL(base, node, q.form.Name) }
	return q.form.Send(c, graph, fileName(answer.Focus), look)
}

// fileName names a document by the one node that was asked for.
func fileName(focus []prov.QName) string {
	if len(focus) != 1 {
		return "provenance"
	}
	return provform.Shorten(focus[0].Local)
}

// crate answers with the RO-Crate of the one job that the ID names.
func (s *Surface) crate(c *fiber.Ctx, q *query) error {
	if len(q.IDs) > 1 {
		return fault.BadRequest("an " + provform.ROCrate + " is that of one job; give one ID")
	}
	found, err := s.Provenance.Resolve(request.Context(c), request.Principal(c), q.IDs[0])
	if err != nil {
		return explain(err)
	}
	if found.Job == "" {
		return fault.BadRequest("an " + provform.ROCrate + " is that of a job; the ID names " + found.Node.String())
	}
	return s.Crates.Send(c, found.List, found.Job, q.Data)
}

// overflow tells that there is more, and where.
func overflow(c *fiber.Ctx, form *request.Form, next string) {
	c.Set(userapi.OverflowHeader, "OVERFLOW")
	if next == "" {
		return
	}
	values := url.Values{"CURSOR": {next}}
	for name, given := range form.Values {
		if !strings.EqualFold(name, "CURSOR") {
			values[strings.ToUpper(name)] = given
		}
	}
	c.Append(fiber.HeaderLink, fmt.Sprintf(`<%s%s?%s>; rel="next"`, request.Base(c), c.Path(), values.Encode()))
}

// truncated is the mark of an answer that is a part of the whole.
var truncated = prov.QName{Prefix: "fed", Local: "truncated"}

// mark states in the document itself that it is a part: at the nodes that were asked for.
func mark(g *prov.Graph, focus []prov.QName) error {
	for _, node := range focus {
		for _, kind := range []prov.Kind{prov.Entity, prov.Activity, prov.Agent} {
			if _, ok := g.Get(kind, node); !ok {
				continue
			}
			err := g.Add(prov.Record{Kind: kind, ID: node, Attrs: []prov.Attr{{Name: truncated, Value: prov.Boolean(true)}}})
			if err != nil {
				return fmt.Errorf("mark a part: %w", err)
			}
		}
	}
	return nil
}

// explain says what was not found, so that nobody takes it for the address.
func explain(err error) error {
	if err == provenance.ErrNotFound {
		return fault.NotFound("nothing has this ID, or it is not for you to see")
	}
	return err
}

// capabilities describes the service (VOSI 1.1, section 3).
func (s *Surface) capabilities(c *fiber.Ctx) error {
	base := request.Base(c)
	c.Set(fiber.HeaderContentType, uws.ContentType)
	return c.Send(uws.AppendCapabilities(nil, &uws.Capabilities{
		CapabilitiesURL: base + provform.Path + "/capabilities", AvailabilityURL: base + "/availability", Services: []uws.Service{provform.Service(base)},
	}))
}

// resolve sends whoever looks an identifier up to its record, in the form that the client likes (303, as the thing
// itself is no document).
func (s *Surface) resolve(c *fiber.Ctx) error {
	kind, err := request.Param(c, "kind")
	if err != nil {
		return err
	}
	local, err := request.Param(c, "local")
	if err != nil {
		return err
	}
	node, ok := provform.Identifier(kind, local)
	if !ok {
		return fault.NotFound("nothing has this identifier")
	}
	form, err := provform.Negotiate(c.Get(fiber.HeaderAccept))
	if err != nil {
		return err
	}
	found, err := s.Provenance.Resolve(request.Context(c), request.Principal(c), node.String())
	if err != nil {
		return explain(err)
	}
	c.Vary(fiber.HeaderAccept)
	if form.Name == provform.ROCrate && found.Job == "" {
		return fault.BadRequest("an " + provform.ROCrate + " is that of a job")
	}
	return request.SeeOther(c, provform.NodeURL(request.Base(c), node, form.Name))
}

// vocabulary defines our own terms.
func (s *Surface) vocabulary(c *fiber.Ctx) error {
	c.Set(fiber.HeaderContentType, "text/turtle; charset=utf-8")
	return c.Send(prov.Vocabulary())
}

// readForm reads the query and the body as one (DALI 1.1, section 3.1).
func readForm(c *fiber.Ctx) (*request.Form, error) {
	form, err := request.ParseForm(c, request.Limits{Form: 256 << 10, Value: 16 << 10}, nil)
	if err != nil {
		return nil, err
	}
	query, err := request.Query(c)
	if err != nil {
		return nil, err
	}
	for name, value := range query.All() {
		form.Add(name, value)
	}
	return form, nil
}

// maxIDs bounds the start nodes of one request.
const maxIDs = 100
