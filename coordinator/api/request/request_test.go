package request

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"pgregory.net/rapid"

	"consort/coordinator/api/fault"
	"consort/coordinator/content"
)

func openStore(t testing.TB) *content.Store {
	t.Helper()
	s, err := content.Open(content.Config{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// parse sends a form through a Fiber application.
func parse(t testing.TB, store Store, limits Limits, kind string, body io.Reader) (*Form, error) {
	t.Helper()
	var form *Form
	var err error
	app := fiber.New(fiber.Config{StreamRequestBody: true, DisablePreParseMultipartForm: true, Immutable: true, DisableStartupMessage: true})
	app.Post("/", func(c *fiber.Ctx) error {
		form, err = ParseForm(c, limits, store)
		return nil
	})
	r := httptest.NewRequest(http.MethodPost, "/", body)
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	resp, failed := app.Test(r, -1)
	if failed != nil {
		t.Fatal(failed)
	}
	resp.Body.Close()
	return form, err
}

func status(err error) int {
	if err == nil {
		return http.StatusOK
	}
	return fault.Of(err).Status
}

const urlencodedType = "application/x-www-form-urlencoded"

func TestFormKeepsOrderAndSpelling(t *testing.T) {
	f, err := parse(t, nil, FormLimits(), urlencodedType, strings.NewReader("Band=g&x=1&BAND=r&band=i&&=&empty="))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"Band": {"g", "r", "i"}, "x": {"1"}, "empty": {""}}
	if !reflect.DeepEqual(f.Values, want) {
		t.Errorf("%q", f.Values)
	}
	if _, _, err := f.Take("bAnD"); status(err) != 400 {
		t.Errorf("%v", err)
	}
	if v, given, err := f.Take("X"); v != "1" || !given || err != nil {
		t.Errorf("%q %v %v", v, given, err)
	}
	if _, given, _ := f.Take("x"); given {
		t.Error("taken twice")
	}
}

// TestFormRoundTrip: any text comes back, as urlencoded and as multipart form.
func TestFormRoundTrip(t *testing.T) {
	store := openStore(t)
	rapid.Check(t, func(t2 *rapid.T) {
		name := rapid.StringMatching(`[A-Za-z][A-Za-z0-9_]{0,20}`).Filter(func(s string) bool { return !strings.EqualFold(s, "UPLOAD") }).Draw(t2, "name")
		value := rapid.String().Draw(t2, "value")
		want := map[string][]string{name: {value}}
		f, err := parse(t, store, FormLimits(), urlencodedType, strings.NewReader(url.Values{name: {value}}.Encode()))
		if err != nil || !reflect.DeepEqual(f.Values, want) {
			t2.Fatalf("%+v %v", f, err)
		}
		var b bytes.Buffer
		m := multipart.NewWriter(&b)
		_ = m.WriteField(name, value)
		_ = m.Close()
		f, err = parse(t, store, FormLimits(), m.FormDataContentType(), &b)
		if err != nil || !reflect.DeepEqual(f.Values, want) {
			t2.Fatalf("%+v %v", f, err)
		}
	})
}

type part struct{ header, body string }

func multi(parts ...part) string {
	var b strings.Builder
	for _, p := range parts {
		fmt.Fprintf(&b, "--b\r\n%s\r\n\r\n%s\r\n", p.header, p.body)
	}
	return b.String() + "--b--\r\n"
}

const multiType = "multipart/form-data; boundary=b"

func field(name, value string) part {
	return part{`Content-Disposition: form-data; name="` + name + `"`, value}
}

func file(name, fileName, data string) part {
	return part{`Content-Disposition: form-data; name="` + name + `"; filename="` + fileName + `"` + "\r\nContent-Type: image/fits", data}
}

func TestUploads(t *testing.T) {
	store := openStore(t)
	for name, c := range map[string]struct {
		parts  []part
		status int
		inputs string // of the files, with name and content
	}{
		"file":              {[]part{file("series", "a.fits", "data"), field("x", "1")}, 200, "series=a.fits:data "},
		"two":               {[]part{file("s", "a", "1"), file("s", "b", "2")}, 200, "s=a:1 s=b:2 "},
		"blank field":       {[]part{file("s", "", "")}, 200, ""},
		"empty file":        {[]part{file("s", "e", "")}, 200, "s=e: "},
		"mapped":            {[]part{field("UPLOAD", "t1,param:p"), file("p", "a", "1")}, 200, "t1=a:1 "},
		"mapped, swapped":   {[]part{field("upload", "a,param:b"), field("UPLOAD", "b,param:a"), file("a", "x", "1"), file("b", "y", "2")}, 200, "b=x:1 a=y:2 "},
		"mapped text":       {[]part{field("UPLOAD", "t1,param:p"), field("p", "inline")}, 200, "t1=p:inline "},
		"missing part":      {[]part{field("UPLOAD", "t1,param:p")}, 400, ""},
		"bad table name":    {[]part{field("UPLOAD", "1t,param:p"), file("p", "a", "1")}, 400, ""},
		"path in name":      {[]part{file("s", `C:\\x\\..\\evil/../passwd`, "1")}, 200, "s=passwd:1 "},
		"dots":              {[]part{file("s", "..", "1")}, 200, "s=:1 "},
		"encoded part":      {[]part{{field("a", "").header + "\r\nContent-Transfer-Encoding: base64", "eA=="}}, 415, ""},
		"latin-1 part":      {[]part{{field("a", "").header + "\r\nContent-Type: text/plain; charset=iso-8859-1", "x"}}, 415, ""},
		"no UTF-8":          {[]part{field("a", "\xff")}, 400, ""},
		"attachment":        {[]part{{`Content-Disposition: attachment; name="a"`, "x"}}, 400, ""},
		"long value":        {[]part{field("a", strings.Repeat("x", 65<<10))}, 413, ""},
		"long header":       {[]part{{field("a", "").header + "\r\nX: " + strings.Repeat("x", 2<<20), "x"}}, 413, ""},
		"too many files":    {repeat(file("s", "a", "1"), 101), 413, ""},
		"100 files":         {repeat(file("s", "a", ""), 100), 200, strings.Repeat("s=a: ", 100)},
		"too much together": {repeat(field("a", strings.Repeat("x", 60<<10)), 20), 413, ""},
	} {
		f, err := parse(t, store, FormLimits(), multiType, strings.NewReader(multi(c.parts...)))
		if status(err) != c.status {
			t.Errorf("%s: %v, want %d", name, err, c.status)
			continue
		}
		if err != nil {
			continue
		}
		got := ""
		for _, u := range f.Files {
			r, err := store.Open(u.Blob.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			data, _ := io.ReadAll(r)
			r.Close()
			got += fmt.Sprintf("%s=%s:%s ", u.Name, u.FileName, data)
		}
		if got != c.inputs {
			t.Errorf("%s: %q, want %q", name, got, c.inputs)
		}
	}
	small := FormLimits()
	small.File = 10
	if _, err := parse(t, store, small, multiType, strings.NewReader(multi(file("s", "a", "12345678901")))); status(err) != 413 {
		t.Errorf("%v", err)
	}
	if _, err := parse(t, nil, small, multiType, strings.NewReader(multi(file("s", "a", "1")))); status(err) != 400 {
		t.Errorf("%v", err)
	}
	f, err := parse(t, store, FormLimits(), urlencodedType, strings.NewReader("UPLOAD=s,https%3A%2F%2Fx.org%2Fa%3Bb&upload=s,http://y"))
	if err != nil || !reflect.DeepEqual(f.Values["s"], []string{"https://x.org/a;b", "http://y"}) {
		t.Errorf("%v %v", f, err)
	}
}

func repeat(p part, n int) []part {
	out := make([]part, n)
	for i := range out {
		out[i] = p
	}
	return out
}

// TestFullDisk: an error of the store is the server's, not the client's.
func TestFullDisk(t *testing.T) {
	_, err := parse(t, fullStore{}, FormLimits(), multiType, strings.NewReader(multi(file("s", "a", "1"))))
	if status(err) != http.StatusServiceUnavailable {
		t.Errorf("%v", err)
	}
}

type fullStore struct{}

func (fullStore) Put(context.Context, io.Reader, int64) (content.Blob, error) {
	return content.Blob{}, content.ErrDiskLow
}

// TestBodyDeadlines: each read gives the client a pause, and a trickle does not last for ever.
func TestBodyDeadlines(t *testing.T) {
	var last time.Time
	b := &bodyReader{
		stream: strings.NewReader(strings.Repeat("x", 100<<10)), begun: time.Now(),
		deadline: func(at time.Time) error { last = at; return nil },
	}
	buffer := make([]byte, 1)
	if _, err := b.Read(buffer); err != nil || time.Until(last) > bodyPause || time.Until(last) < bodyPause-time.Second {
		t.Errorf("%v: deadline in %s", err, time.Until(last))
	}
	b.begun = time.Now().Add(-bodyGrace)
	if _, err := b.Read(buffer); err != nil || time.Until(last) > time.Second {
		t.Errorf("%v: a trickle has %s", err, time.Until(last))
	}
	if _, err := b.Read(make([]byte, 64<<10)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Read(buffer); err != nil || time.Until(last) < bodyPause-time.Second {
		t.Errorf("%v: a client that made progress has %s", err, time.Until(last))
	}
	b = &bodyReader{stream: &timeoutReader{}, deadline: func(time.Time) error { return nil }, begun: time.Now()}
	if _, err := b.Read(buffer); status(err) != http.StatusRequestTimeout {
		t.Errorf("%v", err)
	}
	b = &bodyReader{stream: strings.NewReader("12345"), limit: 4, deadline: func(time.Time) error { return nil }, begun: time.Now()}
	if _, err := io.ReadAll(b); status(err) != http.StatusRequestEntityTooLarge {
		t.Errorf("%v", err)
	}
}

type timeoutReader struct{}

func (*timeoutReader) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

func TestDisposition(t *testing.T) {
	for _, c := range []struct{ kind, name, want string }{
		{"text/plain", "answer.txt", `inline; filename="answer.txt"`},
		{"text/html; charset=utf-8", "a.html", `attachment; filename="a.html"`},
		{"image/svg+xml", "a.svg", `attachment; filename="a.svg"`},
		{"application/x-votable+xml", "t.vot", `attachment; filename="t.vot"`},
		{"application/javascript", "a.js", `attachment; filename="a.js"`},
		{"text/plain", "na\"me\r\n;é.txt", `inline; filename="na_me__;_.txt"; filename*=UTF-8''na%22me__%3B%C3%A9.txt`},
		{"text/plain", "../..", "inline"},
		{"text/plain", "", "inline"},
	} {
		if got := disposition(c.kind, c.name); got != c.want {
			t.Errorf("%q: %s, want %s", c.name, got, c.want)
		}
	}
	for declared, want := range map[string]string{
		"text/plain": "text/plain", "": "application/octet-stream", "x": "application/octet-stream",
		"text/plain\r\nSet-Cookie: x": "application/octet-stream", "TEXT/Plain; Charset=UTF-8": "text/plain; charset=UTF-8",
	} {
		if got := mediaType(declared); got != want {
			t.Errorf("%q: %q", declared, got)
		}
	}
}

func TestPath(t *testing.T) {
	if got := Path("rest", "probe@1.0", "a b", "x/y é?#%"); got != "/rest/probe@1.0/a%20b/x/y%20%C3%A9%3F%23%25" {
		t.Error(got)
	}
	for raw, ok := range map[string]bool{
		"a": true, "a%20b": true, "%C3%A9": true, "": false, ".": false, "..": false, "%2e%2e": false, "a%2fb": false,
		"%00": false, "%7f": false, "%ff": false, "%zz": false, strings.Repeat("a", 1025): false, "...": true,
	} {
		if _, err := segment(raw); (err == nil) != ok {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

// FuzzRange: a range that is answered lies within the file.
func FuzzRange(f *testing.F) {
	for _, seed := range []string{"bytes=0-1", "bytes=-5", "bytes=3-", "bytes=1-2,3-4", "bytes=9999999999999999999999-", "x"} {
		f.Add(seed, int64(10))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		size = max(size, -size) & (1<<50 - 1)
		from, length, status := parseRange(header, size)
		if status == http.StatusRequestedRangeNotSatisfiable {
			return
		}
		if from < 0 || length < 0 || from+length > size || (status == http.StatusPartialContent && length == 0) {
			t.Errorf("%q of %d: %d+%d %d", header, size, from, length, status)
		}
	})
}

// FuzzPairs: what is accepted is UTF-8 and decodes as the standard library says.
func FuzzPairs(f *testing.F) {
	for _, seed := range []string{"a=b&c=d", "a=%C3%A9+x", "=&&", "%zz", "a=%ff", "A=1&a=2", "a;b=c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		pairs, err := parsePairs(text, 0)
		if err != nil {
			if s := status(err); s != 400 {
				t.Errorf("%q: %d", text, s)
			}
			return
		}
		want, err := url.ParseQuery(strings.ReplaceAll(text, ";", "%3B"))
		if err != nil {
			t.Fatalf("%q: accepted, but %v", text, err)
		}
		delete(want, "")
		got := url.Values{}
		for k, v := range pairs.All() {
			got.Add(k, v)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	})
}

// FuzzMultipart: no bytes make anything but a form or an error of the client.
func FuzzMultipart(f *testing.F) {
	for _, seed := range []string{
		multi(field("a", "b"), file("c", "d", "e")), multi(field("UPLOAD", "x,param:y"), file("y", "z", "")), "--b", "--b\r\n\r\n--b--", "",
	} {
		f.Add([]byte(seed))
	}
	store := openStore(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		_, err := parse(t, store, FormLimits(), multiType, bytes.NewReader(body))
		if s := status(err); s >= 500 {
			t.Errorf("%q: %v", body, errors.Unwrap(err))
		}
	})
}
