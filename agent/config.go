package agent

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/crypto/ssh"

	"consort/shared/config"
	"consort/shared/ids"
	"consort/shared/siteapi"
)

// Config of an agent. LoadConfig reads it from agent.toml.
type Config struct {
	Servers []string       // base URLs of the coordinators, at least one
	Site    string         // name of this site
	Cluster string         // id of the coordinators' cluster
	State   string         // directory of journal, cache and attempts; made when missing
	KeyFile string         // the site's Ed25519 private key, an OpenSSH file
	Policy  string         // policy.toml
	Batch   Batch          // the batch system
	SFTP    []siteapi.SFTP // where outputs go, with the host keys pinned at enrolment; at least one
	CAFile  string         // PEM certificates that may sign the servers' ones; empty: the system's
	Keep    bool           // leave the directories of ended attempts
	Version string         // of this program
	Logger  *slog.Logger   // nil: nothing is logged
}

// Batch says which batch system is used, and how much of it.
type Batch struct {
	System      string // "local" is the only one so far
	Slots       int    // attempts at a time; 0: as many as cores
	Cores       int    // cores for all attempts together; 0: all of this machine
	MemoryBytes int64  // memory for all attempts together; 0: what this machine has
}

// file is agent.toml.
type file struct {
	Servers []string   `toml:"servers" comment:"Base URLs of the coordinators, in order of preference."`
	Site    string     `toml:"site" comment:"As enrolled; together with cluster and key it says who this agent is."`
	Cluster string     `toml:"cluster"`
	Key     string     `toml:"key" comment:"The site's private key. Whoever has it is this site: keep it at mode 0600."`
	State   string     `toml:"state" comment:"Journal, cache and running attempts. On a local disk; may grow to the size of the outputs under way."`
	Policy  string     `toml:"policy" comment:"What may run here. It belongs to you: nothing outside this machine can change it."`
	CA      string     `toml:"ca,omitempty" comment:"PEM file of the authority that signed the coordinators' certificates, when it is not a public one."`
	Keep    bool       `toml:"keep,omitempty" comment:"Keep the directories of ended attempts, to debug a code."`
	Batch   batchTable `toml:"batch" comment:"The batch system, and how much of it Consort may use; what is left out is all of this machine."`
	SFTP    []sftp     `toml:"sftp" comment:"Where outputs are pushed to, with the host keys pinned at enrolment."`
}

type batchTable struct {
	System string      `toml:"system"`
	Slots  int         `toml:"slots,omitempty"`
	Cores  int         `toml:"cores,omitempty"`
	Memory config.Size `toml:"memory,omitempty"`
}

type sftp struct {
	Address string `toml:"address"`
	HostKey string `toml:"host_key"`
}

// LoadConfig reads agent.toml. Relative paths in it start from its directory.
func LoadConfig(path string) (Config, error) {
	f := file{Key: "agent.key", State: "state", Policy: "policy.toml", Batch: batchTable{System: systemLocal}}
	if err := config.Load(path, &f); err != nil {
		return Config{}, err
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return Config{}, fmt.Errorf("find the directory of %s: %w", path, err)
	}
	at := func(p string) string {
		if p == "" || filepath.IsAbs(p) {
			return p
		}
		return filepath.Join(dir, p)
	}
	cfg := Config{
		Servers: f.Servers, Site: f.Site, Cluster: f.Cluster, State: at(f.State), KeyFile: at(f.Key), Policy: at(f.Policy),
		CAFile: at(f.CA), Keep: f.Keep,
		Batch: Batch{System: f.Batch.System, Slots: f.Batch.Slots, Cores: f.Batch.Cores, MemoryBytes: int64(f.Batch.Memory)},
	}
	for _, s := range f.SFTP {
		cfg.SFTP = append(cfg.SFTP, siteapi.SFTP{Address: s.Address, HostKey: s.HostKey})
	}
	if err := cfg.Validate(); err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return cfg, nil
}

// Validate returns an error that names the key to change.
func (c *Config) Validate() error {
	switch {
	case len(c.Servers) == 0:
		return errors.New("servers: name at least one coordinator")
	case !ids.ValidName(c.Site):
		return fmt.Errorf("site: %q is not a site's name", c.Site)
	case c.Cluster == "":
		return errors.New("cluster: must be set, as the enrolment wrote it")
	case c.State == "":
		return errors.New("state: must name a directory")
	case c.KeyFile == "":
		return errors.New("key: must name the site's private key")
	case c.Policy == "":
		return errors.New("policy: must name the policy file")
	case c.Batch.System != systemLocal:
		return fmt.Errorf("batch.system: %q is not known; there is: %s", c.Batch.System, systemLocal)
	case c.Batch.Slots < 0 || c.Batch.Cores < 0 || c.Batch.MemoryBytes < 0:
		return errors.New("batch: slots, cores and memory must not be negative")
	case len(c.SFTP) == 0:
		return errors.New("sftp: must name at least one server, as the enrolment wrote it")
	}
	for i, s := range c.SFTP {
		if _, err := hostKey(s); err != nil || s.Address == "" {
			return fmt.Errorf("sftp[%d]: wants an address and a host_key such as \"ssh-ed25519 AAAA…\"", i)
		}
	}
	return nil
}

func hostKey(s siteapi.SFTP) (ssh.PublicKey, error) {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(s.HostKey))
	return key, err
}

// withDefaults fills in what depends on the machine.
func (c Config) withDefaults() Config {
	if c.Batch.Cores == 0 {
		c.Batch.Cores = runtime.NumCPU()
	}
	if c.Batch.Slots == 0 {
		c.Batch.Slots = c.Batch.Cores
	}
	if c.Batch.MemoryBytes == 0 {
		c.Batch.MemoryBytes = machineMemory()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// loadKey reads the site's private key.
func loadKey(path string) (ed25519.PrivateKey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the site's key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the site's key %s can be read by others (mode %04o): chmod 600 it, and enrol again if others had access", path, info.Mode().Perm())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the site's key: %w", err)
	}
	raw, err := ssh.ParseRawPrivateKey(data)
	if err != nil {
		return nil, fmt.Errorf("read the site's key %s: %w", path, err)
	}
	key, ok := raw.(*ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the site's key %s is not an Ed25519 key", path)
	}
	return *key, nil
}
