package batch

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// reportSeconds is how long a command may take to tell its version. Tests shorten it.
var reportSeconds = 10

//go:embed report.sh
var reportText string

// reports is the part of the wrapper that runs the commands of Reports: nothing where there are none.
func (p Program) reports(environment string) string {
	if len(p.Reports) == 0 {
		return ""
	}
	var calls strings.Builder
	for i, command := range p.Reports {
		calls.WriteString("report " + strconv.Itoa(i) + words(command) + " &\n")
	}
	return strings.NewReplacer(
		"@SECONDS@", strconv.Itoa(reportSeconds), "@ENVIRONMENT@", environment, "@CALLS@", calls.String(),
	).Replace(reportText)
}

// ReadReport returns what the i-th command of Reports told, its standard output and error together; false when it
// failed, took too long or was not run. The text is at most 4 KiB of anything.
func ReadReport(dir string, i int) ([]byte, bool) {
	path := filepath.Join(dir, fmt.Sprintf("report-%d", i))
	if _, err := os.Lstat(path + ".ok"); err != nil {
		return nil, false
	}
	text, _, err := readMarker(path)
	return text, err == nil
}
