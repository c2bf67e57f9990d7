package state

import (
	"crypto/sha256"
	"errors"
	"testing"

	"consort/coordinator/command"
)

func TestSites(t *testing.T) {
	w := newWorld(t)
	sum := func(s string) []byte { h := sha256.Sum256([]byte(s)); return h[:] }
	add := func(name, token string) *command.AddSite {
		return &command.AddSite{Name: name, TokenSha256: sum(token), ExpiresUs: w.time + 100e6}
	}
	enrol := func(token, key string) *command.EnrolSite {
		return &command.EnrolSite{TokenSha256: sum(token), PublicKey: sum(key)}
	}
	w.do(command.Result_INVALID, &command.AddSite{Name: "Not a name", TokenSha256: sum("x")})
	w.ok(add("obs", "t1"))
	w.ok(add("obs", "t1"))
	w.ok(add("obs", "t2")) // replaces t1
	w.do(command.Result_EXISTS, add("other", "t2"))
	w.do(command.Result_REFUSED, enrol("t1", "k1"))
	w.do(command.Result_REFUSED, enrol("t9", "k1"))
	w.do(command.Result_REFUSED, &command.EnrolSite{TokenSha256: sum("t2"), PublicKey: sum("k1"), Name: "other"})
	if r := w.ok(enrol("t2", "k1")); r.Site != "obs" {
		t.Errorf("enrolled as %q", r.Site)
	}
	w.ok(enrol("t2", "k1"))
	w.do(command.Result_REFUSED, enrol("t2", "k2")) // used
	w.ok(add("other", "t3"))
	w.do(command.Result_EXISTS, enrol("t3", "k1"))
	w.time += 1000e6
	w.do(command.Result_REFUSED, enrol("t3", "k3")) // expired

	w.ok(add("obs", "t4"))
	w.ok(enrol("t4", "k4"))
	w.ok(add("other", "t5"))
	w.do(command.Result_EXISTS, enrol("t5", "k1")) // was once obs's
	w.ok(add("obs", "t6"))
	w.do(command.Result_REFUSED, enrol("t6", "k1")) // given up
	byKey := func(key string) (s *Site, err error) {
		w.view(func(v *View) error { s, err = v.SiteByKey(sum(key)); return nil })
		return s, err
	}
	if _, err := byKey("k1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the former key still stands for a site: %v", err)
	}
	if s, err := byKey("k4"); err != nil || s.Name != "obs" || len(s.FormerKeys) != 1 {
		t.Errorf("by key: %v, %v", s, err)
	}
	w.ok(&command.RevokeSite{Name: "obs"})
	w.ok(&command.RevokeSite{Name: "obs"})
	w.do(command.Result_NOT_FOUND, &command.RevokeSite{Name: "nowhere"})
	w.do(command.Result_REFUSED, enrol("t6", "k6")) // the token went with it
	w.do(command.Result_REFUSED, enrol("t4", "k4"))
	w.ok(add("obs", "t7"))
	w.do(command.Result_REFUSED, enrol("t7", "k4")) // a revoked key stays out
	w.ok(enrol("t7", "k7"))
	if s, err := byKey("k7"); err != nil || s.RevokedUs != 0 {
		t.Errorf("enrolled again: %v, %v", s, err)
	}
	var names []string
	w.view(func(v *View) error {
		sites, err := v.Sites()
		for _, s := range sites {
			names = append(names, s.Name)
		}
		return err
	})
	diff(t, []string{"obs", "other"}, names)
}

func TestDefinitions(t *testing.T) {
	w := newWorld(t)
	publish := func(name, version, digest string, aliases ...string) *command.PublishDefinition {
		return &command.PublishDefinition{Name: name, Version: version, Digest: digest, Aliases: aliases}
	}
	w.ok(publish("fold", "1.2", "d1", "f"))
	w.ok(publish("fold", "1.2", "d1", "f"))
	w.do(command.Result_REFUSED, publish("fold", "1.2", "d2"))
	w.ok(publish("fold", "1.10", "d3", "f"))
	w.ok(publish("fold", "1", "d4"))
	w.ok(publish("probe", "1", "d1"))
	w.do(command.Result_EXISTS, publish("probe", "2", "d5", "f"))
	w.do(command.Result_EXISTS, publish("probe", "2", "d5", "fold"))
	w.do(command.Result_EXISTS, publish("probe", "2", "d5", "probe"))
	w.do(command.Result_EXISTS, publish("f", "1", "d6"))
	w.do(command.Result_INVALID, publish("fold", "1.x", "d"))
	w.do(command.Result_INVALID, publish("Fold", "1", "d"))
	w.do(command.Result_INVALID, publish("fold", "2", ""))
	w.do(command.Result_INVALID, publish("fold", "2", "d", "no/alias"))
	w.do(command.Result_INVALID, &command.PublishDefinition{Name: "fold", Version: "2", Digest: "d",
		Files: []*command.BundleFile{{Path: "p", Sha256: "no"}}})
	w.do(command.Result_TOO_LARGE, &command.PublishDefinition{Name: "fold", Version: "2", Digest: "d",
		Files: make([]*command.BundleFile, maxBundleFiles+1)})
	for _, test := range []struct{ name, version, want string }{
		{"fold", "", "1.10"}, {"f", "", "1.10"}, {"f", "1.2", "1.2"}, {"fold", "1", "1"},
		{"fold", "1.0", ""}, {"fold", "x", ""}, {"none", "", ""}, {"", "", ""},
	} {
		w.view(func(v *View) error {
			d, err := v.Definition(test.name, test.version)
			if test.want == "" {
				if !errors.Is(err, ErrNotFound) {
					t.Errorf("%v: %v, %v", test, d, err)
				}
				return nil
			}
			if err != nil || d.Version != test.want || d.Name != "fold" {
				t.Errorf("%v: %v, %v", test, d, err)
			}
			return nil
		})
	}
	w.view(func(v *View) error {
		newest, err := v.Definitions()
		if err != nil || len(newest) != 2 || newest[0].Version != "1.10" || newest[1].Name != "probe" {
			t.Errorf("definitions: %v, %v", newest, err)
		}
		versions, err := v.DefinitionVersions("fold")
		if err != nil || len(versions) != 3 || versions[2].Version != "1.10" {
			t.Errorf("versions: %v, %v", versions, err)
		}
		return nil
	})
}

func TestCluster(t *testing.T) {
	w := newWorld(t)
	w.do(command.Result_INVALID, &command.CreateCluster{ClusterId: "c"})
	w.ok(&command.CreateCluster{ClusterId: "c", Authority: "a"})
	w.ok(&command.CreateCluster{ClusterId: "c", Authority: "a"})
	w.do(command.Result_EXISTS, &command.CreateCluster{ClusterId: "c", Authority: "b"})
	w.ok(&command.LeaderStarted{Node: "n", Term: 1})
	w.reopen()
	w.view(func(v *View) error {
		if id, authority := v.Cluster(); id != "c" || authority != "a" || v.Applied() != w.index {
			t.Errorf("cluster %q, %q at %d", id, authority, v.Applied())
		}
		return nil
	})
}

func TestContent(t *testing.T) {
	w := newWorld(t).furnish()
	create := func(n int) *command.CreateJob {
		c := createJob(n)
		c.Inputs = []*command.Input{{Name: "in", Sha256: sha("shared"), Size: 7}, {Name: "own", Sha256: sha(jobID(n)), Size: 1}}
		return c
	}
	w.ok(create(1))
	w.ok(create(2))
	unreferenced := func() (found []string) {
		w.view(func(v *View) (err error) { found, err = v.Unreferenced(maxTimeUs, 10); return err })
		return found
	}
	w.ok(&command.DeleteJob{Id: jobID(1)})
	w.purgeAll(0)
	diff(t, []string{sha(jobID(1))}, unreferenced())
	w.ok(&command.DeleteJob{Id: jobID(2)})
	w.purgeAll(0)
	if got := unreferenced(); len(got) != 3 {
		t.Errorf("unreferenced: %v", got)
	}
	c := create(3)
	w.ok(c) // takes "shared" up again
	all := []string{sha("shared"), sha(jobID(1)), sha(jobID(2)), sha("unknown")}
	w.ok(&command.ForgetContent{Sha256: all, BeforeUs: 1})
	if got := unreferenced(); len(got) != 2 {
		t.Errorf("forgotten too early: %v", got)
	}
	w.ok(&command.ForgetContent{Sha256: all, BeforeUs: w.time})
	diff(t, []string(nil), unreferenced())
	w.view(func(v *View) error {
		if c, err := v.Content(sha("shared")); err != nil || c.Refs != 1 || c.Size != 7 {
			t.Errorf("content in use: %v, %v", c, err)
		}
		if _, err := v.Content(sha(jobID(1))); !errors.Is(err, ErrNotFound) {
			t.Errorf("forgotten content: %v", err)
		}
		return nil
	})
	w.do(command.Result_INVALID, &command.ForgetContent{Sha256: []string{"x"}})
	w.do(command.Result_TOO_LARGE, &command.ForgetContent{Sha256: make([]string, 501)})
}
