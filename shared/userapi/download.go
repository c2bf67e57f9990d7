package userapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	// ErrHash says that what came is not what the server said it would be: another length or SHA-256.
	ErrHash = errors.New("the content is not what was announced")
	// ErrExists says that another file stands where one would be written.
	ErrExists = errors.New("a file with other content is there already")
	// ErrLocked says that another process is downloading the same file.
	ErrLocked = errors.New("another download of this file is running")
)

// maxName bounds a file name in bytes, so that a suffix still fits into the 255 of most file systems.
const maxName = 200

// Download is one file to fetch.
type Download struct {
	URL    string
	SHA256 string // empty: not checked
	Size   int64  // bytes; negative: not known
	// Name is where it goes, relative to the folder, with "/". See SafePath.
	Name string
	// Replace overwrites another file of that name; else it is an ErrExists.
	Replace bool
	// Progress is called with the bytes there so far; nil: nothing is.
	Progress func(int64)
}

// Download fetches a file into a folder. It is written under a temporary name, goes on where an earlier
// try was cut, in this process or one before, and takes its name only when length and SHA-256 are right. A
// file that is there already, with the right content, is not fetched. fetched tells which happened.
func (c *Client) Download(ctx context.Context, dir *os.Root, d Download) (fetched bool, err error) {
	name := path.Clean(d.Name)
	if !fs.ValidPath(name) || name == "." {
		return false, fmt.Errorf("%q is no file name", d.Name)
	}
	if there, err := present(dir, name, d); there || err != nil {
		return false, err
	}
	if parent := path.Dir(name); parent != "." {
		if err := dir.MkdirAll(parent, 0o777); err != nil {
			return false, fmt.Errorf("make the folder of %s: %w", name, err)
		}
	}
	part := partName(name, d)
	f, err := dir.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return false, fmt.Errorf("create %s: %w", part, err)
	}
	defer f.Close()
	if err := lock(f); err != nil {
		return false, fmt.Errorf("write %s: %w", name, err)
	}
	if err := c.fetch(ctx, f, d); err != nil {
		if errors.Is(err, ErrHash) || d.SHA256 == "" {
			dir.Remove(part) // nothing that a later try could use
		}
		return false, fmt.Errorf("fetch %s: %w", name, err)
	}
	if err := dir.Rename(part, name); err != nil {
		return false, fmt.Errorf("name %s: %w", name, err)
	}
	return true, nil
}

// present tells whether the file is there already.
func present(dir *os.Root, name string, d Download) (bool, error) {
	info, err := dir.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", name, err)
	}
	if info.IsDir() {
		return false, fmt.Errorf("%s: %w: it is a folder", name, ErrExists)
	}
	if info.Mode().IsRegular() && d.SHA256 != "" && (d.Size < 0 || info.Size() == d.Size) {
		f, err := dir.Open(name)
		if err != nil {
			return false, fmt.Errorf("look at %s: %w", name, err)
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return false, fmt.Errorf("read %s: %w", name, err)
		}
		if hex.EncodeToString(h.Sum(nil)) == d.SHA256 {
			return true, nil
		}
	}
	if !d.Replace {
		return false, fmt.Errorf("%s: %w", name, ErrExists)
	}
	return false, nil
}

// partName is where a file grows. It depends on name and content, so that only the same download goes on there.
func partName(name string, d Download) string {
	sum := sha256.Sum256([]byte(name + "\x00" + d.SHA256))
	return path.Join(path.Dir(name), ".consort-"+hex.EncodeToString(sum[:8])+".part")
}

// fetch brings f to the announced content. As long as bytes come it goes on after each cut; tries that
// bring nothing are bounded as those of any call.
func (c *Client) fetch(ctx context.Context, f *os.File, d Download) error {
	h := sha256.New()
	at := int64(0)
	if d.SHA256 == "" || d.Size < 0 {
		if err := f.Truncate(0); err != nil {
			return err
		}
	} else if n, err := io.Copy(h, f); err != nil {
		return err
	} else {
		at = n
	}
	p := &progress{f: f, h: h, at: at, report: d.Progress}
	if d.Size >= 0 && p.at > d.Size {
		if err := p.restart(); err != nil {
			return err
		}
	}
	patience := c.patience(ctx)
	for d.Size < 0 || p.at < d.Size || p.at == 0 {
		before := p.at
		err := c.once(ctx, p.request(d))
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return err
		}
		if p.at > before {
			patience = c.patience(ctx)
		}
		if !patience.again(err) {
			return err
		}
	}
	return p.check(d)
}

// progress is a file as far as it has come.
type progress struct {
	f      *os.File
	h      hash.Hash
	at     int64
	report func(int64)
}

func (p *progress) restart() error {
	p.h.Reset()
	p.at = 0
	if _, err := p.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return p.f.Truncate(0)
}

// Write appends to file and hash.
func (p *progress) Write(b []byte) (int, error) {
	n, err := p.f.WriteAt(b, p.at)
	p.h.Write(b[:n])
	p.at += int64(n)
	if p.report != nil {
		p.report(p.at)
	}
	return n, err
}

// request asks for what is missing.
func (p *progress) request(d Download) *request {
	r := &request{method: http.MethodGet, url: d.URL, header: http.Header{"Accept-Encoding": {"identity"}}}
	if p.at > 0 {
		r.header.Set("Range", "bytes="+strconv.FormatInt(p.at, 10)+"-")
	}
	r.consume = func(resp *http.Response) error {
		from, err := rangeStart(resp)
		if err != nil {
			return err
		}
		if from != p.at {
			if err := p.restart(); err != nil {
				return err
			}
		}
		body := io.Reader(resp.Body)
		if d.Size >= 0 {
			body = io.LimitReader(body, d.Size-p.at+1) // one more shows that there is too much
		}
		_, err = io.Copy(p, body)
		return err
	}
	return r
}

// rangeStart tells where the body of an answer begins in the file.
func rangeStart(resp *http.Response) (int64, error) {
	if resp.StatusCode != http.StatusPartialContent {
		return 0, nil
	}
	text, ok := strings.CutPrefix(resp.Header.Get("Content-Range"), "bytes ")
	first, _, _ := strings.Cut(text, "-")
	from, err := strconv.ParseInt(first, 10, 64)
	asked := strings.TrimSuffix(strings.TrimPrefix(resp.Request.Header.Get("Range"), "bytes="), "-")
	if !ok || err != nil || first != asked {
		return 0, fmt.Errorf("%w: asked for bytes from %s on, got %q", ErrHash, asked, resp.Header.Get("Content-Range"))
	}
	return from, nil
}

func (p *progress) check(d Download) error {
	if d.Size >= 0 && p.at != d.Size {
		return fmt.Errorf("%w: %d bytes instead of %d", ErrHash, p.at, d.Size)
	}
	if got := hex.EncodeToString(p.h.Sum(nil)); d.SHA256 != "" && got != d.SHA256 {
		return fmt.Errorf("%w: SHA-256 %s instead of %s", ErrHash, got, d.SHA256)
	}
	return nil
}

// SafePath makes a relative path that stays inside its folder, with no hidden, empty or odd elements, out of
// any text that a server sends as a name. Different texts may become the same path.
func SafePath(name string) string {
	var elements []string
	for e := range strings.SplitSeq(strings.ReplaceAll(name, `\`, "/"), "/") {
		if e = safeElement(e); e != "" {
			elements = append(elements, e)
		}
	}
	if len(elements) == 0 {
		return "_"
	}
	return strings.Join(elements, "/")
}

// SafeName is SafePath for the last element alone.
func SafeName(name string) string { return path.Base(SafePath(name)) }

func safeElement(e string) string {
	e = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) || strings.ContainsRune(`:*?"<>|`, r) {
			return '_'
		}
		return r
	}, e)
	e = strings.TrimSpace(e)
	if e == "" || e == "." {
		return ""
	}
	if plain := strings.TrimLeft(e, ".-"); plain != e {
		e = "_" + plain
	}
	for len(e) > maxName {
		_, n := utf8.DecodeLastRuneInString(e)
		e = e[:len(e)-n]
	}
	return e
}
