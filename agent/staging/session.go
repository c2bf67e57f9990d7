package staging

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

const (
	// packet is the data of one write request: the server's limit is 256 KiB a message, and bigger writes
	// mean fewer round trips and less work.
	packet = 255 << 10
	// perFile is how many writes of one file are under way: more than the window of a channel holds.
	perFile = 64
)

// session is one SFTP connection with a watchdog.
type session struct {
	*sftp.Client
	conn ssh.Conn
	stop context.CancelFunc
	wg   sync.WaitGroup

	small chan struct{} // one taken for each small file under way, of all pushes
}

// connect opens a session. It ends when ctx does, at the latest at its close.
func (u *Uploader) connect(ctx context.Context) (*session, error) {
	nc, err := u.cfg.Dial(ctx, u.cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("connect to the SFTP server: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	s := &session{stop: stop, small: make(chan struct{}, u.cfg.InFlight)}
	s.wg.Go(func() { // a cancelled context cuts the connection, at whatever stage it is
		<-ctx.Done()
		nc.Close()
	})
	if err := s.open(ctx, u, nc); err != nil {
		s.close()
		return nil, err
	}
	s.wg.Go(func() { s.watch(ctx, u.cfg.KeepAlive) })
	return s, nil
}

func (s *session) open(ctx context.Context, u *Uploader, nc net.Conn) error {
	if err := nc.SetDeadline(time.Now().Add(u.cfg.LoginTimeout)); err != nil {
		return fmt.Errorf("connect to the SFTP server: %w", err)
	}
	conn, chans, reqs, err := ssh.NewClientConn(nc, u.cfg.Addr, u.clientConfig())
	if err != nil {
		return fmt.Errorf("log in to the SFTP server: %w", err)
	}
	s.conn = conn
	client, err := sftp.NewClient(ssh.NewClient(conn, chans, reqs),
		sftp.UseConcurrentWrites(true), sftp.MaxPacketUnchecked(packet), sftp.MaxConcurrentRequestsPerFile(perFile))
	if err != nil {
		return fmt.Errorf("start SFTP: %w", err)
	}
	s.Client = client
	if err := nc.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("start SFTP: %w", err)
	}
	return ctx.Err()
}

func (u *Uploader) clientConfig() *ssh.ClientConfig {
	return &ssh.ClientConfig{
		Config: ssh.Config{Ciphers: []string{
			ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherChaCha20Poly1305, ssh.CipherAES128CTR, ssh.CipherAES256CTR,
		}},
		User:              u.cfg.Site,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(u.cfg.Signer)},
		HostKeyAlgorithms: []string{u.cfg.HostKey.Type()},
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if !bytes.Equal(key.Marshal(), u.cfg.HostKey.Marshal()) {
				return fmt.Errorf("%w: got %s, pinned is %s", ErrHostKey, ssh.FingerprintSHA256(key), ssh.FingerprintSHA256(u.cfg.HostKey))
			}
			return nil
		},
		ClientVersion: "SSH-2.0-ConsortAgent",
	}
}

// watch cuts the connection when the server does not answer within an interval: a peer that vanished
// behind a firewall would otherwise hold the upload until the system gives up, after many minutes.
func (s *session) watch(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		late := time.AfterFunc(every, s.stop)
		_, _, err := s.conn.SendRequest("keepalive@openssh.com", true, nil)
		late.Stop()
		if err != nil {
			return
		}
	}
}

// close cuts the connection and waits for everything that belongs to it.
func (s *session) close() {
	s.stop()
	s.wg.Wait()
	if s.Client != nil {
		s.Client.Close()
	}
	if s.conn != nil {
		s.conn.Close()
		_ = s.conn.Wait() // of a connection that was cut on purpose
	}
}

// answered turns the server's refusals into this package's errors. Any other error is one of transport.
func answered(err error) error {
	var status *sftp.StatusError
	switch {
	case err == nil || final(err): // also an error of the local disk, met while sending
		return err
	case errors.Is(err, fs.ErrNotExist):
		return ErrNoLease
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: permission denied", ErrRefused)
	case errors.As(err, &status) && status.FxCode() != sftp.ErrSSHFxConnectionLost && status.FxCode() != sftp.ErrSSHFxNoConnection:
		return fmt.Errorf("%w: %s", ErrRefused, status.Error())
	}
	return err
}

// final tells whether an error will be the same after reconnecting.
func final(err error) bool {
	return errors.Is(err, ErrNoLease) || errors.Is(err, ErrRefused) || errors.Is(err, ErrChanged) || errors.Is(err, ErrHostKey) ||
		errors.Is(err, errLocal)
}

// errLocal marks errors of the local disk, which are not the connection's.
var errLocal = errors.New("read a local file")
