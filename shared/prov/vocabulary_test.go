package prov

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"consort/shared/testenv"
)

// usedTerm finds the terms of our vocabulary in source code.
var usedTerm = regexp.MustCompile(`fedTerm\("(\w+)"\)|"fed:(\w+)"|"fed", (?:Local: )?"(\w+)"|"https://w3id\.org/consort/prov#(\w+)"`)

// TestVocabulary: each term that the program uses is defined, and each that is defined is used.
func TestVocabulary(t *testing.T) {
	defined := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^fed:(\w+) a rdfs?:`).FindAllSubmatch(Vocabulary(), -1) {
		if defined[string(m[1])] {
			t.Errorf("fed:%s is defined twice", m[1])
		}
		defined[string(m[1])] = true
	}
	used := map[string]bool{}
	root := os.DirFS("../..")
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := fs.ReadFile(root, path)
		for _, m := range usedTerm.FindAllSubmatch(source, -1) {
			term := string(bytes.Join(m[1:], nil))
			used[term] = true
			if !defined[term] {
				t.Errorf("%s uses fed:%s, which vocabulary.ttl does not define", path, term)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for term := range defined {
		if !used[term] {
			t.Errorf("fed:%s is defined and used nowhere", term)
		}
	}
	if !strings.Contains(string(Vocabulary()), "@prefix fed: <"+IRIFed+">") {
		t.Error("the namespace is another one than that of records")
	}
}

func TestVocabularyIsTurtle(t *testing.T) {
	rapper := testenv.Need(t, "rapper")
	cmd := exec.Command(rapper[0], "-q", "-c", "-i", "turtle", "vocabulary.ttl")
	if out, err := cmd.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}
