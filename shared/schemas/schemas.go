// Package schemas holds the XML and JSON schemas of the standards that Consort writes, and checks
// documents against them without a network. It is for tests only; no program imports it.
package schemas

import (
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"consort/shared/testenv"
)

// Names of the XML schemas that documents are checked against.
const (
	UWS     = "UWS-v1.1.xsd"
	VOTable = "VOTable.xsd"
	ProvXML = "prov.xsd"
)

// FS holds every schema under its plain file name; README.md names their origins.
//
//go:embed *.xsd *.xml *.json *.jsonld
var FS embed.FS

// Validate checks that each document is valid XML against the named schema, in one run of xmllint with
// the network forbidden, and fails the test with xmllint's words. It skips the test where xmllint is missing.
func Validate(t testing.TB, schema string, documents ...[]byte) {
	t.Helper()
	xmllint := testenv.Need(t, "xmllint")[0]
	dir := t.TempDir()
	if err := os.CopyFS(dir, FS); err != nil {
		t.Fatalf("unpack schemas: %v", err)
	}
	args := []string{"--nonet", "--noout", "--schema", filepath.Join(dir, schema)}
	for i, doc := range documents {
		file := filepath.Join(dir, fmt.Sprintf("document-%03d.xml", i))
		if err := os.WriteFile(file, doc, 0o600); err != nil {
			t.Fatalf("write document: %v", err)
		}
		args = append(args, file)
	}
	cmd := exec.Command(xmllint, args...)
	cmd.Env = append(os.Environ(), "XML_CATALOG_FILES=file://"+filepath.Join(dir, "uws-xml-catalog.xml"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("xmllint against %s: %v\n%s", schema, err, shorten(out))
	}
}

// shorten keeps a failing test readable when xmllint quotes a big document.
func shorten(out []byte) []byte {
	const most = 4000
	if len(out) > most {
		return append(out[:most:most], "…"...)
	}
	return out
}
