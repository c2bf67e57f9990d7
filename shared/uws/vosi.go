package uws

import (
	"strconv"
	"time"

	"consort/shared/xmltext"
)

// Standard identifiers of the capabilities.
const (
	StandardUWS          = "ivo://ivoa.net/std/UWS#rest-1.1"
	StandardCapabilities = "ivo://ivoa.net/std/VOSI#capabilities"
	StandardAvailability = "ivo://ivoa.net/std/VOSI#availability"
)

// Capabilities is what a service tells about its endpoints (VOSI 1.1, section 3). No security methods
// are declared: challenges come with each request, and declared ones mislead clients.
type Capabilities struct {
	CapabilitiesURL string
	AvailabilityURL string // left out when empty
	JobLists        []JobList
	Services        []Service
}

// Service is a capability beyond UWS and VOSI.
type Service struct {
	StandardID  string
	Version     string // of the standard
	URL         string // absolute base URL
	Description string // left out when empty
}

// JobList is one UWS job list of a service.
type JobList struct {
	URL         string // absolute URL of the list
	Description string // left out when empty
}

// AppendCapabilities appends the VOSI capabilities document to dst.
func AppendCapabilities(dst []byte, c *Capabilities) []byte {
	dst = append(dst, xmltext.Header+`<vosi:capabilities xmlns:vosi="http://www.ivoa.net/xml/VOSICapabilities/v1.0"`+
		` xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1"`+xsiXMLNS+">\n"...)
	dst = appendCapability(dst, StandardCapabilities, "", "1.0", "full", c.CapabilitiesURL)
	if c.AvailabilityURL != "" {
		dst = appendCapability(dst, StandardAvailability, "", "1.0", "full", c.AvailabilityURL)
	}
	for _, l := range c.JobLists {
		dst = appendCapability(dst, StandardUWS, l.Description, "1.1", "base", l.URL)
	}
	for _, o := range c.Services {
		dst = appendCapability(dst, o.StandardID, o.Description, o.Version, "base", o.URL)
	}
	return append(dst, "</vosi:capabilities>\n"...)
}

// appendCapability writes the element unqualified, as VOSI's schema has it.
func appendCapability(dst []byte, standardID, description, version, use, url string) []byte {
	dst = append(dst, "<capability"...)
	dst = appendAttr(dst, "standardID", standardID)
	dst = append(dst, '>')
	if description != "" {
		dst = appendTagged(dst, "", "description", description)
	}
	dst = append(dst, `<interface xsi:type="vs:ParamHTTP" role="std"`...)
	dst = appendAttr(dst, "version", version)
	dst = append(dst, "><accessURL"...)
	dst = appendAttr(dst, "use", use)
	dst = append(dst, '>')
	dst = xmltext.AppendText(dst, url)
	return append(dst, "</accessURL></interface></capability>\n"...)
}

// Availability is what a service tells about its state (VOSI 1.1, section 5). Zero times are left out.
type Availability struct {
	Available bool
	UpSince   time.Time
	DownAt    time.Time
	BackAt    time.Time
	Notes     []string
}

// AppendAvailability appends the VOSI availability document to dst.
func AppendAvailability(dst []byte, a *Availability) []byte {
	dst = append(dst, xmltext.Header+`<vosi:availability xmlns:vosi="http://www.ivoa.net/xml/VOSIAvailability/v1.0">`...)
	dst = appendTagged(dst, "vosi:", "available", strconv.FormatBool(a.Available))
	for _, at := range []struct {
		name string
		time time.Time
	}{{"upSince", a.UpSince}, {"downAt", a.DownAt}, {"backAt", a.BackAt}} {
		if !at.time.IsZero() {
			dst = appendTagged(dst, "vosi:", at.name, FormatTime(at.time))
		}
	}
	for _, n := range a.Notes {
		dst = appendTagged(dst, "vosi:", "note", n)
	}
	return append(dst, "</vosi:availability>\n"...)
}
