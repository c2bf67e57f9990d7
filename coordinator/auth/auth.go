// Package auth says who is calling and what they may do: one authentication and one policy function for
// every surface. It speaks no HTTP; package api turns its errors into challenges.
package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrBadCredentials is returned for credentials that are malformed or known to nobody. They are never
	// taken for anonymous (SSO, RFC 7235).
	ErrBadCredentials = errors.New("the credentials are not valid")
	// ErrUnauthenticated is returned when an anonymous caller may not do what a known one might.
	ErrUnauthenticated = errors.New("authentication is required")
	// ErrForbidden is returned when a known caller may not do it.
	ErrForbidden = errors.New("you may not do this")
)

// Principal is a verified caller.
type Principal struct {
	Name      string // empty when Anonymous
	Anonymous bool
	Operator  bool // may see and change everything, and manages sites
}

// Owner is the owner that jobs of p get: its name, empty for anonymous.
func (p Principal) Owner() string {
	if p.Anonymous {
		return ""
	}
	return p.Name
}

// Action is what a caller wants to do.
type Action int

// The actions.
const (
	CreateJob Action = iota
	ReadJob
	ChangeJob
	ListJobs
	ReadDefinitions
	ReadSites
	ManageSites
)

// Token is an API token: only its hash is kept.
type Token struct {
	Name     string // of the principal it stands for
	SHA256   string // of the token, 64 lower-case hexadecimal digits
	Operator bool
}

// HashToken returns what Token.SHA256 holds for the given token.
func HashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// Config says who may come in.
type Config struct {
	Tokens []Token
	// Anonymous lets callers without credentials create jobs, and read and change anonymous jobs. Off by
	// default.
	Anonymous bool
	// AnonymousOperator lets them manage sites too; only for one person's own machine (consort dev).
	AnonymousOperator bool
}

// Guard authenticates callers and decides what they may do.
type Guard struct {
	cfg    Config
	hashes [][sha256.Size]byte
}

// Check says what is wrong with a token, and with which key of its; two empty texts when it is right.
func (t Token) Check() (key, problem string) {
	if raw, err := hex.DecodeString(t.SHA256); err != nil || len(raw) != sha256.Size {
		return "sha256", "must be 64 hexadecimal digits, what \"sha256sum\" prints of the token"
	}
	if t.Name == "" || len(t.Name) > 128 || strings.ContainsAny(t.Name, "\x00\n\r:") {
		return "name", "must have 1 to 128 characters, without colon or line break"
	}
	return "", ""
}

// New returns a Guard; it fails on a token whose name or hash is malformed.
func New(cfg Config) (*Guard, error) {
	g := &Guard{cfg: cfg}
	for i, t := range cfg.Tokens {
		if key, problem := t.Check(); problem != "" {
			return nil, fmt.Errorf("token %d: %s: %s", i+1, key, problem)
		}
		raw, _ := hex.DecodeString(t.SHA256) // checked
		g.hashes = append(g.hashes, [sha256.Size]byte(raw))
	}
	return g, nil
}

// Authenticate reads the value of an Authorization header: "Bearer <token>", or "Basic" with the token as
// password and the principal's name as user, for VO clients that know nothing else. No header, and Basic
// with neither user nor password (uws-validator sends that), is anonymous. It fails with ErrBadCredentials.
func (g *Guard) Authenticate(authorization string) (Principal, error) {
	scheme, rest, _ := strings.Cut(authorization, " ")
	rest = strings.TrimSpace(rest)
	switch {
	case authorization == "":
		return g.anonymous(), nil
	case strings.EqualFold(scheme, "bearer"):
		return g.byToken(rest, "")
	case strings.EqualFold(scheme, "basic"):
		raw, err := base64.StdEncoding.DecodeString(rest)
		user, password, ok := strings.Cut(string(raw), ":")
		if err != nil || !ok {
			return Principal{}, ErrBadCredentials
		}
		if user == "" && password == "" {
			return g.anonymous(), nil
		}
		return g.byToken(password, user)
	}
	return Principal{}, ErrBadCredentials
}

func (g *Guard) anonymous() Principal {
	return Principal{Anonymous: true, Operator: g.cfg.AnonymousOperator}
}

// byToken compares with every token, so that the time taken tells nothing.
func (g *Guard) byToken(token, user string) (Principal, error) {
	sum := sha256.Sum256([]byte(token))
	found := -1
	for i := range g.hashes {
		if subtle.ConstantTimeCompare(sum[:], g.hashes[i][:]) == 1 {
			found = i
		}
	}
	if found < 0 || (user != "" && user != g.cfg.Tokens[found].Name) {
		return Principal{}, ErrBadCredentials
	}
	return Principal{Name: g.cfg.Tokens[found].Name, Operator: g.cfg.Tokens[found].Operator}, nil
}

// Allow is the policy: it returns nil when p may do a to something that belongs to owner (of a job: its
// owner, empty for anonymous; ignored where nothing is owned), else ErrUnauthenticated or ErrForbidden.
func (g *Guard) Allow(p Principal, a Action, owner string) error {
	if p.Operator || a == ReadDefinitions {
		return nil
	}
	if p.Anonymous && !g.cfg.Anonymous {
		return ErrUnauthenticated
	}
	switch a {
	case CreateJob, ListJobs, ReadSites:
		return nil
	case ReadJob, ChangeJob:
		if p.Owner() == owner {
			return nil
		}
	}
	if p.Anonymous {
		return ErrUnauthenticated
	}
	return ErrForbidden
}
