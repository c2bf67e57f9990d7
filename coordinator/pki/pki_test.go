package pki

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"consort/shared/testenv"
)

func authority(t *testing.T, cluster string) (*Authority, string) {
	t.Helper()
	dir := t.TempDir()
	a, err := EnsureAuthority(dir, cluster)
	if err != nil {
		t.Fatal(err)
	}
	return a, dir
}

func identity(t *testing.T, a *Authority, node string) *Identity {
	t.Helper()
	i, err := a.EnsureNode(t.TempDir(), node)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestNewID(t *testing.T) {
	if a, b := NewID(), NewID(); a == b || !ValidID(a) || len(a) != 16 {
		t.Errorf("NewID() = %q, then %q", a, b)
	}
}

func TestEnsureIsStable(t *testing.T) {
	a, dir := authority(t, "c1")
	i, err := a.EnsureNode(dir, "n1")
	if err != nil {
		t.Fatal(err)
	}
	again, err := EnsureAuthority(dir, "c1")
	if err != nil || !again.cert.Equal(a.cert) {
		t.Fatalf("the authority changed: %v", err)
	}
	j, err := again.EnsureNode(dir, "n1")
	if err != nil || !j.current.Load().Leaf.Equal(i.current.Load().Leaf) {
		t.Fatalf("the node's certificate changed: %v", err)
	}
	for _, f := range []string{"ca.key", "ca.crt", "node.key", "node.crt"} {
		if info, err := os.Stat(filepath.Join(dir, f)); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has mode %v, %v", f, info.Mode(), err)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name string
		harm func(dir string) error
		want error
	}{
		{"cut certificate", func(d string) error { return os.Truncate(filepath.Join(d, "ca.crt"), 40) }, ErrCorrupt},
		{"empty key", func(d string) error { return os.Truncate(filepath.Join(d, "ca.key"), 0) }, ErrCorrupt},
		{"lost key", func(d string) error { return os.Remove(filepath.Join(d, "ca.key")) }, ErrCorrupt},
		{"another's key", func(d string) error {
			return os.Rename(filepath.Join(d, "node.key"), filepath.Join(d, "ca.key"))
		}, ErrCorrupt},
		{"a node as authority", func(d string) error {
			return errors.Join(os.Rename(filepath.Join(d, "node.crt"), filepath.Join(d, "ca.crt")),
				os.Rename(filepath.Join(d, "node.key"), filepath.Join(d, "ca.key")))
		}, ErrCorrupt},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, dir := authority(t, "c1")
			if _, err := a.EnsureNode(dir, "n1"); err != nil {
				t.Fatal(err)
			}
			if err := tt.harm(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := EnsureAuthority(dir, "c1"); !errors.Is(err, tt.want) || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("EnsureAuthority: %v, want %v", err, tt.want)
			}
		})
	}
	a, dir := authority(t, "c1")
	if _, err := EnsureAuthority(dir, "c2"); !errors.Is(err, ErrForeign) {
		t.Errorf("another cluster: %v", err)
	}
	if _, err := a.EnsureNode(dir, "n1"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.EnsureNode(dir, "n2"); !errors.Is(err, ErrForeign) {
		t.Errorf("another node: %v", err)
	}
	for _, id := range []string{"", "x", "A1", "a/b", "-a", strings.Repeat("a", 64)} {
		if _, err := EnsureAuthority(t.TempDir(), id); err == nil {
			t.Errorf("cluster id %q was accepted", id)
		}
		if _, err := a.EnsureNode(t.TempDir(), id); err == nil {
			t.Errorf("node id %q was accepted", id)
		}
	}
}

func TestRenewal(t *testing.T) {
	a, dir := authority(t, "c1")
	i, err := a.EnsureNode(dir, "n1")
	if err != nil {
		t.Fatal(err)
	}
	old := *i.current.Load().Leaf
	old.NotAfter = time.Now().Add(renewBefore - time.Hour)
	short, err := sign(&old, a.cert, i.current.Load().Leaf.PublicKey.(ed25519.PublicKey), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := saveCert(dir, "node", short); err != nil {
		t.Fatal(err)
	}
	j, err := a.EnsureNode(dir, "n1")
	if err != nil || time.Until(j.current.Load().Leaf.NotAfter) < renewBefore {
		t.Fatalf("not renewed: %v", err)
	}
	if err := i.Reload(); err != nil || !i.current.Load().Leaf.Equal(j.current.Load().Leaf) {
		t.Errorf("Reload() = %v, or the old certificate is still in use", err)
	}
}

// handshake connects a client and a server over loopback and returns the errors of both.
func handshake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			defer c.Close()
			err = tls.Server(c, server).Handshake()
		}
		done <- err
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), client)
	if err == nil {
		_, err = c.Read(make([]byte, 1)) // TLS 1.3 tells the client of a refusal only now
		if errors.Is(err, io.EOF) {
			err = nil
		}
		c.Close()
	}
	return <-done, err
}

func TestPeerTLS(t *testing.T) {
	a, _ := authority(t, "c1")
	server := identity(t, a, "n1")
	other, _ := authority(t, "c1") // the same name, another key
	site := identity(t, a, "n2")
	public := site.current.Load().Leaf.PublicKey.(ed25519.PublicKey)
	cert, err := a.issue(Name{"c1", "site", "n2"}, public)
	if err != nil {
		t.Fatal(err)
	}
	site.current.Store(&tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: site.current.Load().PrivateKey, Leaf: cert})
	anonymous := identity(t, a, "n4").PeerTLS()
	anonymous.GetClientCertificate = nil
	old := identity(t, a, "n5").PeerTLS()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12

	for _, tt := range []struct {
		name   string
		client *tls.Config
		ok     bool
	}{
		{"node of the cluster", identity(t, a, "n3").PeerTLS(), true},
		{"node of a namesake cluster", identity(t, other, "n3").PeerTLS(), false},
		{"holder of another role", site.PeerTLS(), false},
		{"nobody", anonymous, false},
		{"TLS 1.2", old, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			serverErr, clientErr := handshake(t, server.PeerTLS(), tt.client)
			if ok := serverErr == nil && clientErr == nil; ok != tt.ok {
				t.Errorf("server: %v; client: %v; want accepted: %t", serverErr, clientErr, tt.ok)
			}
		})
	}
	t.Run("server of another role", func(t *testing.T) {
		if _, err := handshake(t, site.PeerTLS(), server.PeerTLS()); !errors.Is(err, ErrForeign) {
			t.Errorf("dialling a server that is no node: %v", err)
		}
	})
}

func TestHostKey(t *testing.T) {
	dir := t.TempDir()
	k, err := EnsureHostKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := EnsureHostKey(dir)
	if err != nil || ssh.FingerprintSHA256(k.PublicKey()) != ssh.FingerprintSHA256(again.PublicKey()) {
		t.Fatalf("the host key changed: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ssh_host_ed25519_key"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := EnsureHostKey(dir); !errors.Is(err, ErrCorrupt) {
		t.Errorf("corrupt key: %v", err)
	}
}

func TestHostKeyIsOpenSSH(t *testing.T) {
	keygen := testenv.Need(t, "ssh-keygen")[0]
	dir := t.TempDir()
	k, err := EnsureHostKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := run(t, keygen, "-y", "-f", filepath.Join(dir, "ssh_host_ed25519_key"))
	if want := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k.PublicKey()))); !strings.HasPrefix(out, want) {
		t.Errorf("ssh-keygen reads %q, want %q", out, want)
	}
}

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", program, err, out)
	}
	return string(out)
}

func FuzzNameOf(f *testing.F) {
	for _, s := range []string{"consort://c1/node/n1", "consort://c1/node/n1?x", "consort://u@c1/node/n1#f", "consort:c1", "//", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := url.Parse(s)
		if err != nil {
			return
		}
		n, err := NameOf(&x509.Certificate{URIs: []*url.URL{u}})
		if err == nil && n.String() != u.String() {
			t.Errorf("%q is read as %q", s, n)
		}
	})
}
