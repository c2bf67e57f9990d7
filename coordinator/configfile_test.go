package coordinator

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"consort/coordinator/auth"
)

// TestLoadFileNamesLines: what is wrong with a token is said like every other mistake in the file.
func TestLoadFileNamesLines(t *testing.T) {
	good := auth.HashToken("secret")
	for _, c := range []struct{ text, want string }{
		{"data = 'd'\n[[token]]\nname = 'a'\nsha256 = '" + good + "'\n", ""},
		{"data = 'd'\n[[token]]\nname = 'a'\nsha256 = 'abc'\n", ":4: token[0].sha256: must be 64 hexadecimal digits"},
		{"data = 'd'\n[[token]]\nname = 'a'\nsha256 = '" + good + "'\n[[token]]\nname = 'b'\n", ":5: token[1].sha256: must be 64"},
		{"data = 'd'\n[[token]]\nname = 'a:b'\nsha256 = '" + good + "'\n", ":3: token[0].name: must have 1 to 128 characters"},
		{"data = 'd'\nhtpp = 'x'\n", ":2: htpp: unknown key"},
	} {
		path := filepath.Join(t.TempDir(), "coordinator.toml")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadFile(path)
		if c.want == "" && err == nil {
			continue
		}
		if err == nil || c.want == "" || !strings.HasPrefix(err.Error(), path+c.want) {
			t.Errorf("%q: %v, want %s", c.text, err, c.want)
		}
	}
}

func TestValidateAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:0": "", "[::1]:8080": "", ":0": "",
		"127.0.0.1:99999":           "http: \"127.0.0.1:99999\": a port is a number from 0 to 65535",
		"127.0.0.1:no-such-service": "http: \"127.0.0.1:no-such-service\": a port is a number",
		"127.0.0.1":                 "http: \"127.0.0.1\" is not an address of the form host:port",
	} {
		c := Config{Dir: "d", Logger: slog.New(slog.DiscardHandler), HTTP: address, SFTP: ":0", Peer: ":0"}
		got := ""
		if err := c.validate(); err != nil {
			got = err.Error()
		}
		if (got == "") != (want == "") || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}
