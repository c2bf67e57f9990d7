package worldtest

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"os"
	"strconv"
	"testing"

	"consort/shared/uws"
)

// TestBigOutput sends one big file through everything: memory stays flat. With CONSORT_BIG set it has 2 GiB.
func TestBigOutput(t *testing.T) {
	size := int64(256 << 20)
	switch {
	case os.Getenv("CONSORT_BIG") != "":
		size = 2 << 30
	case race:
		size = 64 << 20
	}
	s := newStandalone(t, "", "")
	u := s.in(t)
	u.wait(u.run("many", "n", "1", "size", "1000"), uws.Completed) // whatever is needed once
	programs := []*process{s.coordinator, s.agent}
	var before []int64
	for _, p := range programs {
		before = append(before, peakMemory(t, p.cmd.Process.Pid))
	}
	ref := u.run("many", "n", "1", "size", strconv.FormatInt(size, 10))
	u.wait(ref, uws.Completed)
	m := u.members(ref, u.job(ref).Results[0].ID)
	if len(m) != 1 || m[0].Size != size {
		t.Fatalf("the result has the files %+v", m)
	}
	if sum, n := u.hash(m[0].URL); n != size || sum != m[0].SHA256 {
		t.Errorf("got %d bytes with SHA-256 %s, announced are %d with %s", n, sum, size, m[0].SHA256)
	}
	const allowed = 96 << 20
	for i, p := range programs {
		grown := peakMemory(t, p.cmd.Process.Pid) - before[i]
		t.Logf("%s: %d MiB before, %d MiB more for %d MiB", p.name, before[i]>>20, grown>>20, size>>20)
		if grown > allowed && !race {
			t.Errorf("%s took %d MiB more for %d MiB of output, allowed are %d", p.name, grown>>20, size>>20, allowed>>20)
		}
	}
}

// hash reads a URL and returns the SHA-256 and number of its bytes.
func (u *user) hash(url string) (sum string, n int64) {
	u.Helper()
	req, err := http.NewRequestWithContext(u.Context(), http.MethodGet, url, nil)
	if err != nil {
		u.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+u.token)
	resp, err := u.http.Do(req)
	if err != nil {
		u.Fatal(err)
	}
	defer resp.Body.Close()
	h := sha256.New()
	if n, err = io.Copy(h, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		u.Fatalf("%s: %d after %d bytes: %v", url, resp.StatusCode, n, err)
	}
	return hex.EncodeToString(h.Sum(nil)), n
}
