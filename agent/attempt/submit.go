package attempt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"consort/agent/batch"
	"consort/agent/journal"
	"consort/shared/definition"
	"consort/shared/failpoint"
	"consort/shared/ids"
)

// submit hands the attempt to the batch system, unless it is there already.
func (a *Attempt) submit(ctx context.Context) error {
	failpoint.Here("agent-after-journal-before-submit")
	id, err := a.findOrPrepare(ctx)
	if err != nil {
		return err
	}
	if id == "" {
		id, err = a.rt.Batch.Submit(ctx, a.spec())
	}
	switch {
	case errors.Is(err, batch.ErrRejected):
		return failf(string(definition.ClassSiteConfig), "site %s: %v", a.rt.Site, err)
	case err != nil:
		a.adopted = true // whatever went wrong, look before trying again
		return fmt.Errorf("submit: %w", err)
	}
	failpoint.Here("agent-after-submit-before-record")
	a.setBatchID(id)
	// Should the note get lost, the job is found by its name.
	err = a.save(journal.Submitted, a.rt.Journal.Note, func(r *record) {
		r.Facts.BatchID = id
		r.Facts.Submitted = now()
	})
	a.rt.Look()
	return err
}

// findOrPrepare looks for a job that an earlier try may have made. When there is none, and the agent was
// restarted since everything was laid out, it is laid out again: a power cut may have emptied the files.
func (a *Attempt) findOrPrepare(ctx context.Context) (id string, err error) {
	if !a.adopted {
		return "", nil
	}
	if id, err = a.find(ctx); err != nil || id != "" {
		return id, err
	}
	if _, err := os.Lstat(a.dir.file(batch.StartedFile)); !errors.Is(err, fs.ErrNotExist) {
		return "", nil // the batch system is asked again; the wrapper runs nothing a second time
	}
	if err := a.prepare(ctx); err != nil {
		return "", err
	}
	a.adopted = false
	return "", nil
}

// find returns the batch system's id of the attempt's job, empty when it does not list one.
func (a *Attempt) find(ctx context.Context) (id string, err error) {
	jobs, err := a.rt.Batch.List(ctx)
	if err != nil {
		return "", fmt.Errorf("look for the job in the batch system: %w", err)
	}
	for _, j := range jobs {
		if j.Name == a.name() {
			return j.ID, nil
		}
	}
	return "", nil
}

// name is what the batch system calls the job.
func (a *Attempt) name() string { return ids.BatchName(a.lease.Job, a.lease.Epoch) }

func (a *Attempt) spec() batch.Spec {
	res := a.lease.Resources
	return batch.Spec{
		Name: a.name(), Job: a.lease.Job, Epoch: a.lease.Epoch,
		Dir: a.dir.meta(), WorkDir: a.dir.work(), Wrapper: a.dir.file(batch.WrapperFile),
		Cores: Cores(res), MemoryBytes: max(0, res.MemoryBytes), WallTime: max(0, a.limit()),
	}
}
