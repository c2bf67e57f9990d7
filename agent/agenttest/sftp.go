package agenttest

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"consort/shared/siteapi"
)

// serveSFTP takes uploads of the enrolled key below the coordinator's directory.
func (c *Coordinator) serveSFTP() {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		c.t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		c.t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	c.SFTP = siteapi.SFTP{Address: listener.Addr().String(), HostKey: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))}
	conf := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		want, err := ssh.NewPublicKey(c.key)
		if err != nil || !bytes.Equal(want.Marshal(), key.Marshal()) {
			return nil, errors.New("not the enrolled key")
		}
		return &ssh.Permissions{}, nil
	}}
	conf.AddHostKey(signer)
	s := &sftpServer{c: c, conf: conf, conns: map[net.Conn]bool{}}
	s.wg.Go(func() { s.accept(listener) })
	c.t.Cleanup(func() {
		listener.Close()
		s.cutAll()
		s.wg.Wait()
	})
}

type sftpServer struct {
	c    *Coordinator
	conf *ssh.ServerConfig
	wg   sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

func (s *sftpServer) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[conn] = true
		if s.closed {
			conn.Close()
		}
		s.mu.Unlock()
		s.wg.Go(func() {
			defer conn.Close()
			s.serve(conn)
		})
	}
}

func (s *sftpServer) cutAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for conn := range s.conns {
		conn.Close()
	}
}

func (s *sftpServer) serve(conn net.Conn) {
	server, channels, requests, err := ssh.NewServerConn(conn, s.conf)
	if err != nil {
		return
	}
	defer server.Close()
	s.wg.Go(func() { ssh.DiscardRequests(requests) })
	for offer := range channels {
		if offer.ChannelType() != "session" {
			_ = offer.Reject(ssh.UnknownChannelType, "sessions only")
			continue
		}
		channel, reqs, err := offer.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() {
			for r := range reqs {
				_ = r.Reply(r.Type == "subsystem", nil)
			}
		})
		h := handlers{dir: s.c.dir}
		rs := sftp.NewRequestServer(channel, sftp.Handlers{FileGet: h, FilePut: h, FileCmd: h, FileList: h})
		_ = rs.Serve()
		channel.Close()
	}
}

// handlers write below a directory.
type handlers struct{ dir string }

func (h handlers) local(p string) string { return h.dir + p } // cleaned by pkg/sftp: it begins with "/"

func (h handlers) Fileread(*sftp.Request) (io.ReaderAt, error) { return nil, fs.ErrPermission }

func (h handlers) Filewrite(r *sftp.Request) (io.WriterAt, error) {
	flags := os.O_WRONLY | os.O_CREATE
	if r.Pflags().Trunc {
		flags |= os.O_TRUNC
	}
	return os.OpenFile(h.local(r.Filepath), flags, 0o600)
}

func (h handlers) Filecmd(r *sftp.Request) error {
	if r.Method == "Mkdir" {
		return os.Mkdir(h.local(r.Filepath), 0o700)
	}
	return fs.ErrPermission
}

func (h handlers) Filelist(r *sftp.Request) (sftp.ListerAt, error) {
	info, err := os.Stat(h.local(r.Filepath))
	if err != nil {
		return nil, err
	}
	return one{info}, nil
}

type one struct{ info fs.FileInfo }

func (o one) ListAt(to []fs.FileInfo, offset int64) (int, error) {
	if offset > 0 || len(to) == 0 {
		return 0, io.EOF
	}
	to[0] = o.info
	return 1, io.EOF
}
