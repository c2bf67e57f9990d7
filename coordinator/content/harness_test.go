package content_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"consort/agent/staging"
	"consort/coordinator/content"
	"consort/shared/ids"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a store with its SFTP server, and the sites and leases it believes in.
type world struct {
	t       testing.TB
	dir     string
	host    ssh.Signer
	store   *content.Store
	uploads *content.Uploads
	server  *content.Server
	addr    string
	stop    func()
	floors  content.Floors

	mu     sync.Mutex
	keys   map[string]string // site by marshalled public key
	leases map[string]content.Lease
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, dir: t.TempDir(), host: newKey(t), keys: map[string]string{}, leases: map[string]content.Lease{}}
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

// start opens everything on the same directory, as after a restart.
func (w *world) start() {
	w.t.Helper()
	log := slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(w.t.Output(), nil))
	}
	store, err := content.Open(content.Config{Dir: w.dir, Floors: w.floors, Logger: log})
	check(w.t, err)
	w.store, w.uploads = store, content.NewUploads(store, w, log)
	w.server, err = content.NewServer(content.ServerConfig{
		Uploads: w.uploads, Sites: w, HostKey: w.host, Logger: log, MaxHandles: 64, MaxConnsPerSite: 4, LoginGrace: 5 * time.Second,
	})
	check(w.t, err)
	addr := "127.0.0.1:0"
	if w.addr != "" {
		addr = w.addr
	}
	ln, err := net.Listen("tcp", addr)
	check(w.t, err)
	w.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.server.Serve(ctx, ln) }()
	w.stop = sync.OnceFunc(func() {
		begin := time.Now()
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("serving: %v", err)
		}
		if took := time.Since(begin); took > 2*time.Second {
			w.t.Errorf("stopping took %v", took)
		}
		check(w.t, w.uploads.Close())
	})
}

func (w *world) restart() {
	w.stop()
	w.start()
}

func (w *world) SiteByKey(_ context.Context, key ssh.PublicKey) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if site := w.keys[string(key.Marshal())]; site != "" {
		return site, nil
	}
	return "", content.ErrUnknownKey
}

func (w *world) UploadLease(_ context.Context, site, job string, epoch uint64) (content.Lease, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l, ok := w.leases[site+"/"+job+"/"+strconv.FormatUint(epoch, 10)]
	if !ok {
		return content.Lease{}, content.ErrNoLease
	}
	return l, nil
}

// site adds a site and returns its key.
func (w *world) site(name string) ssh.Signer {
	key := newKey(w.t)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keys[string(key.PublicKey().Marshal())] = name
	return key
}

// lease gives a site a new attempt.
func (w *world) lease(site string, epoch uint64) string {
	job := ids.NewJob(time.Now())
	w.grant(site, content.Lease{Job: job, Epoch: epoch, MaxFiles: 10000, MaxBytes: 4 << 30, MaxFileBytes: 2 << 30})
	return job
}

func (w *world) grant(site string, l content.Lease) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leases[fmt.Sprintf("%s/%s/%d", site, l.Job, l.Epoch)] = l
}

func (w *world) revoke(site, job string, epoch uint64) {
	w.mu.Lock()
	delete(w.leases, fmt.Sprintf("%s/%s/%d", site, job, epoch))
	w.mu.Unlock()
	w.uploads.Recheck(job, epoch)
}

func (w *world) uploader(site string, key ssh.Signer, change ...func(*staging.Config)) *staging.Uploader {
	cfg := staging.Config{
		Addr: w.addr, Site: site, Signer: key, HostKey: w.host.PublicKey(),
		Logger: slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelError})),
	}
	for _, c := range change {
		c(&cfg)
	}
	u, err := staging.NewUploader(cfg)
	check(w.t, err)
	return u
}

// offsets asks as an agent does over HTTPS.
func (w *world) offsets(job string, epoch uint64) func(context.Context, string) (int64, string, error) {
	return func(ctx context.Context, path string) (int64, string, error) {
		return w.uploads.Offset(ctx, job, epoch, path)
	}
}

func (w *world) seal(job string, epoch uint64, m []staging.ManifestFile) error {
	return w.uploads.Seal(context.Background(), job, epoch, manifest(m))
}

func manifest(m []staging.ManifestFile) []content.ManifestFile {
	out := make([]content.ManifestFile, len(m))
	for i, f := range m {
		out[i] = content.ManifestFile(f)
	}
	return out
}

func newKey(t testing.TB) ssh.Signer {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	s, err := ssh.NewSignerFromKey(private)
	check(t, err)
	return s
}

// keyFile makes a key for OpenSSH, and returns its signer and the file.
func keyFile(t testing.TB) (ssh.Signer, string) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	block, err := ssh.MarshalPrivateKey(private, "test")
	check(t, err)
	name := filepath.Join(t.TempDir(), "key")
	check(t, os.WriteFile(name, pem.EncodeToMemory(block), 0o600))
	s, err := ssh.NewSignerFromKey(private)
	check(t, err)
	return s, name
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got error %v, want %v", err, target)
	}
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// output writes a local file with reproducible bytes.
func output(t testing.TB, dir, name string, size int64, seed byte) staging.File {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, filepath.Base(name)+strconv.Itoa(int(seed))))
	check(t, err)
	defer f.Close()
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i*7+i>>8) + seed
	}
	for left := size; left > 0; left -= int64(len(block)) {
		block[0] = byte(left >> 20)
		_, err := f.Write(block[:min(left, int64(len(block)))])
		check(t, err)
	}
	return staging.File{Local: f.Name(), Remote: name, Size: size}
}
