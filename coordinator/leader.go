package coordinator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"consort/coordinator/command"
	"consort/coordinator/content"
	"consort/coordinator/replica"
)

// leaderWork is what runs on the leader only.
type leaderWork struct {
	mu     sync.Mutex
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// lead says what this node does when it leads, and waits until the cluster can serve.
func (s *Server) lead(ctx context.Context) error {
	ready := make(chan error, 1)
	s.replica.OnLeadership(func(ctx context.Context, _ uint64) error {
		err := s.establish(ctx)
		if err == nil || !mayPass(err) {
			select {
			case ready <- err:
			default: // started already
			}
		}
		return err
	}, s.revoke)
	timer := time.NewTimer(startTimeout)
	defer timer.Stop()
	for {
		select {
		case err := <-ready:
			return err
		case <-s.replica.Failed():
			return fmt.Errorf("start: %w", s.replica.Err())
		case <-timer.C:
			// A leader that is not ready is going through its log, as long as that takes.
			if !s.replica.Elected() {
				return errors.New("the cluster has no leader yet; are the other coordinators running?")
			}
			s.cfg.Logger.Warn("still reading the log from before the restart")
			timer.Reset(startTimeout)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// mayPass tells whether the leader's work could not begin for a reason that another try may not meet.
func mayPass(err error) bool {
	for _, passing := range []error{
		context.Canceled, replica.ErrNotLeader, replica.ErrUnknown, replica.ErrOverloaded, replica.ErrStopped,
	} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

// establish begins the leader's work: the cluster's identity and the definitions, then the scheduler.
func (s *Server) establish(ctx context.Context) error {
	if err := s.createCluster(ctx); err != nil {
		return err
	}
	err := s.definitions.PublishAll(ctx, s.cfg.Definitions...)
	if errors.Is(err, content.ErrDiskLow) { // jobs must be deleted to make room
		s.cfg.Logger.Error("new definitions are not published", "error", err)
	} else if err != nil {
		return err
	}
	s.leading.mu.Lock()
	defer s.leading.mu.Unlock()
	run, cancel := context.WithCancel(ctx)
	s.leading.cancel = cancel
	s.leading.done.Go(func() {
		if err := s.scheduler.Run(run); err != nil && run.Err() == nil {
			s.cfg.Logger.Error("scheduler stopped", "error", err)
		}
	})
	return nil
}

// createCluster fixes cluster id and authority, once.
func (s *Server) createCluster(ctx context.Context) error {
	known, err := s.stateCluster()
	if err != nil {
		return err
	}
	if known == s.identity.Cluster {
		return nil
	}
	if known != "" {
		return fmt.Errorf("%w: the log in %s made the state of cluster %s, the directory is of cluster %s; put back the log that belongs to it",
			ErrForeign, s.dir("raft"), known, s.identity.Cluster)
	}
	result, err := s.ledger.Propose(ctx, &command.Command{Body: &command.Command_CreateCluster{
		CreateCluster: &command.CreateCluster{ClusterId: s.identity.Cluster, Authority: s.cfg.Authority},
	}})
	if err != nil {
		return fmt.Errorf("create the cluster: %w", err)
	}
	if result.Code != command.Result_OK {
		return fmt.Errorf("create the cluster: %s", result.Message)
	}
	return nil
}

// revoke ends the leader's work, and waits for it.
func (s *Server) revoke() {
	s.leading.mu.Lock()
	cancel := s.leading.cancel
	s.leading.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	s.leading.done.Wait()
}
