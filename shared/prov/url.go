package prov

import (
	"net/url"
	"strings"
)

// invalidURL is shown in place of what cannot be parsed, and so may hide a password anywhere.
const invalidURL = "invalid:"

// PublicURL is a URL as everybody may see it: without user and password, and without the values of query
// parameters that grant access, such as the signature of a URL that was signed for one download. A URL
// without such stays as it is, byte for byte.
func PublicURL(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return invalidURL
	}
	query, fragment := withoutSecrets(u.RawQuery), withoutSecrets(u.EscapedFragment())
	if u.User == nil && query == u.RawQuery && fragment == u.EscapedFragment() {
		return rawURL
	}
	u.User, u.RawQuery = nil, query
	if fragment != u.EscapedFragment() {
		u.Fragment, u.RawFragment = fragment, ""
	}
	return u.String()
}

// withoutSecrets cuts the values of secret parameters from a query, or from a fragment that has its form.
func withoutSecrets(query string) string {
	var b strings.Builder
	for rest := query; rest != ""; {
		end := strings.IndexAny(rest, "&;")
		separator := ""
		if end < 0 {
			end = len(rest)
		} else {
			separator = rest[end : end+1]
		}
		name, _, assigned := strings.Cut(rest[:end], "=")
		if assigned && secretName(name) {
			b.WriteString(name + "=")
		} else {
			b.WriteString(rest[:end])
		}
		b.WriteString(separator)
		rest = rest[end+len(separator):]
	}
	return b.String()
}

// secretNames are whole names, secretParts parts of names and secretStarts beginnings, all in small letters
// without hyphens and underscores.
var (
	secretNames  = map[string]bool{"key": true, "sig": true, "sas": true, "auth": true, "authorization": true, "pass": true, "pwd": true, "jwt": true, "session": true, "sessionid": true}
	secretParts  = []string{"token", "secret", "passw", "signature", "credential", "apikey", "accesskey", "privatekey"}
	secretStarts = []string{"xamz", "xgoog", "oauth"}
)

// secretName tells whether a query parameter of this name, as it stands in the URL, grants access.
func secretName(escaped string) bool {
	name, err := url.QueryUnescape(escaped)
	if err != nil {
		name = escaped
	}
	name = strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(name))
	if secretNames[name] {
		return true
	}
	for _, part := range secretParts {
		if strings.Contains(name, part) {
			return true
		}
	}
	for _, start := range secretStarts {
		if strings.HasPrefix(name, start) {
			return true
		}
	}
	return false
}
