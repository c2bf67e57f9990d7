package state

import (
	"fmt"
	"testing"

	"consort/coordinator/command"
	"consort/shared/prov"
)

// reuse is a new job that takes over the results of another.
func reuse(n, from int, inputs ...*command.Input) *command.CreateJob {
	c := createJob(n)
	c.Inputs, c.ReuseOf = inputs, jobID(from)
	return c
}

func TestReuse(t *testing.T) {
	w := newWorld(t).furnish()
	w.complete(1, nil, upload("in", "up"))
	w.ok(reuse(2, 1, upload("in", "up")))
	w.ok(reuse(2, 1, upload("in", "up"))) // repeated
	j := w.phase(jobID(2), "COMPLETED")
	if j.ReusedFrom != jobID(1) || j.Epoch != 0 || j.CreatedUs != j.EndedUs || j.StartedUs != j.EndedUs || j.DestructionUs == 0 {
		t.Errorf("head: %v", j)
	}
	w.ok(reuse(3, 2, upload("in", "up"))) // of one that is itself reused
	w.view(func(v *View) error {
		found, _, err := v.Computed(w.head(jobID(1)).Request, nil, 10)
		diff(t, []Found{{Job: jobID(1), CreatedUs: w.head(jobID(1)).CreatedUs}}, found)
		return err
	})
	diff(t, []string{jobID(3) + " in", jobID(2) + " in", jobID(1) + " in"}, w.uses(prov.UploadID("up").Local))
	diff(t, []string{jobID(3), jobID(2), jobID(1)}, w.discover(ByParameter, "probe", "n", "7"))

	w.ok(&command.DeleteJob{Id: jobID(1)})
	w.purgeAll(64)
	diff(t, []string{prov.ResultID(jobID(2), "answer").Local, prov.ResultID(jobID(3), "answer").Local}, w.occurrences("answer1"))
	w.view(func(v *View) error {
		results, err := v.Results(jobID(2))
		if err != nil || len(results.Outputs) != 2 || results.Outputs[0].Sha256 != sha("answer1") {
			t.Errorf("results: %v, %v", results, err)
		}
		files := 0
		for part, err := range v.ManifestParts(jobID(2), w.head(jobID(2)).CommitEpoch, 0) {
			if err != nil {
				return err
			}
			files += len(part.Files)
		}
		content, err := v.Content(sha("answer1"))
		if err != nil || content.Refs != 2 || files != 2 {
			t.Errorf("content: %v, %v; %d files", content, err, files)
		}
		return nil
	})
	checkLineage(t, w.s)
	for n := 2; n <= 3; n++ {
		w.ok(&command.DeleteJob{Id: jobID(n)})
	}
	w.purgeAll(64)
	for n := 2; n <= 3; n++ {
		if found := w.records(jobID(n)); len(found) != 1 {
			t.Errorf("left of job %d: %v", n, found)
		}
	}
}

func TestReuseRefused(t *testing.T) {
	w := newWorld(t).furnish()
	w.complete(1, nil, upload("in", "up"))
	w.ok(createJob(2))
	w.complete(3, nil)
	w.ok(&command.ArchiveJob{Id: jobID(3), DueUs: maxTimeUs})
	w.complete(4, fetched("far", "cube"), far("far"))
	w.complete(5, nil)
	w.ok(&command.DeleteJob{Id: jobID(5)})
	w.ok(&command.PublishDefinition{Name: "probe", Version: "2.0", Digest: "sha256:4567"})
	edited := func(edit func(*command.CreateJob)) *command.CreateJob {
		c := reuse(9, 1, upload("in", "up"))
		edit(c)
		return c
	}
	tests := []struct {
		name string
		code command.Result_Code
		c    *command.CreateJob
	}{
		{"itself", command.Result_INVALID, reuse(9, 9)},
		{"no job", command.Result_NOT_FOUND, reuse(9, 8)},
		{"not ended", command.Result_ILLEGAL_PHASE, reuse(9, 2)},
		{"archived", command.Result_NOT_FOUND, reuse(9, 3)},
		{"deleted", command.Result_NOT_FOUND, reuse(9, 5)},
		{"other input", command.Result_REFUSED, reuse(9, 1, upload("in", "other"))},
		{"other role", command.Result_REFUSED, reuse(9, 1, upload("mask", "up"))},
		{"unknown content", command.Result_REFUSED, reuse(9, 4, far("far"))},
		{"parameter", command.Result_REFUSED, edited(func(c *command.CreateJob) {
			c.Parameters = []*command.Parameter{{Name: "n", Values: []string{"8"}}}
		})},
		{"secret", command.Result_REFUSED, edited(func(c *command.CreateJob) {
			c.Parameters = []*command.Parameter{{Name: "key", Values: []string{"k"}, Secret: true}}
		})},
		{"version", command.Result_REFUSED, edited(func(c *command.CreateJob) { c.Version, c.Digest = "2.0", "sha256:4567" })},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { w.do(test.code, test.c) })
	}
	w.ok(edited(func(c *command.CreateJob) { c.Parameters = []*command.Parameter{{Name: "n", Values: []string{"7"}}} })) // the default
}

// TestReuseLarge takes over the greatest manifest there may be, and not a greater one.
func TestReuseLarge(t *testing.T) {
	w := newWorld(t).furnish()
	for n, files := range []int{maxReuseFiles, maxReuseFiles + 1} {
		w.ok(createJob(n))
		epoch, parts, hashes := w.lease(n), int32(0), [][]byte(nil)
		for from := 0; from < files; from += command.MaxManifestPart {
			m := &command.StageManifest{Job: jobID(n), Epoch: epoch, Site: "obs", Part: parts}
			for i := from; i < min(files, from+command.MaxManifestPart); i++ {
				path := fmt.Sprintf("tiles/%0100d", i)
				m.Files = append(m.Files, &command.File{Output: "tiles", Path: path, Sha256: sha(path), Size: 1, ContentType: "image/fits"})
			}
			w.ok(m)
			hashes, parts = append(hashes, command.PartHash(m.Files)), parts+1
		}
		w.ok(&command.Commit{Job: jobID(n), Epoch: epoch, Site: "obs", Parts: parts, Hash: command.ManifestHash(hashes),
			Outputs: []*command.Output{{Id: "tiles", Collection: true, Files: int64(files)}}})
	}
	w.ok(reuse(10, 0))
	w.do(command.Result_TOO_LARGE, reuse(11, 1))
	checkLineage(t, w.s)
}
