package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"golang.org/x/crypto/ssh"

	"consort/agent/staging"
	"consort/shared/siteapi"
)

// pusher sends outputs to the SFTP server that the coordinators name now. Only servers whose host key was
// pinned at enrolment are used.
type pusher struct {
	site   string
	signer ssh.Signer
	pinned []siteapi.SFTP
	logger *slog.Logger

	mu       sync.Mutex
	server   siteapi.SFTP
	uploader *staging.Uploader
	moved    context.Context // ends when server changes
	move     context.CancelFunc
}

func newPusher(site string, signer ssh.Signer, pinned []siteapi.SFTP, logger *slog.Logger) (*pusher, error) {
	p := &pusher{site: site, signer: signer, pinned: pinned, logger: logger}
	return p, p.use(pinned[0])
}

// use switches to a server.
func (p *pusher) use(server siteapi.SFTP) error {
	key, err := hostKey(server)
	if err != nil {
		return fmt.Errorf("read the host key of the SFTP server %s: %w", server.Address, err)
	}
	uploader, err := staging.NewUploader(staging.Config{Addr: server.Address, Site: p.site, Signer: p.signer, HostKey: key, Logger: p.logger})
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.move != nil {
		p.move()
	}
	p.server, p.uploader = server, uploader
	p.moved, p.move = context.WithCancel(context.Background())
	return nil
}

// set switches to the first of the servers that is pinned, when it is not the one in use.
func (p *pusher) set(servers []siteapi.SFTP) {
	for _, s := range servers {
		if !slices.ContainsFunc(p.pinned, func(known siteapi.SFTP) bool { return sameKey(known, s) }) {
			p.logger.Error("the coordinators name an SFTP server whose host key is not pinned; add it to agent.toml if you trust it", "address", s.Address)
			continue
		}
		p.mu.Lock()
		current := p.server
		p.mu.Unlock()
		if s.Address == current.Address && sameKey(s, current) {
			return
		}
		if err := p.use(s); err != nil {
			p.logger.Error("the SFTP server cannot be used", "address", s.Address, "error", err)
			continue
		}
		p.logger.Info("outputs go to another SFTP server now", "address", s.Address)
		return
	}
}

func sameKey(a, b siteapi.SFTP) bool {
	x, errX := hostKey(a)
	y, errY := hostKey(b)
	return errX == nil && errY == nil && string(x.Marshal()) == string(y.Marshal())
}

// Push sends outputs, to another server from the moment that the coordinators name another.
func (p *pusher) Push(ctx context.Context, up staging.Upload) ([]staging.ManifestFile, error) {
	for {
		p.mu.Lock()
		uploader, moved := p.uploader, p.moved
		p.mu.Unlock()
		pushCtx, cancel := context.WithCancel(ctx)
		stop := context.AfterFunc(moved, cancel)
		manifest, err := uploader.Push(pushCtx, up)
		stop()
		cancel()
		if err != nil && moved.Err() != nil && ctx.Err() == nil && !isFinalPush(err) {
			continue
		}
		return manifest, err
	}
}

// isFinalPush: such an error would be the same at another server.
func isFinalPush(err error) bool { return errors.Is(err, staging.ErrChanged) }
