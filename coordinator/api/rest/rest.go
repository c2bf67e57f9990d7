// Package rest is the JSON API at /api/v1: what the command line, portals and pages use beyond UWS. Its types
// are those of package userapi. Errors are application/problem+json, made by package api.
package rest

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/api/fault"
	"consort/coordinator/api/provform"
	"consort/coordinator/api/request"
	"consort/coordinator/command"
	"consort/coordinator/definitions"
	"consort/coordinator/jobs"
	"consort/coordinator/provenance"
	"consort/coordinator/scheduler"
	"consort/coordinator/sites"
	"consort/coordinator/state"
	"consort/shared/userapi"
	"consort/shared/uws"
)

const (
	maxBody      = 1 << 20
	defaultLimit = 50
	maxLimit     = 500
	memberLimit  = 1000
)

// Config wires the surface.
type Config struct {
	Jobs        *jobs.Service
	Definitions *definitions.Service
	Sites       *sites.Service
	Scheduler   *scheduler.Scheduler
	Provenance  *provenance.Service
	Crates      provform.Crates
	Version     string
	// Cluster gives the cluster's id and authority.
	Cluster func() (id, authority string)
}

// Surface is the routes.
type Surface struct{ Config }

// New returns the surface.
func New(cfg Config) *Surface { return &Surface{cfg} }

// Mount adds the routes.
func (s *Surface) Mount(root fiber.Router) {
	r := root.Group("/api/v1")
	r.Get("/version", s.version)
	r.Get("/jobs", s.jobs)
	r.Get("/jobs/:id", s.job)
	r.Get("/jobs/:id/logs/:stream", s.log)
	r.Get("/jobs/:id/results/:result/members", s.members)
	r.Get("/jobs/:id/provenance", s.provenance)
	s.mountProvenance(r)
	r.Get("/sites", s.sites)
	r.Post("/sites", s.addSite)
	r.Delete("/sites/:name", s.revokeSite)
	r.Get("/definitions", s.definitions)
	r.Get("/definitions/:name", s.definition)
}

func (s *Surface) version(c *fiber.Ctx) error {
	id, authority := s.Cluster()
	return c.JSON(userapi.Version{Version: s.Version, ClusterID: id, Authority: authority})
}

func (s *Surface) jobs(c *fiber.Ctx) error {
	pairs, err := request.Query(c)
	if err != nil {
		return err
	}
	q := jobs.Query{Limit: defaultLimit}
	for _, p := range pairs {
		if _, _, err := pairs.Single(p.Name); err != nil && p.Name != "phase" {
			return err
		}
		if err := set(&q, p.Name, p.Value); err != nil {
			return err
		}
	}
	list := userapi.JobList{Jobs: []userapi.Summary{}}
	var last *state.Job
	limit := q.Limit
	q.Limit++ // one more tells whether there is a next page
	err = s.Jobs.List(request.Context(c), request.Principal(c), q, func(j *state.Job) error {
		if len(list.Jobs) == limit {
			list.Next = state.Cursor(last)
			return nil
		}
		last = j
		row := summary(c, j)
		row.Reason = cmp.Or(row.Reason, s.Scheduler.Explain(j))
		list.Jobs = append(list.Jobs, row)
		return nil
	})
	if err != nil {
		return err
	}
	return c.JSON(list)
}

func set(q *jobs.Query, name, value string) (err error) {
	switch name {
	case "definition":
		q.Definition = value
	case "phase":
		p := uws.Phase(value)
		if !p.Valid() {
			return fault.BadRequest(fmt.Sprintf("phase %.40q: one of %v is allowed", value, uws.Phases))
		}
		q.Phases = append(q.Phases, value)
	case "after":
		q.After, err = uws.ParseTime(value)
	case "limit":
		q.Limit, err = strconv.Atoi(value)
		if err != nil || q.Limit < 1 || q.Limit > maxLimit {
			return fault.BadRequest(fmt.Sprintf("limit must be 1 to %d", maxLimit))
		}
	case "cursor":
		q.Cursor = value
	}
	return err
}

// single returns a parameter of the query that may be given once, empty when it is not.
func single(c *fiber.Ctx, name string) (string, error) {
	pairs, err := request.Query(c)
	if err != nil {
		return "", err
	}
	value, _, err := pairs.Single(name)
	return value, err
}

// number returns a parameter of the query that is a whole number from 0 to most, 0 when it is not given.
func number(c *fiber.Ctx, name string, most int64) (int64, error) {
	text, err := single(c, name)
	if text == "" || err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > most {
		return 0, fault.BadRequest(fmt.Sprintf("%s must be a whole number from 0 to %d", name, most))
	}
	return n, nil
}

func (s *Surface) get(c *fiber.Ctx) (*jobs.Job, error) {
	id, err := request.Param(c, "id")
	if err != nil {
		return nil, err
	}
	return s.Jobs.Get(request.Context(c), request.Principal(c), "", id)
}

func (s *Surface) job(c *fiber.Ctx) error {
	j, err := s.get(c)
	if err != nil {
		return hide(err)
	}
	attempts, err := s.Jobs.Attempts(request.Context(c), request.Principal(c), j.Id)
	if err != nil {
		return hide(err)
	}
	view := job(c, j, attempts)
	if err := s.tellInputs(c, &view); err != nil {
		return hide(err)
	}
	if err := s.recognise(c, &view); err != nil {
		return err
	}
	view.Reason = cmp.Or(view.Reason, s.Scheduler.Explain(j.Job))
	return c.JSON(view)
}

// hide gives "not yours" and "not there" the same answer (DESIGN section 11).
func hide(err error) error {
	if f := fault.Of(err); f.Status == http.StatusForbidden || f.Status == http.StatusNotFound {
		return fault.NoJob()
	}
	return err
}

func (s *Surface) log(c *fiber.Ctx) error {
	id, err := request.Param(c, "id")
	if err != nil {
		return err
	}
	stream := strings.Clone(c.Params("stream"))
	if stream != "stdout" && stream != "stderr" {
		return fault.NotFound(fmt.Sprintf("there is no log %.40q; there are stdout and stderr", stream))
	}
	offset, err := number(c, "offset", math.MaxInt64)
	if err != nil {
		return err
	}
	wait, err := number(c, "wait", math.MaxInt64)
	if err != nil {
		return err
	}
	w, err := s.Jobs.ReadLog(request.Context(c), request.Principal(c), "", id, stream, offset,
		time.Duration(min(wait, 3600))*time.Second)
	if errors.Is(err, jobs.ErrInvalid) {
		return err
	}
	if err != nil {
		return hide(err)
	}
	c.Set(userapi.LogNextHeader, strconv.FormatInt(w.Next(), 10))
	c.Set(userapi.LogEpochHeader, strconv.FormatUint(w.Epoch, 10))
	c.Set(userapi.LogFirstHeader, strconv.FormatInt(w.First, 10))
	c.Set(userapi.LogCompleteHeader, strconv.FormatBool(w.Complete))
	c.Set(fiber.HeaderContentType, "text/plain; charset=utf-8")
	c.Set(fiber.HeaderCacheControl, "no-store")
	return c.Send(w.Data)
}

func (s *Surface) members(c *fiber.Ctx) error {
	j, err := s.get(c)
	if err != nil {
		return hide(err)
	}
	result, err := request.Param(c, "result")
	if err != nil {
		return err
	}
	out := j.Output(result)
	if out == nil || !out.Collection {
		return fault.NotFound("the job has no such collection among its results")
	}
	after, err := number(c, "cursor", math.MaxInt32)
	if err != nil {
		return err
	}
	skip := int(after)
	list := userapi.MemberList{Members: []userapi.Member{}}
	n := 0
	err = s.Jobs.Members(request.Context(c), j, out, func(f *command.File) error {
		n++
		switch {
		case n <= skip:
		case len(list.Members) < memberLimit:
			list.Members = append(list.Members, member(c, j, out, f))
		default:
			list.Next = strconv.Itoa(skip + memberLimit)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.JSON(list)
}

func (s *Surface) sites(c *fiber.Ctx) error {
	all, err := s.Sites.List(request.Context(c), request.Principal(c))
	if err != nil {
		return err
	}
	list := userapi.SiteList{Sites: []userapi.Site{}}
	for _, site := range all {
		list.Sites = append(list.Sites, s.site(site))
	}
	return c.JSON(list)
}

func (s *Surface) site(r *state.Site) userapi.Site {
	now := s.Scheduler.Site(r.Name)
	site := userapi.Site{
		Name: r.Name, Title: r.Title, Added: timeOf(r.AddedUs), Batch: now.Batch, Version: now.Version,
		Slots: now.Total.Slots, Free: now.Free.Slots, LastSeen: now.LastSeen, Running: now.Open,
	}
	switch {
	case r.RevokedUs > 0:
		site.State = "revoked"
	case now.Online:
		site.State = "online"
	case r.EnrolledUs == 0:
		site.State = "invited"
	default:
		site.State = "offline"
	}
	return site
}

func (s *Surface) addSite(c *fiber.Ctx) error {
	var r userapi.AddSite
	if err := request.JSON(c, maxBody, &r); err != nil {
		return err
	}
	token, expires, err := s.Sites.Add(request.Context(c), request.Principal(c), r.Name, r.Title)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderCacheControl, "no-store")
	return c.Status(http.StatusCreated).JSON(userapi.Invitation{
		Site: r.Name, Token: token, Expires: expires.UTC(),
		Command: fmt.Sprintf("consort-agent enroll --server %s --token %s", request.Base(c), token),
	})
}

func (s *Surface) revokeSite(c *fiber.Ctx) error {
	name, err := request.Param(c, "name")
	if err != nil {
		return err
	}
	if err := s.Sites.Revoke(request.Context(c), request.Principal(c), name); err != nil {
		return err
	}
	return c.SendStatus(http.StatusNoContent)
}

func (s *Surface) definitions(c *fiber.Ctx) error {
	entries, err := s.Definitions.List()
	if err != nil {
		return err
	}
	list := userapi.DefinitionList{Definitions: []userapi.DefinitionSummary{}, Problems: s.Definitions.Problems()}
	for _, e := range entries {
		list.Definitions = append(list.Definitions, definitionSummary(c, e.Record))
	}
	return c.JSON(list)
}

func (s *Surface) definition(c *fiber.Ctx) error {
	name, err := request.Param(c, "name")
	if err != nil {
		return err
	}
	e, err := s.Definitions.Get(name)
	if err != nil {
		return err
	}
	source, err := s.Definitions.Source(e.Record)
	if err != nil {
		return err
	}
	d := userapi.Definition{DefinitionSummary: definitionSummary(c, e.Record), Content: e.Definition, Source: string(source)}
	for _, f := range e.Record.Files {
		d.Files = append(d.Files, userapi.DefinitionFile{Path: f.Path, SHA256: f.Sha256, Size: f.Size})
	}
	return c.JSON(d)
}
