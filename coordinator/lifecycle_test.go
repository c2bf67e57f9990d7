package coordinator_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"

	"consort/coordinator"
	"consort/coordinator/coordtest"
	"consort/coordinator/definitions"
	"consort/coordinator/replica"
	"consort/examples"
	"consort/shared/userapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, coordtest.Leaks()...) }

func onDir(dir string) func(*coordinator.Config) { return func(c *coordinator.Config) { c.Dir = dir } }

func config(dir string) coordinator.Config {
	return coordinator.Config{
		Dir: dir, HTTP: "127.0.0.1:0", SFTP: "127.0.0.1:0", Peer: "127.0.0.1:0", Version: "test",
		Definitions: []definitions.Folder{{Name: "examples", FS: examples.FS}}, Logger: slog.New(slog.DiscardHandler),
	}
}

func halt(t *testing.T, s *coordinator.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	began := time.Now()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the stop took %s", took)
	}
}

// used makes a data directory with a finished job, a draft, a site and a little history; it gives the job's
// result URL path.
func used(t *testing.T) (dir, result string) {
	t.Helper()
	dir = t.TempDir()
	n := coordtest.New(t, onDir(dir))
	site := n.AddSite("paris")
	n.Create("probe", "text", "draft")
	job := n.Create("probe", "PHASE", "RUN")
	site.Complete(job, coordtest.MainOutput("kept"))
	halt(t, n.Server)
	return dir, strings.TrimPrefix(job, n.URL) + "/results/answer"
}

// TestRestart: what was acknowledged is there again, and nothing is done twice.
func TestRestart(t *testing.T) {
	dir, result := used(t)
	var list, again userapi.JobList
	for i := range 2 {
		n := coordtest.New(t, onDir(dir))
		if got := n.Get(result).Text(); got != "kept" {
			t.Errorf("%q", got)
		}
		n.JSON("", "/jobs", map[int]*userapi.JobList{0: &list, 1: &again}[i])
		halt(t, n.Server)
		halt(t, n.Server) // harmless
	}
	if len(list.Jobs) != 2 || len(again.Jobs) != 2 || list.Jobs[0].ID != again.Jobs[0].ID || !list.Jobs[0].Created.Equal(again.Jobs[0].Created) {
		t.Errorf("%+v\n%+v", list, again)
	}
}

// TestBadStart: what is wrong around the data is told as well.
func TestBadStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	busy := taken.Addr().String()
	for name, c := range map[string]struct {
		change func(*coordinator.Config)
		words  []string
	}{
		"http in use":    {func(c *coordinator.Config) { c.HTTP = busy }, []string{"http", "in use", "another consort"}},
		"sftp in use":    {func(c *coordinator.Config) { c.SFTP = busy }, []string{"sftp", "in use"}},
		"peer in use":    {func(c *coordinator.Config) { c.Peer = busy }, []string{"peer", "in use"}},
		"metrics in use": {func(c *coordinator.Config) { c.Metrics = busy }, []string{"metrics", "in use"}},
		"no address":     {func(c *coordinator.Config) { c.HTTP = "8080" }, []string{"http", "host:port"}},
		"half a TLS":     {func(c *coordinator.Config) { c.TLSCert = "x" }, []string{"tls_cert", "tls_key"}},
		"no such TLS":    {func(c *coordinator.Config) { c.TLSCert, c.TLSKey = "/none", "/none" }, []string{"tls_cert", "no such file"}},
		"public URL":     {func(c *coordinator.Config) { c.PublicURL = "ftp://x" }, []string{"public_url"}},
		"authority":      {func(c *coordinator.Config) { c.Authority = "urn:x" }, []string{"authority"}},
		"no directory":   {func(c *coordinator.Config) { c.Dir = "" }, []string{"Dir"}},
		"a file":         {func(c *coordinator.Config) { c.Dir += "/f"; _ = os.WriteFile(c.Dir, nil, 0o600) }, []string{"director"}},
		"foreign": {func(c *coordinator.Config) { _ = os.WriteFile(c.Dir+"/thesis.tex", nil, 0o600) },
			[]string{"not empty", "choose an empty directory"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t.TempDir())
			c.change(&cfg)
			s, err := coordinator.Start(t.Context(), cfg)
			if err == nil {
				halt(t, s)
				t.Fatal("it started")
			}
			for _, word := range c.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q lacks %q", err, word)
				}
			}
		})
	}
}

// TestTwoOnOneDirectory: the second is refused, the first goes on.
func TestTwoOnOneDirectory(t *testing.T) {
	dir := t.TempDir()
	n := coordtest.New(t, onDir(dir))
	s, err := coordinator.Start(t.Context(), config(dir))
	if !errors.Is(err, replica.ErrLocked) || !strings.Contains(err.Error(), "stop that process") {
		t.Errorf("%v %v", s, err)
	}
	n.Create("probe")
}

// TestAuthorityIsFixed: provenance identifiers never change, whatever the configuration says later.
func TestAuthorityIsFixed(t *testing.T) {
	dir := t.TempDir()
	authority := func(a string) func(*coordinator.Config) { return func(c *coordinator.Config) { c.Authority = a } }
	version := func(n *coordtest.Node) string {
		var v userapi.Version
		n.JSON("", "/version", &v)
		return v.Authority
	}
	n := coordtest.New(t, onDir(dir), authority("https://first.example/"))
	if got := version(n); got != "https://first.example" {
		t.Error(got)
	}
	halt(t, n.Server)
	n = coordtest.New(t, onDir(dir)) // left out later: what it was
	if got := version(n); got != "https://first.example" {
		t.Error(got)
	}
	halt(t, n.Server)
	cfg := config(dir)
	cfg.Authority = "https://second.example"
	s, err := coordinator.Start(t.Context(), cfg)
	if err == nil {
		halt(t, s)
		t.Fatal("it started with another authority")
	}
	for _, word := range []string{"authority", "https://first.example", "https://second.example"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q lacks %q", err, word)
		}
	}
}

// TestDefinitionsWithErrors: a wrong one is left out and named, the others go on; a changed one is refused.
func TestDefinitionsWithErrors(t *testing.T) {
	dir := t.TempDir()
	probe, err := fs.ReadFile(examples.FS, "probe/definition.toml")
	if err != nil {
		t.Fatal(err)
	}
	script, _ := fs.ReadFile(examples.FS, "probe/probe.sh")
	folder := func(files fstest.MapFS) func(*coordinator.Config) {
		return func(c *coordinator.Config) {
			c.Dir, c.Definitions = dir, []definitions.Folder{{Name: "own", FS: files}}
		}
	}
	good := fstest.MapFS{
		"probe/definition.toml": {Data: probe}, "probe/probe.sh": {Data: script},
		"broken/definition.toml": {Data: []byte("format = 1\nname = \"broken\"\ncolour = \"red\"\n")},
		"notes.txt":              {Data: []byte("not a definition")},
	}
	n := coordtest.New(t, folder(good))
	problems := strings.Join(n.Problems(), "\n")
	for _, word := range []string{"broken", "definition.toml:3", "colour"} {
		if !strings.Contains(problems, word) {
			t.Errorf("%q lacks %q", problems, word)
		}
	}
	job := strings.TrimPrefix(n.Create("probe"), n.URL)
	halt(t, n.Server)
	changed := fstest.MapFS{
		"probe/definition.toml": {Data: bytes.Replace(probe, []byte("Probe"), []byte("Other"), 1)}, "probe/probe.sh": {Data: script},
	}
	n = coordtest.New(t, folder(changed))
	if p := n.Problems(); len(p) != 1 || !strings.Contains(p[0], "probe") || !strings.Contains(p[0], "1.0.0") {
		t.Errorf("%q", p)
	}
	if a := n.Get(job); a.Status != http.StatusOK { // of the version that it was made with
		t.Errorf("%d %s", a.Status, a.Text())
	}
}

// TestStopWhileBusy: a hundred waits, a held poll and an SFTP session do not keep a node from stopping.
func TestStopWhileBusy(t *testing.T) {
	n := coordtest.New(t)
	site := n.AddSite("paris")
	job := n.Create("probe", "PHASE", "RUN")
	a := site.Take()
	conn, err := site.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var waiting, begun sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 200}}
	defer client.CloseIdleConnections()
	ask := func(path string) {
		begun.Add(1)
		waiting.Go(func() {
			q, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, n.URL+path, nil)
			begun.Done()
			resp, err := client.Do(q)
			if err != nil {
				return // the server is gone
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		})
	}
	for range 100 {
		ask(strings.TrimPrefix(job, n.URL) + "?WAIT=50")
	}
	ask("/api/v1/jobs/" + a.Job + "/logs/stdout?wait=50")
	begun.Wait()
	halt(t, n.Server)
	waiting.Wait()
}

// TestTLS: the HTTP listener speaks TLS with the files given.
func TestTLS(t *testing.T) {
	cert, key, pool := certificate(t)
	cfg := config(t.TempDir())
	cfg.TLSCert, cfg.TLSKey = cert, key
	s, err := coordinator.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer halt(t, s)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("https://" + s.Addresses().HTTP + "/availability")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.TLS.Version < tls.VersionTLS12 {
		t.Errorf("%d, TLS %x", resp.StatusCode, resp.TLS.Version)
	}
}

// certificate makes a self-signed certificate for 127.0.0.1, as files, and the pool that trusts it.
func certificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
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
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	err = errors.Join(os.WriteFile(certFile, certPEM, 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return certFile, keyFile, pool
}
