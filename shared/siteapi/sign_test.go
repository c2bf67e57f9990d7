package siteapi

import (
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestToken(t *testing.T) {
	public, private, _ := ed25519.GenerateKey(nil)
	_, stranger, _ := ed25519.GenerateKey(nil)
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	keyOf := func(site string) (ed25519.PublicKey, error) {
		if site != "meudon" {
			return nil, errors.New("no such site")
		}
		return public, nil
	}
	sign := func(key ed25519.PrivateKey, site, cluster string, at time.Time) string {
		token, err := SignToken(key, site, cluster, at)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	long, _ := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.RegisteredClaims{
		Issuer: "meudon", Audience: jwt.ClaimStrings{"c1"}, IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(time.Hour)),
	}).SignedString(private)
	none, _ := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.RegisteredClaims{Issuer: "meudon"}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	good := sign(private, "meudon", "c1", now)
	for _, c := range []struct {
		what, token string
		at          time.Time
		ok          bool
	}{
		{"good", good, now, true},
		{"clock a little ahead", good, now.Add(-leeway / 2), true},
		{"expired", good, now.Add(time.Hour), false},
		{"from the future", good, now.Add(-time.Hour), false},
		{"another cluster", sign(private, "meudon", "c2", now), now, false},
		{"another key", sign(stranger, "meudon", "c1", now), now, false},
		{"unknown site", sign(private, "nancay", "c1", now), now, false},
		{"lives too long", long, now, false},
		{"alg none", none, now, false},
		{"cut", good[:len(good)-2], now, false},
		{"empty", "", now, false},
		{"huge", strings.Repeat("a", 1<<20), now, false},
	} {
		site, err := VerifyToken(c.token, "c1", c.at, keyOf)
		if c.ok && (err != nil || site != "meudon") {
			t.Errorf("%s: got %q, %v", c.what, site, err)
		}
		if !c.ok && !errors.Is(err, ErrBadToken) {
			t.Errorf("%s: got %v, want ErrBadToken", c.what, err)
		}
	}
}

func TestFragment(t *testing.T) {
	public, private, _ := ed25519.GenerateKey(nil)
	f, err := SignFragment(private, FragmentPayload{Number: 3, Site: "meudon", Job: "j1"})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := OpenFragment(public, f); err != nil || p.Site != "meudon" {
		t.Fatalf("got %v, %v", p, err)
	}
	f.Number = 4
	if _, err := OpenFragment(public, f); err == nil {
		t.Error("a renumbered fragment was accepted")
	}
	f.Number = 3
	f.Payload = append([]byte(nil), f.Payload...)
	f.Payload[len(f.Payload)-2] ^= 1
	if _, err := OpenFragment(public, f); err == nil {
		t.Error("a changed fragment was accepted")
	}
}

func TestManifestHash(t *testing.T) {
	a := ManifestFile{Output: "o", Path: "ab", SHA256: "s", Size: 1}
	b := ManifestFile{Output: "oa", Path: "b", SHA256: "s", Size: 1}
	if ManifestHash([][]ManifestFile{{a}}) == ManifestHash([][]ManifestFile{{b}}) {
		t.Error("fields run into each other")
	}
	if ManifestHash([][]ManifestFile{{a}, {b}}) == ManifestHash([][]ManifestFile{{a, b}}) {
		t.Error("the hash does not tell how the files were cut into parts")
	}
}

func FuzzVerifyToken(f *testing.F) {
	public, private, _ := ed25519.GenerateKey(nil)
	token, _ := SignToken(private, "meudon", "c1", time.Now())
	f.Add(token)
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := VerifyToken(s, "c1", time.Now(), func(string) (ed25519.PublicKey, error) { return public, nil }); err == nil && s != token {
			t.Errorf("accepted %q", s)
		}
	})
}
