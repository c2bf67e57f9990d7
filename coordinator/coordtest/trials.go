package coordtest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"consort/coordinator"
	"consort/coordinator/definitions"
	"consort/shared/siteapi"
	"consort/shared/userapi"
)

// trial is a definition with something of everything; the verbs stand for its name and its retry policy.
const trial = `format = 1
name = %q
version = "1.0.0"
title = "Trial"
resources = { cores = { default = 1, min = 1, max = 64 }, memory = { default = "64 MiB", min = "16 MiB", max = "64 GiB" } }
duration = { default = "1h", max = "2h" }
retry = %s

[[parameter]]
name = "text"
default = ""

[[parameter]]
name = "number"
type = "int"
default = 1
min = 0
max = 9

[[parameter]]
name = "many"
multiplicity = "*"

[[parameter]]
name = "password"
secret = true
required = false

[[input]]
name = "data"
multiplicity = "*"
file = "data/"

[[input]]
name = "extra"
required = false
file = "extra.dat"
usage = "Context"

[run]
command = ["/bin/true", "text={param.text}"]

[[output]]
name = "side"
file = "side.txt"
multiplicity = "0..1"
content_type = "text/plain"

[[output]]
name = "answer"
main = true
file = "answer.txt"
content_type = "text/plain"

[[output]]
name = "files"
file = "out/*"
multiplicity = "*"
content_type = "application/octet-stream"
`

// wide is how many parameters the definition of that name has.
const wide = 1000

// Trials are definitions for tests: trial is retried up to twice, strict never; wide has a thousand
// parameters; lost-hold, lost-requeue and lost-stop differ in what becomes of a lost attempt.
func Trials() fs.FS {
	files := fstest.MapFS{}
	add := func(name, text string) {
		files[name+"/definition.toml"] = &fstest.MapFile{Data: []byte(text)}
	}
	for name, retry := range map[string]string{
		"trial":        `{ max = 2, on = ["site-transient", "preempted"] }`,
		"strict":       `{ max = 0, on = [] }`,
		"lost-hold":    `{ max = 0, on = [], lost = "hold" }`,
		"lost-requeue": `{ max = 0, on = [], lost = "requeue" }`,
		"lost-stop":    `{ max = 0, on = [], lost = "stop" }`,
	} {
		add(name, fmt.Sprintf(trial, name, retry))
	}
	var b strings.Builder
	b.WriteString("format = 1\nname = \"wide\"\nversion = \"1\"\ntitle = \"Wide\"\n[run]\ncommand = [\"/bin/true\"]\n" +
		"[[output]]\nname = \"answer\"\nmain = true\nfile = \"answer.txt\"\n")
	for i := range wide {
		fmt.Fprintf(&b, "[[parameter]]\nname = \"p%d\"\nrequired = false\n", i)
	}
	add("wide", b.String())
	return files
}

// WithTrials is an option of New that publishes Trials beside the examples.
func WithTrials(c *coordinator.Config) {
	c.Definitions = append(c.Definitions, definitions.Folder{Name: "trials", FS: Trials()})
}

// Eventually waits until ok is true, and fails the test when it is not within 20 s.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// Job is a job's id, from its URL.
func Job(url string) string { return path.Base(url) }

// JSON asks the JSON API for a path below /api/v1 with a token and decodes the answer, which must be 200.
func (n *Node) JSON(token, path string, into any) {
	n.t.Helper()
	a := n.Do(Request{Method: http.MethodGet, Path: "/api/v1" + path, Token: token})
	if a.Status != http.StatusOK {
		n.t.Fatalf("GET %s: %d %s", path, a.Status, a.Text())
	}
	if err := json.Unmarshal(a.Body, into); err != nil {
		n.t.Fatalf("GET %s: %v", path, err)
	}
}

// View is a job as the JSON API tells its operator.
func (n *Node) View(url string) *userapi.Job {
	n.t.Helper()
	j := new(userapi.Job)
	n.JSON(Operator, "/jobs/"+Job(url), j)
	return j
}

// Complete takes the next lease, which must be of the job, and commits it with the outputs; without any it
// makes an answer.
func (s *Site) Complete(url string, outputs ...Output) *Attempt {
	s.t.Helper()
	a := s.Take()
	if a.Job != Job(url) {
		s.t.Fatalf("lease of %s, want one of %s", a.Job, Job(url))
	}
	a.Report("running")
	if len(outputs) == 0 {
		outputs = []Output{MainOutput("done " + a.Job)}
	}
	a.Commit(siteapi.Facts{}, outputs...)
	return a
}

// MainOutput is the main output of the trials and of probe.
func MainOutput(text string) Output {
	return Output{Output: "answer", Path: "answer.txt", ContentType: "text/plain", Data: []byte(text)}
}

// SHA256 is the hash of the output's bytes.
func (o Output) SHA256() string {
	sum := sha256.Sum256(o.Data)
	return hex.EncodeToString(sum[:])
}
