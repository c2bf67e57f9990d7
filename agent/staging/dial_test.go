package staging

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// listen serves each connection with fn until the test ends.
func listen(t *testing.T, fn func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			fn(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

func through(raw string) func(*url.URL) (*url.URL, error) {
	return func(*url.URL) (*url.URL, error) { return url.Parse(raw) }
}

// relay joins two connections until one ends.
func relay(a net.Conn, ra io.Reader, addr string) {
	b, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	done := make(chan struct{})
	go func() { defer close(done); io.Copy(b, ra); b.Close() }()
	io.Copy(a, b)
	a.Close()
	b.Close()
	<-done
}

func TestDialThroughHTTPProxy(t *testing.T) {
	target := listen(t, func(c net.Conn) { fmt.Fprintln(c, "hello") })
	asked := make(chan *http.Request, 1)
	proxy := listen(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		asked <- req
		fmt.Fprint(c, "HTTP/1.1 200 Connection established\r\n\r\n")
		relay(c, r, req.Host)
	})
	c, err := dialer{proxy: through("http://me:secret@" + proxy)}.dial(t.Context(), target)
	check(t, err)
	line, err := bufio.NewReader(c).ReadString('\n')
	check(t, err)
	check(t, c.Close())
	req := <-asked
	auth := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:secret"))
	if line != "hello\n" || req.Method != "CONNECT" || req.Host != target || req.Header.Get("Proxy-Authorization") != auth {
		t.Errorf("read %q; the proxy saw %s %s %v", line, req.Method, req.Host, req.Header)
	}
}

func TestDialThroughSOCKS(t *testing.T) {
	target := listen(t, func(c net.Conn) { fmt.Fprintln(c, "hello") })
	proxy := listen(t, func(c net.Conn) { // RFC 1928: greeting, then a request for an IPv4 address
		b := make([]byte, 3+10)
		if _, err := io.ReadFull(c, b[:3]); err != nil {
			return
		}
		c.Write([]byte{5, 0})
		if _, err := io.ReadFull(c, b[3:]); err != nil {
			return
		}
		c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		relay(c, c, target)
	})
	c, err := dialer{proxy: through("socks5://" + proxy)}.dial(t.Context(), target)
	check(t, err)
	line, err := bufio.NewReader(c).ReadString('\n')
	check(t, err)
	check(t, c.Close())
	if line != "hello\n" {
		t.Errorf("read %q", line)
	}
}

func TestDialProxyErrors(t *testing.T) {
	refusing := listen(t, func(c net.Conn) {
		http.ReadRequest(bufio.NewReader(c))
		fmt.Fprint(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
	})
	_, err := dialer{proxy: through("http://me:secret@" + refusing)}.dial(t.Context(), "coordinator:2222")
	if err == nil || !strings.Contains(err.Error(), "403") || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v, want the proxy's answer without its password", err)
	}
	_, err = dialer{proxy: through("ftp://proxy")}.dial(t.Context(), "coordinator:2222")
	if err == nil || !strings.Contains(err.Error(), "ftp") {
		t.Errorf("got %v", err)
	}
	silent := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = dialer{proxy: through("http://" + silent)}.dial(ctx, "coordinator:2222")
	if err == nil {
		t.Error("a silent proxy was waited for")
	}
}

func TestEnvironmentProxy(t *testing.T) {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"} {
		t.Setenv(name, "")
	}
	ask := func(host string) string {
		u, err := environmentProxy(&url.URL{Scheme: "https", Host: host})
		check(t, err)
		if u == nil {
			return ""
		}
		return u.String()
	}
	if got := ask("coordinator.example:2222"); got != "" {
		t.Errorf("without variables: %q", got)
	}
	t.Setenv("ALL_PROXY", "socks5://socks:1080")
	if got := ask("coordinator.example:2222"); got != "socks5://socks:1080" {
		t.Errorf("ALL_PROXY: %q", got)
	}
	t.Setenv("HTTPS_PROXY", "http://proxy:3128")
	t.Setenv("NO_PROXY", ".inside.example")
	if got := ask("coordinator.example:2222"); got != "http://proxy:3128" {
		t.Errorf("HTTPS_PROXY: %q", got)
	}
	if got := ask("c.inside.example:2222"); got != "" {
		t.Errorf("NO_PROXY: %q", got)
	}
}
