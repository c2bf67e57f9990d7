package pki

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"consort/shared/atomicfile"
)

// EnsureHostKey loads the SSH host key kept in dir as ssh_host_ed25519_key, in OpenSSH's format, or makes
// it with its .pub file. Agents pin it, so it must never be made anew.
func EnsureHostKey(dir string) (ssh.Signer, error) {
	path := filepath.Join(dir, "ssh_host_ed25519_key")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = createHostKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("load SSH host key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(data)
	if err != nil || signer.PublicKey().Type() != ssh.KeyAlgoED25519 {
		return nil, fmt.Errorf("%s holds no Ed25519 key without passphrase: %w", path, ErrCorrupt)
	}
	public := ssh.MarshalAuthorizedKey(signer.PublicKey())
	if have, err := os.ReadFile(path + ".pub"); err == nil && string(have) == string(public) {
		return signer, nil
	}
	return signer, atomicfile.Write(path+".pub", public, 0o644)
}

func createHostKey(path string) ([]byte, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, "consort")
	if err != nil {
		return nil, err
	}
	data := pem.EncodeToMemory(block)
	return data, atomicfile.Create(path, data, 0o600)
}
