// Package tlsconfig makes the TLS configurations of HTTPS, where certificates come from the outside: a
// public authority's or an institute's. It is not for connections between coordinators, which have an
// authority of their own (coordinator/pki).
package tlsconfig

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"
)

// Client returns the configuration of an HTTPS client. With a caFile, in PEM, only the authorities in it are
// trusted, else the system's.
func Client(caFile string) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return conf, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read certificate authorities: %w", err)
	}
	conf.RootCAs = x509.NewCertPool()
	if !conf.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", caFile)
	}
	return conf, nil
}

// Server returns the configuration of an HTTPS server whose chain of certificates and key are in PEM files.
// Renewed files are taken into use without a restart; if they cannot be read, failed is told, once for each
// change, and the old ones stay in use.
func Server(certFile, keyFile string, failed func(error)) (*tls.Config, error) {
	p := &pair{certFile: certFile, keyFile: keyFile, failed: failed}
	p.changed = p.modified()
	cert, err := p.load()
	if err != nil {
		return nil, err
	}
	p.cert = cert
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.current(), nil },
	}, nil
}

// pair is a certificate and its key in files.
type pair struct {
	certFile, keyFile string
	failed            func(error)

	mu      sync.Mutex
	changed [2]time.Time // of the files that were last looked into
	cert    *tls.Certificate
}

// current returns the certificate to show, which costs two looks at the files' times.
func (p *pair) current() *tls.Certificate {
	p.mu.Lock()
	defer p.mu.Unlock()
	changed := p.modified()
	if changed == p.changed {
		return p.cert
	}
	p.changed = changed // also on error: a pair that is half renewed will change again
	cert, err := p.load()
	if err != nil {
		p.failed(err)
		return p.cert
	}
	p.cert = cert
	return cert
}

func (p *pair) load() (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(p.certFile, p.keyFile)
	if err != nil {
		return nil, fmt.Errorf("load certificate %s with key %s: %w", p.certFile, p.keyFile, err)
	}
	return &cert, nil
}

// modified returns when the files were last changed; a missing file counts as never.
func (p *pair) modified() (times [2]time.Time) {
	for i, name := range []string{p.certFile, p.keyFile} {
		if info, err := os.Stat(name); err == nil {
			times[i] = info.ModTime()
		}
	}
	return times
}
