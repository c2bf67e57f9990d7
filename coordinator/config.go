package coordinator

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"consort/coordinator/auth"
	"consort/coordinator/definitions"
	"consort/shared/config"
)

// Config says what a coordinator needs. The zero value of a field is its default unless it says "required".
type Config struct {
	Dir string // data directory; required
	// Addresses to listen on, host:port; port 0 takes any free one. HTTP, SFTP and Peer are required;
	// without Metrics there is no metrics listener.
	HTTP, SFTP, Peer, Metrics string
	// PublicURL is the base of absolute links, when a proxy stands in front. Default: as the client asked.
	PublicURL string
	// PublicSFTP is the host:port that agents push to, when it is not the SFTP listener's own address.
	PublicSFTP string
	// TLSCert and TLSKey are PEM files that make the HTTP listener HTTPS; renewed files are taken into use by
	// themselves. Without them it is plain HTTP, for a proxy in front or for loopback.
	TLSCert, TLSKey string
	// Authority is the IRI under which provenance identifiers stand, fixed when the cluster is made.
	// Default: https://<cluster-id>.consort.invalid.
	Authority string
	// Definitions are folders of job definitions to publish at the start.
	Definitions []definitions.Folder
	Auth        auth.Config
	// LocalOnly is the guard of consort dev: only requests to this machine's own names, no foreign origins,
	// and whatever came through a proxy is not anonymous.
	LocalOnly bool
	Version   string
	Logger    *slog.Logger // required

	// SnapshotBytes and the scheduler's times are for tests; zero is the default.
	SnapshotBytes int64
	Contact       time.Duration
	ContentGrace  time.Duration
	LeaseGrace    time.Duration
	Overrun       time.Duration
}

// File is coordinator.toml.
type File struct {
	Data        string      `toml:"data"`        // data directory
	HTTP        string      `toml:"http"`        // address to listen on
	SFTP        string      `toml:"sftp"`        // address to listen on
	Peer        string      `toml:"peer"`        // address to listen on, for other coordinators
	Metrics     string      `toml:"metrics"`     // address to listen on; empty: none
	PublicURL   string      `toml:"public_url"`  // base of links, behind a proxy
	PublicSFTP  string      `toml:"public_sftp"` // where agents push to
	TLSCert     string      `toml:"tls_cert"`    // PEM file: serve HTTPS
	TLSKey      string      `toml:"tls_key"`     // PEM file
	Authority   string      `toml:"authority"`   // IRI of provenance identifiers, fixed at the first start
	Definitions []string    `toml:"definitions"` // folders of job definitions
	Examples    bool        `toml:"examples"`    // publish the examples too
	Anonymous   bool        `toml:"anonymous"`   // serve callers without credentials
	Tokens      []FileToken `toml:"token"`
}

// FileToken is one [[token]] of coordinator.toml. Only the token's hash is kept there.
type FileToken struct {
	Name     string `toml:"name"`
	SHA256   string `toml:"sha256"`
	Operator bool   `toml:"operator"`
}

// LoadFile reads coordinator.toml. Unknown keys are errors that name file, line and key.
func LoadFile(path string) (*File, error) {
	f := &File{HTTP: "127.0.0.1:8080", SFTP: "127.0.0.1:2222", Peer: "127.0.0.1:0"}
	if err := config.Load(path, f); err != nil {
		return nil, err
	}
	if f.Data == "" {
		return nil, fmt.Errorf("%s: data: the data directory must be given", path)
	}
	if !filepath.IsAbs(f.Data) {
		f.Data = filepath.Join(filepath.Dir(path), f.Data)
	}
	relative := []*string{&f.TLSCert, &f.TLSKey}
	for i := range f.Definitions {
		relative = append(relative, &f.Definitions[i])
	}
	for _, p := range relative {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(filepath.Dir(path), *p)
		}
	}
	return f, f.checkTokens(path)
}

// checkTokens checks what the keys' types alone do not tell, so that the line can still be named.
func (f *File) checkTokens(path string) error {
	var errs config.Errors
	for i, t := range f.AuthConfig().Tokens {
		if key, problem := t.Check(); problem != "" {
			errs = append(errs, &config.Error{File: path, Key: fmt.Sprintf("token[%d].%s", i, key), Problem: problem})
		}
	}
	if len(errs) == 0 {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	where, err := config.Locate(text)
	if err != nil {
		return err
	}
	for _, e := range errs {
		e.Line, e.Column = where.Find(e.Key)
	}
	return errs.Err()
}

// AuthConfig is what the file says of callers.
func (f *File) AuthConfig() auth.Config {
	c := auth.Config{Anonymous: f.Anonymous}
	for _, t := range f.Tokens {
		c.Tokens = append(c.Tokens, auth.Token{Name: t.Name, SHA256: t.SHA256, Operator: t.Operator})
	}
	return c
}

func (c *Config) validate() error {
	if c.Dir == "" || c.Logger == nil {
		return errors.New("coordinator: Dir and Logger are required")
	}
	for _, a := range []struct{ key, address string }{{"http", c.HTTP}, {"sftp", c.SFTP}, {"peer", c.Peer}, {"metrics", c.Metrics}} {
		if a.key == "metrics" && a.address == "" {
			continue
		}
		_, port, err := net.SplitHostPort(a.address)
		if err != nil {
			return fmt.Errorf("%s: %q is not an address of the form host:port", a.key, a.address)
		}
		if _, err := net.LookupPort("tcp", port); err != nil {
			return fmt.Errorf("%s: %q: a port is a number from 0 to 65535", a.key, a.address)
		}
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return errors.New("tls_cert and tls_key: give both, or none")
	}
	for _, u := range []struct{ key, value string }{{"public_url", c.PublicURL}, {"authority", c.Authority}} {
		if u.value == "" {
			continue
		}
		parsed, err := url.Parse(u.value)
		if err != nil || parsed.Host == "" || (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.RawQuery != "" || parsed.Fragment != "" {
			return fmt.Errorf("%s: %q is not an http or https URL without query", u.key, u.value)
		}
	}
	c.PublicURL = strings.TrimSuffix(c.PublicURL, "/")
	c.Authority = strings.TrimSuffix(c.Authority, "/")
	return nil
}
