package jobs

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"consort/coordinator/auth"
	"consort/coordinator/command"
	"consort/coordinator/state"
	"consort/coordinator/watch"
	"consort/shared/uws"
)

// MaxLogWindow is the most that one ReadLog returns, in bytes.
const MaxLogWindow = 1 << 20

// LogWindow is a piece of a log.
type LogWindow struct {
	Data     []byte
	From     int64 // offset of Data; greater than asked for when older bytes are not kept while the job runs
	First    int64 // the first offset that can be read
	Complete bool  // nothing will come after Data
	Epoch    uint64
}

// Next is the offset to ask for next.
func (w *LogWindow) Next() int64 { return w.From + int64(len(w.Data)) }

// ReadLog returns a piece of stdout or stderr of the job's newest attempt, from offset on. While the job
// runs, an empty answer is held back for at most wait.
func (s *Service) ReadLog(ctx context.Context, p auth.Principal, list, id, name string, offset int64, wait time.Duration) (*LogWindow, error) {
	if err := checkStream(name); err != nil {
		return nil, err
	}
	if offset < 0 {
		return nil, fmt.Errorf("%w: the offset must not be negative", ErrInvalid)
	}
	sub := s.cfg.Hub.Subscribe(watch.Job(id))
	defer sub.Close()
	if !s.waiters.enter(p.Owner()) {
		return nil, ErrBusy
	}
	defer s.waiters.leave(p.Owner())
	timer := time.NewTimer(min(wait, MaxWait))
	defer timer.Stop()
	for timedOut := wait <= 0; ; {
		w, err := s.readLog(ctx, p, list, id, name, offset)
		if err != nil || len(w.Data) > 0 || w.Complete || timedOut || sub.Closed() {
			return w, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-timer.C:
			timedOut = true
		case <-sub.C():
		}
	}
}

func (s *Service) readLog(ctx context.Context, p auth.Principal, list, id, name string, offset int64) (*LogWindow, error) {
	j, attempt, err := s.newestAttempt(ctx, p, list, id)
	if err != nil {
		return nil, err
	}
	ended := !j.AttemptOpen && uws.Phase(j.Phase).Final() // else a retry may follow
	if attempt == nil {
		return &LogWindow{From: offset, Complete: ended}, nil
	}
	for _, l := range attempt.GetFacts().GetLogs() {
		if l.Name != name {
			continue
		}
		w, err := s.storedWindow(l, offset)
		if err != nil {
			return nil, err
		}
		w.Epoch, w.Complete = attempt.Epoch, w.Complete && ended
		return w, nil
	}
	k := stream{id, attempt.Epoch, name}
	if j.AttemptOpen {
		s.live.follow(k, attempt.Site, s.cfg.Now())
	}
	data, from, first := s.live.read(k, offset, MaxLogWindow)
	return &LogWindow{Data: data, From: from, First: first, Complete: ended && len(data) == 0, Epoch: attempt.Epoch}, nil
}

func (s *Service) newestAttempt(ctx context.Context, p auth.Principal, list, id string) (*state.Job, *state.Attempt, error) {
	var j *state.Job
	var attempt *state.Attempt
	err := s.view(ctx, func(v *state.View) (err error) {
		if j, err = head(v, list, id); err != nil {
			return err
		}
		if err = s.cfg.Guard.Allow(p, auth.ReadJob, j.Owner); err != nil {
			return err
		}
		if uws.Phase(j.Phase) == uws.Archived {
			return fmt.Errorf("%w: %w", ErrNotFound, errDestroyed)
		}
		if j.Epoch == 0 {
			return nil
		}
		attempt, err = v.Attempt(id, j.Epoch)
		return err
	})
	return j, attempt, err
}

func (s *Service) storedWindow(l *command.Log, offset int64) (*LogWindow, error) {
	if offset >= l.Size {
		return &LogWindow{From: offset, Complete: true}, nil
	}
	f, err := s.cfg.Files.Open(l.Sha256)
	if err != nil {
		return nil, fmt.Errorf("open stored log: %w", err)
	}
	defer f.Close()
	data := make([]byte, min(l.Size-offset, MaxLogWindow))
	n, err := f.ReadAt(data, offset)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read stored log: %w", err)
	}
	return &LogWindow{Data: data[:n], From: offset, Complete: offset+int64(n) >= l.Size}, nil
}

// StoredLog opens a log that is complete; while it is not, it returns what is kept as bytes.
func (s *Service) StoredLog(ctx context.Context, p auth.Principal, list, id, name string) (*os.File, []byte, error) {
	if err := checkStream(name); err != nil {
		return nil, nil, err
	}
	_, attempt, err := s.newestAttempt(ctx, p, list, id)
	if err != nil {
		return nil, nil, err
	}
	for _, l := range attempt.GetFacts().GetLogs() {
		if l.Name == name {
			f, err := s.cfg.Files.Open(l.Sha256)
			return f, nil, err
		}
	}
	w, err := s.readLog(ctx, p, list, id, name, 0)
	if err != nil {
		return nil, nil, err
	}
	return nil, w.Data, nil
}
