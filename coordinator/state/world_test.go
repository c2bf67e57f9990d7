package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"

	"consort/coordinator/command"
)

func TestMain(m *testing.M) {
	// ristretto and glog start goroutines that live as long as the program.
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

// world is a store with a log of its own.
type world struct {
	t      testing.TB
	s      *Store
	index  uint64
	time   int64
	events []Event
}

func testConfig(t testing.TB, dir string) Config {
	return Config{Dir: dir, Logger: slog.New(slog.DiscardHandler), unsafeNoSync: true}
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, time: 1_000_000_000}
	cfg := testConfig(t, t.TempDir())
	cfg.Publish = func(e []Event) { w.events = append(w.events, e...) }
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.s = s
	t.Cleanup(func() { _ = w.s.Close() })
	return w
}

func openStore(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(testConfig(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// wrap puts a body into its envelope.
func wrap(body proto.Message) *command.Command {
	c := new(command.Command)
	m := c.ProtoReflect()
	fields := m.Descriptor().Oneofs().ByName("body").Fields()
	for i := range fields.Len() {
		if fields.Get(i).Message().FullName() == body.ProtoReflect().Descriptor().FullName() {
			m.Set(fields.Get(i), protoreflect.ValueOfMessage(body.ProtoReflect()))
			return c
		}
	}
	panic(fmt.Sprintf("no command %T", body))
}

func (w *world) entry(c *command.Command) Entry {
	w.t.Helper()
	w.index++
	w.time += 1_000_000
	c = proto.CloneOf(c)
	c.TimeUs = w.time
	data, err := command.Encode(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return Entry{Index: w.index, Term: 1, Data: data}
}

func (w *world) command(c *command.Command) *command.Result {
	w.t.Helper()
	results, err := w.s.ApplyBatch([]Entry{w.entry(c)})
	if err != nil {
		w.t.Fatal(err)
	}
	return results[0].(*command.Result)
}

func (w *world) apply(body proto.Message) *command.Result {
	w.t.Helper()
	return w.command(wrap(body))
}

// do applies a command that must be answered with the code; a refusal must change nothing but the applied
// index and the time.
func (w *world) do(code command.Result_Code, body proto.Message) *command.Result {
	w.t.Helper()
	r := w.apply(body)
	if r.Code != code {
		w.t.Fatalf("%T: got %v (%s), want %v", body, r.Code, r.Message, code)
	}
	if (code == command.Result_OK) != (r.Message == "") {
		w.t.Errorf("%T: code %v with message %q", body, r.Code, r.Message)
	}
	return r
}

func (w *world) ok(body proto.Message) *command.Result {
	w.t.Helper()
	return w.do(command.Result_OK, body)
}

func (w *world) view(fn func(*View) error) {
	w.t.Helper()
	if err := w.s.View(fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) head(id string) *Job {
	w.t.Helper()
	var j *Job
	w.view(func(v *View) (err error) { j, err = v.Head(id); return err })
	return j
}

func (w *world) phase(id, want string) *Job {
	w.t.Helper()
	j := w.head(id)
	if j.Phase != want {
		w.t.Fatalf("job %s is %s, want %s", id, j.Phase, want)
	}
	return j
}

func (w *world) list(q ListQuery) []string {
	w.t.Helper()
	var found []string
	w.view(func(v *View) error {
		for j, err := range v.List(q) {
			if err != nil {
				return err
			}
			found = append(found, j.Id)
		}
		return nil
	})
	return found
}

// reopen closes the store and opens it anew.
func (w *world) reopen() {
	w.t.Helper()
	cfg := w.s.cfg
	if err := w.s.Close(); err != nil {
		w.t.Fatal(err)
	}
	s, err := Open(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.s = s
}

func (s *Store) mustHash(t testing.TB) string {
	t.Helper()
	h, err := s.Hash()
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h)
}

// snapshotBytes is the stream of a snapshot.
func snapshotBytes(t testing.TB, s *Store) []byte {
	t.Helper()
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	var b bytes.Buffer
	if n, err := snap.WriteTo(&b); err != nil || n != int64(b.Len()) {
		t.Fatalf("snapshot: %d bytes, %v; buffer has %d", n, err, b.Len())
	}
	return b.Bytes()
}

func diff(t testing.TB, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Errorf("difference (-want +got):\n%s", d)
	}
}

func jobID(n int) string { return fmt.Sprintf("j%026d", n) }

func sha(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

const digest = "sha256:0123"

// furnish gives the world a cluster, a definition and an enrolled site "obs".
func (w *world) furnish() *world {
	w.t.Helper()
	w.ok(&command.CreateCluster{ClusterId: "c1", Authority: "https://c1.example"})
	w.ok(&command.PublishDefinition{Name: "probe", Version: "1.0", Digest: digest, Title: "Probe",
		Defaults: []*command.Parameter{{Name: "n", Values: []string{"7"}}, {Name: "hidden", Values: []string{"h"}, Secret: true}},
		Files:    []*command.BundleFile{{Path: "definition.toml", Sha256: sha("definition"), Size: 10}}})
	w.enrol("obs")
	return w
}

func (w *world) enrol(name string) {
	w.t.Helper()
	token := sha256.Sum256([]byte("token of " + name))
	public := sha256.Sum256([]byte("key of " + name))
	w.ok(&command.AddSite{Name: name, TokenSha256: token[:], ExpiresUs: w.time + 3600e6})
	w.ok(&command.EnrolSite{TokenSha256: token[:], PublicKey: public[:]})
}

func createJob(n int) *command.CreateJob {
	return &command.CreateJob{Id: jobID(n), Owner: "alice", Definition: "probe", Version: "1.0", Digest: digest,
		RetentionSeconds: 1000, Run: true}
}

func (w *world) lease(n int) uint64 {
	w.t.Helper()
	epoch := w.head(jobID(n)).Epoch + 1
	w.ok(&command.GrantLease{Job: jobID(n), Epoch: epoch, Site: "obs", Boot: "b", WorkLeaseSeconds: 100})
	return epoch
}

func (w *world) running(n int) uint64 {
	w.t.Helper()
	w.ok(createJob(n))
	epoch := w.lease(n)
	w.ok(&command.ReportAttempt{Job: jobID(n), Epoch: epoch, Site: "obs", State: AttemptRunning})
	return epoch
}

// commit stages one part of two files and returns the commit.
func (w *world) staged(n int, epoch uint64) *command.Commit {
	w.t.Helper()
	files := []*command.File{
		{Output: "answer", Path: "answer.txt", Sha256: sha(fmt.Sprint("answer", n)), Size: 4},
		{Output: "plot", Path: "plot.svg", Sha256: sha("plot"), Size: 5},
	}
	w.ok(&command.StageManifest{Job: jobID(n), Epoch: epoch, Site: "obs", Files: files})
	return &command.Commit{Job: jobID(n), Epoch: epoch, Site: "obs", Parts: 1,
		Hash: command.ManifestHash([][]byte{command.PartHash(files)}),
		Outputs: []*command.Output{
			{Id: "answer", FileName: "answer.txt", Sha256: files[0].Sha256, Size: 4},
			{Id: "plot", FileName: "plot.svg", Sha256: files[1].Sha256, Size: 5},
		},
		Facts:    &command.Facts{ExitCode: proto.Int32(0), Logs: []*command.Log{{Name: "stdout", Sha256: sha("log"), Size: 3}}},
		Fragment: &command.Fragment{Number: 1, Payload: []byte("{}"), Signature: []byte("s")},
	}
}

func (w *world) completed(n int) {
	w.t.Helper()
	epoch := w.running(n)
	w.ok(w.staged(n, epoch))
	w.phase(jobID(n), "COMPLETED")
}

// purgeAll runs purges until none waits.
func (w *world) purgeAll(limit int32) {
	w.t.Helper()
	for range 1000 {
		var queue []string
		w.view(func(v *View) (err error) { queue, err = v.PurgeQueue(1); return err })
		if len(queue) == 0 {
			return
		}
		w.ok(&command.Purge{Id: queue[0], Limit: limit})
	}
	w.t.Fatal("the purge does not end")
}
