package siteapi

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/idna"
)

// MaxURL bounds the bytes of the URL of an input.
const MaxURL = 2000

// MaxURLPatterns bounds the patterns of a site for the URLs that it fetches.
const MaxURLPatterns = 1000

// AnyHost is the host of a URL pattern that stands for every host.
const AnyHost = "*"

// ErrURL says that a text is no URL that inputs are fetched from. The text after it says why, and holds nothing
// that the URL may hide.
var ErrURL = errors.New("not a URL that can be fetched")

// ParseURL reads the URL of an input in the form in which it is fetched and compared: http or https, with a host
// in small letters and without the scheme's own port, without a fragment. What could be taken for another
// address by somebody on the way is refused, and so is a URL with a user name or a password, as URLs are recorded.
func ParseURL(text string) (*url.URL, error) {
	if err := checkLength(text); err != nil {
		return nil, err
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%w: it is malformed", ErrURL) // the parser's error repeats it
	}
	u.Fragment, u.RawFragment = "", ""
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("%w: it must begin with https:// or http://", ErrURL)
	case u.User != nil:
		return nil, fmt.Errorf("%w: it must not hold a user name or a password, as it is recorded", ErrURL)
	case u.Opaque != "":
		return nil, fmt.Errorf("%w: it has no host", ErrURL)
	}
	if u.Host, err = canonicalHost(u); err != nil {
		return nil, err
	}
	if u.Path == "" {
		u.Path = "/"
	}
	if strings.Contains(u.Path, `\`) || slices.ContainsFunc(strings.Split(u.Path, "/"), isDots) {
		return nil, fmt.Errorf(`%w: its path must not hold "\", "." or ".."`, ErrURL)
	}
	return u, checkLength(u.String()) // escapes make it longer
}

func checkLength(text string) error {
	if len(text) > MaxURL {
		return fmt.Errorf("%w: it has %d bytes, at most %d are allowed", ErrURL, len(text), MaxURL)
	}
	return nil
}

// isDots tells whether a segment of a path leads elsewhere, for some servers also with parameters behind it.
func isDots(segment string) bool {
	name, _, _ := strings.Cut(segment, ";")
	return name == "." || name == ".."
}

// canonicalHost is host and port of a URL in one spelling.
func canonicalHost(u *url.URL) (string, error) {
	host, err := hostName(u.Hostname())
	if err != nil {
		return "", err
	}
	if port := u.Port(); port != "" && port != map[string]string{"http": "80", "https": "443"}[u.Scheme] {
		return net.JoinHostPort(host, port), nil
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]", nil
	}
	return host, nil
}

// hostName is a name or an address in one spelling.
func hostName(host string) (string, error) {
	if strings.IndexFunc(host, func(r rune) bool { return r >= 0x80 }) >= 0 {
		if ascii, err := idna.Lookup.ToASCII(host); err == nil {
			host = ascii
		}
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if ip, err := netip.ParseAddr(host); err == nil && ip.Zone() == "" {
		return ip.Unmap().String(), nil
	}
	if slices.Contains(strings.Split(host, "."), "") || strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-._") != "" || endsInNumber(host) {
		return "", fmt.Errorf("%w: its host is neither a name nor an address", ErrURL)
	}
	return host, nil
}

// endsInNumber tells of a host whether some programs take it for an IPv4 address in a short form, such as 127.1
// or 0x7f000001 (URL Standard, section 3.5, "ends in a number").
func endsInNumber(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	digits, hex := strings.CutPrefix(last, "0x")
	if hex {
		return strings.Trim(digits, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

// CheckURLPattern says what is wrong with an entry of the list of URLs that a site fetches. It is a URL without
// a query. One whose path ends in "/" stands for everything below it, any other one for that path alone; both
// with any query. The host may be AnyHost.
func CheckURLPattern(pattern string) error {
	_, err := parsePattern(pattern)
	return err
}

func parsePattern(pattern string) (*url.URL, error) {
	scheme, rest, found := strings.Cut(pattern, "://"+AnyHost)
	any := found && (rest == "" || rest[0] == '/')
	if any {
		pattern = scheme + "://any.invalid" + rest
	}
	u, err := ParseURL(pattern)
	if err != nil {
		return nil, err
	}
	if u.RawQuery != "" || u.ForceQuery || strings.ContainsAny(pattern, "#") {
		return nil, fmt.Errorf("%w: a pattern has no query and no fragment", ErrURL)
	}
	if any {
		u.Host = AnyHost
	}
	return u, nil
}

// URLAllowed tells whether one of the patterns stands for u, which ParseURL has read. A pattern that is none
// stands for nothing.
func URLAllowed(patterns []string, u *url.URL) bool { return urlMatches(patterns, u, true) }

// HostNamed tells whether one of the patterns stands for u and has its very host, not AnyHost.
func HostNamed(patterns []string, u *url.URL) bool { return urlMatches(patterns, u, false) }

func urlMatches(patterns []string, u *url.URL, anyHost bool) bool {
	return slices.ContainsFunc(patterns, func(text string) bool {
		p, err := parsePattern(text)
		if err != nil || p.Scheme != u.Scheme || p.Host != u.Host && !(anyHost && p.Host == AnyHost) {
			return false
		}
		if strings.HasSuffix(p.Path, "/") {
			return strings.HasPrefix(u.Path, p.Path)
		}
		return u.Path == p.Path
	})
}
