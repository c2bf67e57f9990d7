package coordtest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"slices"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"consort/shared/ids"
	"consort/shared/siteapi"
	"consort/shared/userapi"
)

// Site is an enrolled site that tests drive by hand.
type Site struct {
	node *Node
	t    testing.TB
	key  ed25519.PrivateKey
	siteapi.Enrolment
	boot    string
	started time.Time
	journal []siteapi.AttemptInfo // what Take returned, until it is to be forgotten
	number  uint64                // of the last fragment that was signed
	last    string                // SHA-256 of its payload
}

// AddSite invites a site and enrols it.
func (n *Node) AddSite(name string) *Site {
	n.t.Helper()
	body, _ := json.Marshal(userapi.AddSite{Name: name})
	a := n.Do(Request{Method: http.MethodPost, Path: "/api/v1/sites", Token: Operator, Type: "application/json", Body: bytes.NewReader(body)})
	var invitation userapi.Invitation
	if err := json.Unmarshal(a.Body, &invitation); err != nil || invitation.Token == "" {
		n.t.Fatalf("add site: %d %s", a.Status, a.Text())
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		n.t.Fatal(err)
	}
	s := &Site{node: n, t: n.t, key: private, boot: ids.NewKey(), started: time.Now()}
	s.call(siteapi.EnrolPath, siteapi.EnrolRequest{
		Protocol: siteapi.Protocol, Token: invitation.Token, PublicKey: public, Site: name, Version: "test",
	}, &s.Enrolment)
	return s
}

// Key is the site's private key.
func (s *Site) Key() ed25519.PrivateKey { return s.key }

// Call posts a message and decodes the answer; it returns the status, and fails the test on none of them.
func (s *Site) Call(path string, message, answer any) (int, *siteapi.Error) {
	s.t.Helper()
	body, err := json.Marshal(message)
	if err != nil {
		s.t.Fatal(err)
	}
	a := s.node.Do(Request{Method: http.MethodPost, Path: path, Token: s.Token(), Type: "application/json", Body: bytes.NewReader(body)})
	return decode(s.t, a, answer)
}

func decode(t testing.TB, a *Answer, answer any) (int, *siteapi.Error) {
	t.Helper()
	if a.Status >= 400 {
		e := new(siteapi.Error)
		if err := json.Unmarshal(a.Body, e); err != nil {
			t.Fatalf("an error that is no JSON: %d %s", a.Status, a.Text())
		}
		return a.Status, e
	}
	if answer != nil {
		if err := json.Unmarshal(a.Body, answer); err != nil {
			t.Fatalf("decode %s: %v", a.Text(), err)
		}
	}
	return a.Status, nil
}

func (s *Site) call(path string, message, answer any) {
	s.t.Helper()
	if status, e := s.Call(path, message, answer); e != nil {
		s.t.Fatalf("%s: %d %s: %s", path, status, e.Code, e.Message)
	}
}

// Token signs a bearer token; before the enrolment there is none to give.
func (s *Site) Token() string {
	if s.Site == "" {
		return "none"
	}
	token, err := siteapi.SignToken(s.key, s.Site, s.ClusterID, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

// Poll tells the coordinator of room for slots attempts and of the attempts at hand.
func (s *Site) Poll(slots, wait int, at ...siteapi.AttemptInfo) *siteapi.PollResponse {
	s.t.Helper()
	answer := new(siteapi.PollResponse)
	s.call(siteapi.PollPath, s.PollRequest(slots, wait, at...), answer)
	return answer
}

// PollRequest is what Poll sends, for tests that change it.
func (s *Site) PollRequest(slots, wait int, at ...siteapi.AttemptInfo) siteapi.PollRequest {
	room := siteapi.Capacity{Slots: slots, Cores: slots, MemoryBytes: 64 << 30}
	return siteapi.PollRequest{
		Protocol: siteapi.Protocol, Boot: s.boot, Started: s.started, Version: "test", Batch: "local",
		Free: room, Total: room, Accepts: []siteapi.Accept{{}}, URLs: []string{"https://archive.example/"}, Attempts: at, Wait: wait,
	}
}

// Take polls until a lease comes that it has not returned before.
func (s *Site) Take() *Attempt {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		r := s.Poll(1, 2, s.journal...)
		for _, ref := range r.Forget {
			s.journal = slices.DeleteFunc(s.journal, func(a siteapi.AttemptInfo) bool { return a.Job == ref.Job && a.Epoch == ref.Epoch })
		}
		for _, ref := range r.Cancel {
			for i := range s.journal {
				s.journal[i].Cancelling = s.journal[i].Cancelling || s.journal[i].Job == ref.Job && s.journal[i].Epoch == ref.Epoch
			}
		}
		if len(r.Leases) > 0 {
			l := r.Leases[0]
			s.journal = append(s.journal, siteapi.AttemptInfo{Job: l.Job, Epoch: l.Epoch, Watching: true})
			return &Attempt{Site: s, Lease: l}
		}
	}
	s.t.Fatal("no lease came")
	return nil
}

// Attempt is a leased attempt.
type Attempt struct {
	Site *Site
	siteapi.Lease
}

// Path is the attempt's path in the site API.
func (a *Attempt) Path() string { return siteapi.AttemptPath(a.Job, a.Epoch) }

// Report tells a state.
func (a *Attempt) Report(state string) {
	a.Site.t.Helper()
	a.Site.call(a.Path()+"/report", siteapi.Report{State: state}, nil)
}

// Log stores a final log and returns what a commit tells of it.
func (a *Attempt) Log(name, text string) siteapi.Log {
	a.Site.t.Helper()
	r := a.Site.node.Do(Request{
		Method: http.MethodPut, Path: fmt.Sprintf("%s/logs/%s?full_size=%d", a.Path(), name, len(text)),
		Token: a.Site.Token(), Type: "application/octet-stream", Body: bytes.NewReader([]byte(text)),
	})
	var stored siteapi.StoredLog
	if _, e := decode(a.Site.t, r, &stored); e != nil {
		a.Site.t.Fatalf("store log: %s", e.Message)
	}
	return siteapi.Log{Name: name, SHA256: stored.SHA256, Size: stored.Size, FullSize: int64(len(text))}
}

// Output is a file that an attempt made.
type Output struct {
	Output, Path, ContentType string
	Data                      []byte
}

// Commit pushes the outputs, at most siteapi.MaxSealFiles, by SFTP, seals and commits them.
func (a *Attempt) Commit(facts siteapi.Facts, outputs ...Output) siteapi.Answer {
	a.Site.t.Helper()
	request := a.Stage(outputs...)
	request.Facts = facts
	request.Fragment = a.Sign("committed", request.Hash, facts)
	var answer siteapi.Answer
	a.Site.call(a.Path()+"/commit", request, &answer)
	return answer
}

// Sign makes the site's next fragment of provenance, as an agent does at the end of an attempt.
func (a *Attempt) Sign(outcome, manifestHash string, facts siteapi.Facts) *siteapi.Fragment {
	s := a.Site
	s.t.Helper()
	p := siteapi.FragmentPayload{
		Site: s.Site, ClusterID: s.ClusterID, Number: s.number + 1, Previous: s.last, Job: a.Job, Epoch: a.Epoch,
		Digest: a.Definition.Digest, Outcome: outcome, ManifestHash: manifestHash, Facts: facts, Time: time.Now(),
	}
	for _, in := range a.Inputs {
		p.Inputs = append(p.Inputs, siteapi.File{Path: in.Name, SHA256: in.SHA256, Size: in.Size})
	}
	f, err := siteapi.SignFragment(s.key, p)
	if err != nil {
		s.t.Fatal(err)
	}
	sum := sha256.Sum256(f.Payload)
	s.number, s.last = p.Number, hex.EncodeToString(sum[:])
	return f
}

// Stage pushes, seals and stages the outputs, and returns the request that commits them.
func (a *Attempt) Stage(outputs ...Output) siteapi.CommitRequest {
	a.Site.t.Helper()
	a.Push(outputs...)
	files, parts := manifest(outputs)
	var sealed siteapi.SealResponse
	a.Site.call(a.Path()+"/seal", siteapi.SealRequest{Files: files}, &sealed)
	if len(sealed.Bad) > 0 {
		a.Site.t.Fatalf("seal: %v", sealed.Bad)
	}
	for i, part := range parts {
		a.Site.call(a.Path()+"/manifest", siteapi.ManifestPart{Part: i, Files: part}, nil)
	}
	return siteapi.CommitRequest{Parts: len(parts), Hash: siteapi.ManifestHash(parts)}
}

func manifest(outputs []Output) (files []siteapi.File, parts [][]siteapi.ManifestFile) {
	for i, o := range outputs {
		digest := o.SHA256()
		files = append(files, siteapi.File{Path: o.Path, SHA256: digest, Size: int64(len(o.Data))})
		if i%siteapi.MaxManifestPart == 0 {
			parts = append(parts, nil)
		}
		last := len(parts) - 1
		parts[last] = append(parts[last], siteapi.ManifestFile{
			Output: o.Output, Path: o.Path, SHA256: digest, Size: int64(len(o.Data)), ContentType: o.ContentType,
		})
	}
	return files, parts
}

// Fail ends the attempt without results.
func (a *Attempt) Fail(class, message string, facts siteapi.Facts) {
	a.Site.t.Helper()
	a.Site.call(a.Path()+"/fail", siteapi.FailRequest{Class: class, Message: message, Facts: facts, Fragment: a.Sign("failed", "", facts)}, nil)
}

// Dial opens an SSH connection to the coordinator with the site's key. The caller closes it.
func (s *Site) Dial() (*ssh.Client, error) {
	signer, err := ssh.NewSignerFromKey(s.key)
	if err != nil {
		return nil, err
	}
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(s.SFTP[0].HostKey))
	if err != nil {
		return nil, err
	}
	return ssh.Dial("tcp", s.SFTP[0].Address, &ssh.ClientConfig{
		User: s.Site, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.FixedHostKey(hostKey), Timeout: 10 * time.Second,
	})
}

// Push sends the outputs by SFTP and does no more.
func (a *Attempt) Push(outputs ...Output) {
	t := a.Site.t
	t.Helper()
	conn, err := a.Site.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client, err := sftp.NewClient(conn)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, o := range outputs {
		remote := fmt.Sprintf("/%s/%d/%s", a.Job, a.Epoch, o.Path)
		if err := client.MkdirAll(path.Dir(remote)); err != nil {
			t.Fatal(err)
		}
		f, err := client.Create(remote)
		if err == nil {
			_, err = f.Write(o.Data)
		}
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			t.Fatalf("push %s: %v", remote, err)
		}
	}
}
