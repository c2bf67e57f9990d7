// Package pki is the certificate authority of one cluster: it makes the authority once, certifies nodes,
// and builds the TLS configuration by which nodes know each other. It also keeps the SSH host key.
//
// It is not for public HTTPS certificates, nor for sites: agents prove themselves with keys of their own
// and have no certificate of this authority.
package pki

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"consort/shared/atomicfile"
)

var (
	// ErrForeign means that a certificate or a file belongs to another cluster or another node.
	ErrForeign = errors.New("belongs to another cluster or node")
	// ErrCorrupt means that a file of keys or certificates cannot be understood or does not fit its partner.
	ErrCorrupt = errors.New("corrupt key or certificate file")
)

// RoleNode is the role of coordinators in certificates. Whoever holds a certificate of another role is
// refused at the peer port, though the authority is the same.
const RoleNode = "node"

const (
	authorityLife = 20 * 365 * 24 * time.Hour
	nodeLife      = 5 * 365 * 24 * time.Hour
	renewBefore   = 2 * 365 * 24 * time.Hour // left on a node's certificate when it is renewed at a start
	clockSlack    = time.Hour                // how far behind a peer's clock may be on the first day
)

var idPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,61}[a-z0-9]$`)

// NewID returns a fresh random id for a cluster or a node: 16 lower-case letters and digits, which may
// stand in a host name.
func NewID() string { return strings.ToLower(rand.Text()[:16]) }

// ValidID tells whether s may be the id of a cluster or a node: 2 to 63 lower-case letters, digits and
// inner hyphens.
func ValidID(s string) bool { return idPattern.MatchString(s) }

// Name is who a certificate says its holder is. It is written into the certificate as the URI
// consort://<cluster>/<role>/<id>.
type Name struct{ Cluster, Role, ID string }

// URI returns the name as it stands in the certificate.
func (n Name) URI() *url.URL {
	return &url.URL{Scheme: "consort", Host: n.Cluster, Path: "/" + n.Role + "/" + n.ID}
}

func (n Name) String() string { return n.URI().String() }

// NameOf reads the name in a certificate. It does not verify the certificate.
func NameOf(c *x509.Certificate) (Name, error) {
	if len(c.URIs) != 1 {
		return Name{}, fmt.Errorf("certificate has %d URI names, want one", len(c.URIs))
	}
	u := c.URIs[0]
	parts := strings.Split(u.Path, "/")
	if u.Scheme != "consort" || len(parts) != 3 || parts[0] != "" {
		return Name{}, fmt.Errorf("certificate name %q is not of the form consort://cluster/role/id", u)
	}
	n := Name{Cluster: u.Host, Role: parts[1], ID: parts[2]}
	for _, part := range []string{n.Cluster, n.Role, n.ID} {
		if !ValidID(part) {
			return Name{}, fmt.Errorf("certificate name %q has the malformed part %q", u, part)
		}
	}
	if *n.URI() != *u {
		return Name{}, fmt.Errorf("certificate name %q has more than cluster, role and id", u)
	}
	return n, nil
}

// Authority signs the certificates of one cluster.
type Authority struct {
	cluster string
	cert    *x509.Certificate
	key     ed25519.PrivateKey
}

// Cluster returns the id of the authority's cluster.
func (a *Authority) Cluster() string { return a.cluster }

// EnsureAuthority loads the authority kept in dir as ca.crt and ca.key, or makes it if there is none.
// One of another cluster is refused with ErrForeign.
func EnsureAuthority(dir, cluster string) (*Authority, error) {
	a, err := LoadAuthority(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return createAuthority(dir, cluster)
	}
	if err != nil {
		return nil, err
	}
	if a.cluster != cluster {
		return nil, fmt.Errorf("authority in %s is of cluster %q, not %q: %w", dir, a.cluster, cluster, ErrForeign)
	}
	return a, nil
}

// LoadAuthority loads the authority kept in dir. The error matches fs.ErrNotExist if there is none.
func LoadAuthority(dir string) (*Authority, error) {
	cert, key, err := loadPair(dir, "ca")
	if err != nil {
		return nil, err
	}
	if !cert.IsCA || len(cert.Subject.CommonName) == 0 {
		return nil, fmt.Errorf("%s is not the certificate of an authority: %w", filepath.Join(dir, "ca.crt"), ErrCorrupt)
	}
	return &Authority{cluster: cert.Subject.CommonName, cert: cert, key: key}, nil
}

func createAuthority(dir, cluster string) (*Authority, error) {
	if !ValidID(cluster) {
		return nil, fmt.Errorf("cluster id %q: want 2 to 63 lower-case letters, digits and inner hyphens", cluster)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: cluster, Organization: []string{"Consort cluster authority"}},
		NotBefore:             time.Now().Add(-clockSlack),
		NotAfter:              time.Now().Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make authority key: %w", err)
	}
	cert, err := sign(template, template, public, key)
	if err != nil {
		return nil, err
	}
	if err := savePair(dir, "ca", cert, key); err != nil {
		return nil, err
	}
	return &Authority{cluster: cluster, cert: cert, key: key}, nil
}

// issue certifies the public key for the named holder.
func (a *Authority) issue(n Name, public ed25519.PublicKey) (*x509.Certificate, error) {
	if !ValidID(n.ID) || !ValidID(n.Role) || n.Cluster != a.cluster {
		return nil, fmt.Errorf("certify %q: malformed id or role, or not of cluster %q", n, a.cluster)
	}
	return sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: n.ID, OrganizationalUnit: []string{n.Role}},
		URIs:        []*url.URL{n.URI()},
		DNSNames:    []string{serverName(a.cluster)},
		NotBefore:   time.Now().Add(-clockSlack),
		NotAfter:    time.Now().Add(nodeLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, public, a.key)
}

// serverName is the host name that all nodes of a cluster share in their certificates, since their
// addresses may change.
func serverName(cluster string) string { return cluster + ".consort.invalid" }

func sign(template, parent *x509.Certificate, public ed25519.PublicKey, key ed25519.PrivateKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("draw serial number: %w", err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// savePair writes name.key, then name.crt, so that a certificate always has its key.
func savePair(dir, name string, cert *x509.Certificate, key ed25519.PrivateKey) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory of keys: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode key %s: %w", name, err)
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := atomicfile.Write(filepath.Join(dir, name+".key"), keyPEM, 0o600); err != nil {
		return err
	}
	return saveCert(dir, name, cert)
}

func saveCert(dir, name string, cert *x509.Certificate) error {
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	return atomicfile.Write(filepath.Join(dir, name+".crt"), certPEM, 0o600)
}

func loadPair(dir, name string) (*x509.Certificate, ed25519.PrivateKey, error) {
	cert, err := loadCert(dir, name)
	if err != nil {
		return nil, nil, err
	}
	path := filepath.Join(dir, name+".key")
	der, err := loadPEM(path, "PRIVATE KEY")
	if errors.Is(err, fs.ErrNotExist) { // not "there is no pair": making a new one would disown the cluster
		return nil, nil, fmt.Errorf("%s is missing though its certificate is there: %w; restore it from a backup", path, ErrCorrupt)
	}
	if err != nil {
		return nil, nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	key, ok := parsed.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, nil, fmt.Errorf("%s holds no Ed25519 key: %w", path, ErrCorrupt)
	}
	if !key.Public().(ed25519.PublicKey).Equal(cert.PublicKey) {
		return nil, nil, fmt.Errorf("%s is not the key of its certificate: %w", path, ErrCorrupt)
	}
	return cert, key, nil
}

func loadCert(dir, name string) (*x509.Certificate, error) {
	path := filepath.Join(dir, name+".crt")
	der, err := loadPEM(path, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrCorrupt, err)
	}
	return cert, nil
}

func loadPEM(path, kind string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read key or certificate: %w", err)
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != kind || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, fmt.Errorf("%s is not one PEM block of a %s: %w", path, strings.ToLower(kind), ErrCorrupt)
	}
	return block.Bytes, nil
}
