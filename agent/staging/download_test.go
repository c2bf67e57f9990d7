package staging

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

// web serves what handlers say, by path, and returns its URL.
func web(t *testing.T, handlers map[string]http.HandlerFunc) string {
	t.Helper()
	mux := http.NewServeMux()
	for path, h := range handlers {
		mux.HandleFunc(path, h)
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

func text(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s) }
}

func to(target string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target, http.StatusFound) }
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func TestDownload(t *testing.T) {
	var asked []*http.Request
	base := web(t, map[string]http.HandlerFunc{
		"/file": func(w http.ResponseWriter, r *http.Request) {
			asked = append(asked, r)
			text("content of "+r.URL.RawQuery)(w, r)
		},
		"/moved": func(w http.ResponseWriter, r *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "1"})
			to("file?n=2")(w, r)
		},
	})
	d := &Downloader{Agent: "consort-agent/1"}
	for path, want := range map[string]string{"/file?n=1": "content of n=1", "/moved?signature=key": "content of n=2"} {
		var got bytes.Buffer
		scheme, err := d.Get(t.Context(), base+path, Rules{URLs: []string{base + "/"}, Most: 14}, &got)
		if err != nil || got.String() != want || scheme != "http" {
			t.Errorf("%s: %q by %s, %v", path, got.String(), scheme, err)
		}
	}
	for _, r := range asked {
		if r.UserAgent() != "consort-agent/1" || len(r.Cookies()) > 0 || r.Referer() != "" || r.Header.Get("Authorization") != "" ||
			r.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("the server was told %v", r.Header)
		}
	}
}

// TestDownloadFails: each failure is of its kind, and tells no key of the URL.
func TestDownloadFails(t *testing.T) {
	other := web(t, map[string]http.HandlerFunc{"/": text("internal")})
	base := web(t, map[string]http.HandlerFunc{
		"/large": text("123456"),
		"/endless": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush() // no Content-Length
			text("123456")(w, r)
		},
		"/cut": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "5")
			text("12")(w, r)
		},
		"/silent": func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"/stuck": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "5")
			text("12")(w, r)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
		"/loop":    to("/loop"),
		"/away":    to(other),
		"/file":    to("file:///etc/passwd"),
		"/user":    to("http://me:pw@127.0.0.1/"),
		"/private": to("http://10.0.0.1/"),
		"/dots":    to("/data/%2e%2e/secret"),
		"/gone":    status(http.StatusGone),
		"/part":    status(http.StatusPartialContent),
		"/login":   status(http.StatusUnauthorized),
		"/broken":  status(http.StatusBadGateway),
		"/busy":    status(http.StatusTooManyRequests),
	})
	d := &Downloader{Idle: 100 * time.Millisecond}
	rules := Rules{URLs: []string{base + "/", "https://*/", "http://*/here/"}, Most: 5}
	for address, kind := range map[string]error{
		base + "/large":            ErrTooLarge,
		base + "/endless":          ErrTooLarge,
		base + "/loop":             ErrNoFile,
		base + "/file":             ErrNoFile,
		base + "/user":             ErrNoFile,
		base + "/dots":             ErrNoFile,
		base + "/gone":             ErrNoFile,
		base + "/none":             ErrNoFile,
		base + "/part":             ErrNoFile,
		base + "/login":            ErrNoFile,
		base + "/away":             ErrNotAllowed,
		base + "/private":          ErrNotAllowed,
		other + "/":                ErrNotAllowed,
		"http://example.org/x":     ErrNotAllowed,
		"https://127.0.0.1/":       ErrNotAllowed, // AnyHost does not stand for it
		"https://localhost:1/":     ErrNotAllowed,
		"https://[::1]:1/":         ErrNotAllowed,
		"https://10.0.0.1/":        ErrNotAllowed,
		"https://169.254.169.254/": ErrNotAllowed,
		"ftp://example.org/x":      ErrNoFile,
		base + "/cut":              io.ErrUnexpectedEOF,
		base + "/silent":           errIdle,
		base + "/stuck":            errIdle,
		base + "/broken":           nil,
		base + "/busy":             nil,
		"http://127.0.0.1:1/here/": ErrNotAllowed,
	} {
		var got bytes.Buffer
		_, err := d.Get(t.Context(), address+"?token=key", rules, &got)
		switch {
		case err == nil || kind != nil && !errors.Is(err, kind):
			t.Errorf("%s: %v", address, err)
		case kind == nil && (errors.Is(err, ErrNoFile) || errors.Is(err, ErrNotAllowed) || errors.Is(err, ErrTooLarge)):
			t.Errorf("%s: %v, though it may work later", address, err)
		case strings.Contains(err.Error(), "key") || strings.Contains(err.Error(), "pw@"):
			t.Errorf("%s: a secret in %v", address, err)
		}
		if got.Len() > 6 {
			t.Errorf("%s: %d bytes were written", address, got.Len())
		}
	}
}

func TestDownloadByTLS(t *testing.T) {
	s := httptest.NewTLSServer(text("over TLS"))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer s.Close()
	rules := Rules{URLs: []string{s.URL}, Most: 100}
	var got bytes.Buffer
	if _, err := new(Downloader).Get(t.Context(), s.URL, rules, &got); err == nil || got.Len() > 0 {
		t.Errorf("an unknown certificate is accepted: %v", err)
	}
	d := &Downloader{TLS: s.Client().Transport.(*http.Transport).TLSClientConfig}
	if scheme, err := d.Get(t.Context(), s.URL, rules, &got); err != nil || scheme != "https" || got.String() != "over TLS" {
		t.Errorf("%q by %s, %v", got.String(), scheme, err)
	}
}

// TestDownloadSlow: a file that comes slowly, and comes, is waited for.
func TestDownloadSlow(t *testing.T) {
	const idle = 200 * time.Millisecond
	base := web(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, r *http.Request) {
		tick := time.NewTicker(idle / 4)
		defer tick.Stop()
		for range 10 {
			<-tick.C
			_, _ = io.WriteString(w, "x")
			w.(http.Flusher).Flush()
		}
	}})
	var got bytes.Buffer
	if _, err := (&Downloader{Idle: idle}).Get(t.Context(), base, Rules{URLs: []string{base}, Most: 100}, &got); err != nil || got.Len() != 10 {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
}

// TestDownloadByProxy: the proxy is asked for names; private addresses are not asked for.
func TestDownloadByProxy(t *testing.T) {
	asked := make(chan string, 10)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.String()
		text("by proxy")(w, r)
	}))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("NO_PROXY", "")
	rules := Rules{URLs: []string{"http://*/"}, Most: 100}
	var got bytes.Buffer
	d := new(Downloader)
	if _, err := d.Get(t.Context(), "http://archive.invalid/x", rules, &got); err != nil || got.String() != "by proxy" {
		t.Errorf("%q, %v", got.String(), err)
	}
	if u := <-asked; u != "http://archive.invalid/x" {
		t.Errorf("the proxy was asked for %s", u)
	}
	if _, err := d.Get(t.Context(), "http://10.1.2.3/x", rules, &got); !errors.Is(err, ErrNotAllowed) || len(asked) > 0 {
		t.Errorf("a private address by proxy: %v", err)
	}
}

func TestReachable(t *testing.T) {
	for text, want := range map[string]bool{
		"129.102.1.1": true, "8.8.8.8": true, "2a00:1450::1": true, "64:ff9b::808:808": true, "::ffff:8.8.8.8": true,
		"127.0.0.1": false, "127.9.9.9": false, "::1": false, "0.0.0.0": false, "::": false, "10.0.0.1": false, "172.16.0.1": false,
		"192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false, "198.18.0.1": false, "224.0.0.1": false, "255.255.255.255": false,
		"240.0.0.1": false, "fe80::1": false, "fe80::1%eth0": false, "fc00::1": false, "ff02::1": false, "::ffff:10.0.0.1": false, "::7f00:1": false,
		"64:ff9b::a00:1": false, "2002:a00:1::": false, "2001:db8::1": false,
	} {
		if got := public(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	for _, c := range []struct {
		host  string
		named bool
		ip    string
		want  bool
	}{
		{"localhost", true, "127.0.0.1", true}, {"localhost", true, "::1", true}, {"localhost", true, "10.0.0.2", false},
		{"localhost", false, "127.0.0.1", false}, {"10.0.0.1", true, "10.0.0.1", true}, {"127.0.0.1", false, "127.0.0.1", false},
		{"rebound.example", true, "10.0.0.1", false}, {"rebound.example", true, "127.0.0.1", false}, {"a.example", false, "8.8.8.8", true},
	} {
		if got := reachable(c.host, c.named, netip.MustParseAddr(c.ip)); got != c.want {
			t.Errorf("%s at %s: %v", c.host, c.ip, got)
		}
	}
}

// TestCacheAdds: what is written is kept by its hash; after an error nothing is left, nor after a kill.
func TestCacheAdds(t *testing.T) {
	c := newCache(t, 1<<20)
	content := []byte("fetched")
	for range 2 {
		got, size, err := c.Add(func(w io.Writer) error { _, err := w.Write(content); return err })
		check(t, err)
		if got != sha(content) || size != int64(len(content)) {
			t.Errorf("kept as %s, %d bytes", got, size)
		}
	}
	dst := t.TempDir() + "/placed"
	check(t, c.Place(sha(content), dst))
	failure := fmt.Errorf("cut: %w", &url.Error{})
	if _, _, err := c.Add(func(w io.Writer) error { _, _ = w.Write(content); return failure }); !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
	check(t, writeFile(c.part("fresh-1"), "left"))
	again, err := OpenCache(c.cfg)
	check(t, err)
	if left := names(t, again.partDir()); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

func writeFile(path, text string) error { return os.WriteFile(path, []byte(text), 0o600) }

func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	check(t, err)
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}
