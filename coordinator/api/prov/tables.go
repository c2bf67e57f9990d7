package prov

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/api/fault"
	"consort/coordinator/api/provform"
	"consort/coordinator/api/request"
	"consort/coordinator/provenance"
	"consort/shared/prov"
	"consort/shared/uws"
	"consort/shared/votable"
)

// The documents of VOSI 1.1, section 4, as far as tables need them (VODataService 1.1, section 3.3).
type (
	tableset struct {
		XMLName xml.Name `xml:"vosi:tableset"`
		VOSI    string   `xml:"xmlns:vosi,attr"`
		VS      string   `xml:"xmlns:vs,attr"`
		XSI     string   `xml:"xmlns:xsi,attr"`
		Schema  schema   `xml:"schema"`
	}
	schema struct {
		Name        string     `xml:"name"`
		Description string     `xml:"description"`
		Tables      []tableDoc `xml:"table"`
	}
	tableDoc struct {
		Name        string   `xml:"name"`
		Description string   `xml:"description,omitempty"`
		Utype       string   `xml:"utype,omitempty"`
		Columns     []column `xml:"column"`
	}
	column struct {
		Name        string   `xml:"name"`
		Description string   `xml:"description,omitempty"`
		Unit        string   `xml:"unit,omitempty"`
		UCD         string   `xml:"ucd,omitempty"`
		Utype       string   `xml:"utype,omitempty"`
		Type        dataType `xml:"dataType"`
	}
	dataType struct {
		Kind string `xml:"xsi:type,attr"`
		Size string `xml:"arraysize,attr,omitempty"`
		Name string `xml:",chardata"`
	}
)

// tables describes the tables that can be read.
func (s *Surface) tables(c *fiber.Ctx) error {
	model, err := modelOf(c)
	if err != nil {
		return err
	}
	doc := tableset{
		VOSI: "http://www.ivoa.net/xml/VOSITables/v1.0", VS: "http://www.ivoa.net/xml/VODataService/v1.1",
		XSI: "http://www.w3.org/2001/XMLSchema-instance",
		Schema: schema{Name: "provenance", Description: "Provenance of jobs and results, one table for each class of the model; " +
			"read one at " + request.Base(c) + "/prov/tables/<name>"},
	}
	for _, t := range prov.Tables(model) {
		d := tableDoc{Name: t.Name, Description: t.Description, Utype: t.Utype}
		for _, f := range t.Columns {
			d.Columns = append(d.Columns, column{
				Name: f.Name, Description: f.Description, Unit: f.Unit, UCD: f.UCD, Utype: f.Utype,
				Type: dataType{"vs:VOTableType", f.Arraysize, string(f.Datatype)},
			})
		}
		doc.Schema.Tables = append(doc.Schema.Tables, d)
	}
	text, err := xml.MarshalIndent(doc, "", " ")
	if err != nil {
		return fmt.Errorf("describe the tables: %w", err)
	}
	c.Set(fiber.HeaderContentType, uws.ContentType)
	return c.SendString(xml.Header + string(text) + "\n")
}

// modelOf reads MODEL. The tables are those of the IVOA unless W3C is asked for: their names come from there.
func modelOf(c *fiber.Ctx) (prov.Model, error) {
	form, err := readForm(c)
	if err != nil {
		return "", err
	}
	r := read(form)
	return provform.ChooseModel(&r.Parameters, prov.IVOA), r.Err
}

// Numbers of jobs whose rows make one answer.
const (
	defaultJobs = 100
	maxJobs     = provenance.MaxJobs
)

// table answers with the rows of one table, those of the newest jobs first: a page of jobs at a time, which MAXREC
// bounds, chosen by filters on what jobs are found by.
func (s *Surface) table(c *fiber.Ctx) error {
	name, err := request.Param(c, "table")
	if err != nil {
		return err
	}
	model, err := modelOf(c)
	if err != nil {
		return err
	}
	if err := checkTable(model, name); err != nil {
		return err
	}
	form, err := readForm(c)
	if err != nil {
		return err
	}
	if err := knownOnly(form); err != nil {
		return err
	}
	r := read(form)
	limit, none := r.maxrec(maxJobs)
	if _, given := r.Take("MAXREC"); !given {
		limit = defaultJobs
	}
	cursor, _ := r.Take("CURSOR")
	filter := map[string]string{}
	for _, key := range provenance.TableFilters {
		if value, given := r.Take(key); given {
			filter[key] = value
		}
	}
	if r.Err != nil {
		return r.Err
	}
	answer, err := s.Provenance.Table(request.Context(c), request.Principal(c), name, filter, cursor, limit)
	if err != nil {
		return err
	}
	if answer.Truncated || none {
		overflow(c, form, answer.Next)
	}
	graph := answer.Graph
	if none {
		if graph, err = prov.New(graph.Namespaces()...); err != nil {
			return err
		}
	}
	var document bytes.Buffer
	if err := prov.WriteTable(&document, graph, model, name, answer.Truncated || none); err != nil {
		return err
	}
	c.Set(fiber.HeaderContentType, votable.ContentType)
	return c.Send(document.Bytes())
}

// knownOnly refuses other parameters: a filter that is misspelt and ignored would answer another question.
func knownOnly(form *request.Form) error {
	allowed := append([]string{"MAXREC", "CURSOR", "MODEL", "RESPONSEFORMAT"}, provenance.TableFilters...)
	for name := range form.Values {
		if !slices.ContainsFunc(allowed, func(a string) bool { return strings.EqualFold(a, name) }) {
			return fault.BadRequest(fmt.Sprintf("%.40q is no parameter of tables; there are %s", name, strings.Join(allowed, ", ")))
		}
	}
	return nil
}

func checkTable(model prov.Model, name string) error {
	var names []string
	for _, t := range prov.Tables(model) {
		if t.Name == name {
			return nil
		}
		names = append(names, t.Name)
	}
	return fault.NotFound("there is no such table; there are " + strings.Join(names, ", "))
}
