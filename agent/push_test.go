package agent

import (
	"crypto/ed25519"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"consort/agent/agenttest"
	"consort/agent/staging"
	"consort/shared/siteapi"
)

// TestPusherMoves: outputs on their way to a server that is gone go to the one that the coordinators name
// next, but only when its host key is pinned.
func TestPusherMoves(t *testing.T) {
	c := agenttest.New(t)
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Trust(public)
	signer, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	ref := c.Queue(c.Lease(agenttest.Code(agenttest.Hello)))
	gone := siteapi.SFTP{Address: "127.0.0.1:1", HostKey: c.SFTP.HostKey}
	p, err := newPusher(agenttest.Site, signer, []siteapi.SFTP{gone}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	local := filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(local, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := p.Push(t.Context(), staging.Upload{
			Job: ref.Job, Epoch: ref.Epoch, Files: []staging.File{{Local: local, Remote: "out", Size: 5}},
		})
		done <- err
	}()
	_, stranger, _ := ed25519.GenerateKey(nil)
	strangeSigner, err := ssh.NewSignerFromSigner(stranger)
	if err != nil {
		t.Fatal(err)
	}
	strange := siteapi.SFTP{Address: c.SFTP.Address, HostKey: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(strangeSigner.PublicKey())))}
	p.set([]siteapi.SFTP{strange})
	if p.server != gone {
		t.Fatalf("a server that is not pinned is used: %v", p.server)
	}
	p.set([]siteapi.SFTP{strange, c.SFTP})
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the push did not move to the new server")
	}
	if got := c.Output(ref, "out"); string(got) != "hello" {
		t.Errorf("got %q", got)
	}
}
