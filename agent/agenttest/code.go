package agenttest

import (
	"os"
	"path/filepath"
	"strings"

	"consort/shared/siteapi"
)

// Hello is a script that writes to both logs and leaves the main output of Code.
const Hello = "echo out; echo err >&2; echo hello > answer.txt\n"

// Code returns the files of a definition named "code" that runs a script. Its parameter mark becomes the
// script's argument.
func Code(script string) map[string]string {
	return map[string]string{
		"run.sh": "#!/bin/sh\n" + script,
		"definition.toml": `format = 1
name = "code"
version = "1"
title = "Code"
files = ["run.sh"]
duration = { default = "1m", max = "10m" }
retention = { default = "1d", max = "2d" }
[[parameter]]
name = "mark"
type = "string"
required = false
[[input]]
name = "data"
required = false
content_type = ["text/plain"]
file = "data.txt"
from = ["upload"]
[run]
command = ["/bin/sh", "run.sh", ["{param.mark}"]]
exit = { ok = [0], user = [2], transient = [75] }
[[output]]
name = "answer"
main = true
file = "answer.txt"
content_type = "text/plain"
[[output]]
name = "parts"
file = "parts/*.txt"
multiplicity = "*"
content_type = "text/plain"
`}
}

// AllowCode is a policy.toml that allows Code.
const AllowCode = "format = 1\n\n[[allow]]\ndefinition = \"code\"\nversion = [\"*\"]\n"

// Marking returns a lease of Code whose script counts how often it was started, and the count.
func (c *Coordinator) Marking(script string) (lease siteapi.Lease, started func() int) {
	c.t.Helper()
	mark := filepath.Join(c.t.TempDir(), "mark")
	lease = c.Lease(Code("echo started >> \"$1\"\n"+script), siteapi.Parameter{Name: "mark", Values: []string{mark}})
	return lease, func() int {
		data, _ := os.ReadFile(mark)
		return strings.Count(string(data), "started")
	}
}
