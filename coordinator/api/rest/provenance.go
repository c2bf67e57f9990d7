package rest

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/api/fault"
	"consort/coordinator/api/provform"
	"consort/coordinator/api/request"
	"consort/coordinator/provenance"
	"consort/shared/userapi"
	"consort/shared/uws"
)

// mountProvenance adds what is asked about jobs and files across the federation.
func (s *Surface) mountProvenance(r fiber.Router) {
	r.Get("/provenance/lineage", s.lineage)
	r.Get("/provenance/users", s.users)
	r.Get("/provenance/content/:sha256", s.content)
	r.Get("/provenance/jobs", s.provenanceJobs)
	r.Get("/provenance/computed", s.computed)
	r.Get("/provenance/diff", s.diff)
	r.Get("/provenance/verify/:id", s.verify)
	r.Get("/provenance/impact", s.impact)
	r.Get("/provenance/retractions", s.retractions)
	r.Post("/provenance/retractions", s.retract)
}

// provenance answers with the record of one job in any form; format is the end of a name, such as json of provjson, or
// a value of RESPONSEFORMAT.
func (s *Surface) provenance(c *fiber.Ctx) error {
	id, err := request.Param(c, "id")
	if err != nil {
		return err
	}
	format, err := single(c, "format")
	if err != nil {
		return err
	}
	form, err := formOf(format)
	if err != nil {
		return err
	}
	look, err := provform.LookOf(c)
	if err != nil {
		return err
	}
	if form.Name == provform.ROCrate {
		return hide(s.Crates.Send(c, "", id, look.Data))
	}
	g, err := s.Provenance.Graph(request.Context(c), request.Principal(c), "", id)
	if err != nil {
		return hide(err)
	}
	o := look.Options()
	o.Title = "Provenance of job " + id
	return form.Send(c, g, id, o)
}

func formOf(format string) (provform.Form, error) {
	if format == "" {
		return provform.Default(), nil
	}
	var short []string
	for _, f := range provform.All() {
		if f.Short() == format {
			return f, nil
		}
		short = append(short, f.Short())
	}
	if f, ok := provform.ByName(format); ok {
		return f, nil
	}
	return provform.Form{}, fault.BadRequest(fmt.Sprintf("format %.40q: allowed are %v", format, short))
}

// list are the parameters that nearly all lists of provenance take.
type list struct {
	id, cursor string
	limit      int
}

// values reads the query of a provenance route: parameters that may be given once, all of known names.
func values(c *fiber.Ctx, names ...string) (map[string]string, error) {
	pairs, err := request.Query(c)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, name := range names {
		if found[name], _, err = pairs.Single(name); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// page reads limit and cursor, and the id where one is needed.
func page(c *fiber.Ctx, needID bool) (list, error) {
	v, err := values(c, "id", "cursor", "limit")
	if err != nil {
		return list{}, err
	}
	if needID && v["id"] == "" {
		return list{}, fault.BadRequest("id is missing: give the identifier of a result or another file")
	}
	l := list{id: provform.ID(request.Base(c), v["id"]), cursor: v["cursor"]}
	l.limit, err = limit(v["limit"], defaultLimit, maxLimit)
	return l, err
}

func limit(text string, missing, most int) (int, error) {
	if text == "" {
		return missing, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, fault.BadRequest(fmt.Sprintf("limit must be 1 to %d", most))
	}
	return n, nil
}

var directions = map[string]provenance.Direction{
	"": provenance.Back, "back": provenance.Back, "forth": provenance.Forth, "both": provenance.Both,
}

func (s *Surface) lineage(c *fiber.Ctx) error {
	v, err := values(c, "id", "direction", "depth", "limit", "cursor", "same")
	if err != nil {
		return err
	}
	if v["id"] == "" {
		return fault.BadRequest("id is missing: give the identifier of a job or a file")
	}
	q := provenance.LineageQuery{ID: provform.ID(request.Base(c), v["id"]), Cursor: v["cursor"], Depth: provenance.All}
	var known bool
	if q.Direction, known = directions[v["direction"]]; !known {
		return fault.BadRequest("direction: back, forth and both are allowed")
	}
	if text := v["depth"]; text != "" && !strings.EqualFold(text, "all") {
		if q.Depth, err = strconv.Atoi(text); err != nil || q.Depth < 0 {
			return fault.BadRequest("depth: all and whole numbers from 0 on are allowed")
		}
	}
	if text := v["same"]; text != "" {
		if q.Same, err = strconv.ParseBool(text); err != nil {
			return fault.BadRequest("same: true and false are allowed")
		}
	}
	if q.Limit, err = limit(v["limit"], 0, provenance.MaxLineage); err != nil {
		return err
	}
	l, err := s.Provenance.Lineage(request.Context(c), request.Principal(c), q)
	if err != nil {
		return unknown(err)
	}
	answer := userapi.Lineage{Focus: l.Focus, Nodes: []userapi.ProvNode{}, Edges: []userapi.ProvEdge{}, Truncated: l.Truncated, Next: l.Next}
	for _, n := range l.Nodes {
		answer.Nodes = append(answer.Nodes, node(c, n))
	}
	for _, e := range l.Edges {
		answer.Edges = append(answer.Edges, userapi.ProvEdge(e))
	}
	return c.JSON(answer)
}

// unknown says what was not found: an unknown node and one that the caller may not see are alike.
func unknown(err error) error {
	if f := fault.Of(err); f.Status == http.StatusForbidden || f.Status == http.StatusNotFound {
		return fault.NotFound("nothing has this identifier, or it is not for you to see")
	}
	return err
}

func (s *Surface) users(c *fiber.Ctx) error {
	l, err := page(c, true)
	if err != nil {
		return err
	}
	found, err := s.Provenance.Users(request.Context(c), request.Principal(c), l.id, l.cursor, l.limit)
	if err != nil {
		return unknown(err)
	}
	answer := userapi.ProvUses{Users: []userapi.ProvUse{}, Next: found.Next}
	for _, u := range found.Items {
		answer.Users = append(answer.Users, userapi.ProvUse{ProvNode: node(c, u.Node), Role: u.Role})
	}
	return c.JSON(answer)
}

func (s *Surface) content(c *fiber.Ctx) error {
	l, err := page(c, false)
	if err != nil {
		return err
	}
	sha, err := request.Param(c, "sha256")
	if err != nil {
		return err
	}
	found, err := s.Provenance.Content(request.Context(c), request.Principal(c), sha, l.cursor, l.limit)
	if err != nil {
		return unknown(err)
	}
	answer := userapi.ProvContent{Entities: []userapi.ProvNode{}, Next: found.Next}
	for _, n := range found.Items {
		answer.Entities = append(answer.Entities, node(c, n))
	}
	return c.JSON(answer)
}

func (s *Surface) provenanceJobs(c *fiber.Ctx) error {
	l, err := page(c, false)
	if err != nil {
		return err
	}
	v, err := values(c, "definition", "version", "image", "software", "parameter", "value", "site", "owner", "since", "until")
	if err != nil {
		return err
	}
	f := provenance.Filter{
		Definition: v["definition"], Version: v["version"], Image: v["image"], Software: v["software"],
		Parameter: v["parameter"], Value: v["value"], Site: v["site"], Owner: v["owner"],
	}
	for name, into := range map[string]*time.Time{"since": &f.Since, "until": &f.Until} {
		if v[name] == "" {
			continue
		}
		if *into, err = uws.ParseTime(v[name]); err != nil {
			return err
		}
	}
	found, err := s.Provenance.Jobs(request.Context(c), request.Principal(c), f, l.cursor, l.limit)
	if err != nil {
		return err
	}
	return c.JSON(provJobs(c, found.Items, found.Next))
}

// computed lists the completed jobs of which the same was asked as of the given one.
func (s *Surface) computed(c *fiber.Ctx) error {
	id, err := single(c, "job")
	if err != nil {
		return err
	}
	if id == "" {
		return fault.BadRequest("job is missing: give the id of a job")
	}
	found, err := s.Provenance.ComputedLike(request.Context(c), request.Principal(c), id)
	if err != nil {
		return hide(err)
	}
	return c.JSON(provJobs(c, found, ""))
}

func provJobs(c *fiber.Ctx, jobs []provenance.JobInfo, next string) userapi.ProvJobs {
	answer := userapi.ProvJobs{Jobs: []userapi.ProvJob{}, Next: next}
	for _, j := range jobs {
		answer.Jobs = append(answer.Jobs, provJob(c, j))
	}
	return answer
}

func (s *Surface) diff(c *fiber.Ctx) error {
	v, err := values(c, "a", "b")
	if err != nil {
		return err
	}
	if v["a"] == "" || v["b"] == "" {
		return fault.BadRequest("a and b are the ids of the two jobs; one is missing")
	}
	d, err := s.Provenance.Diff(request.Context(c), request.Principal(c), v["a"], v["b"])
	if err != nil {
		return hide(err)
	}
	answer := userapi.ProvDiff{A: d.A, B: d.B, Same: d.Same, Lines: []userapi.ProvDiffLine{}}
	for _, l := range d.Lines {
		answer.Lines = append(answer.Lines, userapi.ProvDiffLine{Section: l.Section, Name: l.Name, A: some(l.A), B: some(l.B), Same: l.Same})
	}
	return c.JSON(answer)
}

// some is a list that JSON shows as one even when it is empty.
func some(texts []string) []string {
	if texts == nil {
		return []string{}
	}
	return texts
}

func (s *Surface) verify(c *fiber.Ctx) error {
	id, err := request.Param(c, "id")
	if err != nil {
		return err
	}
	report, err := s.Provenance.Verify(request.Context(c), request.Principal(c), id)
	if err != nil {
		return hide(err)
	}
	answer := userapi.ProvReport{Job: report.Job, OK: report.OK, Checks: []userapi.ProvCheck{}}
	for _, check := range report.Checks {
		answer.Checks = append(answer.Checks, userapi.ProvCheck(check))
	}
	return c.JSON(answer)
}

func (s *Surface) impact(c *fiber.Ctx) error {
	l, err := page(c, true)
	if err != nil {
		return err
	}
	found, err := s.Provenance.Impact(request.Context(c), request.Principal(c), l.id, l.cursor, l.limit)
	if err != nil {
		return unknown(err)
	}
	answer := userapi.ProvImpact{
		Entity: found.Entity, Retracted: retraction(found.Retracted), SameMore: found.SameMore, Jobs: []userapi.ProvAffected{},
		JobCount: found.JobCount, ResultCount: found.ResultCount, HiddenJobs: found.HiddenJobs, HiddenResults: found.HiddenResults,
		Truncated: found.Truncated, Next: found.Next,
	}
	for _, n := range found.Same {
		answer.Same = append(answer.Same, node(c, n))
	}
	for _, j := range found.Jobs {
		answer.Jobs = append(answer.Jobs, userapi.ProvAffected{ProvJob: provJob(c, j.JobInfo), Steps: j.Steps, Results: some(j.Results)})
	}
	return c.JSON(answer)
}

func (s *Surface) retractions(c *fiber.Ctx) error {
	l, err := page(c, false)
	if err != nil {
		return err
	}
	found, err := s.Provenance.Retractions(request.Context(c), request.Principal(c), l.cursor, l.limit)
	if err != nil {
		return err
	}
	answer := userapi.ProvRetractions{Retractions: []userapi.ProvRetraction{}, Next: found.Next}
	for _, r := range found.Items {
		answer.Retractions = append(answer.Retractions, userapi.ProvRetraction(r))
	}
	return c.JSON(answer)
}

func (s *Surface) retract(c *fiber.Ctx) error {
	var r userapi.Retract
	if err := request.JSON(c, maxBody, &r); err != nil {
		return err
	}
	if r.Entity == "" {
		return fault.BadRequest("entity is missing: give the identifier of the file")
	}
	entity := provform.ID(request.Base(c), r.Entity)
	told, err := s.Provenance.Retract(request.Context(c), request.Principal(c), entity, r.Reason, r.Withdraw)
	if errors.Is(err, provenance.ErrNotRetracted) {
		return fault.NotFound("it is not retracted, so that there is nothing to withdraw")
	}
	if err != nil {
		return explainNotFound(err)
	}
	if told != "" {
		return c.JSON(userapi.Retracted{Message: told})
	}
	return c.SendStatus(http.StatusNoContent)
}

// explainNotFound leaves a refusal one: who may read a file and not retract it should know why.
func explainNotFound(err error) error {
	if fault.Of(err).Status == http.StatusNotFound {
		return unknown(err)
	}
	return err
}

// Bounds of what recognise looks up.
const (
	maxRecognised = 20 // inputs of a job
	maxSame       = 10 // results of one content
)

// recognise says which uploads are results of jobs in truth.
func (s *Surface) recognise(c *fiber.Ctx, j *userapi.Job) error {
	for i := range j.Inputs[:min(len(j.Inputs), maxRecognised)] {
		in := &j.Inputs[i]
		if in.Source != "upload" || in.SHA256 == "" {
			continue
		}
		found, err := s.Provenance.Content(request.Context(c), request.Principal(c), in.SHA256, "", maxSame)
		if err != nil && fault.Of(err).Status != http.StatusNotFound {
			return err
		}
		if err != nil {
			continue
		}
		for _, n := range found.Items {
			if n.File != nil && n.File.Job != "" {
				in.SameAs = append(in.SameAs, n.ID)
			}
		}
	}
	return nil
}

// tellInputs adds what only the provenance knows of a job's inputs: what URLs answered with, and what was retracted.
func (s *Surface) tellInputs(c *fiber.Ctx, j *userapi.Job) error {
	if len(j.Inputs) == 0 {
		return nil
	}
	given, err := s.Provenance.Inputs(request.Context(c), request.Principal(c), j.ID)
	if err != nil {
		return err
	}
	byRole := map[string][]provenance.Given{}
	for _, g := range given {
		byRole[g.Role] = append(byRole[g.Role], g)
	}
	for i := range j.Inputs {
		in := &j.Inputs[i]
		if len(byRole[in.Name]) == 0 {
			continue
		}
		g := byRole[in.Name][0]
		byRole[in.Name] = byRole[in.Name][1:]
		in.Retracted = retraction(g.Retracted)
		if in.Source == "url" {
			in.SHA256, in.Size = g.SHA256, g.Size
		}
	}
	return nil
}

func node(c *fiber.Ctx, n provenance.Node) userapi.ProvNode {
	view := userapi.ProvNode{ID: n.ID, Kind: n.Kind}
	if n.Job != nil {
		j := provJob(c, *n.Job)
		view.Job = &j
	}
	if f := n.File; f != nil {
		view.File = &userapi.ProvFile{
			Name: f.Name, SHA256: f.SHA256, Size: f.Size, MediaType: f.MediaType, Collection: f.Collection,
			Job: f.Job, Result: f.Result, Upload: f.Upload, URL: f.URL, Retracted: retraction(f.Retracted), SameAs: f.SameAs,
		}
	}
	return view
}

func provJob(c *fiber.Ctx, j provenance.JobInfo) userapi.ProvJob {
	view := userapi.ProvJob{
		ID: j.ID, Definition: j.Definition, Version: j.Version, Phase: j.Phase, Owner: j.Owner, Site: j.Site,
		Created: j.Created, Started: j.Started, Ended: j.Ended, Deleted: j.Deleted, ReusedFrom: j.ReusedFrom,
	}
	if !j.Deleted && j.Definition != "" {
		view.URL = request.Base(c) + request.Path("rest", j.Definition, j.ID)
	}
	return view
}

func retraction(r *provenance.Retraction) *userapi.ProvRetraction {
	if r == nil {
		return nil
	}
	view := userapi.ProvRetraction(*r)
	return &view
}
