package rocrate

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// paths keeps the paths of a zip apart also on file systems that do not tell upper from lower case. A path that is
// taken as a folder has the value true.
type paths map[string]bool

// take gives a free and safe path below a folder: no part is empty, "." or "..", too long or has a character that some
// system forbids. A name may have parts of its own. A path that is taken, or lies below a file, moves to a folder
// of its own.
func (p paths) take(root string, names ...string) string {
	return p.place(root, strings.Join(safeParts(strings.Join(names, "/")), "/"), false)
}

// takeFolder gives a free path for a folder of data, with a slash at its end.
func (p paths) takeFolder(name string) string {
	return p.place("data", strings.Join(safeParts(name), "/"), true) + "/"
}

func (p paths) place(root, rest string, folder bool) string {
	for n := 1; ; n++ {
		path := root + "/" + rest
		if n > 1 {
			first, below, found := strings.Cut(rest, "/")
			path = fmt.Sprintf("%s/%s~%d", root, first, n)
			if found {
				path += "/" + below
			}
		}
		if p.add(path, folder) {
			return path
		}
	}
}

// add takes a path unless another stands in its way.
func (p paths) add(path string, folder bool) bool {
	key := strings.ToLower(path)
	if _, taken := p[key]; taken {
		return false
	}
	for i, c := range key {
		if c != '/' {
			continue
		}
		if isFolder, taken := p[key[:i]]; taken && !isFolder {
			return false
		}
	}
	for i, c := range key {
		if c == '/' {
			p[key[:i]] = true
		}
	}
	p[key] = folder
	return true
}

// longestPart is what common file systems permit, in bytes, less room for a number.
const longestPart = 240

func safeParts(path string) []string {
	var parts []string
	for part := range strings.SplitSeq(path, "/") {
		part = strings.TrimRight(strings.Map(safeRune, strings.ToValidUTF8(part, "_")), ". ")
		if part = strings.TrimLeft(part, " "); part == "" {
			continue
		}
		parts = append(parts, shorten(part))
	}
	if len(parts) == 0 {
		return []string{"file"}
	}
	return parts
}

func safeRune(r rune) rune {
	if strings.ContainsRune(`\:*?"<>|~`, r) || !unicode.IsPrint(r) {
		return '_'
	}
	return r
}

func shorten(part string) string {
	if len(part) <= longestPart {
		return part
	}
	end := longestPart
	for !utf8.RuneStart(part[end]) {
		end--
	}
	return part[:end]
}
