package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"time"
)

// errNoSSH means that OpenSSH is not installed.
var errNoSSH = errors.New("the comparison needs OpenSSH's sshd, sftp and ssh-keygen: install openssh-server and openssh-client")

// openssh is how long it takes to hash the files of a folder, send them to a server of our own on this machine
// and hash them there, with OpenSSH and sha256sum. Nothing is made durable.
func openssh(ctx context.Context, b *bench, files string) (time.Duration, error) {
	dir, err := b.scratch("openssh")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	client, stop, err := startSSHD(ctx, dir)
	if err != nil {
		return 0, err
	}
	defer stop()
	to := filepath.Join(dir, "to")
	if err := os.Mkdir(to, 0o700); err != nil {
		return 0, err
	}
	commands := fmt.Sprintf("lcd %s\ncd %s\nput *\n", files, to)
	begun := time.Now()
	for _, step := range []*exec.Cmd{
		exec.CommandContext(ctx, "sh", "-c", "cd "+files+" && sha256sum * >"+filepath.Join(dir, "sums")),
		exec.CommandContext(ctx, "sftp", client...),
		exec.CommandContext(ctx, "sh", "-c", "cd "+to+" && sha256sum --quiet -c "+filepath.Join(dir, "sums")),
	} {
		step.Stdin = strings.NewReader(commands)
		if out, err := step.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("%s: %w: %.300s", filepath.Base(step.Path), err, out)
		}
	}
	return time.Since(begun), nil
}

// startSSHD starts an OpenSSH server on loopback, and returns the arguments of sftp to reach it. Its cipher is
// the one that we use, which is faster than OpenSSH's default.
func startSSHD(ctx context.Context, dir string) (client []string, stop func(), err error) {
	sshd, err := exec.LookPath("sshd")
	if err != nil {
		if sshd, err = exec.LookPath("/usr/sbin/sshd"); err != nil {
			return nil, nil, errNoSSH
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, key := range []string{"host", "user"} {
		out, err := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", at(key)).CombinedOutput()
		if err != nil {
			return nil, nil, fmt.Errorf("%w (%w: %s)", errNoSSH, err, out)
		}
	}
	me, err := user.Current()
	if err != nil {
		return nil, nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, nil, err
	}
	config := fmt.Sprintf("ListenAddress 127.0.0.1\nPort %s\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nStrictModes no\n"+
		"UsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n", port, at("host"), at("user.pub"))
	if err := os.WriteFile(at("sshd_config"), []byte(config), 0o600); err != nil {
		return nil, nil, err
	}
	if os.Geteuid() == 0 {
		_ = os.MkdirAll("/run/sshd", 0o755) // sshd insists on it, and only root's does
	}
	server := exec.CommandContext(ctx, sshd, "-D", "-e", "-f", at("sshd_config"))
	if err := server.Start(); err != nil {
		return nil, nil, err
	}
	stop = func() { _ = server.Process.Kill(); _ = server.Wait() }
	if err := reachable(ctx, "127.0.0.1:"+port); err != nil {
		stop()
		return nil, nil, fmt.Errorf("start sshd: %w", err)
	}
	return []string{"-q", "-b", "-", "-P", port, "-i", at("user"), "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-c", "aes128-gcm@openssh.com", me.Username + "@127.0.0.1"}, stop, nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// reachable waits until something listens at an address, at most 10 s.
func reachable(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}
