package state

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"consort/coordinator/command"
	"consort/shared/prov"
)

// upload and far are inputs; far is one by URL.
func upload(role, id string) *command.Input {
	return &command.Input{Name: role, Upload: id, Sha256: sha("content of " + id), Size: 5}
}

func far(role string) *command.Input {
	return &command.Input{Name: role, Source: command.Input_URL, Url: "https://u:secret@archive.example/cube.fits"}
}

// ofJob is an input that is a result of job n, as completed and staged make it.
func ofJob(role string, n int) *command.Input {
	return &command.Input{Name: role, Source: command.Input_JOB, FromJob: jobID(n), FromResult: "answer",
		Sha256: sha(fmt.Sprint("answer", n)), Size: 4}
}

// complete creates, runs and commits a job with these inputs; facts may change what the attempt tells.
func (w *world) complete(n int, facts func(*command.Facts), inputs ...*command.Input) {
	w.t.Helper()
	c := createJob(n)
	c.Inputs = inputs
	w.ok(c)
	commit := w.staged(n, w.lease(n))
	if facts != nil {
		facts(commit.Facts)
	}
	w.ok(commit)
}

// fetched tells what the inputs of a role had for content, in order.
func fetched(role string, contents ...string) func(*command.Facts) {
	return func(f *command.Facts) {
		for _, content := range contents {
			f.Transfers = append(f.Transfers, &command.Transfer{Name: role, Sha256: sha(content)})
		}
	}
}

func (w *world) uses(entity string) []string {
	w.t.Helper()
	var all []string
	w.view(func(v *View) error {
		uses, next, err := v.UsesOf(entity, nil, 100)
		for _, u := range uses {
			all = append(all, u.Job+" "+u.Role)
		}
		if next != nil {
			w.t.Errorf("%s: there is more", entity)
		}
		return err
	})
	return all
}

func (w *world) occurrences(content string) []string {
	w.t.Helper()
	var all []string
	w.view(func(v *View) error {
		found, _, err := v.Occurrences(sha(content), nil, 100)
		for _, o := range found {
			all = append(all, o.Entity)
		}
		return err
	})
	slices.Sort(all)
	return all
}

func (w *world) discover(kind Discovery, values ...string) []string {
	w.t.Helper()
	var all []string
	w.view(func(v *View) error {
		found, _, err := v.Discover(kind, values, nil, 1000)
		for _, f := range found {
			all = append(all, f.Job)
		}
		return err
	})
	return all
}

func TestUses(t *testing.T) {
	w := newWorld(t).furnish()
	draft := createJob(1)
	draft.Run, draft.Inputs = false, []*command.Input{upload("in", "up1"), upload("mask", "up1"), upload("in", "up2"),
		{Name: "*", Source: command.Input_PARAMETERS, Sha256: sha("values"), Size: 1}}
	w.ok(draft)
	up1 := prov.UploadID("up1").Local
	if got := w.uses(up1); got != nil {
		t.Errorf("a draft uses %v", got)
	}
	w.ok(&command.RunJob{Id: jobID(1)})
	w.ok(&command.RunJob{Id: jobID(1)})
	w.complete(2, nil, upload("in", "up1"))
	w.complete(3, nil, ofJob("series", 2))
	diff(t, []string{jobID(2) + " in", jobID(1) + " in,mask"}, w.uses(up1))
	diff(t, []string{jobID(3) + " series"}, w.uses(prov.ResultID(jobID(2), "answer").Local))
	diff(t, []string{up1}, w.occurrences("content of up1"))
	if got := w.occurrences("values"); got != nil {
		t.Errorf("folded values are %v", got)
	}
}

// TestUsesOfURL holds that new content under an old URL is a new entity, and that content counts as told.
func TestUsesOfURL(t *testing.T) {
	w := newWorld(t).furnish()
	w.complete(1, fetched("far", "day 1", "day 2"), far("far"), far("far"))
	w.complete(2, fetched("far", "day 2"), far("far"))
	w.complete(3, nil, far("far"))
	c := createJob(4)
	c.Inputs = []*command.Input{far("far")}
	w.ok(c)
	facts := new(command.Facts)
	fetched("far", "day 3")(facts)
	facts.Transfers = append(facts.Transfers, &command.Transfer{Name: "far", Sha256: "no hash"})
	w.ok(&command.FailAttempt{Job: jobID(4), Epoch: w.lease(4), Site: "obs", Class: "user", Facts: facts})
	entity := func(content string) string { return prov.ExternalID(far("").Url, sha(content)).Local }
	diff(t, []string{jobID(1) + " far"}, w.uses(entity("day 1")))
	diff(t, []string{jobID(2) + " far", jobID(1) + " far"}, w.uses(entity("day 2")))
	diff(t, []string{jobID(4) + " far"}, w.uses(entity("day 3")))
	diff(t, []string{entity("day 2")}, w.occurrences("day 2"))
	checkLineage(t, w.s)
}

func TestPages(t *testing.T) {
	w := newWorld(t).furnish()
	const jobs = 7
	for n := range jobs {
		w.complete(n, nil, upload("in", "up"))
	}
	entity := prov.UploadID("up").Local
	for limit := 0; limit <= jobs+1; limit++ {
		var uses, found, computed, plots []string
		w.view(func(v *View) error {
			pages(t, limit, func(cursor []byte) (int, []byte, error) {
				page, next, err := v.UsesOf(entity, cursor, limit)
				for _, u := range page {
					uses = append(uses, u.Job)
				}
				return len(page), next, err
			})
			pages(t, limit, func(cursor []byte) (int, []byte, error) {
				page, next, err := v.Discover(ByOwner, []string{"alice"}, cursor, limit)
				for _, f := range page {
					found = append(found, f.Job)
				}
				return len(page), next, err
			})
			pages(t, limit, func(cursor []byte) (int, []byte, error) {
				j, err := v.Job(jobID(0))
				if err != nil {
					return 0, nil, err
				}
				page, next, err := v.Computed(j.Request, cursor, limit)
				for _, f := range page {
					computed = append(computed, f.Job)
				}
				return len(page), next, err
			})
			pages(t, limit, func(cursor []byte) (int, []byte, error) {
				page, next, err := v.Occurrences(sha("plot"), cursor, limit)
				for _, o := range page {
					plots = append(plots, o.Job)
				}
				return len(page), next, err
			})
			return nil
		})
		var newest []string
		for n := range jobs {
			newest = append(newest, jobID(jobs-1-n))
		}
		diff(t, newest, uses)
		diff(t, newest, found)
		diff(t, newest, computed)
		slices.Sort(plots)
		slices.Reverse(plots)
		diff(t, newest, plots)
	}
	w.view(func(v *View) error {
		if _, _, err := v.UsesOf(entity, []byte("x"), 1); !errors.Is(err, ErrCursor) {
			t.Errorf("a malformed cursor: %v", err)
		}
		if _, _, err := v.Discover(ByParameter, []string{"probe"}, nil, 1); err == nil {
			t.Error("too few values are taken")
		}
		if _, _, err := v.Discover(ByParameter+1, nil, nil, 1); err == nil {
			t.Error("an unknown discovery is taken")
		}
		return nil
	})
}

// pages reads pages until the end; all but the last are full.
func pages(t *testing.T, limit int, read func(cursor []byte) (int, []byte, error)) {
	t.Helper()
	for cursor, n := []byte(nil), 0; ; n++ {
		size, next, err := read(cursor)
		if err != nil || size > max(limit, 1) || next != nil && size < max(limit, 1) || n > 100 {
			t.Fatalf("page %d: %d items, %v", n, size, err)
		}
		if next == nil {
			return
		}
		cursor = next
	}
}

// TestOccurrences holds that only what was committed is seen: neither files of failed attempts, nor those of
// parts that were replaced or left out.
func TestOccurrences(t *testing.T) {
	w := newWorld(t).furnish()
	c := createJob(1)
	c.Retry = &command.Retry{Max: 1, On: []string{"transfer"}}
	w.ok(c)
	stage := func(epoch uint64, part int32, files ...*command.File) {
		w.ok(&command.StageManifest{Job: jobID(1), Epoch: epoch, Site: "obs", Part: part, Files: files})
	}
	tile := func(content string) *command.File {
		return &command.File{Output: "tiles", Path: "a", Sha256: sha(content), Size: 1}
	}
	log := &command.File{Output: "log", Path: "x/log.txt", Sha256: sha("the log"), Size: 1} // of every attempt
	w.lease(1)
	stage(1, 0, tile("failed"), log)
	w.ok(&command.FailAttempt{Job: jobID(1), Epoch: 1, Site: "obs", Class: "transfer",
		Facts: &command.Facts{Logs: []*command.Log{{Name: "stdout", Sha256: sha("first"), Size: 1}}}})
	w.lease(1)
	diff(t, []string(nil), w.occurrences("first"))
	files := []*command.File{tile("good"), log}
	stage(2, 0, tile("replaced"), log)
	stage(2, 0, files...)
	stage(2, 1, tile("left out"))
	diff(t, []string(nil), w.occurrences("good"))
	w.ok(&command.Commit{Job: jobID(1), Epoch: 2, Site: "obs", Parts: 1, Hash: command.ManifestHash([][]byte{command.PartHash(files)}),
		Outputs: []*command.Output{{Id: "tiles", Collection: true, Sha256: sha("list"), Size: 1, Files: 1}, {Id: "log", Sha256: sha("the log"), Size: 1}},
		Facts: &command.Facts{Logs: []*command.Log{{Name: "stdout", Sha256: sha("second"), Size: 1}, {Name: "stderr", Sha256: sha("")},
			{Name: "provenance", Sha256: sha("own"), Size: 1}}}})
	want := map[string][]string{
		"failed": nil, "replaced": nil, "left out": nil, "first": nil, "": nil,
		"good":    {prov.MemberID(jobID(1), "tiles", "a").Local},
		"the log": {prov.ResultID(jobID(1), "log").Local},
		"second":  {prov.ResultID(jobID(1), "stdout").Local},
		"own":     {prov.ResultID(jobID(1), "provenance").Local},
	}
	check := func() {
		t.Helper()
		for content, entities := range want {
			diff(t, entities, w.occurrences(content))
		}
	}
	check()
	w.purgeAll(64)
	check()
	checkLineage(t, w.s)
	w.view(func(v *View) error {
		found, next, err := v.Occurrences("no hash", nil, 1)
		if found != nil || next != nil || err != nil {
			t.Errorf("of no hash: %v, %v", found, err)
		}
		return nil
	})
}

// TestOccurrencesHidden reads pages of content that many attempts without results left.
func TestOccurrencesHidden(t *testing.T) {
	w := newWorld(t).furnish()
	const hidden = 80 // more than one page looks at
	for n := range hidden {
		w.ok(createJob(n))
		w.staged(n, w.lease(n))
	}
	w.complete(hidden, nil)
	pages, found := 0, 0
	w.view(func(v *View) error {
		for cursor, more := []byte(nil), true; more; pages++ {
			page, next, err := v.Occurrences(sha("plot"), cursor, 1)
			if err != nil {
				return err
			}
			found += len(page)
			cursor, more = next, next != nil
		}
		return nil
	})
	if pages < 2 || pages > 3 || found != 1 {
		t.Errorf("%d pages, %d found", pages, found)
	}
}

func TestDiscover(t *testing.T) {
	w := newWorld(t).furnish()
	c := createJob(1)
	c.Parameters = []*command.Parameter{{Name: "t", Values: []string{"5", "6"}}, {Name: "key", Values: []string{"k"}, Secret: true},
		{Name: "long", Values: []string{strings.Repeat("x", maxFoundText+1)}}}
	w.ok(c)
	epoch := w.lease(1)
	told := &command.Facts{Image: "sha256:abc", Software: []*command.Software{{Name: "gnuastro", Version: "0.22"}}}
	w.ok(&command.ReportAttempt{Job: jobID(1), Epoch: epoch, Site: "obs", State: AttemptRunning, Facts: told})
	all := func() [][]string {
		return [][]string{w.discover(ByDefinition, "probe@1.0"), w.discover(ByDefinition, "probe"), w.discover(BySite, "obs"), w.discover(ByOwner, "alice"),
			w.discover(ByImage, "sha256:abc"), w.discover(BySoftware, "gnuastro", "0.22"), w.discover(ByParameter, "probe", "t", "5"),
			w.discover(ByParameter, "probe", "t", "6"), w.discover(ByParameter, "probe", "n", "7")}
	}
	for _, found := range all() {
		diff(t, []string(nil), found)
	}
	w.ok(&command.AbortJob{Id: jobID(1)})
	diff(t, []string{jobID(1)}, w.discover(BySite, "obs"))
	diff(t, []string(nil), w.discover(ByImage, "sha256:abc")) // its attempt may still tell otherwise
	w.ok(&command.CloseAttempt{Job: jobID(1), Epoch: epoch, Site: "obs"})
	for _, found := range all() {
		diff(t, []string{jobID(1)}, found)
	}
	for _, secret := range [][]string{{"probe", "key", "k"}, {"probe", "hidden", "h"}, {"probe", "long", strings.Repeat("x", maxFoundText+1)}} {
		diff(t, []string(nil), w.discover(ByParameter, secret...))
	}
	draft := createJob(2)
	draft.Run, draft.Parameters = false, []*command.Parameter{{Name: "n", Values: []string{"8"}}}
	w.ok(draft)
	w.ok(&command.ArchiveJob{Id: jobID(2), DueUs: maxTimeUs})
	diff(t, []string{jobID(2)}, w.discover(ByParameter, "probe", "n", "8"))
	diff(t, []string{jobID(1)}, w.discover(ByParameter, "probe", "n", "7"))
	w.ok(&command.DeleteJob{Id: jobID(1)})
	diff(t, []string{jobID(2)}, w.discover(ByOwner, "alice"))
	w.purgeAll(64)
	for i, found := range all() {
		if slices.Contains(found, jobID(1)) {
			t.Errorf("discovery %d finds the deleted job", i)
		}
	}
}

// TestDiscoverFolded holds that no default is taken for the value of a parameter that stands in a file.
func TestDiscoverFolded(t *testing.T) {
	w := newWorld(t).furnish()
	c := createJob(1)
	c.Parameters = []*command.Parameter{{Name: "t", Values: []string{"5"}}}
	c.Inputs = []*command.Input{{Name: "*", Source: command.Input_PARAMETERS, Sha256: sha("values"), Size: 1}}
	w.ok(c)
	w.ok(&command.AbortJob{Id: jobID(1)})
	diff(t, []string{jobID(1)}, w.discover(ByParameter, "probe", "t", "5"))
	diff(t, []string(nil), w.discover(ByParameter, "probe", "n", "7"))
}

// TestBounds holds that no job is too large to end, and no manifest to be staged, for the indexes' sake.
func TestBounds(t *testing.T) {
	w := newWorld(t).furnish()
	c := createJob(1)
	for n := range maxParameters {
		c.Parameters = append(c.Parameters, &command.Parameter{Name: fmt.Sprint("p", n), Values: []string{fmt.Sprint(n)}})
	}
	w.ok(c)
	w.ok(&command.AbortJob{Id: jobID(1)})
	diff(t, []string{jobID(1)}, w.discover(ByParameter, "probe", "p498", "498"))
	diff(t, []string(nil), w.discover(ByParameter, "probe", "p500", "500"))

	long := createJob(2)
	long.Parameters = []*command.Parameter{{Name: "list"}, {Name: "key", Values: []string{"k"}, Secret: true}}
	for n := range 230 {
		long.Parameters[0].Values = append(long.Parameters[0].Values, fmt.Sprintf("%0256d", n))
	}
	w.ok(long)
	w.ok(w.staged(2, w.lease(2)))
	w.ok(&command.DeleteJob{Id: jobID(2)})
	w.purgeAll(64)

	w.ok(createJob(3))
	epoch := w.lease(3)
	m := &command.StageManifest{Job: jobID(3), Epoch: epoch, Site: "obs"}
	for n := range command.MaxManifestPart {
		path := strings.Repeat("é", 40) + fmt.Sprint(n)
		m.Files = append(m.Files, &command.File{Output: "tiles", Path: path, Sha256: sha(path), Size: 1, ContentType: "image/fits"})
	}
	w.ok(m)
	for _, f := range m.Files { // all others
		f.Sha256 = sha("other " + f.Path)
	}
	w.ok(m)
	logs := make([]*command.Log, maxLogs+1)
	for i := range logs {
		logs[i] = &command.Log{Name: fmt.Sprint(i), Sha256: sha("log"), Size: 1}
	}
	w.do(command.Result_INVALID, &command.ReportAttempt{Job: jobID(3), Epoch: epoch, Site: "obs", State: AttemptRunning, Facts: &command.Facts{Logs: logs}})
	w.ok(&command.ReportAttempt{Job: jobID(3), Epoch: epoch, Site: "obs", State: AttemptRunning, Facts: &command.Facts{Logs: logs[1:]}})
	defaults := &command.PublishDefinition{Name: "other", Version: "1", Digest: digest}
	for n := range maxParameters + 1 {
		defaults.Defaults = append(defaults.Defaults, &command.Parameter{Name: fmt.Sprint(n)})
	}
	w.do(command.Result_TOO_LARGE, defaults)
}

// TestDirectCycle holds that a job cannot use a result of itself: it has none while its inputs may change.
func TestDirectCycle(t *testing.T) {
	w := newWorld(t).furnish()
	c := createJob(1)
	c.Run, c.Inputs = false, []*command.Input{ofJob("in", 1)}
	w.do(command.Result_NOT_FOUND, c)
	c.Inputs = nil
	w.ok(c)
	w.do(command.Result_NOT_FOUND, &command.UpdateJob{Id: jobID(1), SetInputs: []*command.Input{ofJob("in", 1)}})
}

// TestDeleteLineage deletes a chain of jobs: what the ones left used stays known, with where it came from.
func TestDeleteLineage(t *testing.T) {
	w := newWorld(t).furnish()
	external := prov.ExternalID(far("").Url, sha("cube")).Local
	w.complete(1, fetched("far", "cube"), far("far"), upload("in", "up"))
	w.complete(2, nil, ofJob("series", 1), upload("in", "up"))
	w.complete(3, nil, ofJob("series", 1))
	answer := prov.ResultID(jobID(1), "answer").Local
	draft := createJob(4)
	draft.Run, draft.Inputs = false, []*command.Input{ofJob("series", 1)}
	w.ok(draft)
	purged := func(n int) {
		t.Helper()
		w.ok(&command.DeleteJob{Id: jobID(n)})
		w.purgeAll(64)
		checkLineage(t, w.s)
	}
	purged(1)
	diff(t, []string{answer}, w.occurrences("answer1"))
	diff(t, []string{jobID(1) + " far"}, w.uses(external))
	diff(t, []string{external}, w.occurrences("cube"))
	diff(t, []string{jobID(2) + " in", jobID(1) + " in"}, w.uses(prov.UploadID("up").Local))
	if found := w.records("archive.example"); found != nil {
		t.Errorf("the URL is left: %v", found)
	}
	purged(3)
	diff(t, []string{answer}, w.occurrences("answer1"))
	diff(t, []string{jobID(2) + " series"}, w.uses(answer))
	purged(2)
	diff(t, []string{answer}, w.occurrences("answer1")) // the draft may still use it
	w.ok(&command.UpdateJob{Id: jobID(4), Unset: []string{"series"}})
	w.purgeAll(64)
	checkLineage(t, w.s)
	for _, content := range []string{"answer1", "cube", "content of up"} {
		diff(t, []string(nil), w.occurrences(content))
	}
	for n := 1; n <= 3; n++ {
		if found := w.records(jobID(n)); len(found) != 2 { // the head, and the place in the site's chain
			t.Errorf("left of deleted job %d: %v", n, found)
		}
	}
}
