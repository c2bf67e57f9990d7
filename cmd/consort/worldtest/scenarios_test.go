package worldtest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"consort/shared/prov"
	"consort/shared/userapi"
	"consort/shared/uws"
)

// scenarios are what users do. Each runs in a world of one process and in a world of real programs.
var scenarios = []struct {
	name string
	run  func(u *user)
}{
	{"periodogram and fold", periodogramAndFold},
	{"probe", probe},
	{"fail", fail},
	{"abort", abort},
	{"delete", deleteRunning},
	{"execution duration", executionDuration},
	{"destruction", destruction},
	{"retry", retry},
	{"secret", secret},
	{"many small files", manySmall},
	{"idempotency", idempotency},
}

func TestInOneProcess(t *testing.T) { all(t, newInProcess(t)) }

func TestAsPrograms(t *testing.T) { all(t, newStandalone(t, "", "").world) }

// all runs the scenarios side by side in one world, and then looks for secrets on its disk.
func all(t *testing.T, w *world) {
	t.Run("scenarios", func(t *testing.T) {
		for _, s := range scenarios {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				s.run(w.in(t))
			})
		}
	})
	w.stop(t)
	w.searchSecret(t)
	w.start(t)
	w.in(t).wait(w.in(t).run("probe"), uws.Completed)
}

// sunspots is the series of the example, and where its highest peak must be.
const sunspots = "../../../examples/periodogram/sunspots.csv"

var bestPeriod = regexp.MustCompile(`best period +([0-9.]+) yr`)

func periodogramAndFold(u *user) {
	series, err := os.ReadFile(sunspots)
	if err != nil {
		u.Fatal(err)
	}
	first := submission("periodogram")
	first.Uploads = []userapi.Upload{upload("series", "sunspots.csv", series)}
	search := u.submit(first)
	u.wait(search, uws.Completed)
	found := u.results(search)
	match := bestPeriod.FindStringSubmatch(found["summary"])
	if match == nil {
		u.Fatalf("the summary is %q", found["summary"])
	}
	if period, err := strconv.ParseFloat(match[1], 64); err != nil || period < 10.5 || period > 11.5 {
		u.Errorf("the best period is %q", match[1])
	}
	if !strings.Contains(found["plot"], "<svg") || !strings.Contains(found["periodogram"], "<VOTABLE") {
		u.Error("the plot is no SVG, or the periodogram no VOTable")
	}
	if u.fetch(at(search, "/results/result")) != found["summary"] {
		u.Error("results/result is not the main output")
	}
	fold := u.run("fold", "series", "consort:"+search.ID+"/cleaned", "period", match[1])
	u.wait(fold, uws.Completed)
	if folded := u.results(fold); !strings.Contains(folded["folded"], "<VOTABLE") || !strings.Contains(folded["plot"], "<svg") {
		u.Errorf("fold left %v", slices.Collect(keys(folded)))
	}
	// The plot of the second job leads to the hash of the series of the first.
	hash := sha256.Sum256(series)
	text := u.fetch(at(search, "/provjson"))
	if !strings.Contains(text, hex.EncodeToString(hash[:])) {
		u.Error("the provenance of the periodogram does not hold the hash of the series")
	}
	u.provenance(search)
	if u.provenance(fold); !strings.Contains(u.fetch(at(fold, "/provjson")), search.ID) {
		u.Error("the provenance of the fold does not lead to the periodogram")
	}
}

func keys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func probe(u *user) {
	s := submission("probe", "text", "höre -x; $(rm) 'q'", "seconds", "0.1")
	s.RunID = "my run"
	s.Uploads = []userapi.Upload{upload("input", "a b.dat", []byte("content\x00\n"))}
	ref := u.submit(s)
	doc := u.wait(ref, uws.Completed)
	if want, got := "done\nhöre -x; $(rm) 'q'\ncontent\x00\n", u.results(ref)["answer"]; got != want {
		u.Errorf("the answer is %q, want %q", got, want)
	}
	if doc.RunID != "my run" || doc.StartTime.IsZero() || doc.EndTime.Before(doc.StartTime) {
		u.Errorf("the document is %+v", doc)
	}
	if out := u.log(ref, "stdout"); out != "" {
		u.Errorf("stdout is %q", out)
	}
	u.noneAlive(ref)
}

func fail(u *user) {
	ref := u.run("probe", "fail", "true")
	doc := u.wait(ref, uws.Error)
	if doc.Error == nil || !strings.Contains(doc.Error.Message, "failed, as asked") {
		u.Errorf("the error is %+v", doc.Error)
	}
	j := u.job(ref)
	if j.Error == nil || j.Error.Class != "user" || len(j.Attempts) != 1 || j.Attempts[0].ExitCode == nil || *j.Attempts[0].ExitCode != 1 {
		u.Errorf("the job is %+v", j)
	}
	if log := u.log(ref, "stderr"); log != "probe: failed, as asked\n" {
		u.Errorf("stderr is %q", log)
	}
	if log := u.fetch(at(ref, "/stderr")); log != "probe: failed, as asked\n" {
		u.Errorf("stderr in UWS is %q", log)
	}
	u.ended(ref, "failed")
}

// ended waits until the attempt of a job is closed, and checks that its provenance tells how it ended.
func (u *user) ended(ref userapi.Ref, state string) {
	u.Helper()
	eventually(u, "the attempt is closed", func() error {
		j := u.job(ref)
		if last := j.Attempts[len(j.Attempts)-1]; last.State != state {
			return fmt.Errorf("it is %s", last.State)
		}
		return nil
	})
	g := u.provenance(ref)
	activities := slices.Collect(g.Records(prov.Activity))
	if len(activities) < 2 {
		u.Errorf("the provenance has %d activities, want the job and its attempt at least", len(activities))
	}
}

// growing starts a tree of processes and returns when it stands.
func (u *user) growing() userapi.Ref {
	u.Helper()
	ref := u.run("tree")
	u.follow(ref, "stdout", "growing")
	u.reach(ref, uws.Executing)
	if n := len(alive(u, ref.ID)); n < 5 {
		u.Errorf("only %d processes are alive", n)
	}
	return ref
}

func abort(u *user) {
	ref := u.growing()
	if err := u.client.Abort(u.Context(), ref); err != nil {
		u.Fatal(err)
	}
	doc, err := u.client.UWSJob(u.Context(), ref, uws.Wait{})
	if err != nil || doc.Phase != uws.Aborted || doc.EndTime.IsZero() {
		u.Errorf("right after ABORT: %+v, %v", doc, err)
	}
	u.noneAlive(ref)
	u.ended(ref, "cancelled")
	if log := u.log(ref, "stderr"); log != "something to say\n" {
		u.Errorf("stderr is %q", log)
	}
}

func deleteRunning(u *user) {
	ref := u.growing()
	if err := u.client.Delete(u.Context(), ref); err != nil {
		u.Fatal(err)
	}
	if status, _ := u.get(at(ref, "")); status != http.StatusNotFound {
		u.Errorf("after DELETE: %d", status)
	}
	u.noneAlive(ref)
}

func executionDuration(u *user) {
	s := submission("tree")
	s.Duration = time.Second
	ref := u.submit(s)
	doc := u.wait(ref, uws.Aborted)
	if doc.Info == nil || !strings.Contains(doc.Info.Reason, "duration") && !strings.Contains(doc.Info.Reason, "limit") {
		u.Errorf("the reason is %+v", doc.Info)
	}
	u.noneAlive(ref)
	if doc.ExecutionDuration != 1 {
		u.Errorf("the execution duration is %d", doc.ExecutionDuration)
	}
	eventually(u, "the provenance is there", func() error {
		if status, body := u.get(at(ref, "/provjson")); status != http.StatusOK {
			return errors.New(string(body))
		}
		return nil
	})
	u.provenance(ref)
}

func destruction(u *user) {
	ref := u.run("probe")
	u.wait(ref, uws.Completed)
	answer := u.job(ref).Results[0].URL
	u.fetch(answer)
	u.post(at(ref, "/destruction"), "DESTRUCTION", uws.FormatTime(time.Now().Add(time.Second)))
	u.reach(ref, uws.Archived)
	if status, _ := u.get(answer); status < 400 || status >= 500 {
		u.Errorf("a result of the archived job: %d", status)
	}
	u.provenance(ref)
}

func retry(u *user) {
	ref := u.run("flaky")
	u.wait(ref, uws.Completed)
	j := u.job(ref)
	if len(j.Attempts) != 2 {
		u.Fatalf("there were %d attempts", len(j.Attempts))
	}
	slices.SortFunc(j.Attempts, func(a, b userapi.Attempt) int { return int(a.Epoch) - int(b.Epoch) })
	first, second := j.Attempts[0], j.Attempts[1]
	if first.Error == nil || first.Error.Class != "site-transient" || first.ExitCode == nil || *first.ExitCode != 75 || second.State != "committed" || second.Epoch != 2 {
		u.Errorf("the attempts are %+v", j.Attempts)
	}
	if answer := u.results(ref)["answer"]; answer != "done at last\n" {
		u.Errorf("the answer is %q", answer)
	}
	if lines := u.starts(u, ref.ID); len(lines) != 2 || !strings.HasPrefix(lines[1], ref.ID+" 2 ") {
		u.Errorf("the starts are %q", lines)
	}
	u.provenance(ref)
}

// password must be found nowhere.
const password = "Xyzzy-4c1d-never-shown"

func secret(u *user) {
	ref := u.run("secret", "password", password, "steps", "+07", "kind", "hot")
	u.wait(ref, uws.Completed)
	found := u.results(ref)
	if want := "[model]\nsteps = 7\nkind = hot\ncores = 1\n"; found["model"] != want {
		u.Errorf("the configuration is %q, want %q", found["model"], want)
	}
	hash := sha256.Sum256([]byte(password))
	if want := "600\n" + hex.EncodeToString(hash[:]) + "\n"; found["proof"] != want {
		u.Errorf("the code saw %q, want %q", found["proof"], want)
	}
	u.provenance(ref)
	shown := map[string]string{"stdout": u.log(ref, "stdout"), "stderr": u.log(ref, "stderr")}
	for _, path := range []string{at(ref, ""), at(ref, "/parameters"), at(ref, "/provjson"), at(ref, "/provn"), "/api/v1/jobs/" + ref.ID} {
		shown[path] = u.fetch(path)
	}
	for where, text := range shown {
		if strings.Contains(text, password) {
			u.Errorf("%s holds the secret", where)
		}
	}
	if !strings.Contains(shown["stdout"], "CONSORT_SECRETS=") {
		u.Errorf("the code did not show its environment: %q", shown["stdout"])
	}
	if status, body := u.get(at(ref, "/parameters/password")); status == http.StatusOK {
		u.Errorf("the parameter itself: %q", body)
	}
}

func manySmall(u *user) {
	const n = 5000
	ref := u.run("many", "n", strconv.Itoa(n), "size", "100")
	u.wait(ref, uws.Completed)
	r := u.job(ref).Results[0]
	members := u.members(ref, r.ID)
	if !r.Collection || r.Files != n || r.Size != n*100 || len(members) != n {
		u.Errorf("the result is %+v with %d members", r, len(members))
	}
	for _, i := range []int{0, 299, 300, n - 1} {
		m := members[i]
		if body := u.verified(m.URL, m.SHA256, m.Size); !strings.HasPrefix(body, fmt.Sprintf("%06d\n", i+1)) {
			u.Errorf("file %s begins with %.10q", m.Path, body)
		}
	}
	if table := u.fetch(r.URL); strings.Count(table, "<TR>") != n {
		u.Errorf("the manifest has %d rows", strings.Count(table, "<TR>"))
	}
}

func idempotency(u *user) {
	s := submission("probe", "text", "once")
	s.RunID, s.Key = "idempotent", newKey()
	ids := make(chan string, 8)
	for range cap(ids) {
		go func() {
			made, err := u.client.Submit(u.Context(), s)
			if err != nil {
				u.Error(err)
			}
			ids <- made.ID
		}()
	}
	first := <-ids
	for range cap(ids) - 1 {
		if id := <-ids; id != first {
			u.Errorf("the same request made %s and %s", first, id)
		}
	}
	u.wait(userapi.Ref{Definition: "probe", ID: first}, uws.Completed)
	if again := u.submit(s); again.ID != first {
		u.Errorf("repeated after the end it made %s, not %s", again.ID, first)
	}
	other := submission("probe", "text", "another")
	other.Key = s.Key
	if made, err := u.client.Submit(u.Context(), other); err == nil {
		u.Errorf("another request with the same key gave %s", made.ID)
	}
	if n := strings.Count(u.fetch("/rest/probe"), "idempotent"); n != 1 {
		u.Errorf("the list has %d such jobs", n)
	}
}

// TestHelpers keeps the checks honest: one that finds nothing would pass for ever.
func TestHelpers(t *testing.T) {
	if len(alive(t, "no-such-job")) != 0 {
		t.Error("processes of a job that does not exist")
	}
	if w := newWorld(t); len(w.starts(t, "no-such-job")) != 0 {
		t.Error("starts of a job that does not exist")
	}
}
