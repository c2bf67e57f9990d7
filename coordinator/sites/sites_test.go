package sites_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"go.uber.org/goleak"

	"consort/coordinator/coordtest"
	"consort/shared/siteapi"
	"consort/shared/userapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, coordtest.Leaks()...) }

// post sends a message with a bearer token and returns the status and the error's code and text.
func post(t *testing.T, n *coordtest.Node, path, token string, message any) (int, siteapi.Error) {
	t.Helper()
	body, _ := json.Marshal(message)
	a := n.Do(coordtest.Request{Method: http.MethodPost, Path: path, Token: token, Type: "application/json", Body: bytes.NewReader(body)})
	var e struct{ Code, Message, Detail string }
	if a.Status >= 400 {
		if err := json.Unmarshal(a.Body, &e); err != nil {
			t.Fatalf("%s: %s", path, a.Text())
		}
	}
	return a.Status, siteapi.Error{Code: e.Code, Message: e.Message + e.Detail}
}

func invite(t *testing.T, n *coordtest.Node, name string) string {
	t.Helper()
	body, _ := json.Marshal(userapi.AddSite{Name: name})
	a := n.Do(coordtest.Request{Method: http.MethodPost, Path: "/api/v1/sites", Token: coordtest.Operator, Type: "application/json", Body: bytes.NewReader(body)})
	var i userapi.Invitation
	if err := json.Unmarshal(a.Body, &i); err != nil || a.Status != http.StatusCreated || i.Token == "" || !strings.Contains(i.Command, i.Token) {
		t.Fatalf("%d %s", a.Status, a.Text())
	}
	return i.Token
}

func newKey(t *testing.T) (ed25519.PublicKey, ed25519.PrivateKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return public, private
}

// TestEnrolment: one token, one key; all that is wrong is told.
func TestEnrolment(t *testing.T) {
	n := coordtest.New(t)
	enrol := func(token, site string, key []byte, protocol int) (int, siteapi.Error) {
		return post(t, n, siteapi.EnrolPath, "", siteapi.EnrolRequest{Protocol: protocol, Token: token, PublicKey: key, Site: site})
	}
	for _, user := range []string{"", coordtest.Alice} {
		status, _ := post(t, n, "/api/v1/sites", user, userapi.AddSite{Name: "paris"})
		if want := map[bool]int{true: 401, false: 403}[user == ""]; status != want {
			t.Errorf("%q may add a site: %d", user, status)
		}
	}
	for _, name := range []string{"", "Paris", "-", "a/b", strings.Repeat("a", 49)} {
		if status, e := post(t, n, "/api/v1/sites", coordtest.Operator, userapi.AddSite{Name: name}); status != 400 || !strings.Contains(e.Message, "[a-z]") {
			t.Errorf("%q: %d %+v", name, status, e)
		}
	}
	first := invite(t, n, "paris")
	token := invite(t, n, "paris") // the first is void
	key, _ := newKey(t)
	for name, c := range map[string]struct {
		token, site string
		key         []byte
		protocol    int
		status      int
		words       string
	}{
		"no token":    {"", "", key, 1, 403, "consort site add"},
		"wrong token": {"x", "", key, 1, 403, "unknown, used or expired"},
		"void token":  {first, "", key, 1, 403, "unknown, used or expired"},
		"other site":  {token, "meudon", key, 1, 403, "meudon"},
		"short key":   {token, "", key[:31], 1, 400, "32 bytes"},
		"no key":      {token, "", nil, 1, 400, "32 bytes"},
		"newer agent": {token, "", key, 2, 400, "upgrade the coordinator"},
		"older agent": {token, "", key, 0, 400, "upgrade the agent"},
	} {
		if status, e := enrol(c.token, c.site, c.key, c.protocol); status != c.status || !strings.Contains(e.Message, c.words) {
			t.Errorf("%s: %d %+v", name, status, e)
		}
	}
	for range 2 { // the answer may have been lost
		if status, e := enrol(token, "paris", key, 1); status != 200 {
			t.Fatalf("%d %+v", status, e)
		}
	}
	other, _ := newKey(t)
	if status, e := enrol(token, "paris", other, 1); status != 403 {
		t.Errorf("a used token took another key: %d %+v", status, e)
	}
	if status, e := enrol(invite(t, n, "meudon"), "meudon", key, 1); status != 403 || !strings.Contains(e.Message, "another site's") {
		t.Errorf("a key for two sites: %d %+v", status, e)
	}
}

// TestTokensOfSites: only a fresh token, signed by the site's key, for this cluster.
func TestTokensOfSites(t *testing.T) {
	n := coordtest.New(t)
	s := n.AddSite("paris")
	_, stranger := newKey(t)
	sign := func(key ed25519.PrivateKey, site, cluster string, at time.Time) string {
		token, err := siteapi.SignToken(key, site, cluster, at)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	for name, token := range map[string]string{
		"another cluster": sign(s.Key(), "paris", "another", time.Now()),
		"another key":     sign(stranger, "paris", s.ClusterID, time.Now()),
		"another site":    sign(s.Key(), "meudon", s.ClusterID, time.Now()),
		"odd site":        sign(s.Key(), "../x", s.ClusterID, time.Now()),
		"expired":         sign(s.Key(), "paris", s.ClusterID, time.Now().Add(-time.Hour)),
		"a user's":        coordtest.Operator,
		"none":            "",
	} {
		if status, e := post(t, n, siteapi.PollPath, token, s.PollRequest(0, 0)); status != 401 {
			t.Errorf("%s: %d %+v", name, status, e)
		}
	}
	if status, e := post(t, n, siteapi.PollPath, s.Token(), s.PollRequest(0, 0)); status != 200 {
		t.Errorf("%d %+v", status, e)
	}
	r := s.PollRequest(0, 0)
	for protocol, words := range map[int]string{0: "upgrade the agent", 2: "upgrade the coordinator"} {
		r.Protocol = protocol
		if status, e := post(t, n, siteapi.PollPath, s.Token(), r); status != 400 || e.Code != siteapi.CodeProtocol || !strings.Contains(e.Message, words) {
			t.Errorf("%d: %d %+v", protocol, status, e)
		}
	}
	if a := n.Do(coordtest.Request{Method: "GET", Path: "/api/v1/jobs", Token: s.Token()}); a.Status != 401 {
		t.Errorf("a site's token is good for a user's call: %d", a.Status)
	}
}

// TestRevoke: it ends calls, sessions and polls at once, and says so; a new invitation brings the site back.
func TestRevoke(t *testing.T) {
	n := coordtest.New(t)
	s := n.AddSite("paris")
	n.Create("probe", "PHASE", "RUN")
	a := s.Take()
	conn, err := s.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client, err := sftp.NewClient(conn)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	held := make(chan siteapi.Error, 1)
	go func() {
		_, e := s.Call(siteapi.PollPath, s.PollRequest(0, 50, siteapi.AttemptInfo{Job: a.Job, Epoch: a.Epoch}), nil)
		if e == nil {
			e = new(siteapi.Error)
		}
		held <- *e
	}()
	revoke := func(token, name string) int {
		return n.Do(coordtest.Request{Method: http.MethodDelete, Path: "/api/v1/sites/" + name, Token: token}).Status
	}
	if got := []int{revoke(coordtest.Alice, "paris"), revoke("", "paris"), revoke(coordtest.Operator, "nowhere")}; got[0] != 403 || got[1] != 401 || got[2] != 404 {
		t.Errorf("%v", got)
	}
	if status := revoke(coordtest.Operator, "paris"); status != http.StatusNoContent {
		t.Fatal(status)
	}
	for _, path := range []string{siteapi.PollPath, a.Path() + "/report"} {
		if status, e := post(t, n, path, s.Token(), s.PollRequest(0, 0)); status != 403 || e.Code != siteapi.CodeRevoked {
			t.Errorf("%s: %d %+v", path, status, e)
		}
	}
	if e := <-held; e.Code != siteapi.CodeRevoked && e.Code != "" {
		t.Errorf("%+v", e)
	}
	done := make(chan error, 1)
	go func() { done <- conn.Wait() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Error("the SFTP session lives on")
	}
	if _, err := s.Dial(); err == nil {
		t.Error("a revoked key opens a session")
	}
	status, e := post(t, n, siteapi.EnrolPath, "", siteapi.EnrolRequest{
		Protocol: siteapi.Protocol, Token: invite(t, n, "paris"), PublicKey: s.Key().Public().(ed25519.PublicKey),
	})
	if status != 403 || !strings.Contains(e.Message, "make a new one") {
		t.Errorf("the revoked key enrolled again: %d %+v", status, e)
	}
	again := n.AddSite("paris") // with a new key; its leases are still its own
	if r := again.Poll(0, 0); len(r.Leases) != 1 || r.Leases[0].Job != a.Job {
		t.Errorf("%+v", r)
	}
}
