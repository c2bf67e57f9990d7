package tlsconfig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// writePair makes a self-signed certificate for 127.0.0.1 that looks written at the given time.
func writePair(t *testing.T, certFile, keyFile string, serial int64, at time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{"example.com"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: cert},
		keyFile:  {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

func TestServerAndClient(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	start := time.Now().Add(-time.Hour)
	writePair(t, certFile, keyFile, 1, start)
	failures := 0
	conf, err := Server(certFile, keyFile, func(error) { failures++ })
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.NotFoundHandler(), ErrorLog: log.New(io.Discard, "", 0)}
	go s.Serve(l)
	defer s.Close()

	serial := func() int64 {
		t.Helper()
		client, err := Client(certFile)
		if err != nil {
			t.Fatal(err)
		}
		client.ServerName = "example.com"
		c, err := tls.Dial("tcp", l.Addr().String(), client)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if n := serial(); n != 1 {
		t.Errorf("certificate %d, want 1", n)
	}
	writePair(t, certFile, keyFile, 2, start.Add(time.Minute))
	if n := serial(); n != 2 || failures != 0 {
		t.Errorf("after the renewal certificate %d and %d failures", n, failures)
	}
	if err := os.WriteFile(keyFile, []byte("half a k"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := serial() + serial(); n != 4 || failures != 1 {
		t.Errorf("with a broken key certificate %d and %d failures", n/2, failures)
	}
}

func TestRefusals(t *testing.T) {
	file := filepath.Join(t.TempDir(), "none.pem")
	if _, err := Client(file); err == nil {
		t.Error("a missing file of authorities was accepted")
	}
	if err := os.WriteFile(file, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Client(file); err == nil {
		t.Error("a file without certificates was accepted")
	}
	if _, err := Server(file, file, nil); err == nil {
		t.Error("a server without a certificate was made")
	}
	if conf, err := Client(""); err != nil || conf.RootCAs != nil || conf.MinVersion != tls.VersionTLS12 {
		t.Errorf("Client(\"\") = %v", err)
	}
}
