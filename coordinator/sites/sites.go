// Package sites holds the use cases around sites, free of HTTP: inviting, enrolling, authenticating,
// revoking and listing them. What a site is given to do is package scheduler.
package sites

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"

	"consort/coordinator/auth"
	"consort/coordinator/command"
	"consort/coordinator/state"
	"consort/shared/ids"
	"consort/shared/siteapi"
)

var (
	// ErrNotFound is returned for a site that nobody added.
	ErrNotFound = errors.New("no such site")
	// ErrExists is returned when the site's name, or the key, is in use.
	ErrExists = errors.New("the site exists already")
	// ErrInvalid is returned for a name or a key of the wrong form.
	ErrInvalid = errors.New("invalid site")
	// ErrRefused is returned for an enrolment token that is wrong, used or expired.
	ErrRefused = errors.New("the enrolment token is refused")
	// ErrRevoked is returned to a site whose key is not accepted any more.
	ErrRevoked = errors.New("the site's key was revoked")
	// ErrProtocol is returned to an agent that is too far from this coordinator's version.
	ErrProtocol = errors.New("the agent and the coordinator do not understand each other")
)

// TokenLife is how long an enrolment token is good.
const TokenLife = time.Hour

// Log is the replicated log.
type Log interface {
	Propose(ctx context.Context, c *command.Command) (*command.Result, error)
	WaitRead(ctx context.Context) error
}

// State is the store to read from.
type State interface {
	View(func(*state.View) error) error
}

// Config wires a Service.
type Config struct {
	Log   Log
	State State
	Guard *auth.Guard
	Now   func() time.Time
	// SFTP gives the addresses that sites push to.
	SFTP func() []siteapi.SFTP
	// Disconnect cuts the SFTP sessions of a site whose key was revoked.
	Disconnect func(site string)
}

// Service is the use cases.
type Service struct{ cfg Config }

// New returns a Service.
func New(cfg Config) *Service {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{cfg}
}

// Add registers a site and returns its one-time enrolment token, which is kept only as a hash. Added again,
// a site gets a new token; the old one is void.
func (s *Service) Add(ctx context.Context, p auth.Principal, name, title string) (token string, expires time.Time, err error) {
	if err := s.cfg.Guard.Allow(p, auth.ManageSites, ""); err != nil {
		return "", time.Time{}, err
	}
	if !ids.ValidName(name) {
		return "", time.Time{}, fmt.Errorf("%w: the name %.60q must be of the form [a-z][a-z0-9]*(-[a-z0-9]+)*, at most %d characters", ErrInvalid, name, ids.MaxName)
	}
	if len(title) > 200 {
		return "", time.Time{}, fmt.Errorf("%w: the title is longer than 200 bytes", ErrInvalid)
	}
	token = rand.Text()
	sum := sha256.Sum256([]byte(token))
	expires = s.cfg.Now().Add(TokenLife)
	result, err := s.cfg.Log.Propose(ctx, &command.Command{
		Principal: p.Owner(),
		Body: &command.Command_AddSite{AddSite: &command.AddSite{
			Name: name, Title: title, TokenSha256: sum[:], ExpiresUs: expires.UnixMicro(),
		}},
	})
	if err != nil {
		return "", time.Time{}, err
	}
	if result.Code != command.Result_OK {
		return "", time.Time{}, fmt.Errorf("%w: %s", ErrExists, result.Message)
	}
	return token, expires, nil
}

// Enrol redeems a token and makes the key handed in the site's identity. Repeated with the same token and
// key it gives the same answer.
func (s *Service) Enrol(ctx context.Context, r siteapi.EnrolRequest) (*siteapi.Enrolment, error) {
	if err := CheckProtocol(r.Protocol); err != nil {
		return nil, err
	}
	if len(r.PublicKey) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("%w: publicKey must be an Ed25519 key of %d bytes", ErrInvalid, ed25519.PublicKeySize)
	}
	sum := sha256.Sum256([]byte(r.Token))
	result, err := s.cfg.Log.Propose(ctx, &command.Command{
		Body: &command.Command_EnrolSite{EnrolSite: &command.EnrolSite{
			TokenSha256: sum[:], PublicKey: r.PublicKey, Name: r.Site,
		}},
	})
	if err != nil {
		return nil, err
	}
	if result.Code != command.Result_OK {
		return nil, fmt.Errorf("%w: %s; ask the operator for a new one (consort site add)", ErrRefused, result.Message)
	}
	name, err := s.byKey(ctx, r.PublicKey)
	if err != nil {
		return nil, err
	}
	e := &siteapi.Enrolment{Protocol: siteapi.Protocol, Site: name, SFTP: s.cfg.SFTP(), Time: s.cfg.Now()}
	err = s.cfg.State.View(func(v *state.View) error {
		e.ClusterID, e.Authority = v.Cluster()
		return nil
	})
	return e, err
}

// CheckProtocol refuses an agent of another protocol, and says which side to upgrade.
func CheckProtocol(version int) error {
	switch {
	case version > siteapi.Protocol:
		return fmt.Errorf("%w: the agent speaks protocol %d, this coordinator %d: upgrade the coordinator", ErrProtocol, version, siteapi.Protocol)
	case version < siteapi.Protocol:
		return fmt.Errorf("%w: the agent speaks protocol %d, this coordinator %d: upgrade the agent", ErrProtocol, version, siteapi.Protocol)
	}
	return nil
}

// Authenticate returns the site that signed the bearer token. It fails with siteapi.ErrBadToken or ErrRevoked.
func (s *Service) Authenticate(ctx context.Context, token string) (string, error) {
	if err := s.cfg.Log.WaitRead(ctx); err != nil {
		return "", err
	}
	var name string
	err := s.cfg.State.View(func(v *state.View) (err error) {
		cluster, _ := v.Cluster()
		name, err = siteapi.VerifyToken(token, cluster, s.cfg.Now(), func(site string) (ed25519.PublicKey, error) {
			return enrolledKey(v, site)
		})
		return err
	})
	if errors.Is(err, ErrRevoked) { // whatever else is said of the token, this is what the agent must hear
		return "", ErrRevoked
	}
	return name, err
}

func enrolledKey(v *state.View, name string) (ed25519.PublicKey, error) {
	if !ids.ValidName(name) {
		return nil, ErrNotFound
	}
	site, err := v.Site(name)
	switch {
	case errors.Is(err, state.ErrNotFound):
		return nil, ErrNotFound
	case err != nil:
		return nil, err
	case site.RevokedUs > 0:
		return nil, ErrRevoked
	case len(site.PublicKey) != ed25519.PublicKeySize:
		return nil, ErrNotFound
	}
	return site.PublicKey, nil
}

// SiteByKey returns the site that an SSH key belongs to. It makes Service the Sites of the SFTP server.
func (s *Service) SiteByKey(ctx context.Context, key ssh.PublicKey) (string, error) {
	crypto, ok := key.(ssh.CryptoPublicKey)
	if !ok {
		return "", ErrNotFound
	}
	public, ok := crypto.CryptoPublicKey().(ed25519.PublicKey)
	if !ok {
		return "", ErrNotFound
	}
	return s.byKey(ctx, public)
}

func (s *Service) byKey(ctx context.Context, key ed25519.PublicKey) (string, error) {
	if err := s.cfg.Log.WaitRead(ctx); err != nil {
		return "", err
	}
	var site *state.Site
	err := s.cfg.State.View(func(v *state.View) (err error) {
		site, err = v.SiteByKey(key)
		return err
	})
	switch {
	case errors.Is(err, state.ErrNotFound):
		return "", ErrNotFound
	case err != nil:
		return "", err
	case site.RevokedUs > 0:
		return "", ErrRevoked
	}
	return site.Name, nil
}

// Revoke ends a site's rights on every surface.
func (s *Service) Revoke(ctx context.Context, p auth.Principal, name string) error {
	if err := s.cfg.Guard.Allow(p, auth.ManageSites, ""); err != nil {
		return err
	}
	result, err := s.cfg.Log.Propose(ctx, &command.Command{
		Principal: p.Owner(),
		Body:      &command.Command_RevokeSite{RevokeSite: &command.RevokeSite{Name: name}},
	})
	if err != nil {
		return err
	}
	if result.Code != command.Result_OK {
		return fmt.Errorf("%w: %s", ErrNotFound, result.Message)
	}
	s.cfg.Disconnect(name)
	return nil
}

// List returns every site, by name.
func (s *Service) List(ctx context.Context, p auth.Principal) ([]*state.Site, error) {
	if err := s.cfg.Guard.Allow(p, auth.ReadSites, ""); err != nil {
		return nil, err
	}
	if err := s.cfg.Log.WaitRead(ctx); err != nil {
		return nil, err
	}
	var all []*state.Site
	err := s.cfg.State.View(func(v *state.View) (err error) {
		all, err = v.Sites()
		return err
	})
	return all, err
}
