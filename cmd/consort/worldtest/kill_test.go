package worldtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"consort/shared/siteapi"
	"consort/shared/userapi"
	"consort/shared/uws"
)

// The places to die, "name" or "name:passage". What the agent runs through is in agentPoints, what the
// coordinator runs through in coordinatorPoints; consort dev is both in one process. The job that is under
// way has one big and 400 small outputs, so that its manifest has two parts, and it is the second that is
// created.
var (
	agentPoints = []string{
		"agent-after-journal-before-submit",
		"local-before-start",
		"local-after-start",
		"agent-after-submit-before-record",
		"agent-after-started",
		"agent-after-exit-file",
		"staging-mid-upload",
		"staging-mid-upload:300",
		"agent-before-seal",
		"agent-after-seal",
		"agent-between-manifest-parts",
		"agent-between-manifest-parts:2",
		"agent-before-commit",
		"agent-after-commit-before-cleanup",
	}
	coordinatorPoints = []string{
		"coordinator-after-create:2",
		"coordinator-after-lease-commit",
		"content-mid-upload",
		"content-mid-upload:200",
		"content-after-rename-before-seal",
		"content-after-seal-before-move",
		"content-mid-move:100",
		"coordinator-between-manifest-parts",
		"coordinator-between-manifest-parts:2",
		"coordinator-before-commit",
		"coordinator-after-commit",
		"coordinator-after-commit-before-answer",
	}
)

const (
	killFiles = 400
	killSize  = 3 << 20
)

// TestKillMatrix kills a process at each dangerous point and starts it again. Whatever was acknowledged is
// there; the job completes, with the right outputs, after its code was started just once.
func TestKillMatrix(t *testing.T) {
	for _, point := range agentPoints {
		t.Run("agent/"+point, func(t *testing.T) {
			t.Parallel()
			s := newStandalone(t, "", point)
			survive(s.in(t), func() {
				s.agent.died(point)
				s.startAgent(t, "")
			})
		})
	}
	for _, point := range coordinatorPoints {
		t.Run("coordinator/"+point, func(t *testing.T) {
			t.Parallel()
			s := newStandalone(t, point, "")
			survive(s.in(t), func() {
				s.coordinator.died(point)
				s.startCoordinator(t, "")
			})
		})
	}
	for _, point := range slices.Concat(agentPoints, coordinatorPoints) {
		if name, passage, _ := strings.Cut(point, ":"); passage != "" && slices.Contains(slices.Concat(agentPoints, coordinatorPoints), name) {
			continue // one passage each is enough here
		}
		t.Run("dev/"+point, func(t *testing.T) {
			t.Parallel()
			d := newDev(t, point)
			survive(d.in(t), func() {
				d.server.died(point)
				d.launch(t, "")
			})
		})
	}
}

// survive submits a job, lets a process be killed and started again, and checks that nothing was lost and
// nothing was done twice.
func survive(u *user, killAndRestart func()) {
	u.Helper()
	draft := submission("probe", "text", "a draft")
	draft.Draft, draft.Key = true, newKey()
	kept := u.submit(draft)
	work := submission("work", "files", strconv.Itoa(killFiles), "size", strconv.Itoa(killSize), "seconds", "0.2")
	work.Key = newKey()
	type answer struct {
		id  string
		err error
	}
	submitted := make(chan answer, 1)
	go func() { // the answer may come from the process that is started again
		made, err := u.client.Submit(u.Context(), work)
		submitted <- answer{made.ID, err}
	}()
	killAndRestart()
	var job answer
	select {
	case job = <-submitted:
	case <-time.After(patience):
		u.Fatal("the submission got no answer")
	}
	if job.err != nil {
		u.Fatalf("submit: %v", job.err)
	}
	ref := userapi.Ref{Definition: "work", ID: job.id}
	doc := u.wait(ref, uws.Completed)
	u.once(ref)
	u.complete(ref)
	u.noneAlive(ref)
	if again := u.submit(work); again != ref {
		u.Errorf("the same request made %s and %s", ref.ID, again.ID)
	}
	if again := u.submit(draft); again != kept {
		u.Errorf("the draft was %s and is %s", kept.ID, again.ID)
	}
	u.reach(kept, uws.Pending)
	if now := u.wait(ref, uws.Completed); !now.EndTime.Equal(doc.EndTime) || len(now.Results) != len(doc.Results) {
		u.Errorf("the job has changed after its end: %+v, before %+v", now, doc)
	}
	eventually(u, "the agent has cleaned up", func() error { return u.clean(ref) })
}

// complete checks outputs, logs and provenance of a job of work.
func (u *user) complete(ref userapi.Ref) {
	u.Helper()
	for _, r := range u.job(ref).Results {
		switch r.ID {
		case "answer":
			if answer := u.verified(r.URL, r.SHA256, r.Size); answer != "done\n" {
				u.Errorf("the answer is %q", answer)
			}
		case "big":
			if big := u.verified(r.URL, r.SHA256, r.Size); len(big) != killSize || !strings.HasPrefix(big, ref.ID+"\n") {
				u.Errorf("the big file has %d bytes and begins with %.40q", len(big), big)
			}
		case "parts":
			u.numbered(u.members(ref, r.ID))
		default:
			u.Errorf("there is a result %q", r.ID)
		}
	}
	if log := u.log(ref, "stdout"); log != "working\nfinished\n" {
		u.Errorf("the log is %q", log)
	}
	u.provenance(ref)
}

// numbered checks that the small files are all there, and reads those at the edges of the manifest's parts.
func (u *user) numbered(parts []userapi.Member) {
	u.Helper()
	if len(parts) != killFiles {
		u.Errorf("there are %d small files, want %d", len(parts), killFiles)
		return
	}
	for _, i := range []int{0, siteapi.MaxManifestPart - 2, siteapi.MaxManifestPart - 1, siteapi.MaxManifestPart, killFiles - 1} {
		if text := u.verified(parts[i].URL, parts[i].SHA256, parts[i].Size); text != fmt.Sprintln(i+1) {
			u.Errorf("small file %s is %q", parts[i].Path, text)
		}
	}
}
