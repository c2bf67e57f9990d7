package attempt

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"consort/agent/batch"
	"consort/shared/definition"
	"consort/shared/siteapi"
)

const (
	// maxAsked bounds the software that is asked for its version: facts must fit into a command.
	maxAsked = 20
	// maxVersion bounds the characters of a version.
	maxVersion = 100
	// unknownVersion stands for that of software that was asked and did not tell.
	unknownVersion = "unknown"
)

// toAsk returns which software of a definition tells its version itself, and the commands for it. What the site's
// policy knows is not asked.
func toAsk(d *definition.Definition, known []siteapi.Software) (names []string, commands [][]string) {
	for _, s := range d.Software {
		byPolicy := slices.ContainsFunc(known, func(k siteapi.Software) bool { return k.Name == s.Name })
		if byPolicy || batch.CheckCommand(s.Report) != nil || len(names) == maxAsked {
			continue
		}
		names, commands = append(names, s.Name), append(commands, s.Report)
	}
	return names, commands
}

// told returns the versions that the software told before the code began.
func told(dir string, asked []string) []siteapi.Software {
	var all []siteapi.Software
	for i, name := range asked {
		version := unknownVersion
		if text, ok := batch.ReadReport(dir, i); ok {
			version = versionIn(text)
		}
		all = append(all, siteapi.Software{Name: name, Version: version})
	}
	return all
}

// versionToken is what looks like a version: numbers, or words after the first, with dots between.
var versionToken = regexp.MustCompile(`[0-9]+(\.[0-9A-Za-z-]+)+`)

// versionIn finds the version in what a program told of itself: the first token that looks like one, else the first
// line that is not blank.
func versionIn(text []byte) string {
	if token := versionToken.Find(text); token != nil {
		return string(token[:min(len(token), maxVersion)])
	}
	for line := range strings.Lines(strings.ToValidUTF8(string(text), string(utf8.RuneError))) {
		if line = visible(line); line != "" {
			return line
		}
	}
	return unknownVersion
}

// visible is the beginning of a line without what cannot be seen.
func visible(line string) string {
	line = strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, line)
	if runes := []rune(strings.TrimSpace(line)); len(runes) > maxVersion {
		line = string(runes[:maxVersion])
	}
	return strings.TrimSpace(line)
}
