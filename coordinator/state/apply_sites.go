package state

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"slices"

	"consort/coordinator/command"
	"consort/shared/ids"
)

// site returns the record of a site, nil when there is none.
func (t *tx) site(name string) *Site {
	s := new(Site)
	if len(name) > ids.MaxName || !t.get(keySite(name), s) {
		return nil
	}
	return s
}

func (t *tx) saveSite(s *Site) {
	t.put(keySite(s.Name), s)
	t.events = append(t.events, Event{Kind: SiteEvent, Site: s.Name, Index: t.index})
}

// addSite registers a site or gives it a new token. A site that is enrolled keeps its key until the token
// is redeemed.
func (t *tx) addSite(c *command.AddSite) *command.Result {
	if !ids.ValidName(c.Name) || len(c.TokenSha256) != sha256.Size || len(c.Title) > maxText {
		return refuse(command.Result_INVALID, "the site's name, title or token is malformed")
	}
	s := t.site(c.Name)
	if s == nil {
		s = &Site{Name: c.Name, AddedUs: t.now}
	}
	if bytes.Equal(s.TokenSha256, c.TokenSha256) || bytes.Equal(s.RedeemedSha256, c.TokenSha256) {
		return new(command.Result) // repeated
	}
	if t.has(keySiteToken(c.TokenSha256)) {
		return refuse(command.Result_EXISTS, "this token is another site's")
	}
	if len(s.TokenSha256) > 0 {
		t.delete(keySiteToken(s.TokenSha256))
	}
	if c.Title != "" {
		s.Title = c.Title
	}
	s.TokenSha256, s.TokenExpiresUs = c.TokenSha256, c.ExpiresUs
	t.set(keySiteToken(c.TokenSha256), []byte(c.Name))
	t.saveSite(s)
	return new(command.Result)
}

// enrolSite binds a key to the site whose token is shown. A token that is unknown, used and expired are all
// answered alike.
func (t *tx) enrolSite(c *command.EnrolSite) *command.Result {
	if len(c.TokenSha256) != sha256.Size || len(c.PublicKey) != ed25519.PublicKeySize {
		return refuse(command.Result_INVALID, "the token or the public key is malformed")
	}
	const why = "the enrolment token is unknown, used or expired"
	name, ok := t.raw(keySiteToken(c.TokenSha256))
	if !ok {
		return refuse(command.Result_REFUSED, why)
	}
	s := t.site(string(name))
	if s == nil || c.Name != "" && c.Name != s.Name {
		return refuse(command.Result_REFUSED, "the enrolment token is not for site %.64q", c.Name)
	}
	if bytes.Equal(s.RedeemedSha256, c.TokenSha256) {
		if bytes.Equal(s.PublicKey, c.PublicKey) && s.RevokedUs == 0 {
			return &command.Result{Site: s.Name} // repeated
		}
		return refuse(command.Result_REFUSED, why)
	}
	if t.now >= s.TokenExpiresUs {
		return refuse(command.Result_REFUSED, why)
	}
	if bad := t.checkKey(s, c.PublicKey); bad != nil {
		return bad
	}
	if len(s.RedeemedSha256) > 0 {
		t.delete(keySiteToken(s.RedeemedSha256))
	}
	if len(s.PublicKey) > 0 && !bytes.Equal(s.PublicKey, c.PublicKey) {
		s.FormerKeys = append(s.FormerKeys, s.PublicKey)
	}
	s.PublicKey, s.RedeemedSha256, s.TokenSha256, s.TokenExpiresUs = c.PublicKey, c.TokenSha256, nil, 0
	s.EnrolledUs, s.RevokedUs = t.now, 0
	t.set(keySiteKey(c.PublicKey), []byte(s.Name))
	t.saveSite(s)
	return &command.Result{Site: s.Name}
}

// checkKey tells why a key may not be enrolled: another site has or had it, or it was given up or revoked.
func (t *tx) checkKey(s *Site, public []byte) *command.Result {
	owner, ok := t.raw(keySiteKey(public))
	former := slices.ContainsFunc(s.FormerKeys, func(k []byte) bool { return bytes.Equal(k, public) })
	switch {
	case ok && string(owner) != s.Name:
		return refuse(command.Result_EXISTS, "this public key is another site's: make a new one")
	case former, s.RevokedUs != 0 && bytes.Equal(s.PublicKey, public):
		return refuse(command.Result_REFUSED, "this public key was given up or revoked: make a new one")
	case len(s.FormerKeys) >= maxFormerKeys && !bytes.Equal(s.PublicKey, public):
		return refuse(command.Result_TOO_LARGE, "a site has at most %d keys in its life", maxFormerKeys)
	}
	return nil
}

// maxFormerKeys keeps a site's record small.
const maxFormerKeys = 1_000

// revokeSite ends a site's rights, and the token it may still have. Its open attempts run into the end of
// their work leases.
func (t *tx) revokeSite(c *command.RevokeSite) *command.Result {
	s := t.site(c.Name)
	if s == nil {
		return refuse(command.Result_NOT_FOUND, "there is no site %.64q", c.Name)
	}
	if s.RevokedUs != 0 {
		return new(command.Result)
	}
	if len(s.TokenSha256) > 0 {
		t.delete(keySiteToken(s.TokenSha256))
	}
	s.TokenSha256, s.TokenExpiresUs, s.RevokedUs = nil, 0, t.now
	t.saveSite(s)
	return new(command.Result)
}
