package cli

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"consort/shared/uws"
)

func TestProgressOnATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := &progress{w: &out, id: fold, live: true, width: func() int { return 60 }, now: time.Now, done: make(chan struct{})}
		p.ticking.Go(p.tick)
		p.update(&uws.Job{Phase: uws.Queued, CreationTime: time.Now(), Info: &uws.JobInfo{Reason: "no site has\x1b[2J 64 cores free"}})
		time.Sleep(61*time.Second + time.Millisecond)
		synctest.Wait()
		p.trouble(errors.New("cannot reach it"))
		p.update(&uws.Job{Phase: uws.Completed, CreationTime: time.Now(), StartTime: time.Now().Add(-90 * time.Second), EndTime: time.Now()})
		p.stop()
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\r\x1b[K")[1:]
		if len(lines) != 64 {
			t.Fatalf("%d lines: %q", len(lines), lines)
		}
		for i, want := range map[int]string{0: fold + "  QUEUED  0s  no site has", 61: fold + "  QUEUED  1m1s  no site", 63: fold + "  COMPLETED  1m30s"} {
			if !strings.HasPrefix(lines[i], want) {
				t.Errorf("line %d: %q", i, lines[i])
			}
		}
		for _, l := range lines {
			if utf8.RuneCountInString(l) > 59 || strings.ContainsFunc(l, unicode.IsControl) {
				t.Errorf("%q", l)
			}
		}
	})
}

func TestProgressInAFile(t *testing.T) {
	var out bytes.Buffer
	p := &progress{w: &out, id: fold, now: func() time.Time { return at(30) }, done: make(chan struct{})}
	queued := &uws.Job{Phase: uws.Queued, CreationTime: at(0)}
	p.update(queued)
	p.update(queued)
	p.trouble(errors.New("cannot reach it"))
	p.trouble(errors.New("cannot reach it"))
	p.update(queued)
	p.update(&uws.Job{Phase: uws.Executing, CreationTime: at(0), StartTime: at(20), Info: &uws.JobInfo{Site: "meudon", Attempt: "running", SiteUnreachableSince: at(25)}})
	p.stop()
	want := strings.ReplaceAll(`ID  QUEUED  30s
ID  cannot reach it; trying on
ID  QUEUED  30s
ID  EXECUTING  10s  at meudon  running  site unreachable since 2026-11-20 10:00:25 UTC
`, "ID", fold)
	if out.String() != want {
		t.Errorf("%s", out.String())
	}
}

func FuzzFilter(f *testing.F) {
	f.Add([]byte("a\r\nb\x1b[0m\xc3"), []byte("\xa4\xff\u202e"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var out bytes.Buffer
		w := &filter{w: &out}
		for _, p := range [][]byte{a, b} {
			if n, err := w.Write(p); n != len(p) || err != nil {
				t.Fatal(n, err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		for _, r := range out.String() {
			if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
				t.Fatalf("%q passed", r)
			}
		}
	})
}
