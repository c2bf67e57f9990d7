package staging

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"golang.org/x/net/http/httpproxy"
	"golang.org/x/net/proxy"
)

// dialer reaches the coordinator directly or through the site's proxy, as its HTTPS calls do.
type dialer struct {
	proxy func(*url.URL) (*url.URL, error)
}

// environmentProxy is the proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names, unless NO_PROXY excludes the
// host. The variables are read at each call.
func environmentProxy(u *url.URL) (*url.URL, error) {
	conf := httpproxy.FromEnvironment()
	all := cmp.Or(os.Getenv("ALL_PROXY"), os.Getenv("all_proxy"))
	conf.HTTPSProxy = cmp.Or(conf.HTTPSProxy, all)
	conf.HTTPProxy = cmp.Or(conf.HTTPProxy, all)
	return conf.ProxyFunc()(u)
}

// dial connects to addr, a host and port.
func (d dialer) dial(ctx context.Context, addr string) (net.Conn, error) {
	direct := &net.Dialer{Timeout: 20 * time.Second, KeepAlive: 30 * time.Second}
	via, err := d.proxy(&url.URL{Scheme: "https", Host: addr})
	if err != nil {
		return nil, fmt.Errorf("choose a proxy for %s: %w", addr, err)
	}
	if via == nil {
		return direct.DialContext(ctx, "tcp", addr)
	}
	switch via.Scheme {
	case "http", "https":
		return d.connect(ctx, direct, via, addr)
	case "socks5", "socks5h":
		p, err := proxy.FromURL(via, direct)
		if err != nil {
			return nil, fmt.Errorf("use the proxy %s: %w", via.Redacted(), err)
		}
		conn, err := p.(proxy.ContextDialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, fmt.Errorf("connect through the proxy %s: %w", via.Redacted(), err)
		}
		return conn, nil
	}
	return nil, fmt.Errorf("the proxy %s has the scheme %q; http, https, socks5 and socks5h are supported", via.Redacted(), via.Scheme)
}

// connect asks an HTTP proxy for a tunnel (RFC 9110, section 9.3.6).
func (d dialer) connect(ctx context.Context, direct *net.Dialer, via *url.URL, addr string) (net.Conn, error) {
	port := via.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[via.Scheme]
	}
	conn, err := direct.DialContext(ctx, "tcp", net.JoinHostPort(via.Hostname(), port))
	if err != nil {
		return nil, fmt.Errorf("reach the proxy %s: %w", via.Redacted(), err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	tunnel, err := d.tunnel(ctx, conn, via, addr)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect through the proxy %s: %w", via.Redacted(), err)
	}
	return tunnel, nil
}

func (d dialer) tunnel(ctx context.Context, conn net.Conn, via *url.URL, addr string) (net.Conn, error) {
	if via.Scheme == "https" {
		secure := tls.Client(conn, &tls.Config{ServerName: via.Hostname()})
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn = secure
	}
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: make(http.Header)}
	if via.User != nil {
		password, _ := via.User.Password()
		auth := &http.Request{Header: make(http.Header)}
		auth.SetBasicAuth(via.User.Username(), password)
		req.Header.Set("Proxy-Authorization", auth.Header.Get("Authorization"))
	}
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the proxy answered %s", resp.Status)
	}
	return &bufferedConn{Conn: conn, r: r}, nil
}

// bufferedConn reads first what came together with the proxy's answer.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(b []byte) (int, error) { return c.r.Read(b) }
