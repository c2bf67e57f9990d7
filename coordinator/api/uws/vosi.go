package uws

import (
	"github.com/gofiber/fiber/v2"

	"consort/coordinator/api/provform"
	"consort/coordinator/api/request"
	"consort/shared/uws"
)

// capabilities lists the job lists (VOSI 1.1, section 3). It needs no authentication.
func (s *Surface) capabilities(c *fiber.Ctx) error {
	entries, err := s.Definitions.List()
	if err != nil {
		return err
	}
	doc := &uws.Capabilities{
		CapabilitiesURL: request.Base(c) + "/capabilities",
		AvailabilityURL: request.Base(c) + "/availability",
	}
	doc.Services = []uws.Service{provform.Service(request.Base(c))}
	for _, e := range entries {
		doc.JobLists = append(doc.JobLists, uws.JobList{URL: listURL(c, e.Definition.Name), Description: e.Definition.Title})
	}
	return sendXML(c, uws.AppendCapabilities(nil, doc))
}

// availability tells whether jobs are taken now (VOSI 1.1, section 5).
func (s *Surface) availability(c *fiber.Ctx) error {
	doc := &uws.Availability{Available: true, UpSince: s.Started}
	if err := s.Available(); err != nil {
		doc.Available = false
		doc.Notes = []string{err.Error()}
	}
	return sendXML(c, uws.AppendAvailability(nil, doc))
}
