package provform

import (
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"consort/coordinator/api/fault"
	"consort/shared/prov/picture"
)

// Negotiate chooses the form that an Accept header likes best (RFC 9110, section 12.5.1); among equals the first of
// All. Without a header it is the default; one that nothing satisfies is 406.
func Negotiate(accept string) (Form, error) {
	if strings.TrimSpace(accept) == "" {
		return Default(), nil
	}
	ranges := parseAccept(accept)
	var best Form
	most := 0.0
	for _, f := range forms {
		for i, m := range f.MediaTypes {
			q, exact := quality(ranges, m)
			if i > 0 && !exact {
				continue // a wildcard means what is really sent
			}
			if q > most {
				best, most = f, q
			}
		}
	}
	if most > 0 {
		return best, nil
	}
	var have []string
	for _, f := range forms {
		have = append(have, f.ContentType())
	}
	return Form{}, &fault.Error{
		Status: http.StatusNotAcceptable, Code: "not-acceptable",
		Message: "nothing that the Accept header asks for can be made of provenance; there are " + strings.Join(have, ", "),
	}
}

// mediaRange is one element of an Accept header.
type mediaRange struct {
	kind, sub string
	q         float64
}

// maxRanges bounds what is looked at of a header.
const maxRanges = 64

// parseAccept leaves out what is malformed.
func parseAccept(header string) []mediaRange {
	var ranges []mediaRange
	for element := range strings.SplitSeq(header, ",") {
		media, params, err := mime.ParseMediaType(element)
		kind, sub, ok := strings.Cut(media, "/")
		if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) || !ok || len(ranges) == maxRanges {
			continue
		}
		r := mediaRange{kind, sub, 1}
		if text, given := params["q"]; given {
			if r.q, err = strconv.ParseFloat(text, 64); err != nil || !(r.q >= 0 && r.q <= 1) {
				continue
			}
		}
		ranges = append(ranges, r)
	}
	return ranges
}

// quality is that of the most specific range that covers a media type, and whether that names it in full.
func quality(ranges []mediaRange, mediaType string) (q float64, exact bool) {
	kind, sub, _ := strings.Cut(bare(mediaType), "/")
	specific := 0
	for _, r := range ranges {
		how := 0
		switch {
		case r.kind == kind && r.sub == sub:
			how = 3
		case r.kind == kind && r.sub == "*":
			how = 2
		case r.kind == "*" && r.sub == "*":
			how = 1
		}
		if how > specific || how == specific && how > 0 && r.q > q {
			specific, q = how, r.q
		}
	}
	return q, specific == 3
}

// isPictureLimit tells whether drawing failed for what was asked.
func isPictureLimit(err error) bool {
	return errors.Is(err, picture.ErrTooLarge) || errors.Is(err, picture.ErrOption)
}
