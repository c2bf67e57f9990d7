package definition

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"consort/shared/config"
)

const docsPage = "../../docs/job-definitions.md"

// block returns the first fenced block of a language.
func block(t *testing.T, text, language string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, "```"+language+"\n")
	body, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatalf("no %s block in %s", language, docsPage)
	}
	return body
}

func TestTheDocumentedExampleWorks(t *testing.T) {
	text, err := os.ReadFile(docsPage)
	if err != nil {
		t.Fatal(err)
	}
	_, err = FromFiles(map[string][]byte{MainFile: []byte(block(t, string(text), "toml")), "count.sh": []byte(block(t, string(text), "sh"))})
	if err != nil {
		t.Error(err)
	}
}

func TestEveryKeyIsDocumented(t *testing.T) {
	text, err := os.ReadFile(docsPage)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] || typ == reflect.TypeFor[config.Duration]() {
			return
		}
		seen[typ] = true
		for _, f := range reflect.VisibleFields(typ) {
			key := f.Tag.Get("toml")
			if key != "" && key != "-" && !strings.Contains(string(text), "`"+key+"`") && !strings.Contains(string(text), "[["+key+"]]") && !strings.Contains(string(text), "["+key+"]") {
				t.Errorf("%s does not tell of the key %s of %s", docsPage, key, typ)
			}
			walk(f.Type)
		}
	}
	walk(reflect.TypeFor[document]())
}
