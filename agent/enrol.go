package agent

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"golang.org/x/crypto/ssh"

	"consort/agent/client"
	"consort/shared/atomicfile"
	"consort/shared/config"
	"consort/shared/siteapi"
	"consort/shared/tlsconfig"
)

// ErrEnrolled means that the directory holds an agent.toml already.
var ErrEnrolled = errors.New("this directory is enrolled already; to enrol it anew, move agent.toml away")

// EnrolConfig says how to enrol a site.
type EnrolConfig struct {
	Server  string // base URL of a coordinator
	Token   string // one-time token from `consort site add`
	Dir     string // where agent.toml, agent.key and policy.toml go; made with mode 0700 when missing
	Site    string // the name that is expected; empty: the one the token is for
	Batch   Batch  // for agent.toml; System empty: local
	CAFile  string // as in Config
	Version string // of this program
}

// Enrolled is what an enrolment made.
type Enrolled struct {
	Site, Cluster string
	ConfigFile    string   // agent.toml
	PolicyFile    string   // policy.toml
	Fingerprint   string   // of the site's new key, to compare with what the coordinators show
	HostKeys      []string // fingerprints of the SFTP servers' keys that are pinned now
}

// Enrol makes the site's key, hands its public half in, and writes agent.toml and, unless there is one, a
// policy.toml that allows nothing. When it fails before agent.toml is written it can be run again with
// another token; the key is then used again.
func Enrol(ctx context.Context, cfg EnrolConfig) (*Enrolled, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("find the directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory: %w", err)
	}
	configFile := filepath.Join(dir, "agent.toml")
	if _, err := os.Lstat(configFile); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrEnrolled, configFile)
	}
	conf, err := tlsconfig.Client(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	key, err := makeKey(filepath.Join(dir, "agent.key"))
	if err != nil {
		return nil, err
	}
	public := key.Public().(ed25519.PublicKey)
	answer, err := client.Enrol(ctx, cfg.Server, conf, siteapi.EnrolRequest{
		Protocol: siteapi.Protocol, Token: cfg.Token, PublicKey: public, Site: cfg.Site, Version: cfg.Version,
	})
	if err != nil {
		return nil, err
	}
	return writeEnrolment(dir, configFile, cfg, answer, public)
}

func writeEnrolment(dir, configFile string, cfg EnrolConfig, answer *siteapi.Enrolment, public ed25519.PublicKey) (*Enrolled, error) {
	done := &Enrolled{Site: answer.Site, Cluster: answer.ClusterID, ConfigFile: configFile, PolicyFile: filepath.Join(dir, "policy.toml")}
	sshKey, err := ssh.NewPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("show the site's key: %w", err)
	}
	done.Fingerprint = ssh.FingerprintSHA256(sshKey)
	f := file{
		Servers: []string{strings.TrimRight(cfg.Server, "/")}, Site: answer.Site, Cluster: answer.ClusterID,
		Key: "agent.key", State: "state", Policy: "policy.toml",
		Batch: batchTable{System: cfg.Batch.System, Slots: cfg.Batch.Slots, Cores: cfg.Batch.Cores, Memory: config.Size(cfg.Batch.MemoryBytes)},
	}
	if f.Batch.System == "" {
		f.Batch.System = systemLocal
	}
	if cfg.CAFile != "" {
		if f.CA, err = filepath.Abs(cfg.CAFile); err != nil {
			return nil, fmt.Errorf("find the certificates of ca: %w", err)
		}
	}
	for _, s := range answer.SFTP {
		pinned, err := hostKey(s)
		if err != nil {
			return nil, fmt.Errorf("read the host key of the SFTP server %s: %w", s.Address, err)
		}
		done.HostKeys = append(done.HostKeys, ssh.FingerprintSHA256(pinned))
		f.SFTP = append(f.SFTP, sftp{Address: s.Address, HostKey: s.HostKey})
	}
	if err := atomicfile.Create(done.PolicyFile, []byte(denyAll), 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	var text bytes.Buffer
	enc := toml.NewEncoder(&text).SetIndentTables(false)
	if err := enc.Encode(f); err != nil {
		return nil, fmt.Errorf("write agent.toml: %w", err)
	}
	return done, atomicfile.Create(configFile, text.Bytes(), 0o600)
}

// makeKey returns the key in the file at path, which it makes when it is not there.
func makeKey(path string) (ed25519.PrivateKey, error) {
	if _, err := os.Lstat(path); err == nil {
		return loadKey(path)
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("make the site's key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(key, "consort site key")
	if err != nil {
		return nil, fmt.Errorf("encode the site's key: %w", err)
	}
	return key, atomicfile.Create(path, pem.EncodeToMemory(block), 0o600)
}

// denyAll is the policy of a site that has decided nothing yet.
const denyAll = `# What may run at this site. Nothing does unless a rule allows it, and the coordinators cannot change this
# file. It is read again when it changes.

format = 1

# [[allow]]
# definition = "probe"
# digest = ["<64 hexadecimal digits>"]   # as "consort definition show probe" prints it
# max_duration = "2h"                     # owners, max_cores, max_memory, max_output: see the documentation
`

// ReadToken reads a one-time token from a file, or from standard input when the file is "-".
func ReadToken(file string, stdin io.Reader) (string, error) {
	r := stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		defer f.Close()
		r = f
	}
	data, err := io.ReadAll(io.LimitReader(r, 4096))
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" {
		return "", fmt.Errorf("%s holds no token", file)
	}
	return token, nil
}
