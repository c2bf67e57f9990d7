package content_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"consort/coordinator/content"
	"consort/shared/ids"
	"consort/shared/testenv"
)

// openSSH runs the commands in OpenSSH's sftp and tells whether all succeeded, with what it printed.
func (w *world) openSSH(key, user, commands string) (bool, string) {
	w.t.Helper()
	program := testenv.Need(w.t, "sftp")[0]
	host, port, err := net.SplitHostPort(w.addr)
	check(w.t, err)
	known := filepath.Join(w.t.TempDir(), "known_hosts")
	line := fmt.Sprintf("[%s]:%s %s", host, port, ssh.MarshalAuthorizedKey(w.host.PublicKey()))
	check(w.t, os.WriteFile(known, []byte(line), 0o600))
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-F", "none", "-i", key, "-P", port, "-b", "-",
		"-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes",
		"-o", "UserKnownHostsFile="+known, "-o", "StrictHostKeyChecking=yes", user+"@"+host)
	cmd.Stdin = strings.NewReader(commands)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatal(err)
	}
	return err == nil, string(out)
}

func TestHonestOpenSSH(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	signer, key := keyFile(t)
	w.mu.Lock()
	w.keys[string(signer.PublicKey().Marshal())] = "here"
	w.mu.Unlock()
	job := w.lease("here", 1)
	at := fmt.Sprintf("/%s/1", job)
	big := output(t, dir, "big", 8<<20, 1)
	whole, err := os.ReadFile(big.Local)
	check(t, err)
	tree := filepath.Join(dir, "tree", "sub")
	check(t, os.MkdirAll(tree, 0o755))
	for i := range 20 {
		check(t, os.WriteFile(filepath.Join(tree, fmt.Sprint(i)), []byte(strings.Repeat("x", i)), 0o755))
	}
	ok, out := w.openSSH(key, "here", fmt.Sprintf("cd %s\nput %s big\nput -r %s\nls -la\nmkdir empty\nrmdir empty\nput %s tmp\nrename tmp final\nput %s gone\nrm gone\n",
		at, big.Local, filepath.Join(dir, "tree"), big.Local, big.Local))
	if !ok || !strings.Contains(out, "tree") {
		t.Fatalf("sftp: %s", out)
	}
	// A transfer that was cut is continued by reput.
	check(t, os.WriteFile(filepath.Join(dir, "part"), whole[:3<<20+13], 0o600))
	ok, out = w.openSSH(key, "here", fmt.Sprintf("put %s %s/again\nreput %s %s/again\n", filepath.Join(dir, "part"), at, big.Local, at))
	if !ok {
		t.Fatalf("sftp: %s", out)
	}
	m := []content.ManifestFile{{Path: "tree/sub/7", Size: 7, SHA256: digest([]byte("xxxxxxx"))}}
	for _, name := range []string{"big", "final", "again"} {
		m = append(m, content.ManifestFile{Path: name, Size: big.Size, SHA256: digest(whole)})
		n, sum, err := w.uploads.Offset(t.Context(), job, 1, name)
		if n != big.Size || sum != digest(whole) || err != nil {
			t.Errorf("%s: offset %d %v", name, n, err)
		}
	}
	info, err := os.Stat(filepath.Join(w.dir, "incoming", job, "1", "tree", "sub", "3"))
	check(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	check(t, w.uploads.Seal(t.Context(), job, 1, m))
	if _, err := os.Stat(filepath.Join(w.dir, "incoming", job, "1", "gone")); !os.IsNotExist(err) {
		t.Errorf("removed file: %v", err)
	}
}

func TestHostileOpenSSH(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	signer, key := keyFile(t)
	w.mu.Lock()
	w.keys[string(signer.PublicKey().Marshal())] = "here"
	w.mu.Unlock()
	job, other := w.lease("here", 2), w.lease("elsewhere", 1)
	mine, _, err := w.uploads.Offset(t.Context(), other, 1, "x") // its directory is there
	check(t, err)
	f := output(t, dir, "f", 100, 1)
	setup := fmt.Sprintf("put %s /%s/2/own\nmkdir /%s/2/d\n", f.Local, job, job)
	if ok, out := w.openSSH(key, "here", setup); !ok || mine != 0 {
		t.Fatalf("sftp: %s", out)
	}
	before := listTree(t, w.dir)
	put := "put " + f.Local + " "
	for _, c := range []string{
		put + "/etc/consort-test",
		put + "/../../../../tmp/consort-test",
		put + "/" + job + "/2/../../../x",
		put + "/" + job + "/2/../../" + other + "/1/x",
		put + "/" + job + "/1/x",
		put + "/" + job + "/02/x",
		put + "/" + job + "/3/x",
		put + "/" + other + "/1/x",
		put + "/" + ids.NewJob(time.Now()) + "/1/x",
		put + "/" + job + "/x",
		put + "/x",
		put + "/" + job + "/2/missing/x",
		put + "/" + job + "/2/" + strings.Repeat("n", 300),
		put + "/" + job + "/2/\"a\nb\"",
		"mkdir /" + job + "/9",
		"mkdir /new",
		"mkdir /" + job + "/2/" + strings.Repeat("d/", 40) + "d",
		"ln -s /etc/passwd /" + job + "/2/link",
		"ln -s own /" + job + "/2/link",
		"ln /" + job + "/2/own /" + job + "/2/hard",
		"chmod 777 /" + job + "/2/own",
		"chown 0 /" + job + "/2/own",
		"rename /" + job + "/2/own /" + other + "/1/own",
		"rename /" + job + "/2/own /own",
		"rename /" + job + "/2/own /" + job + "/1/own",
		"rename /" + job + "/2/d /" + job + "/2/e",
		"rmdir /" + job + "/2",
		"rm /" + job + "/2/missing",
		"rm /" + other + "/1/x",
		"ls /" + other + "/1",
		"ls /" + job + "/1",
		"get /" + job + "/2/own " + filepath.Join(dir, "got"),
		"get /etc/passwd " + filepath.Join(dir, "got"),
		"df /" + job + "/2",
	} {
		if ok, out := w.openSSH(key, "here", c+"\n"); ok {
			t.Errorf("%s was allowed: %s", c, out)
		}
	}
	if after := listTree(t, w.dir); after != before {
		t.Errorf("the disk changed:\n%s\nfrom\n%s", after, before)
	}
	if ok, _ := w.openSSH(key, "elsewhere", "pwd\n"); ok {
		t.Error("logged in as another site")
	}
	_, stranger := keyFile(t)
	if ok, _ := w.openSSH(stranger, "here", "pwd\n"); ok {
		t.Error("logged in with an unknown key")
	}
}

func listTree(t *testing.T, dir string) string {
	var b strings.Builder
	check(t, filepath.Walk(dir, func(p string, info os.FileInfo, err error) error {
		if err == nil {
			fmt.Fprintln(&b, p, info.Mode())
		}
		return err
	}))
	return b.String()
}

// client logs in with x/crypto/ssh.
func (w *world) client(user string, auth ...ssh.AuthMethod) (*ssh.Client, error) {
	return ssh.Dial("tcp", w.addr, &ssh.ClientConfig{User: user, Auth: auth, HostKeyCallback: ssh.FixedHostKey(w.host.PublicKey()), Timeout: 5 * time.Second})
}

func (w *world) sftp(user string, key ssh.Signer) *sftp.Client {
	w.t.Helper()
	c, err := w.client(user, ssh.PublicKeys(key))
	check(w.t, err)
	s, err := sftp.NewClient(c)
	check(w.t, err)
	w.t.Cleanup(func() { s.Close(); c.Close(); c.Wait() })
	return s
}

func TestLoginOnlyByKnownKey(t *testing.T) {
	w := newWorld(t)
	key := w.site("here")
	strong, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	rsaKey, err := ssh.NewSignerFromKey(strong)
	check(t, err)
	w.mu.Lock()
	w.keys[string(rsaKey.PublicKey().Marshal())] = "here"
	w.mu.Unlock()
	for name, try := range map[string]struct {
		user string
		auth ssh.AuthMethod
	}{
		"another user":  {"elsewhere", ssh.PublicKeys(key)},
		"no user":       {"", ssh.PublicKeys(key)},
		"unknown key":   {"here", ssh.PublicKeys(newKey(t))},
		"RSA key":       {"here", ssh.PublicKeys(rsaKey)},
		"password":      {"here", ssh.Password("here")},
		"only offering": {"here", ssh.PublicKeys(offered{key.PublicKey(), newKey(t)})},
	} {
		if c, err := w.client(try.user, try.auth); err == nil {
			c.Close()
			t.Errorf("%s: logged in", name)
		}
	}
	// Offering a site's key without having it, then logging in with one's own, gives one's own identity.
	w.lease("elsewhere", 1)
	theirs := w.site("elsewhere")
	c, err := w.client("elsewhere", ssh.PublicKeys(offered{key.PublicKey(), newKey(t)}, theirs))
	if err == nil {
		c.Close()
	}
}

// offered claims one public key and signs with another.
type offered struct {
	public ssh.PublicKey
	ssh.Signer
}

func (o offered) PublicKey() ssh.PublicKey { return o.public }

func TestOnlySFTP(t *testing.T) {
	w := newWorld(t)
	c, err := w.client("here", ssh.PublicKeys(w.site("here")))
	check(t, err)
	defer func() { c.Close(); c.Wait() }()
	for _, try := range []func(*ssh.Session) error{
		func(s *ssh.Session) error { return s.Shell() },
		func(s *ssh.Session) error { return s.Run("id") },
		func(s *ssh.Session) error { return s.RequestPty("xterm", 80, 24, nil) },
		func(s *ssh.Session) error { return s.Setenv("LD_PRELOAD", "x") },
		func(s *ssh.Session) error { return s.RequestSubsystem("netconf") },
	} {
		s, err := c.NewSession()
		check(t, err)
		if err := try(s); err == nil {
			t.Error("allowed")
		}
		s.Close()
	}
	if conn, err := c.Dial("tcp", w.addr); err == nil {
		conn.Close()
		t.Error("forwarded")
	}
	if ln, err := c.Listen("tcp", "127.0.0.1:0"); err == nil {
		ln.Close()
		t.Error("listened")
	}
}

func TestLeaseEndsOpenFiles(t *testing.T) {
	w := newWorld(t)
	job := w.lease("here", 1)
	s := w.sftp("here", w.site("here"))
	name := fmt.Sprintf("/%s/1/f", job)
	f, err := s.Create(name)
	check(t, err)
	_, err = f.Write([]byte("before"))
	check(t, err)
	w.revoke("here", job, 1)
	if _, err = f.Write([]byte("after")); err == nil {
		t.Error("wrote after the lease had ended")
	}
	if _, err := s.Create(name + "2"); !os.IsNotExist(err) {
		t.Errorf("opened after the lease had ended: %v", err)
	}
	f.Close()
	n, _, err := w.uploads.Offset(t.Context(), job, 1, "f")
	if n != 6 || err != nil {
		t.Errorf("offset %d %v", n, err)
	}
	check(t, w.uploads.Sweep(t.Context(), func(string, uint64) bool { return false }))
	if left, _ := os.ReadDir(filepath.Join(w.dir, "incoming")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestSealFencesOpenFiles: a file that is open while it is sealed cannot be changed in the store.
func TestSealFencesOpenFiles(t *testing.T) {
	w := newWorld(t)
	job := w.lease("here", 1)
	s := w.sftp("here", w.site("here"))
	f, err := s.Create(fmt.Sprintf("/%s/1/f", job))
	check(t, err)
	_, err = f.Write([]byte("good"))
	check(t, err)
	check(t, w.uploads.Seal(t.Context(), job, 1, []content.ManifestFile{{Path: "f", Size: 4, SHA256: digest([]byte("good"))}}))
	if _, err := f.WriteAt([]byte("evil"), 0); err == nil {
		t.Error("overwrote sealed bytes")
	}
	if _, err := f.WriteAt([]byte("more"), 4); err == nil {
		t.Error("appended to sealed bytes")
	}
	f.Close()
	check(t, w.store.Verify(t.Context(), digest([]byte("good"))))
}

func TestOutOfOrderAndRewrites(t *testing.T) {
	w := newWorld(t)
	job := w.lease("here", 1)
	s := w.sftp("here", w.site("here"))
	f, err := s.Create(fmt.Sprintf("/%s/1/f", job))
	check(t, err)
	whole := bytes.Repeat([]byte("abcdefghij"), 1000)
	for i := 9; i >= 0; i-- {
		_, err := f.WriteAt(whole[i*1000:(i+1)*1000], int64(i*1000))
		check(t, err)
	}
	_, err = f.WriteAt(whole[:500], 0) // the same bytes again are fine
	check(t, err)
	if _, err = f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("changed verified bytes")
	}
	for _, off := range []int64{-1, 1 << 62, 1<<63 - 1, 3 << 30} {
		if _, err := f.WriteAt([]byte("x"), off); err == nil {
			t.Errorf("wrote at %d", off)
		}
	}
	check(t, f.Close())
	n, sum, err := w.uploads.Offset(t.Context(), job, 1, "f")
	if n != int64(len(whole)) || sum != digest(whole) || err != nil {
		t.Errorf("offset %d %s %v", n, sum, err)
	}
	f, err = s.Create(fmt.Sprintf("/%s/1/f", job)) // truncates
	check(t, err)
	_, err = f.Write([]byte("new"))
	check(t, err)
	check(t, f.Close())
	n, sum, err = w.uploads.Offset(t.Context(), job, 1, "f")
	if n != 3 || sum != digest([]byte("new")) || err != nil {
		t.Errorf("offset %d %s %v", n, sum, err)
	}
}

func TestServerLimits(t *testing.T) {
	w := newWorld(t)
	key := w.site("here")
	job := w.lease("here", 1)
	w.grant("here", content.Lease{Job: job, Epoch: 1, MaxFiles: 100, MaxBytes: 1000, MaxFileBytes: 900})
	s := w.sftp("here", key)
	at := fmt.Sprintf("/%s/1/", job)
	for i := range 150 { // 64 files may be open at a time
		f, err := s.Create(fmt.Sprint(at, i))
		if (err == nil) != (i < 64) {
			t.Fatalf("file %d: %v", i, err)
		}
		if err == nil {
			defer f.Close()
		}
	}
	other := w.sftp("here", key)
	made := 64
	for i := 200; i < 300; i++ {
		f, err := other.Create(fmt.Sprint(at, i))
		if err == nil {
			made++
			check(t, f.Close())
		}
	}
	if made != 100 {
		t.Errorf("%d files, want 100", made)
	}
	made = 0
	for i := range 200 {
		if other.Mkdir(fmt.Sprint(at, "d", i)) == nil {
			made++
		}
	}
	if made != 100 {
		t.Errorf("%d directories, want 100", made)
	}
	entries, err := other.ReadDir(at)
	if len(entries) != 200 || err != nil {
		t.Errorf("listed %d, %v", len(entries), err)
	}
	w.sftp("here", key)
	w.sftp("here", key)
	if c, err := w.client("here", ssh.PublicKeys(key)); err == nil { // the fifth connection of the site
		if _, err := sftp.NewClient(c); err == nil {
			t.Error("served more connections than a site may have")
		}
		c.Close()
		c.Wait()
	}
	w.server.Disconnect("here")
	if err := s.Mkdir(at + "x"); err == nil {
		t.Error("served after the site was disconnected")
	}
}

// TestUploadsStopAtTheFloors: below the soft floor no file is opened, below the hard one none is written.
func TestUploadsStopAtTheFloors(t *testing.T) {
	const gib = 1 << 30
	w := newWorld(t)
	var free atomic.Int64
	free.Store(50 * gib)
	w.floors.Statfs = func(string) (int64, int64, error) { return free.Load(), 100 * gib, nil }
	w.restart()
	job := w.lease("here", 1)
	s := w.sftp("here", w.site("here"))
	f, err := s.Create(fmt.Sprintf("/%s/1/f", job))
	check(t, err)
	defer f.Close()
	refused := func(try func() error) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); ; { // the free space is asked for now and then only
			err := try()
			if err != nil {
				if !strings.Contains(err.Error(), content.ErrDiskLow.Error()) {
					t.Errorf("refused with %v", err)
				}
				return
			}
			if time.Now().After(end) {
				t.Fatal("never refused")
			}
		}
	}
	free.Store(4 * gib)
	refused(func() error {
		g, err := s.Create(fmt.Sprintf("/%s/1/g", job))
		if err == nil {
			g.Close()
		}
		return err
	})
	_, err = f.Write([]byte("what is under way goes on"))
	check(t, err)
	free.Store(gib / 2)
	refused(func() error { _, err := f.Write([]byte("x")); return err })
}

// TestSealAfterCrash makes the states a crash can leave and repeats the seal.
func TestSealAfterCrash(t *testing.T) {
	w := newWorld(t)
	job := w.lease("here", 1)
	s := w.sftp("here", w.site("here"))
	var m []content.ManifestFile
	for i := range 4 {
		b := []byte(fmt.Sprint("file", i))
		f, err := s.Create(fmt.Sprintf("/%s/1/%d", job, i))
		check(t, err)
		_, err = f.Write(b)
		check(t, errors.Join(err, f.Close()))
		m = append(m, content.ManifestFile{Path: fmt.Sprint(i), Size: int64(len(b)), SHA256: digest(b)})
	}
	w.restart() // before the seal: the hashes are gone
	check(t, w.uploads.Seal(t.Context(), job, 1, m))
	w.stop() // mid-move: the seal is there, half the files are back in their old places
	for _, f := range m[:2] {
		check(t, os.Rename(filepath.Join(w.dir, "sha256", f.SHA256[:2], f.SHA256), filepath.Join(w.dir, "incoming", job, "1", f.Path)))
	}
	seal := filepath.Join(w.dir, "incoming", job, "1.seal")
	check(t, os.WriteFile(seal+".tmp", []byte("half a se"), 0o600))
	w.start()
	check(t, w.uploads.Seal(t.Context(), job, 1, m))
	for _, f := range m {
		check(t, w.store.Verify(t.Context(), f.SHA256))
	}
	check(t, w.uploads.Seal(t.Context(), w.lease("here", 2), 2, nil)) // nothing to upload is fine too
	w.stop()
	check(t, os.WriteFile(seal, []byte("{"), 0o600))
	w.start()
	if err := w.uploads.Seal(t.Context(), job, 1, m); err == nil || !strings.Contains(err.Error(), "1.seal") {
		t.Errorf("a damaged seal: %v", err)
	}
	check(t, w.uploads.Discard(t.Context(), job, 1))
	if _, err := os.Stat(seal + ".tmp"); !os.IsNotExist(err) {
		t.Errorf("left: %v", err)
	}
}
