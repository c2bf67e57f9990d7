package prov

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"consort/coordinator/api/fault"
	"consort/coordinator/api/provform"
	"consort/coordinator/api/request"
	"consort/coordinator/provenance"
	"consort/shared/prov"
	"consort/shared/uws"
)

// query is a ProvSAP request that makes sense.
type query struct {
	provenance.Query
	form           provform.Form
	named          bool // the form, by RESPONSEFORMAT
	model          prov.Model
	attributes     bool
	graphDirection string
	data           bool // put the files into an RO-Crate
	empty          bool // MAXREC=0: only whether there is an answer (DALI 1.1, section 3.4.4)
}

// wrong is the error for a parameter with a value that it cannot have.
func wrong(name, value, allowed string) error {
	return fault.BadRequest(fmt.Sprintf("%s=%s: allowed are %s", name, shorten(strconv.Quote(value)), allowed))
}

// parse reads the parameters of ProvSAP. Those that nobody knows are ignored, as DALI 1.1, section 3.1 has it.
func parse(form *request.Form, accept string) (*query, error) {
	q := &query{Query: provenance.DefaultQuery(), attributes: true, graphDirection: "LR", model: prov.W3C}
	r := &reader{form: form}
	q.IDs = r.ids()
	q.Depth = r.depth(q.Depth)
	q.Direction = choose(r, "DIRECTION", q.Direction, directions)
	q.model = choose(r, "MODEL", q.model, models)
	q.graphDirection = choose(r, "GD", q.graphDirection, graphDirections)
	q.Descriptions = choose(r, "DESCRIPTIONS", q.Descriptions, descriptions)
	q.Failed = choose(r, "STATUS", q.Failed, statuses)
	// Two parameters that the drafts and OPUS both call AGENT, with two meanings: AGENTS includes agents, AGENT goes on
	// through them.
	q.Agents = choose(r, "AGENTS", q.Agents, booleans)
	q.FollowAgents = choose(r, "AGENT", q.FollowAgents, booleans)
	q.Members = choose(r, "MEMBERS", q.Members, booleans)
	q.Steps = choose(r, "STEPS", q.Steps, booleans)
	q.Same = choose(r, "SAME", q.Same, booleans)
	q.Configuration = choose(r, "CONFIGURATION", q.Configuration, booleans)
	q.attributes = choose(r, "ATTRIBUTES", q.attributes, booleans)
	q.data = choose(r, "DATA", q.data, booleans)
	q.MaxRecords, q.empty = r.maxrec(provenance.MaxJobs)
	q.Since, q.Until = r.time("SINCE"), r.time("UNTIL")
	q.Cursor, _ = r.take("CURSOR")
	q.Site, _ = r.take("SITE")
	q.form, q.named = r.responseFormat(accept)
	return q, r.err
}

// option is a value and what it means. Values match in any case.
type option[T any] struct {
	name  string
	value T
}

var (
	booleans        = []option[bool]{{"0", false}, {"1", true}, {"false", false}, {"true", true}}
	directions      = []option[provenance.Direction]{{"BACK", provenance.Back}, {"FORTH", provenance.Forth}, {"FORWARD", provenance.Forth}, {"BOTH", provenance.Both}}
	models          = []option[prov.Model]{{"W3C", prov.W3C}, {"IVOA", prov.IVOA}}
	graphDirections = []option[string]{{"LR", "LR"}, {"RL", "RL"}, {"TB", "TB"}, {"BT", "BT"}}
	descriptions    = []option[int]{{"0", 0}, {"1", 1}, {"2", 2}}
	statuses        = []option[bool]{{"ALL", true}, {"COMPLETED", false}}
)

// reader takes parameters from a form and keeps the first error.
type reader struct {
	form *request.Form
	err  error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// take gives the value of a parameter that may be given once. An empty one is not given. The form keeps it, for the
// address of the next page.
func (r *reader) take(name string) (string, bool) {
	values := r.form.TakeAll(name)
	for _, v := range values {
		r.form.Add(name, v)
	}
	if len(values) > 1 {
		r.fail(fault.BadRequest(name + " is given more than once"))
	}
	if len(values) == 0 || values[0] == "" {
		return "", false
	}
	return values[0], true
}

// choose reads a parameter with few values.
func choose[T any](r *reader, name string, value T, options []option[T]) T {
	text, given := r.take(name)
	if !given {
		return value
	}
	var names []string
	for _, o := range options {
		if strings.EqualFold(o.name, text) {
			return o.value
		}
		names = append(names, o.name)
	}
	r.fail(wrong(name, text, strings.Join(names, ", ")))
	return value
}

func (r *reader) ids() []string {
	var ids []string
	for _, id := range r.form.TakeAll("ID") {
		r.form.Add("ID", id)
		if id != "" {
			ids = append(ids, id)
		}
	}
	switch {
	case len(ids) == 0:
		r.fail(fault.BadRequest("ID is missing: give the identifier of a job, a result or other entity, an agent, or sha256:<digits>"))
	case len(ids) > maxIDs:
		r.fail(fault.BadRequest(fmt.Sprintf("ID is given %d times; at most %d are allowed", len(ids), maxIDs)))
	}
	return ids
}

// maxDepth is beyond any chain of relations.
const maxDepth = 1_000_000

func (r *reader) depth(missing int) int {
	text, given := r.take("DEPTH")
	if !given {
		return missing
	}
	if strings.EqualFold(text, "ALL") {
		return provenance.All
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > maxDepth {
		r.fail(wrong("DEPTH", text, fmt.Sprintf("ALL and the whole numbers from 0 to %d", maxDepth)))
	}
	return n
}

// maxrec reads MAXREC (DALI 1.1, section 3.4.4): more than the server gives is as much as it gives, 0 is nothing but
// whether there is something.
func (r *reader) maxrec(most int) (n int, none bool) {
	text, given := r.take("MAXREC")
	if !given {
		return most, false
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		r.fail(wrong("MAXREC", text, "whole numbers from 0 on"))
		return most, false
	}
	return min(max(n, 1), most), n == 0
}

func (r *reader) time(name string) time.Time {
	text, given := r.take(name)
	if !given {
		return time.Time{}
	}
	t, err := uws.ParseTime(text)
	if err != nil {
		r.fail(wrong(name, text, "times such as 2026-01-31 and 2026-01-31T12:00:00Z"))
	}
	return t
}

// responseFormat reads RESPONSEFORMAT, and the Accept header where there is none.
func (r *reader) responseFormat(accept string) (form provform.Form, named bool) {
	text, named := r.take("RESPONSEFORMAT")
	if !named {
		form, err := provform.Negotiate(accept)
		if err != nil {
			r.fail(err)
		}
		return form, false
	}
	form, ok := provform.ByName(text)
	if !ok {
		r.fail(wrong("RESPONSEFORMAT", text, strings.Join(provform.Names(), ", ")+", and their media types"))
	}
	return form, true
}
