package request

import (
	"bufio"
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/api/fault"
	"consort/coordinator/content"
	"consort/coordinator/jobs"
)

// partAllowance is added to the limit of a form for each file: its header, and what is read ahead.
const partAllowance = 16 << 10

// parts reads the parts of a multipart form.
type parts struct {
	form     *Form
	limits   Limits
	store    Store
	meter    *meter
	assigned map[int]bool // files that UPLOAD gave to an input, by index
}

// meter counts what is not the content of files, so that neither headers nor fields can fill the memory.
type meter struct {
	r    io.Reader
	left int64
	free bool // the content of a file is read, which has its own limit
}

func (m *meter) Read(p []byte) (int, error) {
	if m.free {
		return m.r.Read(p)
	}
	if m.left <= 0 {
		return 0, fault.TooLarge("the fields of the form are larger than allowed together; give large values as files")
	}
	n, err := m.r.Read(p[:min(int64(len(p)), m.left)])
	m.left -= int64(n)
	return n, err
}

func multipartForm(c *fiber.Ctx, boundary string, limits Limits, store Store) (*Form, error) {
	if boundary == "" || len(boundary) > 70 { // RFC 2046, section 5.1.1
		return nil, fault.BadRequest("the Content-Type has no usable boundary")
	}
	body, err := Body(c, 0)
	if err != nil {
		return nil, err
	}
	p := &parts{
		form: newForm(), limits: limits, store: store, assigned: map[int]bool{},
		meter: &meter{r: body, left: limits.Form + partAllowance},
	}
	ctx := Context(c)
	for reader := multipart.NewReader(p.meter, boundary); ; {
		part, err := reader.NextRawPart()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = p.read(ctx, part)
		}
		if err != nil {
			return nil, multipartError(err)
		}
	}
	return p.form, p.resolveUploads(ctx)
}

// multipartError keeps errors that say what is wrong, and of the disk; what is left is malformed input.
func multipartError(err error) error {
	var own *fault.Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, content.ErrTooLarge), errors.Is(err, errStore):
		return err
	}
	return fault.BadRequest("the multipart form is malformed or incomplete")
}

// errStore marks errors that are the server's.
var errStore = errors.New("store an uploaded file")

// read takes one part. A part with a file name is a file, any other a field.
func (p *parts) read(ctx context.Context, part *multipart.Part) error {
	kind, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	name := params["name"]
	if err != nil || kind != "form-data" || name == "" || !utf8.ValidString(name) {
		return fault.BadRequest("a part of the form has no Content-Disposition: form-data with a name")
	}
	switch strings.ToLower(part.Header.Get("Content-Transfer-Encoding")) {
	case "", "7bit", "8bit", "binary":
	default:
		return unsupported("the parts of the form must come as they are, without Content-Transfer-Encoding (RFC 7578, section 4.7)")
	}
	fileName, isFile := params["filename"]
	if !isFile {
		return p.field(name, part)
	}
	content := bufio.NewReader(part)
	if _, err := content.Peek(1); err == io.EOF && fileName == "" {
		return nil // a file field that a web form left blank
	}
	upload := jobs.Upload{Name: name, FileName: label(fileName), ContentType: mediaType(part.Header.Get("Content-Type"))}
	return p.file(ctx, upload, content)
}

func (p *parts) field(name string, part *multipart.Part) error {
	if header := part.Header.Get("Content-Type"); header != "" {
		_, params, err := mime.ParseMediaType(header)
		if err != nil {
			return badValue(name, "has a malformed Content-Type")
		}
		if err := checkCharset(params["charset"]); err != nil {
			return err
		}
	}
	value, err := io.ReadAll(io.LimitReader(part, p.limits.Value+1))
	if err != nil {
		return err
	}
	if err := checkPair(name, string(value), int(p.limits.Value)); err != nil {
		return err
	}
	p.form.Add(name, string(value))
	return nil
}

func (p *parts) file(ctx context.Context, upload jobs.Upload, r io.Reader) error {
	if len(p.form.Files) >= p.limits.Files {
		return fault.TooLarge("there are more files than one request may have")
	}
	if p.store == nil {
		return fault.BadRequest("no files are expected here")
	}
	if p.meter != nil {
		p.meter.left += partAllowance
		p.meter.free = true
		defer func() { p.meter.free = false }()
	}
	source := &failing{r: r}
	blob, err := p.store.Put(ctx, source, p.limits.File)
	switch {
	case errors.Is(err, content.ErrTooLarge):
		return fault.TooLarge("the file " + shorten(upload.FileName) + " is larger than allowed: " + size(p.limits.File))
	case source.err != nil:
		return source.err
	case err != nil:
		return errors.Join(errStore, err)
	}
	upload.Blob = blob
	p.form.Files = append(p.form.Files, upload)
	return nil
}

// failing remembers the error of a reader, so that one of the client is told from one of the disk.
type failing struct {
	r   io.Reader
	err error
}

func (f *failing) Read(b []byte) (int, error) {
	n, err := f.r.Read(b)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

// label makes a client's file name presentable; it is never used as a path.
func label(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == utf8.RuneError {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(name, "_"))
	name = path.Base(strings.ReplaceAll(name, `\`, "/"))
	if name == "." || name == ".." || name == "/" {
		return ""
	}
	return name
}

// mediaType returns a declared type in normal form, or that of plain bytes.
func mediaType(declared string) string {
	kind, params, err := mime.ParseMediaType(declared)
	if err != nil || !strings.Contains(kind, "/") || !utf8.ValidString(declared) {
		return fiber.MIMEOctetStream
	}
	if s := mime.FormatMediaType(kind, params); s != "" && len(s) < 255 {
		return s
	}
	return fiber.MIMEOctetStream
}
