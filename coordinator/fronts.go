package coordinator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"consort/coordinator/api"
	"consort/coordinator/content"
	"consort/shared/telemetry/metrics"
)

// fronts are the servers of the listeners and the goroutines that run them.
type fronts struct {
	api    *api.Server
	server *content.Server // SFTP
	http   door
	sftp   door
	probes door
	failed chan error // the first server that ended by itself
}

// door is one running server: cancel asks it to end, done is closed when it has.
type door struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func (d *door) open(name string, failed chan<- error, serve func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	d.done.Go(func() {
		if err := serve(ctx); err != nil && ctx.Err() == nil {
			failed <- fmt.Errorf("serve %s: %w", name, err)
		}
	})
}

func (d *door) close() {
	if d.cancel != nil {
		d.cancel()
	}
	d.done.Wait()
}

func hostKeyText(key ssh.Signer) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey())))
}

// serve opens the doors.
func (s *Server) serve(context.Context) error {
	f := &s.fronts
	f.failed = make(chan error, 3)
	sftp, err := content.NewServer(content.ServerConfig{
		Uploads: s.uploads, Sites: s.sites, HostKey: s.hostKey, Logger: s.cfg.Logger.With("part", "sftp"),
	})
	if err != nil {
		return err
	}
	f.server = sftp
	f.sftp.open("SFTP", f.failed, func(ctx context.Context) error { return sftp.Serve(ctx, s.sftp) })
	f.http.open("HTTP", f.failed, func(ctx context.Context) error { return f.api.Serve(ctx, s.http) })
	if s.probes != nil {
		handler := metrics.Handler(s.registry, metrics.Probes{
			Live:  []metrics.Check{{Name: "node", Run: func(context.Context) error { return s.replica.Err() }}},
			Ready: []metrics.Check{{Name: "service", Run: func(context.Context) error { return s.ready() }}},
		})
		f.probes.open("metrics", f.failed, func(ctx context.Context) error {
			return metrics.Serve(ctx, s.probes, handler, s.cfg.Logger)
		})
	}
	return nil
}

// Wait returns when ctx ends, with nil, or when the server can go on no longer, with the reason.
func (s *Server) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.replica.Failed():
		return s.replica.Err()
	case err := <-s.fronts.failed:
		return err
	}
}

// Stop ends the server: whoever waits is woken, then the doors close from outside in, the disk last. ctx
// bounds the polite part. It may be repeated.
func (s *Server) Stop(ctx context.Context) error {
	s.stopOnce.Do(func() { s.stopErr = s.stop(ctx) })
	return s.stopErr
}

func (s *Server) stop(ctx context.Context) error {
	s.hub.Close() // WAITs, polls and log readers answer now, so that HTTP has nothing to wait for
	s.fronts.http.close()
	s.fronts.sftp.close()
	s.fronts.probes.close()
	for _, l := range []interface{ Close() error }{s.http, s.sftp, s.probes} {
		if l != nil {
			_ = l.Close() // closed already where it was served
		}
	}
	var errs []error
	if s.replica != nil {
		errs = append(errs, s.replica.Shutdown(ctx)) // ends the leadership, and the scheduler with it
	}
	if s.uploads != nil {
		errs = append(errs, s.uploads.Close())
	}
	if s.port != nil {
		errs = append(errs, s.port.Close())
	}
	if s.state != nil {
		errs = append(errs, s.state.Close())
	}
	if s.claim != nil {
		errs = append(errs, s.claim.Release())
	}
	return errors.Join(errs...)
}
