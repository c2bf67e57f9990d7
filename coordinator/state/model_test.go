package state

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"consort/coordinator/command"
	"consort/shared/uws"
)

// model is the state machine in a few lines, written from DESIGN section 7 and the comments of command.proto.
type model map[string]*modelJob

type modelJob struct {
	phase    string
	deleted  bool
	epoch    uint64
	failures int
	attempts map[uint64]*modelAttempt
	inputs   []*command.Input
	request  string // what was computed, empty when that is not known
	result   bool
}

type modelAttempt struct {
	site, state string
	closed      bool
	cancelling  bool
	staged      bool
}

const (
	ok           = command.Result_OK
	notFound     = command.Result_NOT_FOUND
	illegalPhase = command.Result_ILLEGAL_PHASE
	staleEpoch   = command.Result_STALE_EPOCH
	incomplete   = command.Result_INCOMPLETE
)

func (j *modelJob) final() bool { return uws.Phase(j.phase).Final() }

func (j *modelJob) open() *modelAttempt {
	if a := j.attempts[j.epoch]; a != nil && !a.closed {
		return a
	}
	return nil
}

func (j *modelJob) abort() {
	if j.final() {
		return
	}
	j.phase = "ABORTED"
	if a := j.open(); a != nil {
		a.cancelling = true
	}
}

// step returns the answer that a command must get, and makes its change.
func (m model) step(body proto.Message) command.Result_Code {
	switch c := body.(type) {
	case *command.CreateJob:
		return m.create(c)
	case *command.RunJob:
		return m.alive(c.Id, func(j *modelJob) command.Result_Code {
			if !slices.Contains([]string{"QUEUED", "PENDING", "HELD"}, j.phase) {
				return illegalPhase
			}
			if j.phase != "QUEUED" {
				j.phase, j.failures = "QUEUED", 0
			}
			return ok
		})
	case *command.AbortJob:
		return m.alive(c.Id, func(j *modelJob) command.Result_Code {
			if !j.final() && c.Epoch != 0 && (c.Epoch != j.epoch || j.open() == nil) {
				return staleEpoch
			}
			j.abort()
			return ok
		})
	case *command.DeleteJob:
		if j := m[c.Id]; j != nil {
			j.abort()
			j.deleted = true
			return ok
		}
	case *command.ArchiveJob:
		if j := m[c.Id]; j != nil {
			if !j.deleted {
				j.abort()
				j.phase = "ARCHIVED"
			}
			return ok
		}
	case *command.Purge:
		if m[c.Id] != nil {
			return ok
		}
	case *command.GrantLease:
		return m.alive(c.Job, func(j *modelJob) command.Result_Code { return j.grant(c) })
	case *command.ReportAttempt:
		return m.attempt(c.Job, c.Epoch, c.Site, func(j *modelJob, a *modelAttempt) command.Result_Code { return j.report(a, c.State) })
	case *command.StageManifest:
		return m.attempt(c.Job, c.Epoch, c.Site, func(j *modelJob, a *modelAttempt) command.Result_Code {
			if a.closed || a.cancelling {
				return staleEpoch
			}
			a.staged = true
			return ok
		})
	case *command.Commit:
		return m.attempt(c.Job, c.Epoch, c.Site, func(j *modelJob, a *modelAttempt) command.Result_Code { return j.commit(a, c.Facts) })
	case *command.FailAttempt:
		return m.attempt(c.Job, c.Epoch, c.Site, func(j *modelJob, a *modelAttempt) command.Result_Code { return j.fail(a, c.Class) })
	case *command.CloseAttempt:
		return m.attempt(c.Job, c.Epoch, c.Site, func(j *modelJob, a *modelAttempt) command.Result_Code {
			switch {
			case a.closed && !a.cancelling:
				return staleEpoch
			case !a.cancelling:
				return illegalPhase
			}
			a.closed, a.state = true, "cancelled"
			return ok
		})
	}
	return notFound
}

func (m model) create(c *command.CreateJob) command.Result_Code {
	if m[c.Id] != nil {
		return ok
	}
	j := &modelJob{phase: map[bool]string{false: "PENDING", true: "QUEUED"}[c.Run], attempts: map[uint64]*modelAttempt{}, inputs: c.Inputs}
	for _, in := range c.Inputs {
		if from := m[in.FromJob]; in.FromJob != "" && !from.usable() {
			return notFound
		}
	}
	if c.ReuseOf != "" {
		old := m[c.ReuseOf]
		j.phase, j.result, j.request = "COMPLETED", true, request(c.Inputs, nil)
		switch {
		case c.ReuseOf == c.Id:
			return command.Result_INVALID
		case old == nil || old.deleted || old.phase == "ARCHIVED":
			return notFound
		case old.phase != "COMPLETED":
			return illegalPhase
		case j.request == "" || j.request != old.request:
			return command.Result_REFUSED
		}
	}
	m[c.Id] = j
	return ok
}

func (j *modelJob) usable() bool { return j != nil && !j.deleted && j.phase != "ARCHIVED" && j.result }

// request describes inputs by their content, when all is known.
func request(inputs []*command.Input, f *command.Facts) string {
	var all []string
	for _, in := range inputs {
		sum := in.Sha256
		if in.Url != "" && len(f.GetTransfers()) > 0 {
			sum = f.Transfers[0].Sha256
		}
		if sum == "" {
			return ""
		}
		all = append(all, in.Name+sum)
	}
	slices.Sort(all)
	return fmt.Sprint(all)
}

func (m model) alive(id string, fn func(*modelJob) command.Result_Code) command.Result_Code {
	if j := m[id]; j != nil && !j.deleted {
		return fn(j)
	}
	return notFound
}

func (m model) attempt(id string, epoch uint64, site string, fn func(*modelJob, *modelAttempt) command.Result_Code) command.Result_Code {
	j := m[id]
	if j == nil {
		return notFound
	}
	if a := j.attempts[epoch]; a != nil && a.site == site {
		return fn(j, a)
	}
	return staleEpoch
}

func (j *modelJob) grant(c *command.GrantLease) command.Result_Code {
	a := j.open()
	switch {
	case a != nil && c.Epoch == j.epoch && a.site == c.Site && !j.final():
		return ok
	case j.phase != "QUEUED":
		return illegalPhase
	case a != nil || c.Epoch != j.epoch+1:
		return staleEpoch
	}
	j.epoch = c.Epoch
	j.attempts[c.Epoch] = &modelAttempt{site: c.Site, state: "leased"}
	return ok
}

func (j *modelJob) report(a *modelAttempt, state string) command.Result_Code {
	if a.closed {
		return staleEpoch
	}
	order := map[string]int{"leased": 0, "staging": 1, "submitted": 2, "running": 3, "suspended": 3, "uploading": 4}
	if order[state] > order[a.state] || order[state] == 3 && order[a.state] == 3 {
		a.state = state
	}
	if !a.cancelling && order[a.state] >= 3 {
		j.phase = "EXECUTING"
		if a.state == "suspended" {
			j.phase = "SUSPENDED"
		}
	}
	return ok
}

func (j *modelJob) commit(a *modelAttempt, f *command.Facts) command.Result_Code {
	switch {
	case a.state == "committed":
		return ok
	case a.closed || a.cancelling:
		return staleEpoch
	case !a.staged:
		return incomplete
	}
	a.closed, a.state, j.phase = true, "committed", "COMPLETED"
	j.result, j.request = true, request(j.inputs, f)
	return ok
}

func (j *modelJob) fail(a *modelAttempt, class string) command.Result_Code {
	if a.closed {
		if a.state == "failed" || a.cancelling {
			return ok
		}
		return staleEpoch
	}
	a.closed, a.state = true, "failed"
	switch {
	case a.cancelling:
		a.state = "cancelled"
	case class == "timelimit":
		j.phase = "ABORTED"
	case class == "preempted":
		j.phase = "QUEUED"
	case class == "transfer" && j.failures < 1:
		j.failures++
		j.phase = "QUEUED"
	case class == "quota" && j.phase != "SUSPENDED":
		j.phase = "HELD"
	default:
		j.phase = "ERROR"
	}
	return ok
}

// drawCommand draws a command on one of six jobs; mostly the epoch is the one that makes sense. What ends a job
// for ever is rare, so that lives are long.
func drawCommand(t *rapid.T, m model) proto.Message {
	n := rapid.IntRange(1, modelJobs).Draw(t, "job")
	id := jobID(n)
	epoch := uint64(1)
	if j := m[id]; j != nil {
		epoch = max(1, j.epoch)
	}
	kind := rapid.SampledFrom([]string{"create", "create", "create", "create", "run", "run", "abort", "delete", "archive", "purge",
		"grant", "grant", "grant", "grant", "report", "report", "report", "report", "stage", "stage", "stage", "stage",
		"commit", "commit", "fail", "fail", "close"}).Draw(t, "kind")
	if rapid.IntRange(0, 5).Draw(t, "odd") == 0 {
		epoch = rapid.Uint64Range(0, 4).Draw(t, "epoch")
	} else if kind == "grant" && m[id] != nil {
		epoch = m[id].epoch + 1
	}
	site := rapid.SampledFrom([]string{"obs", "obs", "obs", "obs", "other"}).Draw(t, "site")
	switch kind {
	case "create":
		c := createJob(n)
		c.Run = rapid.Bool().Draw(t, "run")
		c.Retry = &command.Retry{Max: 1, On: []string{"transfer", "preempted"}}
		drawRequest(t, c)
		return c
	case "run":
		return &command.RunJob{Id: id}
	case "abort":
		if rapid.Bool().Draw(t, "by the limit") {
			return &command.AbortJob{Id: id, Epoch: epoch}
		}
		return &command.AbortJob{Id: id}
	case "delete":
		return &command.DeleteJob{Id: id}
	case "archive":
		return &command.ArchiveJob{Id: id, DueUs: maxTimeUs}
	case "purge":
		return &command.Purge{Id: id, Limit: 64}
	case "grant":
		return &command.GrantLease{Job: id, Epoch: epoch, Site: "obs", WorkLeaseSeconds: 10}
	case "report":
		state := rapid.SampledFrom([]string{"staging", "submitted", "running", "suspended", "uploading", "leased", ""}).Draw(t, "state")
		return &command.ReportAttempt{Job: id, Epoch: epoch, Site: site, State: state, Facts: &command.Facts{BatchId: "b" + state}}
	case "stage":
		return &command.StageManifest{Job: id, Epoch: epoch, Site: site, Files: manifest(n)}
	case "commit":
		return &command.Commit{Job: id, Epoch: epoch, Site: site, Parts: 1,
			Hash: command.ManifestHash([][]byte{command.PartHash(manifest(n))}), Outputs: outputs(n), Facts: drawFacts(t),
			Fragment: &command.Fragment{Number: uint64(n)}}
	case "fail":
		class := rapid.SampledFrom([]string{"user", "transfer", "preempted", "quota", "timelimit"}).Draw(t, "class")
		return &command.FailAttempt{Job: id, Epoch: epoch, Site: site, Class: class, Facts: drawFacts(t)}
	default:
		return &command.CloseAttempt{Job: id, Epoch: epoch, Site: site, Facts: drawFacts(t)}
	}
}

const modelJobs = 6

// drawRequest draws inputs of all kinds, parameters, and sometimes a job to be reused.
func drawRequest(t *rapid.T, c *command.CreateJob) {
	from := rapid.IntRange(1, modelJobs).Draw(t, "from")
	taken := manifest(from)[0]
	result := taken.Output
	if outputs(from)[0].Collection {
		result += "/" + taken.Path
	}
	upload := rapid.SampledFrom([]string{"u1", "u2"}).Draw(t, "upload")
	kinds := []*command.Input{
		{Name: "in", Sha256: sha(upload), Size: 1, Upload: upload},
		{Name: "mask", Sha256: sha(upload), Size: 1, Upload: upload},
		{Name: "far", Source: command.Input_URL, Url: "https://u:p@archive.example/a"},
		{Name: "old", Source: command.Input_JOB, FromJob: jobID(from), FromResult: result, Sha256: taken.Sha256, Size: 1},
	}
	c.Inputs = rapid.SliceOfNDistinct(rapid.SampledFrom(kinds), 0, 2, func(in *command.Input) string { return in.Name }).Draw(t, "inputs")
	if rapid.Bool().Draw(t, "given") {
		c.Parameters = []*command.Parameter{{Name: "n", Values: []string{"1", "2"}}, {Name: "key", Values: []string{"k"}, Secret: true}}
		return
	}
	if rapid.IntRange(0, 3).Draw(t, "reuse") == 0 {
		c.ReuseOf = jobID(rapid.IntRange(1, modelJobs).Draw(t, "reused"))
	}
}

// drawFacts draws what an attempt tells at its end.
func drawFacts(t *rapid.T) *command.Facts {
	content := rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "content")
	f := &command.Facts{Image: "sha256:i" + content, Software: []*command.Software{{Name: "fold", Version: content}},
		Logs: []*command.Log{{Name: "stdout", Sha256: sha("log" + content), Size: int64(len(content))}}}
	if content != "" {
		f.Transfers = []*command.Transfer{{Name: "far", Sha256: sha(content)}, {Out: true, Name: "far", Sha256: sha("out")}}
	}
	return f
}

// manifest and outputs: jobs with even numbers make a collection, others two results.
func manifest(n int) []*command.File {
	second := "second"
	if n%2 == 0 {
		second = "answer"
	}
	return []*command.File{{Output: "answer", Path: "a", Sha256: sha(fmt.Sprint("a", n)), Size: 1}, {Output: second, Path: "b", Sha256: sha("shared"), Size: 1}}
}

func outputs(n int) []*command.Output {
	files := manifest(n)
	if n%2 == 0 {
		return []*command.Output{{Id: "answer", Collection: true, Sha256: sha(fmt.Sprint("list", n)), Size: 2, Files: 2}}
	}
	return []*command.Output{{Id: "answer", Sha256: files[0].Sha256, Size: 1}, {Id: "second", Sha256: files[1].Sha256, Size: 1}}
}

// agrees tells whether the answer is the model's. Of a deleted job the purge may have removed what told a
// repeat from a stale call.
func agrees(got *command.Result, want command.Result_Code, j *modelJob) bool {
	if j != nil && j.deleted && got.Code != want {
		return want == ok && (got.Code == staleEpoch || got.Code == command.Result_EXISTS) || want == illegalPhase && got.Code == staleEpoch
	}
	return got.Code == want
}

// TestModel applies random commands and compares with the model; then applies the same entries to other
// stores, in other batches, with restarts, replays and a snapshot in between, and compares the stores.
func TestModel(t *testing.T) {
	setChecks(t, 5) // each opens five stores
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t).furnish()
		furnished := int(w.index)
		defer w.s.Close()
		m := model{}
		var entries []Entry
		n := rapid.IntRange(60, 250).Draw(rt, "commands")
		for range n {
			body := drawCommand(rt, m)
			before := hashRecords(rt, w.s)
			e := w.entry(wrap(body))
			results, err := w.s.ApplyBatch([]Entry{e})
			if err != nil {
				rt.Fatal(err)
			}
			entries = append(entries, e)
			got := results[0].(*command.Result)
			id := fmt.Sprint(body.ProtoReflect().Get(body.ProtoReflect().Descriptor().Fields().Get(0)))
			want := m.step(body)
			if !agrees(got, want, m[id]) {
				rt.Fatalf("%T %v: got %v, want %v; %+v", body, body, got, want, m[id])
			}
			if got.Code != ok && hashRecords(rt, w.s) != before {
				rt.Fatalf("%T %v was refused (%v) but changed the state", body, body, got)
			}
			compare(rt, w, m)
		}
		entries = append(entries, purgeModel(rt, w)...)
		checkEvents(rt, w.events)
		checkStore(rt, w.s)
		checkLineage(rt, w.s)
		replay(t, rt, w, furnished, entries)
	})
}

// purgeModel purges all that waits and returns the entries that did.
func purgeModel(t *rapid.T, w *world) []Entry {
	var entries []Entry
	for range 100 {
		var queue []string
		w.view(func(v *View) (err error) { queue, err = v.PurgeQueue(1); return err })
		if len(queue) == 0 {
			return entries
		}
		e := w.entry(wrap(&command.Purge{Id: queue[0], Limit: 64}))
		if _, err := w.s.ApplyBatch([]Entry{e}); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	t.Fatal("the purge does not end")
	return nil
}

// hashRecords is the hash of all records but the meta record.
func hashRecords(t *rapid.T, s *Store) string {
	h := sha256.New()
	err := s.View(func(v *View) error {
		return v.each(nil, nil, true, func(item *badger.Item) (bool, error) {
			if item.Key()[0] == tagMeta {
				return true, nil
			}
			return true, item.Value(func(value []byte) error { fmt.Fprintf(h, "%q %q\n", item.Key(), value); return nil })
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(h.Sum(nil))
}

// setChecks sets how often a property is checked, unless the command line says.
func setChecks(t *testing.T, n int) {
	const name = "rapid.checks"
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return
	}
	old := flag.Lookup(name).Value.String()
	if err := flag.Set(name, fmt.Sprint(n)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set(name, old) })
}

func compare(t *rapid.T, w *world, m model) {
	for _, id := range slices.Sorted(maps.Keys(m)) {
		want, got := m[id], w.head(id)
		if got.Phase != want.phase || got.Epoch != want.epoch || got.Deleted != want.deleted || got.AttemptOpen != (want.open() != nil) {
			t.Fatalf("head %v\nmodel %+v", got, want)
		}
		if final(got) != (got.EndedUs != 0) {
			t.Fatalf("end time of %v", got)
		}
	}
}

// checkEvents holds that versions grow by one and that phases make legal moves.
func checkEvents(t *rapid.T, events []Event) {
	last := map[string]Event{}
	for _, e := range events {
		if e.Kind != JobEvent {
			continue
		}
		old, seen := last[e.Job]
		if seen && (e.Version != old.Version+1 || e.Phase != old.Phase && !uws.Phase(old.Phase).CanBecome(uws.Phase(e.Phase))) {
			t.Fatalf("from %+v to %+v", old, e)
		}
		last[e.Job] = e
	}
}

// checkStore holds that indexes follow from heads, counts of references from references, and memory from
// the store.
func checkStore(t *rapid.T, s *Store) {
	want, got := map[string]bool{}, map[string]bool{}
	refs, counted := map[string]int64{}, map[string]int64{}
	err := s.View(func(v *View) error {
		fresh, err := buildMemory(v.txn)
		if err != nil {
			return err
		}
		if a, b := describe(s.memory), describe(fresh); a != b {
			t.Fatalf("memory is\n%s\nrebuilt it is\n%s", a, b)
		}
		return v.each(nil, nil, true, func(item *badger.Item) (bool, error) {
			k := item.KeyCopy(nil)
			value, err := item.ValueCopy(nil)
			switch k[0] {
			case tagJob:
				j := new(Job)
				if err := proto.Unmarshal(value, j); err != nil {
					return false, err
				}
				for _, index := range indexKeys(j) {
					want[string(index)] = true
				}
			case tagListAll, tagListDef, tagListOwner, tagListOwnerDef, tagListPhase, tagListDefPhase, tagListAllPhase, tagDestroy,
				tagComputed:
				got[string(k)] = true
			case tagFound:
				if k[1] == foundDefinition || k[1] == foundOwner {
					got[string(k)] = true
				}
			case tagReference:
				refs[hexSHA(k[1:33])]++
			case tagContent:
				c := new(Content)
				if err := proto.Unmarshal(value, c); err != nil {
					return false, err
				}
				if (c.Refs == 0) != (c.ZeroSinceUs != 0) {
					t.Fatalf("content %v", c)
				}
				if c.Refs > 0 {
					counted[hexSHA(k[1:])] = c.Refs
				}
			}
			return true, err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(want, got) {
		t.Fatalf("indexes: %q\nfrom heads: %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
	if !maps.Equal(refs, counted) {
		t.Fatalf("references %v, counted %v", refs, counted)
	}
}

func describe(m *memory) string {
	var b bytes.Buffer
	for _, id := range slices.Sorted(maps.Keys(m.jobs)) {
		fmt.Fprintf(&b, "%+v\n", *m.jobs[id])
	}
	line := func(name string, l *timeline) {
		fmt.Fprintf(&b, "%s:", name)
		for a := range l.newest(1 << 62) {
			fmt.Fprintf(&b, " %s", a.ID)
		}
		fmt.Fprintln(&b)
	}
	line("all", &m.all)
	line("queued", &m.queued)
	for _, owner := range slices.Sorted(maps.Keys(m.owners)) {
		line(owner, m.owners[owner])
	}
	for _, site := range slices.Sorted(maps.Keys(m.open)) {
		for _, job := range slices.Sorted(maps.Keys(m.open[site])) {
			fmt.Fprintf(&b, "%s: %+v\n", site, *m.open[site][job])
		}
	}
	fmt.Fprint(&b, m.counts)
	return b.String()
}

// replay applies the entries to a second store in random batches, with a restart and a replay between, and
// from a snapshot to a third.
func replay(t *testing.T, rt *rapid.T, w *world, furnished int, entries []Entry) {
	want := w.s.mustHash(t)
	second := newWorld(t).furnish()
	defer func() { second.s.Close() }()
	third := newWorld(t)
	defer third.s.Close()
	cut := rapid.IntRange(0, len(entries)).Draw(rt, "cut")
	for from := 0; from < cut; {
		to := rapid.IntRange(from+1, cut).Draw(rt, "batch")
		if _, err := second.s.ApplyBatch(entries[from:to]); err != nil {
			rt.Fatal(err)
		}
		from = to
	}
	if err := third.s.Restore(bytes.NewReader(snapshotBytes(t, second.s))); err != nil {
		rt.Fatal(err)
	}
	if second.s.mustHash(t) != third.s.mustHash(t) {
		rt.Fatal("the restored state differs")
	}
	second.reopen()
	for _, s := range []*Store{second.s, third.s} {
		results, err := s.ApplyBatch(entries[max(0, cut-3):])
		if err != nil {
			rt.Fatal(err)
		}
		if cut > 0 && results[0] != nil {
			rt.Fatalf("an entry was applied twice: %v", results[0])
		}
		if s.mustHash(t) != want {
			rt.Fatalf("the states differ after %d entries, cut at %d", furnished+len(entries), cut)
		}
		checkStore(rt, s)
	}
}
