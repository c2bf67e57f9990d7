package coordinator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"consort/coordinator/api"
	"consort/coordinator/content"
	"consort/shared/telemetry"
)

// fronts are the listeners' servers and the goroutines that run them.
type fronts struct {
	api     *api.Server
	sftp    *content.Server
	metrics *http.Server

	cutSFTP context.CancelFunc
	done    sync.WaitGroup
	failed  chan error // the first server that ended by itself
}

func hostKeyText(key ssh.Signer) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey())))
}

// serve opens the doors.
func (s *Server) serve(context.Context) error {
	s.fronts.failed = make(chan error, 3)
	sftp, err := content.NewServer(content.ServerConfig{
		Uploads: s.uploads, Sites: s.sites, HostKey: s.hostKey, Logger: s.cfg.Logger.With("part", "sftp"),
	})
	if err != nil {
		return err
	}
	s.fronts.sftp = sftp
	ctx, cancel := context.WithCancel(context.Background())
	s.fronts.cutSFTP = cancel
	s.fronts.run("SFTP", func() error { return sftp.Serve(ctx, s.sftp) })
	s.fronts.run("HTTP", func() error { return s.fronts.api.Serve(s.http) })
	if s.metrics != nil {
		s.fronts.metrics = &http.Server{Handler: s.metricsHandler(), ReadHeaderTimeout: 5 * time.Second}
		s.fronts.run("metrics", func() error {
			if err := s.fronts.metrics.Serve(s.metrics); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
	}
	return nil
}

func (f *fronts) run(name string, serve func() error) {
	f.done.Go(func() {
		if err := serve(); err != nil {
			f.failed <- fmt.Errorf("serve %s: %w", name, err)
		}
	})
}

func (s *Server) metricsHandler() http.Handler {
	return telemetry.Handler(s.registry, telemetry.Check{Name: "cluster", Check: s.replica.Ready}, telemetry.Check{Name: "disk", Check: s.diskReady})
}

func (s *Server) diskReady() error {
	soft, _, err := s.files.Low()
	if err == nil && soft {
		err = content.ErrDiskLow
	}
	return err
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
	var errs []error
	s.hub.Close() // WAITs, polls and log readers answer now, so that HTTP has nothing to wait for
	if s.fronts.api != nil && s.fronts.failed != nil {
		errs = append(errs, s.fronts.api.Shutdown(ctx))
	}
	if s.fronts.cutSFTP != nil {
		s.fronts.cutSFTP()
	}
	if s.fronts.metrics != nil {
		errs = append(errs, s.fronts.metrics.Shutdown(ctx))
	}
	for _, l := range []interface{ Close() error }{s.http, s.sftp, s.metrics} {
		if l != nil {
			_ = l.Close() // closed already where it was served
		}
	}
	s.fronts.done.Wait()
	if s.replica != nil {
		errs = append(errs, s.replica.Shutdown(ctx)) // revokes leadership: the scheduler ends here
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
	return errors.Join(errs...)
}
