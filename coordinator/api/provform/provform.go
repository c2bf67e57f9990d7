// Package provform is the one table of forms in which provenance is sent, for every surface: what each is called, its
// media types, and how a graph is written in it. It asks nothing and decides on no rights.
package provform

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/api/fault"
	"consort/coordinator/api/request"
	"consort/coordinator/jobs"
	"consort/shared/prov"
	"consort/shared/prov/picture"
)

// Form is one way to send provenance.
type Form struct {
	Name string // of RESPONSEFORMAT
	// Result is the id of the UWS result in this form, which is the name of the resource below a job, too.
	Result string
	// MediaTypes are what it is known as; the first is sent.
	MediaTypes []string
	// Extension of a file in this form, with its dot.
	Extension string
	// write is nil for RO-Crate, which is made of more than a graph.
	write func(io.Writer, *prov.Graph, Options) error
}

// Names of the forms that are no text.
const (
	SVG     = "PROV-SVG"
	PNG     = "PROV-PNG"
	ROCrate = "RO-CRATE"
)

// Options say how a graph is written. Forms use what concerns them.
type Options struct {
	Model      prov.Model
	Direction  string // of a picture: LR, RL, TB, BT
	Attributes bool   // notes in a picture
	Title      string // of a picture
	Focus      []prov.QName
	// Link is the address that a node of a picture leads to.
	Link func(prov.QName) string
}

var forms = append(documents(),
	Form{
		Name: SVG, Result: "provsvg", Extension: ".svg", write: drawn(picture.WriteSVG),
		// Who asks for a page is a browser: a picture is what people can read.
		MediaTypes: []string{"image/svg+xml", "text/html", "application/xhtml+xml"},
	},
	Form{Name: PNG, Result: "provpng", Extension: ".png", write: drawn(picture.WritePNG), MediaTypes: []string{"image/png"}},
	Form{Name: ROCrate, Result: "rocrate", Extension: ".crate.zip", MediaTypes: []string{"application/zip"}},
)

// documents are the forms of package prov. PROV-JSON comes first: it is the default.
func documents() []Form {
	var list []Form
	for _, f := range prov.Formats() {
		form := Form{
			Name: f.Name, Result: "prov" + f.Suffix, MediaTypes: f.MediaTypes, Extension: f.Extension,
			write: func(w io.Writer, g *prov.Graph, o Options) error { return f.Write(w, g, o.Model) },
		}
		if f.Name == "PROV-JSON" {
			list = append([]Form{form}, list...)
			continue
		}
		list = append(list, form)
	}
	return list
}

func drawn(draw func(io.Writer, *prov.Graph, picture.Options) error) func(io.Writer, *prov.Graph, Options) error {
	return func(w io.Writer, g *prov.Graph, o Options) error {
		return draw(w, g, picture.Options{
			Direction: picture.Direction(o.Direction), Attributes: o.Attributes, Model: picture.Model(o.Model),
			Title: o.Title, Focus: o.Focus, Link: o.Link,
		})
	}
}

// All lists the forms, the default first.
func All() []Form { return forms }

// Default is PROV-JSON.
func Default() Form { return forms[0] }

// ByName finds a form by its name or one of its media types, in any case (DALI 1.1, section 3.4.3).
func ByName(text string) (Form, bool) {
	for _, f := range forms {
		if strings.EqualFold(f.Name, text) || f.serves(text) {
			return f, true
		}
	}
	return Form{}, false
}

// serves tells whether the form has the media type, whose parameters do not matter.
func (f Form) serves(text string) bool {
	wanted := bare(text)
	return wanted != "" && slices.ContainsFunc(f.MediaTypes, func(m string) bool { return bare(m) == wanted })
}

// bare is a media type in lower case without its parameters, empty for what is none.
func bare(text string) string {
	media, _, err := mime.ParseMediaType(text)
	if err != nil || !strings.Contains(media, "/") {
		return ""
	}
	return media
}

// Names lists what RESPONSEFORMAT may be.
func Names() []string {
	var names []string
	for _, f := range forms {
		names = append(names, f.Name)
	}
	return names
}

// ContentType is the header of that name.
func (f Form) ContentType() string { return f.MediaTypes[0] }

// streamed is the number of records above which a document is sent as it is written instead of made whole first.
const streamed = 2000

// Send answers with a graph; name is that of the file, without an extension. RO-Crate cannot be sent so.
func (f Form) Send(c *fiber.Ctx, g *prov.Graph, name string, o Options) error {
	f.Headers(c, name)
	if g.Len() > streamed && f.Name != SVG && f.Name != PNG {
		return request.Stream(c, f.ContentType(), func(w *bufio.Writer, flush func() error) {
			if err := f.write(&flushing{w: w, flush: flush}, g, o); err == nil {
				_ = flush() // whoever is gone needs no end
			}
		})
	}
	if f.Name == PNG {
		done, err := drawings.take(request.Context(c))
		if err != nil {
			return err
		}
		defer done()
	}
	var document bytes.Buffer
	if err := f.write(&document, g, o); err != nil {
		return drawingError(err)
	}
	return c.Send(document.Bytes())
}

// drawings bounds the PNG drawn at a time, each of which takes a core for a while, and tens of megabytes.
var drawings = make(turns, 2)

// drawingTime is how long a request waits for its turn to draw.
const drawingTime = 20 * time.Second

// turns lets as many in as it has room for.
type turns chan struct{}

// take waits for a turn; done ends it. It fails with jobs.ErrBusy.
func (t turns) take(ctx context.Context) (done func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, drawingTime)
	defer cancel()
	select {
	case t <- struct{}{}:
		return func() { <-t }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("draw a picture: %w; ask for %s, which costs less", jobs.ErrBusy, SVG)
	}
}

// Headers sets what every answer in this form has.
func (f Form) Headers(c *fiber.Ctx, name string) {
	c.Set(fiber.HeaderContentType, f.ContentType())
	how := "inline"
	if f.Name == ROCrate {
		how = "attachment"
	}
	c.Set(fiber.HeaderContentDisposition, fmt.Sprintf(`%s; filename="%s%s"`, how, safe(name), f.Extension))
	c.Set(fiber.HeaderContentSecurityPolicy, "default-src 'none'")
}

// safe keeps of a name what can stand in quotes in a header.
func safe(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r) {
			return r
		}
		return '_'
	}, name)
}

// drawingError tells apart what the client can change.
func drawingError(err error) error {
	if isPictureLimit(err) {
		return fault.BadRequest(err.Error() + "; ask for " + SVG + ", or for fewer records")
	}
	return err
}

// Short is the end of the name of the result: json, svg … of provjson and provsvg; rocrate is its own.
func (f Form) Short() string { return strings.TrimPrefix(f.Result, "prov") }
