package staging

import (
	"context"
	"fmt"
)

const (
	// little is how many bytes of small files a push may have to share a connection: what is below is over
	// before a connection of its own has logged in.
	little = 4 << 20
	// ownConns bounds the connections of pushes that have one of their own. The server allows a site eight,
	// and for a while still counts those that were cut.
	ownConns = 4
)

// shared is a connection that pushes of little data have in common. It lives as long as one of them does.
type shared struct {
	ready   chan struct{} // closed when session or err is set
	session *session
	err     error
	cancel  context.CancelFunc
	users   int // guarded by Uploader.mu
}

// session returns a connection for a push, and the function that gives it back and is told how the push went.
// An error is one of transport or final, as those of connect.
func (u *Uploader) session(ctx context.Context, share bool) (s *session, leave func(error), err error) {
	if share {
		return u.join(ctx)
	}
	select {
	case u.own <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("wait for other uploads: %w", ctx.Err())
	}
	if s, err = u.connect(ctx); err != nil {
		<-u.own
		return nil, nil, err
	}
	return s, func(error) { s.close(); <-u.own }, nil
}

// join takes part in the shared connection, and opens one when there is none.
func (u *Uploader) join(ctx context.Context) (*session, func(error), error) {
	c := u.enter(ctx)
	select {
	case <-c.ready:
	case <-ctx.Done():
		u.leave(c, nil)
		return nil, nil, fmt.Errorf("connect to the SFTP server: %w", ctx.Err())
	}
	if c.err != nil {
		u.leave(c, c.err)
		return nil, nil, c.err
	}
	return c.session, func(err error) { u.leave(c, err) }, nil
}

func (u *Uploader) enter(ctx context.Context) *shared {
	u.mu.Lock()
	defer u.mu.Unlock()
	c := u.shared
	if c == nil {
		c = &shared{ready: make(chan struct{})}
		var life context.Context // of all who share it, not of the first
		life, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
		u.shared = c
		go func() {
			defer close(c.ready)
			c.session, c.err = u.connect(life)
		}()
	}
	c.users++
	return c
}

// leave ends one push's part in a shared connection. After an error of transport nobody else may join it; the
// last one closes it.
func (u *Uploader) leave(c *shared, err error) {
	u.mu.Lock()
	c.users--
	last := c.users == 0
	if u.shared == c && (last || err != nil && !final(err)) {
		u.shared = nil
	}
	u.mu.Unlock()
	if !last {
		return
	}
	c.cancel()
	<-c.ready
	if c.session != nil {
		c.session.close()
	}
}
