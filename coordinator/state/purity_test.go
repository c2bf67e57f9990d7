package state

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPurity holds DESIGN section 5.2: apply has no clock, no random numbers, no environment, no files, no
// goroutines and no order of a map. Nodes that applied the same log must hold the same bytes.
func TestPurity(t *testing.T) {
	fset := token.NewFileSet()
	files := parsePackage(t, fset)
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	conf := types.Config{Importer: importer.ForCompiler(fset, "gc", exportData(t))}
	var asts []*ast.File
	for _, name := range sortedNames(files) {
		asts = append(asts, files[name])
	}
	if _, err := conf.Check("consort/coordinator/state", fset, asts, info); err != nil {
		t.Fatal(err)
	}
	for name, file := range files {
		if strings.HasSuffix(name, ".pb.go") {
			continue
		}
		checkImports(t, name, file)
		checkClock(t, fset, file)
		if strings.HasPrefix(name, "apply") || name == "tx.go" || name == "keys.go" {
			checkApply(t, fset, file, info)
		}
	}
}

// exportData finds what the compiler wrote of the packages imported.
func exportData(t *testing.T) importer.Lookup {
	t.Helper()
	out, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	paths := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, path, _ := strings.Cut(strings.TrimSpace(line), " ")
		paths[name] = path
	}
	return func(name string) (io.ReadCloser, error) { return os.Open(paths[name]) }
}

func parsePackage(t *testing.T, fset *token.FileSet) map[string]*ast.File {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*ast.File{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = file
	}
	return files
}

func sortedNames(files map[string]*ast.File) []string {
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func checkImports(t *testing.T, name string, file *ast.File) {
	forbidden := []string{"math/rand", "math/rand/v2", "crypto/rand", "net", "net/http", "os/exec", "syscall", "runtime"}
	for _, imp := range file.Imports {
		path := strings.Trim(imp.Path.Value, `"`)
		if slices.Contains(forbidden, path) {
			t.Errorf("%s imports %s: state knows no network, no randomness and no environment", name, path)
		}
		if path == "os" && name != "files.go" && name != "snapshot.go" && !strings.HasPrefix(name, "verify") {
			t.Errorf("%s imports os: only opening and snapshots touch files", name)
		}
	}
}

func checkClock(t *testing.T, fset *token.FileSet, file *ast.File) {
	clock := []string{"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Sleep"}
	ast.Inspect(file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "time" && slices.Contains(clock, sel.Sel.Name) {
				t.Errorf("%s: time.%s: times come in the command", fset.Position(n.Pos()), sel.Sel.Name)
			}
		}
		return true
	})
}

func checkApply(t *testing.T, fset *token.FileSet, file *ast.File, info *types.Info) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt, *ast.SelectStmt:
			t.Errorf("%s: apply has no goroutines", fset.Position(n.Pos()))
		case *ast.RangeStmt:
			typ := info.TypeOf(n.X)
			if typ == nil || typ == types.Typ[types.Invalid] {
				t.Errorf("%s: cannot tell whether this ranges over a map", fset.Position(n.Pos()))
			} else if _, isMap := typ.Underlying().(*types.Map); isMap {
				t.Errorf("%s: ranges over a map, whose order differs from run to run", fset.Position(n.Pos()))
			}
		}
		return true
	})
}
