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
	"consort/shared/uws"
)

// query is a ProvSAP request that makes sense.
type query struct {
	provenance.Query
	provform.Look
	form  provform.Form
	named bool // the form, by RESPONSEFORMAT
	empty bool // MAXREC=0: only whether there is an answer (DALI 1.1, section 3.4.4)
}

// parse reads the parameters of ProvSAP. Those that nobody knows are ignored, as DALI 1.1, section 3.1 has it.
func parse(form *request.Form, accept string) (*query, error) {
	r := read(form)
	p := &r.Parameters
	q := &query{Query: provenance.DefaultQuery(), Look: provform.TakeLook(p, true)}
	q.IDs = r.ids()
	q.Depth = r.depth(q.Depth)
	q.Direction = provform.Choose(p, "DIRECTION", q.Direction, directions)
	q.Descriptions = provform.Choose(p, "DESCRIPTIONS", q.Descriptions, descriptions)
	q.Failed = provform.Choose(p, "STATUS", q.Failed, statuses)
	// Two parameters that the drafts and OPUS both call AGENT, with two meanings: AGENTS includes agents, AGENT goes on
	// through them.
	q.Agents = provform.Choose(p, "AGENTS", q.Agents, provform.Booleans)
	q.FollowAgents = provform.Choose(p, "AGENT", q.FollowAgents, provform.Booleans)
	q.Members = provform.Choose(p, "MEMBERS", q.Members, provform.Booleans)
	q.Steps = provform.Choose(p, "STEPS", q.Steps, provform.Booleans)
	q.Same = provform.Choose(p, "SAME", q.Same, provform.Booleans)
	q.Configuration = provform.Choose(p, "CONFIGURATION", q.Configuration, provform.Booleans)
	q.MaxRecords, q.empty = r.maxrec(provenance.MaxJobs)
	q.Since, q.Until = r.time("SINCE"), r.time("UNTIL")
	q.Cursor, _ = r.Take("CURSOR")
	q.Site, _ = r.Take("SITE")
	q.form, q.named = r.responseFormat(accept)
	return q, r.Err
}

var (
	directions = []provform.Option[provenance.Direction]{
		{Name: "BACK", Value: provenance.Back}, {Name: "FORTH", Value: provenance.Forth}, {Name: "FORWARD", Value: provenance.Forth},
		{Name: "BOTH", Value: provenance.Both},
	}
	descriptions = []provform.Option[int]{{Name: "0", Value: 0}, {Name: "1", Value: 1}, {Name: "2", Value: 2}}
	statuses     = []provform.Option[bool]{{Name: "ALL", Value: true}, {Name: "COMPLETED", Value: false}}
)

// reader reads the parameters that ProvSAP alone has.
type reader struct{ provform.Parameters }

func read(form *request.Form) *reader { return &reader{provform.Parameters{Form: form}} }

func (r *reader) ids() []string {
	var ids []string
	for _, id := range r.Form.TakeAll("ID") {
		r.Form.Add("ID", id)
		if id != "" {
			ids = append(ids, id)
		}
	}
	switch {
	case len(ids) == 0:
		r.Fail(fault.BadRequest("ID is missing: give the identifier of a job, a result or other entity, an agent, or sha256:<digits>"))
	case len(ids) > maxIDs:
		r.Fail(fault.BadRequest(fmt.Sprintf("ID is given %d times; at most %d are allowed", len(ids), maxIDs)))
	}
	return ids
}

// maxDepth is beyond any chain of relations.
const maxDepth = 1_000_000

func (r *reader) depth(missing int) int {
	text, given := r.Take("DEPTH")
	if !given {
		return missing
	}
	if strings.EqualFold(text, "ALL") {
		return provenance.All
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > maxDepth {
		r.Fail(provform.Wrong("DEPTH", text, fmt.Sprintf("ALL and the whole numbers from 0 to %d", maxDepth)))
	}
	return n
}

// maxrec reads MAXREC (DALI 1.1, section 3.4.4): more than the server gives is as much as it gives, 0 is nothing but
// whether there is something.
func (r *reader) maxrec(most int) (n int, none bool) {
	text, given := r.Take("MAXREC")
	if !given {
		return most, false
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		r.Fail(provform.Wrong("MAXREC", text, "whole numbers from 0 on"))
		return most, false
	}
	return min(max(n, 1), most), n == 0
}

func (r *reader) time(name string) time.Time {
	text, given := r.Take(name)
	if !given {
		return time.Time{}
	}
	t, err := uws.ParseTime(text)
	if err != nil {
		r.Fail(provform.Wrong(name, text, "times such as 2026-01-31 and 2026-01-31T12:00:00Z"))
	}
	return t
}

// responseFormat reads RESPONSEFORMAT, and the Accept header where there is none.
func (r *reader) responseFormat(accept string) (form provform.Form, named bool) {
	text, named := r.Take("RESPONSEFORMAT")
	if !named {
		form, err := provform.Negotiate(accept)
		if err != nil {
			r.Fail(err)
		}
		return form, false
	}
	form, ok := provform.ByName(text)
	if !ok {
		r.Fail(provform.Wrong("RESPONSEFORMAT", text, strings.Join(provform.Names(), ", ")+", and their media types"))
	}
	return form, true
}
