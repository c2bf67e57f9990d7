package request

import (
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strings"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/api/fault"
	"consort/coordinator/content"
	"consort/coordinator/jobs"
)

// Limits bound a form. Whatever the limits, memory does not grow with uploaded files.
type Limits struct {
	Form  int64 // bytes of everything but files
	Value int64 // bytes of one value
	File  int64 // bytes of one file
	Files int   // number of files
}

// FormLimits are those of DESIGN section 12.
func FormLimits() Limits {
	return Limits{Form: 1 << 20, Value: jobs.MaxParameterSize, File: 2 << 30, Files: jobs.MaxUploads}
}

// Store keeps uploaded files.
type Store interface {
	Put(ctx context.Context, r io.Reader, limit int64) (content.Blob, error)
}

// Form is what a client filled in. Names match in any case (DALI 1.1, section 3.1): each is kept in the
// spelling that came first, with all its values in order.
type Form struct {
	Values map[string][]string
	Files  []jobs.Upload // Name is the input a file is for

	spelling map[string]string // lower case to key of Values
}

func newForm() *Form {
	return &Form{Values: map[string][]string{}, spelling: map[string]string{}}
}

// Add adds a value.
func (f *Form) Add(name, value string) {
	folded := strings.ToLower(name)
	key, known := f.spelling[folded]
	if !known {
		key = name
		f.spelling[folded] = key
	}
	f.Values[key] = append(f.Values[key], value)
}

// TakeAll removes a parameter and returns its values.
func (f *Form) TakeAll(name string) []string {
	folded := strings.ToLower(name)
	key, known := f.spelling[folded]
	if !known {
		return nil
	}
	values := f.Values[key]
	delete(f.spelling, folded)
	delete(f.Values, key)
	return values
}

// Take removes a parameter that may be given once, and returns its value.
func (f *Form) Take(name string) (value string, given bool, err error) {
	switch values := f.TakeAll(name); len(values) {
	case 0:
		return "", false, nil
	case 1:
		return values[0], true, nil
	}
	return "", false, fault.BadRequest(name + " is given more than once")
}

// ParseForm reads an urlencoded or multipart form (DALI 1.1, section 2.3.2). Files go into the store as they
// come, and fields may follow files; UPLOAD=name,param:part says which input a file part is for, and
// UPLOAD=name,<URI> gives an input by reference (DALI 1.1, section 3.4.5). A request without a body is an
// empty form. Errors are 400, 408, 413 and 415.
func ParseForm(c *fiber.Ctx, limits Limits, store Store) (*Form, error) {
	header := strings.Clone(c.Get(fiber.HeaderContentType))
	if header == "" {
		if c.Context().Request.Header.ContentLength() <= 0 && !chunked(c) {
			return newForm(), nil
		}
		return nil, unsupported("a request with a body needs a Content-Type")
	}
	kind, params, err := mime.ParseMediaType(header)
	if err != nil {
		return nil, fault.BadRequest("the Content-Type is malformed")
	}
	if err := checkCharset(params["charset"]); err != nil {
		return nil, err
	}
	switch kind {
	case fiber.MIMEApplicationForm:
		return urlencoded(c, limits)
	case fiber.MIMEMultipartForm:
		return multipartForm(c, params["boundary"], limits, store)
	}
	return nil, unsupported("send parameters as application/x-www-form-urlencoded or multipart/form-data")
}

func chunked(c *fiber.Ctx) bool { return c.Context().Request.Header.ContentLength() == -1 }

func unsupported(message string) error {
	return &fault.Error{Status: http.StatusUnsupportedMediaType, Code: "unsupported-media-type", Message: message}
}

func checkCharset(charset string) error {
	switch strings.ToLower(charset) {
	case "", "utf-8", "utf8", "us-ascii":
		return nil
	}
	return unsupported("the only charset of forms is UTF-8")
}

func urlencoded(c *fiber.Ctx, limits Limits) (*Form, error) {
	data, err := ReadBody(c, limits.Form)
	if err != nil {
		return nil, err
	}
	pairs, err := parsePairs(string(data), int(limits.Value))
	if err != nil {
		return nil, err
	}
	f := newForm()
	for name, value := range pairs.All() {
		f.Add(name, value)
	}
	parts := &parts{form: f, limits: limits}
	return f, parts.resolveUploads(Context(c))
}

var (
	tableName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)
	uri       = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`)
)

// resolveUploads applies the values of UPLOAD.
func (p *parts) resolveUploads(ctx context.Context) error {
	for _, value := range p.form.TakeAll("UPLOAD") {
		name, from, ok := strings.Cut(value, ",")
		if !ok || !tableName.MatchString(name) || !uri.MatchString(from) {
			return fault.BadRequest(fmt.Sprintf("UPLOAD=%s is not of the form name,param:part or name,URI", shorten(value)))
		}
		part, local := strings.CutPrefix(from, "param:")
		if !local {
			p.form.Add(name, from)
			continue
		}
		if err := p.assign(ctx, name, part); err != nil {
			return err
		}
	}
	return nil
}

// assign makes the files of the named part those of the input. A part that came as text is a file too.
func (p *parts) assign(ctx context.Context, input, part string) error {
	found := false
	for i := range p.form.Files {
		if p.form.Files[i].Name == part && !p.assigned[i] {
			p.form.Files[i].Name = input
			p.assigned[i] = true
			found = true
		}
	}
	if found {
		return nil
	}
	if values := p.form.TakeAll(part); len(values) == 1 && p.store != nil {
		p.assigned[len(p.form.Files)] = true
		return p.file(ctx, jobs.Upload{Name: input, FileName: part, ContentType: fiber.MIMETextPlainCharsetUTF8}, strings.NewReader(values[0]))
	}
	return fault.BadRequest(fmt.Sprintf("UPLOAD names the part %s, which did not come with the request", shorten(part)))
}

// size writes a number of bytes for people.
func size(n int64) string {
	for _, unit := range []struct {
		bytes int64
		name  string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= unit.bytes && n%unit.bytes == 0 {
			return fmt.Sprintf("%d %s", n/unit.bytes, unit.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// ParseValue reads a body of plain text as the value of the parameter of that name.
func ParseValue(c *fiber.Ctx, name string, limits Limits) (*Form, error) {
	kind, params, err := mime.ParseMediaType(c.Get(fiber.HeaderContentType, fiber.MIMETextPlain))
	if err != nil || kind != fiber.MIMETextPlain {
		return nil, unsupported("send the value of a parameter as text/plain")
	}
	if err := checkCharset(params["charset"]); err != nil {
		return nil, err
	}
	data, err := ReadBody(c, limits.Value)
	if err != nil {
		return nil, err
	}
	if err := checkPair(name, string(data), int(limits.Value)); err != nil {
		return nil, err
	}
	f := newForm()
	f.Add(name, string(data))
	return f, nil
}

// ParseFile reads the whole body as the file for an input, whatever its type.
func ParseFile(c *fiber.Ctx, input string, limits Limits, store Store) (*Form, error) {
	body, err := Body(c, limits.File)
	if err != nil {
		return nil, err
	}
	p := &parts{form: newForm(), limits: limits, store: store}
	upload := jobs.Upload{Name: input, FileName: input, ContentType: mediaType(strings.Clone(c.Get(fiber.HeaderContentType)))}
	return p.form, p.file(Context(c), upload, body)
}
