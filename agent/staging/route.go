package staging

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"consort/shared/siteapi"
)

// route takes each request of a download to its server, or to the site's proxy. Every request has a connection
// of its own, so that what is checked is what is connected to.
type route struct {
	rules Rules
	tls   *tls.Config
}

// RoundTrip refuses to connect to private addresses. A proxy finds the addresses of names itself, and then it is the
// proxy that decides on them.
func (r *route) RoundTrip(req *http.Request) (*http.Response, error) {
	via, err := environmentProxy(req.URL)
	if err != nil {
		return nil, fmt.Errorf("choose a proxy: %w", err)
	}
	host, named := req.URL.Hostname(), siteapi.HostNamed(r.rules.URLs, req.URL)
	t := &http.Transport{
		TLSClientConfig:        r.tls,
		TLSHandshakeTimeout:    15 * time.Second,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 256 << 10,
		DialContext:            guarded(host, named),
	}
	if via != nil {
		if ip, err := netip.ParseAddr(host); err == nil && !reachable(host, named, ip) {
			return nil, private(ip)
		}
		t.Proxy = http.ProxyURL(via)
		t.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	return t.RoundTrip(req)
}

const dialTimeout = 20 * time.Second

// guarded dials, and looks at an address when the name of the host has been resolved and nothing is sent yet.
func guarded(host string, named bool) func(ctx context.Context, network, addr string) (net.Conn, error) {
	d := &net.Dialer{Timeout: dialTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if !reachable(host, named, to.Addr()) {
			return private(to.Addr())
		}
		return nil
	}}
	return d.DialContext
}

func private(ip netip.Addr) error {
	return fmt.Errorf("%w: %s is not a public address", ErrNotAllowed, ip.Unmap())
}

// reachable tells whether a host may be connected to at an address: a public one, or a private one of a host that
// the policy names as it is, as 127.0.0.1 or localhost.
func reachable(host string, named bool, ip netip.Addr) bool {
	ip = ip.Unmap()
	return public(ip) || named && (host == ip.String() || host == "localhost" && ip.IsLoopback())
}

// translated are IPv6 addresses that end in the IPv4 address which they stand for (RFC 6052, section 2.1).
var translated = netip.MustParsePrefix("64:ff9b::/96")

// special are addresses that are not globally reachable, or lead to IPv4 addresses in ways that hide them (IANA's
// registries of special-purpose addresses, RFC 6890), beside those that package netip knows.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("fec0::/10"),
}

// public tells whether an address is one of the internet.
func public(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	if translated.Contains(ip) {
		b := ip.As16()
		return public(netip.AddrFrom4([4]byte(b[12:])))
	}
	return ip.IsGlobalUnicast() && !ip.IsPrivate() && !slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(ip) })
}
