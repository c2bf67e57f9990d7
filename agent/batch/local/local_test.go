package local

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"consort/agent/batch"
	"consort/agent/batch/batchtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a local batch system of four cores.
type fixture struct {
	s    *Scheduler
	cfg  Config
	jobs string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{cfg: Config{Dir: t.TempDir(), Cores: 4, MemoryBytes: 1 << 30, Grace: 300 * time.Millisecond}, jobs: t.TempDir()}
	f.open(t)
	t.Cleanup(f.stop)
	return f
}

func (f *fixture) open(t *testing.T) {
	t.Helper()
	s, err := New(f.cfg)
	if err != nil {
		t.Fatal(err)
	}
	f.s = s
}

// stop ends all jobs, so that their directories can be removed, and closes.
func (f *fixture) stop() {
	ctx := context.Background() // the test's own is over
	list, _ := f.s.List(ctx)
	for _, st := range list {
		_ = f.s.Cancel(ctx, st.ID)
	}
	for _, st := range list {
		for all, _ := f.s.Account(ctx, st.ID); !all[st.ID].Ended; all, _ = f.s.Account(ctx, st.ID) {
			<-f.s.Changed()
		}
	}
	_ = f.s.Close()
}

func (f *fixture) Scheduler() batch.Scheduler { return f.s }

func (f *fixture) Restart(t *testing.T) batch.Scheduler {
	t.Helper()
	if err := f.s.Close(); err != nil {
		t.Fatal(err)
	}
	f.open(t)
	return f.s
}

func (f *fixture) Dir() string               { return f.jobs }
func (f *fixture) Cores() int                { return f.cfg.Cores }
func (f *fixture) Patience() time.Duration   { return 20 * time.Second }
func (f *fixture) ShortLimit() time.Duration { return 400 * time.Millisecond }

func TestConformance(t *testing.T) {
	batchtest.Run(t, func(t *testing.T) batchtest.Fixture { return newFixture(t) })
}
