package siteapi

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// ErrBadToken is returned for a site's token that is malformed, forged, expired, or meant for another
// cluster.
var ErrBadToken = errors.New("the site's token is not valid")

// leeway bounds how far the clocks of a site and of the coordinators may differ.
const leeway = 5 * time.Minute

// SignToken returns the JWT (RFC 7519, alg EdDSA) an agent sends as bearer token: issuer is the site,
// audience the cluster id.
func SignToken(key ed25519.PrivateKey, site, clusterID string, now time.Time) (string, error) {
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.RegisteredClaims{
		Issuer:    site,
		Audience:  jwt.ClaimStrings{clusterID},
		IssuedAt:  jwt.NewNumericDate(now),
		ExpiresAt: jwt.NewNumericDate(now.Add(TokenLife)),
	})
	signed, err := token.SignedString(key)
	if err != nil {
		return "", fmt.Errorf("sign the site's token: %w", err)
	}
	return signed, nil
}

// VerifyToken returns the site that signed token. keyOf gives the enrolled key of a site, or an error when
// there is none. It fails with ErrBadToken or with keyOf's error, wrapped.
func VerifyToken(token, clusterID string, now time.Time, keyOf func(site string) (ed25519.PublicKey, error)) (string, error) {
	var claims jwt.RegisteredClaims
	_, err := jwt.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) {
		return keyOf(claims.Issuer)
	},
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
		jwt.WithAudience(clusterID),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(leeway),
		jwt.WithTimeFunc(func() time.Time { return now }),
	)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrBadToken, err)
	}
	if claims.IssuedAt == nil || claims.ExpiresAt.Sub(claims.IssuedAt.Time) > TokenLife {
		return "", fmt.Errorf("%w: it lives longer than %s", ErrBadToken, TokenLife)
	}
	return claims.Issuer, nil
}

// SignFragment signs payload as the fragment of its number.
func SignFragment(key ed25519.PrivateKey, payload FragmentPayload) (*Fragment, error) {
	data, err := json.Marshal(payload)
	if err != nil {
		return nil, fmt.Errorf("encode fragment: %w", err)
	}
	return &Fragment{Number: payload.Number, Payload: data, Signature: ed25519.Sign(key, data)}, nil
}

// OpenFragment checks the signature and returns what was signed.
func OpenFragment(key ed25519.PublicKey, f *Fragment) (*FragmentPayload, error) {
	if !ed25519.Verify(key, f.Payload, f.Signature) {
		return nil, errors.New("the signature of the provenance fragment is not the site's")
	}
	var p FragmentPayload
	if err := json.Unmarshal(f.Payload, &p); err != nil {
		return nil, fmt.Errorf("decode fragment: %w", err)
	}
	if p.Number != f.Number {
		return nil, fmt.Errorf("the fragment is numbered %d outside and %d inside", f.Number, p.Number)
	}
	return &p, nil
}

// PartHash is the SHA-256 of one manifest part: of each file in order the output, path, hash, size and
// content type, every field preceded by its length, so that no two lists share a hash.
func PartHash(files []ManifestFile) [sha256.Size]byte {
	h := sha256.New()
	field := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	for _, f := range files {
		field(f.Output)
		field(f.Path)
		field(f.SHA256)
		field(fmt.Sprint(f.Size))
		field(f.ContentType)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// ManifestHash is the SHA-256 over the PartHash of each part in order, in hexadecimal.
func ManifestHash(parts [][]ManifestFile) string {
	h := sha256.New()
	for _, p := range parts {
		sum := PartHash(p)
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}
