package pki

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"
)

// Identity is what one node shows to its peers. It can be reloaded while connections are served.
type Identity struct {
	dir     string
	name    Name
	roots   *x509.CertPool
	current atomic.Pointer[tls.Certificate]
}

// EnsureNode loads the identity of a node kept in dir as node.crt and node.key, or has the authority make
// it. A certificate that ends within two years is renewed, for the same key. It also keeps the
// authority's certificate beside it when dir is not the authority's own.
func (a *Authority) EnsureNode(dir, node string) (*Identity, error) {
	want := Name{Cluster: a.cluster, Role: RoleNode, ID: node}
	cert, key, err := loadPair(dir, "node")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := a.createNode(dir, want); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	default:
		if got, err := NameOf(cert); err != nil || got != want {
			return nil, fmt.Errorf("certificate in %s is of %q, not of %q: %w", dir, got, want, ErrForeign)
		}
		if time.Until(cert.NotAfter) < renewBefore {
			if err := a.certify(dir, want, key.Public().(ed25519.PublicKey)); err != nil {
				return nil, err
			}
		}
	}
	return LoadIdentity(dir)
}

func (a *Authority) createNode(dir string, n Name) error {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make node key: %w", err)
	}
	cert, err := a.issue(n, public)
	if err != nil {
		return err
	}
	if err := savePair(dir, "node", cert, key); err != nil {
		return err
	}
	return saveCert(dir, "ca", a.cert)
}

func (a *Authority) certify(dir string, n Name, public ed25519.PublicKey) error {
	cert, err := a.issue(n, public)
	if err != nil {
		return err
	}
	return saveCert(dir, "node", cert)
}

// LoadIdentity loads the identity kept in dir: node.crt, node.key and the authority's ca.crt.
func LoadIdentity(dir string) (*Identity, error) {
	i := &Identity{dir: dir}
	ca, err := loadCert(dir, "ca")
	if err != nil {
		return nil, err
	}
	i.roots = x509.NewCertPool()
	i.roots.AddCert(ca)
	cert, key, err := loadPair(dir, "node")
	if err != nil {
		return nil, err
	}
	if i.name, err = NameOf(cert); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if i.name.Cluster != ca.Subject.CommonName {
		return nil, fmt.Errorf("node certificate in %s is of cluster %q but ca.crt is of %q: %w",
			dir, i.name.Cluster, ca.Subject.CommonName, ErrForeign)
	}
	if err := i.use(cert, key); err != nil {
		return nil, err
	}
	return i, nil
}

// Reload takes a renewed certificate into use for connections made from now on. On error the old one
// stays in use.
func (i *Identity) Reload() error {
	cert, key, err := loadPair(i.dir, "node")
	if err != nil {
		return err
	}
	if n, err := NameOf(cert); err != nil || n != i.name {
		return fmt.Errorf("renewed certificate is of %q, not of %q: %w", n, i.name, ErrForeign)
	}
	return i.use(cert, key)
}

func (i *Identity) use(cert *x509.Certificate, key ed25519.PrivateKey) error {
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: i.roots, KeyUsages: usages}); err != nil {
		return fmt.Errorf("verify node certificate in %s: %w", i.dir, err)
	}
	i.current.Store(&tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert})
	return nil
}

// Name returns who this node is.
func (i *Identity) Name() Name { return i.name }

// PeerTLS returns the configuration for both ends of connections between nodes: TLS 1.3, both sides show a
// certificate of this cluster's authority with this cluster and RoleNode in its name. The caller sets
// NextProtos.
func (i *Identity) PeerTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    i.roots,
		ClientCAs:  i.roots,
		ClientAuth: tls.RequireAndVerifyClientCert,
		ServerName: serverName(i.name.Cluster),
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return i.current.Load(), nil
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return i.current.Load(), nil
		},
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := i.PeerID(s)
			return err
		},
		// A resumed session would not be checked against a reloaded certificate.
		SessionTicketsDisabled: true,
	}
}

// PeerID returns the node id at the other end of a connection, or ErrForeign if that is not a node of this
// cluster.
func (i *Identity) PeerID(s tls.ConnectionState) (string, error) {
	if len(s.PeerCertificates) == 0 {
		return "", fmt.Errorf("peer showed no certificate: %w", ErrForeign)
	}
	n, err := NameOf(s.PeerCertificates[0])
	if err != nil {
		return "", fmt.Errorf("peer: %w: %w", ErrForeign, err)
	}
	if n.Cluster != i.name.Cluster || n.Role != RoleNode {
		return "", fmt.Errorf("peer is %q: %w", n, ErrForeign)
	}
	return n.ID, nil
}
