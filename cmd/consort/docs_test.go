package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"consort/agent"
	"consort/agent/policy"
	"consort/coordinator"
	"consort/coordinator/auth"
	"consort/shared/testenv"
)

const (
	repository = "../.."
	python     = "/usr/bin/python3" // Debian's, which has the packages of python3-*
)

func read(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, page))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// snippet is a block of a page that can be run. It stands below a comment that says what its output must
// match: "run: EXPRESSION", or "run until: EXPRESSION" where a person would repeat it.
type snippet struct {
	language, text string
	want           *regexp.Regexp
	repeat         bool
}

var snippetPattern = regexp.MustCompile("(?m)^<!-- run( until)?: (.*) -->\n```(sh|python)\n((?s:.*?))^```$")

func snippets(t *testing.T, page string) []snippet {
	t.Helper()
	var all []snippet
	for _, m := range snippetPattern.FindAllStringSubmatch(page, -1) {
		want, err := regexp.Compile("(?m)" + m[2])
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, snippet{language: m[3], text: m[4], want: want, repeat: m[1] != ""})
	}
	if marks := strings.Count(page, "<!-- run"); marks != len(all) {
		t.Fatalf("%d blocks are marked to be run, %d are readable", marks, len(all))
	}
	return all
}

// TestReadmeWorks does what the README says, in order and in one shell, against the real program.
func TestReadmeWorks(t *testing.T) {
	testenv.Need(t, "sh", "curl", "awk")
	page := read(t, "README.md")
	dev := startDev(t)
	sh := startShell(t, dev)
	for i, s := range snippets(t, page) {
		s.text = strings.ReplaceAll(s.text, "http://127.0.0.1:8080", dev.url)
		if strings.Contains(s.text, "bin/consort dev") && dev.cmd != nil {
			checkMetrics(t, dev)
			dev.stop(t)
		}
		if !t.Run(fmt.Sprintf("%d-%s", i+1, s.language), func(t *testing.T) { s.check(t, dev, sh) }) {
			return
		}
	}
	if out := sh.run(t, "kill $CONSORT; wait $CONSORT; echo ended $?"); !strings.Contains(out, "ended 0") {
		t.Errorf("at the end the server was asked to stop: %s", out)
	}
}

func (s snippet) check(t *testing.T, dev *devServer, sh *shell) {
	deadline := time.Now().Add(time.Minute)
	for {
		var out string
		if s.language == "sh" {
			out = sh.run(t, s.text)
		} else {
			out = runPython(t, dev.dir, s.text)
		}
		switch {
		case s.want.MatchString(out):
			return
		case !s.repeat || time.Now().After(deadline):
			t.Fatalf("%s\ngave\n%s\nwanted %s", s.text, out, s.want)
		}
	}
}

func runPython(t *testing.T, dir, text string) string {
	t.Helper()
	testenv.Need(t, python)
	if out, err := exec.Command(python, "-c", "import requests, astropy, pyvo").CombinedOutput(); err != nil {
		testenv.Skip(t, "needs python3-pyvo and python3-requests: "+string(out))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "-c", text)
	cmd.Dir = dir
	// HOME keeps what astropy writes away from the user's.
	cmd.Env = append(os.Environ(), "HOME="+dir, "PYTHONWARNINGS=ignore", "NO_PROXY=127.0.0.1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// devServer is consort dev as a process, in a folder that looks like the repository.
type devServer struct {
	dir          string // holds bin/consort and examples
	url, metrics string
	cmd          *exec.Cmd
}

var readyPattern = regexp.MustCompile(`^ready http=(\S+) sftp=(\S+) peer=\S+ metrics=(\S+)$`)

// startDev builds the program and starts it on free ports. bin/consort is a script, so that a snippet that
// starts the server itself gets the same data and ports, and clients find it.
func startDev(t *testing.T) *devServer {
	t.Helper()
	d := &devServer{dir: t.TempDir()}
	program := filepath.Join(d.dir, "consort")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	examples, err := filepath.Abs(filepath.Join(repository, "examples"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Symlink(examples, filepath.Join(d.dir, "examples")), os.Mkdir(filepath.Join(d.dir, "bin"), 0o700)); err != nil {
		t.Fatal(err)
	}
	d.cmd = exec.Command(program, "dev", "--data", filepath.Join(d.dir, "data"), "--http", "127.0.0.1:0", "--sftp", "127.0.0.1:0", "--metrics", "127.0.0.1:0")
	d.cmd.Stderr = t.Output()
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if d.cmd != nil {
			d.stop(t)
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	m := readyPattern.FindStringSubmatch(strings.TrimSpace(line))
	if err != nil || m == nil {
		t.Fatalf("the first line is %q: %v", line, err)
	}
	d.url, d.metrics = m[1], m[3]
	script := fmt.Sprintf("#!/bin/sh\nexport CONSORT_SERVER=%s\ncase $1 in\ndev) exec %q \"$@\" --data %q --http %s --sftp %s ;;\n*) exec %q \"$@\" ;;\nesac\n",
		d.url, program, filepath.Join(d.dir, "data"), strings.TrimPrefix(d.url, "http://"), m[2], program)
	if err := os.WriteFile(filepath.Join(d.dir, "bin", "consort"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return d
}

// stop is what Ctrl-C does; it must end well, and soon.
func (d *devServer) stop(t *testing.T) {
	t.Helper()
	cmd := d.cmd
	d.cmd = nil
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("Ctrl-C: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("Ctrl-C: still there after 10 s")
		_ = cmd.Process.Kill()
		<-ended
	}
}

// shell is one sh that runs blocks one after the other, so that variables stay.
type shell struct {
	in  io.Writer
	out *bufio.Scanner
}

const blockEnd = "-- end of block --"

func startShell(t *testing.T, dev *devServer) *shell {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	cmd := exec.CommandContext(ctx, "sh", "-u")
	cmd.Dir = dev.dir
	cmd.Env = append(os.Environ(), "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// What a block started in the background is of the same group, and keeps the pipe open until it ends.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Cancel()
		cancel()
		_ = cmd.Wait() // it was killed
	})
	return &shell{in, bufio.NewScanner(out)}
}

// run runs a block and returns what it wrote to standard output.
func (s *shell) run(t *testing.T, block string) string {
	t.Helper()
	if _, err := fmt.Fprintf(s.in, "%s\necho; echo '%s'\n", block, blockEnd); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for s.out.Scan() {
		if s.out.Text() == blockEnd {
			return out.String()
		}
		out.WriteString(s.out.Text() + "\n")
	}
	t.Fatalf("the shell ended in\n%s\nafter\n%s", block, out.String())
	return ""
}

var metricPattern = regexp.MustCompile(`(?m)^# TYPE (consort_\w+) `)

// checkMetrics compares the names that docs/coordinator.md lists with those of a server that has run jobs.
func checkMetrics(t *testing.T, dev *devServer) {
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Get("http://" + dev.metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, m := range metricPattern.FindAllStringSubmatch(string(body), -1) {
		have = append(have, m[1])
	}
	compare(t, "docs/coordinator.md, Metrics", firstCells(t, "docs/coordinator.md", "Metrics"), have)
}

// firstCells are what stands in code type in the first cells of the tables of a section.
func firstCells(t *testing.T, page, section string) []string {
	t.Helper()
	text := read(t, page)
	_, text, ok := strings.Cut(text, "\n## "+section+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", page, section)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	var cells []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)`").FindAllStringSubmatch(text, -1) {
		cells = append(cells, m[1])
	}
	return cells
}

func compare(t *testing.T, where string, documented, real []string) {
	t.Helper()
	for _, name := range documented {
		if !slices.Contains(real, name) {
			t.Errorf("%s: %s is documented and does not exist", where, name)
		}
	}
	for _, name := range real {
		if !slices.Contains(documented, name) {
			t.Errorf("%s: %s is not documented", where, name)
		}
	}
}

// TestKeysAreDocumented holds the tables of keys to the structs that files are decoded into.
func TestKeysAreDocumented(t *testing.T) {
	for _, c := range []struct{ page, section, dir, typ string }{
		{"docs/coordinator.md", "coordinator.toml", "coordinator", "File"},
		{"docs/agent.md", "agent.toml", "agent", "file"},
		{"docs/agent.md", "policy.toml", "agent/policy", "Policy"},
	} {
		compare(t, c.page+", "+c.section, firstCells(t, c.page, c.section), keys(t, c.dir, c.typ))
	}
}

// keys lists the keys of a struct by its source, as the type may be private to its package: "a", "b.c" for
// tables and arrays of tables, "b.NAME.c" for tables with names of the user's choice.
func keys(t *testing.T, dir, typ string) []string {
	t.Helper()
	structs := structsOf(t, filepath.Join(repository, dir))
	if structs[typ] == nil {
		t.Fatalf("%s has no struct %s", dir, typ)
	}
	var all []string
	var walk func(prefix string, s *ast.StructType)
	walk = func(prefix string, s *ast.StructType) {
		for _, f := range s.Fields.List {
			if f.Tag == nil {
				continue
			}
			name, _, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("toml"), ",")
			if name == "" || name == "-" {
				continue
			}
			inner, suffix := f.Type, ""
			switch outer := f.Type.(type) {
			case *ast.ArrayType:
				inner = outer.Elt
			case *ast.MapType:
				inner, suffix = outer.Value, ".NAME"
			}
			if id, ok := inner.(*ast.Ident); ok && structs[id.Name] != nil {
				walk(prefix+name+suffix+".", structs[id.Name])
				continue
			}
			all = append(all, prefix+name)
		}
	}
	walk("", structs[typ])
	return all
}

func structsOf(t *testing.T, dir string) map[string]*ast.StructType {
	t.Helper()
	structs := map[string]*ast.StructType{}
	for _, path := range sources(t, dir) {
		if filepath.Dir(path) != filepath.Clean(dir) {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if s, ok := spec.Type.(*ast.StructType); ok {
					structs[spec.Name.Name] = s
				}
			}
			return true
		})
	}
	return structs
}

// sources are the Go files of programs below a folder.
func sources(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != "..":
			return fs.SkipDir
		case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"):
			all = append(all, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestFailpointsAreDocumented holds the list of failpoints to the code.
func TestFailpointsAreDocumented(t *testing.T) {
	real := map[string]bool{}
	call := regexp.MustCompile(`failpoint\.Here\("([^"]+)"\)`)
	for _, path := range sources(t, repository) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range call.FindAllSubmatch(text, -1) {
			real[string(m[1])] = true
		}
	}
	compare(t, "docs/developing.md, Failpoints and the kill matrix",
		firstCells(t, "docs/developing.md", "Failpoints and the kill matrix"), slices.Sorted(maps.Keys(real)))
}

// TestDocumentedFilesAreValid reads the configuration files shown in the documentation as the programs do.
func TestDocumentedFilesAreValid(t *testing.T) {
	pattern := regexp.MustCompile("(?m)^<!-- file: (\\S+) -->\n```toml\n((?s:.*?))^```$")
	load := map[string]func(path string) error{
		"coordinator.toml": checkCoordinatorFile,
		"agent.toml":       func(path string) error { _, err := agent.LoadConfig(path); return err },
		"policy.toml":      func(path string) error { _, err := policy.Load(path); return err },
	}
	seen := map[string]bool{}
	for _, page := range pages(t) {
		for _, m := range pattern.FindAllStringSubmatch(read(t, page), -1) {
			seen[m[1]] = true
			path := filepath.Join(t.TempDir(), m[1])
			if err := os.WriteFile(path, []byte(m[2]), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := load[m[1]](path); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
	for name := range load {
		if !seen[name] {
			t.Errorf("no page shows a %s", name)
		}
	}
}

func checkCoordinatorFile(path string) error {
	f, err := coordinator.LoadFile(path)
	if err != nil {
		return err
	}
	_, err = auth.New(f.AuthConfig())
	return err
}

// pages are README.md and docs/*.md, from the repository's root.
func pages(t *testing.T) []string {
	t.Helper()
	all := []string{"README.md"}
	entries, err := os.ReadDir(filepath.Join(repository, "docs"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".md") {
			all = append(all, "docs/"+e.Name())
		}
	}
	return all
}

// TestLinksOfDocumentsLead finds links to files and headings that are not there.
func TestLinksOfDocumentsLead(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			if _, err := os.Stat(filepath.Join(repository, target)); err != nil {
				t.Errorf("%s: link to %s: %v", page, m[1], err)
			} else if anchor != "" && !slices.Contains(anchors(read(t, target)), anchor) {
				t.Errorf("%s: link to %s: there is no such heading", page, m[1])
			}
		}
	}
}

// anchors are the names of a page's headings, as code hosts make them.
func anchors(page string) []string {
	var all []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		name := strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")
		all = append(all, regexp.MustCompile(`[^\p{L}\p{N}_-]`).ReplaceAllString(name, ""))
	}
	return all
}

// TestTokenHashCommand holds the way in which docs/coordinator.md makes the hash of a token.
func TestTokenHashCommand(t *testing.T) {
	testenv.Need(t, "sh", "sha256sum", "cut")
	m := regexp.MustCompile("(?m)^<!-- hash -->\n```sh\n(.*)\n(.*)\n```$").FindStringSubmatch(read(t, "docs/coordinator.md"))
	if m == nil {
		t.Fatal("no such command")
	}
	dir := t.TempDir()
	cmd := exec.Command("sh", "-euc", m[1]+"\n"+m[2])
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	hash, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	file, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil {
		t.Fatal(err)
	}
	if want := auth.HashToken(strings.TrimSpace(string(file))); strings.TrimSpace(string(hash)) != want {
		t.Errorf("%q, want %q", hash, want)
	}
}
