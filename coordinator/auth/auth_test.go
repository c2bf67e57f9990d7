package auth

import (
	"encoding/base64"
	"errors"
	"testing"
)

func guard(t testing.TB, anonymous bool) *Guard {
	g, err := New(Config{Anonymous: anonymous, Tokens: []Token{
		{Name: "alice", SHA256: HashToken("a-secret")},
		{Name: "root", SHA256: HashToken("r-secret"), Operator: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func basic(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }

func TestAuthenticate(t *testing.T) {
	g := guard(t, true)
	for _, c := range []struct {
		header, name string
		anonymous    bool
		bad          bool
	}{
		{header: "", anonymous: true},
		{header: "Basic Og==", anonymous: true},
		{header: "Bearer a-secret", name: "alice"},
		{header: "bearer  a-secret ", name: "alice"},
		{header: basic("alice:a-secret"), name: "alice"},
		{header: basic(":a-secret"), name: "alice"},
		{header: basic("root:a-secret"), bad: true},
		{header: basic("alice"), bad: true},
		{header: "Basic %%%", bad: true},
		{header: "Bearer wrong", bad: true},
		{header: "Bearer ", bad: true},
		{header: "Digest x", bad: true},
		{header: "\x00", bad: true},
	} {
		p, err := g.Authenticate(c.header)
		if c.bad != errors.Is(err, ErrBadCredentials) || p.Name != c.name || p.Anonymous != c.anonymous {
			t.Errorf("%q: got %+v, %v", c.header, p, err)
		}
	}
}

func TestAllow(t *testing.T) {
	alice, root, nobody := Principal{Name: "alice"}, Principal{Name: "root", Operator: true}, Principal{Anonymous: true}
	for _, c := range []struct {
		anonymous bool
		p         Principal
		a         Action
		owner     string
		want      error
	}{
		{false, alice, CreateJob, "", nil},
		{false, alice, ReadJob, "alice", nil},
		{false, alice, ReadJob, "bob", ErrForbidden},
		{false, alice, ChangeJob, "", ErrForbidden},
		{false, alice, ManageSites, "", ErrForbidden},
		{false, root, ChangeJob, "bob", nil},
		{false, root, ManageSites, "", nil},
		{false, nobody, CreateJob, "", ErrUnauthenticated},
		{false, nobody, ReadJob, "", ErrUnauthenticated},
		{false, nobody, ReadDefinitions, "", nil},
		{true, nobody, CreateJob, "", nil},
		{true, nobody, ChangeJob, "", nil},
		{true, nobody, ReadJob, "alice", ErrUnauthenticated},
		{true, nobody, ManageSites, "", ErrUnauthenticated},
	} {
		if err := guard(t, c.anonymous).Allow(c.p, c.a, c.owner); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("anonymous=%v %+v %d %q: got %v, want %v", c.anonymous, c.p, c.a, c.owner, err, c.want)
		}
	}
}

func TestNewRefusesBadTokens(t *testing.T) {
	for _, tok := range []Token{{Name: "a", SHA256: "xx"}, {Name: "", SHA256: HashToken("t")}, {Name: "a:b", SHA256: HashToken("t")}} {
		if _, err := New(Config{Tokens: []Token{tok}}); err == nil {
			t.Errorf("%+v was accepted", tok)
		}
	}
}

func FuzzAuthenticate(f *testing.F) {
	f.Add("Basic Og==")
	f.Add("Bearer x")
	g := guard(f, false)
	f.Fuzz(func(t *testing.T, header string) {
		p, err := g.Authenticate(header)
		if err == nil && !p.Anonymous && p.Name == "" {
			t.Errorf("%q gave a principal without a name", header)
		}
	})
}
