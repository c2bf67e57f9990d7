package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "consort"

// listed is what the checks need of one package, as go list -json tells it. The fields of tests are empty in
// packages that are not of this module.
type listed struct {
	ImportPath                string
	Imports                   []string
	TestImports, XTestImports []string
}

// graph is packages by import path.
type graph map[string]listed

// rule is one direction that imports must keep.
type rule struct {
	why   string
	check func(graph) []string // what breaks the rule
}

// rules are the directions of docs/architecture.md. They are about the code of programs; tests may put the
// two sides together, but only those of the coordinator.
var rules = []rule{
	{"shared is what both sides and others' programs stand on: it must not drag one side into the other",
		forbid(under("shared"), outside("shared"))},
	{"a site can be upgraded without the coordinators and the other way round only while messages are all they share",
		both(forbid(under("agent"), under("coordinator")), forbid(under("coordinator"), under("agent")))},
	{"the agent is tested against the protocol, not against one coordinator, so that it works with any",
		forbidTests(either(under("agent"), under("shared")), under("coordinator"))},
	{"commands are flags and wiring: nothing below may know them",
		forbid(outside("cmd"), under("cmd"))},
	{"the state is reached through commands and views only; a second writer to Badger would escape the log",
		forbid(outside("coordinator/state"), external("github.com/dgraph-io"))},
	{"everything above says propose and read, so that what Raft is stays one package's affair",
		forbid(outside("coordinator/replica"), external("github.com/hashicorp/raft", "github.com/hashicorp/raft-wal"))},
	{"use cases free of HTTP serve every surface alike and are tested without one",
		forbid(outside("coordinator/api"), external("github.com/gofiber", "github.com/valyala/fasthttp"))},
	{"gossip is a hint about who is there; one package turns it into one",
		forbid(outside("coordinator/member"), external("github.com/hashicorp/memberlist"))},
	// The package needs time's types; that it never asks for the time is held by its own TestPurity.
	{"the state is a function of the log: with a network or random numbers within reach, nodes would come to differ",
		forbid(under("coordinator/state"), external("net", "crypto/rand", "math/rand", "math/rand/v2", "os/exec"))},
	{"leaves may be used by anyone above; a leaf that knows its users is none",
		forbid(leaf, under("coordinator"))},
	{"inside the coordinator imports go down, so that each layer can be understood without those above it",
		layered},
	{"the agent runs on login nodes: small, and without the database, the consensus and the pages of the coordinator",
		lacks(module+"/cmd/consort-agent", "github.com/hashicorp/raft", "github.com/dgraph-io/badger/v4", "github.com/gofiber/fiber/v2", "html/template")},
}

// layers are the packages of the coordinator from above to below. What lies below coordinator/api is of its
// layer.
var layers = [][]string{
	{"coordinator/coordtest"},
	{"coordinator"},
	{"coordinator/api"},
	{"coordinator/scheduler"},
	{"coordinator/provenance"},
	{"coordinator/jobs", "coordinator/sites"},
	{"coordinator/definitions"},
	{"coordinator/content", "coordinator/auth"},
	{"coordinator/replica"},
	{"coordinator/state"},
	{"coordinator/command"},
	{"coordinator/peer", "coordinator/watch", "coordinator/pki", "coordinator/member"},
}

// apiLayers are the packages of the HTTP front from above to below; all others there are surfaces, which do
// not know each other.
var apiLayers = []string{"coordinator/api", "surface", "coordinator/api/provform", "coordinator/api/request", "coordinator/api/fault"}

func leaf(path string) bool {
	return slices.Contains(layers[len(layers)-1], strings.TrimPrefix(path, module+"/"))
}

// layered refuses imports that do not go down, and packages that have no place yet.
func layered(g graph) []string {
	var broken []string
	for from, to := range edges(g, under("coordinator"), under("coordinator")) {
		a, b := layerOf(from), layerOf(to)
		switch {
		case a < 0:
			broken = append(broken, from+" has no layer: give it one in this test and in docs/architecture.md")
		case a > b || a == b && !(under("coordinator/api")(from) && apiLayer(from) < apiLayer(to)):
			broken = append(broken, from+" imports "+to)
		}
	}
	return broken
}

func layerOf(path string) int {
	if under("coordinator/api")(path) {
		path = module + "/coordinator/api"
	}
	return slices.IndexFunc(layers, func(l []string) bool { return slices.Contains(l, strings.TrimPrefix(path, module+"/")) })
}

func apiLayer(path string) int {
	if i := slices.Index(apiLayers, strings.TrimPrefix(path, module+"/")); i >= 0 {
		return i
	}
	return slices.Index(apiLayers, "surface")
}

// A predicate tells whether a package is meant, by its import path.
type predicate func(path string) bool

// under means the package at a path of this module and all below it.
func under(path string) predicate { return external(strings.TrimSuffix(module+"/"+path, "/")) }

// outside means the other packages of this module, without scripts, which are no part of the programs:
// benchmarks measure the libraries themselves, too.
func outside(path string) predicate {
	return func(p string) bool { return under("")(p) && !under(path)(p) && !under("scripts")(p) }
}

func either(p, q predicate) predicate { return func(path string) bool { return p(path) || q(path) } }

// external means the packages at some paths and all below them.
func external(paths ...string) predicate {
	return func(p string) bool {
		return slices.ContainsFunc(paths, func(path string) bool { return p == path || strings.HasPrefix(p, path+"/") })
	}
}

// edges are the imports that go from one set of packages to another.
func edges(g graph, from, to predicate) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, path := range slices.Sorted(maps.Keys(g)) {
			if !from(path) {
				continue
			}
			for _, imported := range g[path].Imports {
				if to(imported) && !yield(path, imported) {
					return
				}
			}
		}
	}
}

// forbid refuses imports from one set of packages to another.
func forbid(from, to predicate) func(graph) []string {
	return func(g graph) []string {
		var broken []string
		for a, b := range edges(g, from, to) {
			broken = append(broken, a+" imports "+b)
		}
		return broken
	}
}

// forbidTests is forbid for what tests import.
func forbidTests(from, to predicate) func(graph) []string {
	return func(g graph) []string {
		tests := graph{}
		for path, p := range g {
			tests[path] = listed{ImportPath: path, Imports: slices.Concat(p.TestImports, p.XTestImports)}
		}
		return forbid(from, to)(tests)
	}
}

func both(a, b func(graph) []string) func(graph) []string {
	return func(g graph) []string { return append(a(g), b(g)...) }
}

// lacks refuses that a program links some packages, and says by which way it would.
func lacks(program string, packages ...string) func(graph) []string {
	return func(g graph) []string {
		if _, ok := g[program]; !ok {
			return []string{program + " is not there"}
		}
		came := map[string]string{program: ""}
		for queue := []string{program}; len(queue) > 0; queue = queue[1:] {
			for _, next := range g[queue[0]].Imports {
				if _, seen := came[next]; !seen {
					came[next] = queue[0]
					queue = append(queue, next)
				}
			}
		}
		var broken []string
		for _, p := range packages {
			if _, linked := came[p]; !linked {
				continue
			}
			way := p
			for at := came[p]; at != ""; at = came[at] {
				way = at + " → " + way
			}
			broken = append(broken, way)
		}
		return broken
	}
}

// violations are all that breaks the rules, with the reasons for them.
func violations(g graph) []string {
	var all []string
	for _, r := range rules {
		for _, broken := range r.check(g) {
			all = append(all, fmt.Sprintf("%s\n\tbut %s", broken, r.why))
		}
	}
	return all
}

func list(t *testing.T) graph {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports,TestImports,XTestImports", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	g := graph{}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return g
		}
		if err != nil {
			t.Fatal(err)
		}
		g[p.ImportPath] = p
	}
}

func TestImportsGoDown(t *testing.T) {
	for _, v := range violations(list(t)) {
		t.Error(v)
	}
}

// TestImportRulesBite plants imports that must not be, one at a time, in a graph that is in order.
func TestImportRulesBite(t *testing.T) {
	const state, replica, api, jobs = "consort/coordinator/state", "consort/coordinator/replica", "consort/coordinator/api", "consort/coordinator/jobs"
	base := func() graph {
		return graph{
			"consort/cmd/consort-agent":      {Imports: []string{"consort/agent", "github.com/spf13/cobra"}},
			"consort/agent":                  {Imports: []string{"consort/shared/siteapi", "consort/agent/policy"}},
			"consort/coordinator":            {Imports: []string{api, api + "/uws", jobs, replica, state}},
			api:                              {Imports: []string{api + "/fault", api + "/request", "github.com/gofiber/fiber/v2"}},
			api + "/uws":                     {Imports: []string{api + "/request", jobs, "github.com/gofiber/fiber/v2"}},
			"consort/coordinator/provenance": {Imports: []string{jobs}},
			jobs:                             {Imports: []string{"consort/coordinator/content", "consort/coordinator/watch", state}},
			replica:                          {Imports: []string{"github.com/hashicorp/raft", "github.com/hashicorp/raft-wal", "consort/coordinator/peer"}},
			state:                            {Imports: []string{"consort/coordinator/command", "github.com/dgraph-io/badger/v4"}},
			"github.com/spf13/cobra":         {Imports: []string{"text/template"}},
			"consort/shared/siteapi":         {Imports: []string{"consort/shared/ids"}},
			"consort/coordinator/content":    {XTestImports: []string{"consort/agent/staging"}},
			"consort/coordinator/watch":      {},
		}
	}
	if v := violations(base()); len(v) > 0 {
		t.Fatalf("in order, but: %v", v)
	}
	for _, c := range []struct{ from, to, want string }{
		{"consort/shared/siteapi", "consort/agent", "shared is what both sides"},
		{"consort/shared/siteapi", "consort/examples", "shared is what both sides"},
		{"consort/agent", state, "a site can be upgraded"},
		{jobs, "consort/agent/policy", "a site can be upgraded"},
		{jobs, "consort/cmd/consort/cli", "nothing below may know them"},
		{jobs, "github.com/dgraph-io/badger/v4", "escape the log"},
		{api, "github.com/dgraph-io/badger/v4", "escape the log"},
		{state, "github.com/hashicorp/raft", "one package's affair"},
		{"consort/coordinator", "github.com/hashicorp/raft-wal", "one package's affair"},
		{jobs, "github.com/gofiber/fiber/v2", "free of HTTP"},
		{"consort/coordinator", "github.com/valyala/fasthttp", "free of HTTP"},
		{replica, "github.com/hashicorp/memberlist", "gossip is a hint"},
		{state, "net/http", "function of the log"},
		{state, "crypto/rand", "function of the log"},
		{"consort/coordinator/watch", state, "a leaf that knows its users"},
		{state, replica, "imports go down"},
		{state, jobs, "imports go down"},
		{"consort/coordinator/scheduler", api, "imports go down"},
		{jobs, "consort/coordinator/scheduler", "imports go down"},
		{jobs, "consort/coordinator/provenance", "imports go down"},
		{jobs, "consort/coordinator", "imports go down"},
		{api + "/uws", api, "imports go down"},
		{api + "/uws", api + "/rest", "imports go down"},
		{api + "/fault", api + "/request", "imports go down"},
		{"consort/coordinator/novel", state, "has no layer"},
		{"consort/agent", "html/template", "login nodes"},
		{"github.com/spf13/cobra", "github.com/dgraph-io/badger/v4", "consort-agent → github.com/spf13/cobra → github.com/dgraph-io"},
	} {
		g := base()
		p := g[c.from]
		p.Imports = append(slices.Clone(p.Imports), c.to)
		g[c.from] = p
		if v := strings.Join(violations(g), "\n"); !strings.Contains(v, c.want) {
			t.Errorf("%s imports %s: want %q among %q", c.from, c.to, c.want, v)
		}
	}
	g := base()
	g["consort/agent"] = listed{TestImports: []string{"consort/coordinator/coordtest"}}
	if v := violations(g); len(v) != 1 || !strings.Contains(v[0], "tested against the protocol") {
		t.Errorf("a test of the agent that imports the coordinator: %q", v)
	}
}
