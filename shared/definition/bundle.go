package definition

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"consort/shared/config"
)

// Limits of the files of one definition.
const (
	MaxFileSize  = 64 << 20  // bytes of one file
	MaxTotalSize = 256 << 20 // bytes of all files together
)

// Bundle is a definition with all its files: what a version is, and what its digest covers.
type Bundle struct {
	Definition *Definition
	Files      []File // sorted by path; with MainFile
	Digest     string // SHA-256 in lower-case hexadecimal, see Digest
}

// File is one file of a bundle.
type File struct {
	Path   string // relative to the definition's folder, with "/"
	SHA256 string // lower-case hexadecimal
	Size   int64
	Data   []byte
}

// File returns the file at path, or nil.
func (b *Bundle) File(path string) *File {
	for i := range b.Files {
		if b.Files[i].Path == path {
			return &b.Files[i]
		}
	}
	return nil
}

// Digest returns the digest of a version: the SHA-256 over the sorted lines "<sha256>  <path>\n" of its
// files, as `sha256sum FILES | LC_ALL=C sort | sha256sum` prints it.
func Digest(files []File) string {
	lines := make([]string, len(files))
	for i, f := range files {
		lines[i] = f.SHA256 + "  " + f.Path + "\n"
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "")))
	return hex.EncodeToString(sum[:])
}

// Load reads the definition in the folder dir of a file system, "." for its root, and the files it
// names, and validates everything together. Symbolic links are refused. What is wrong with the
// definition is a config.Errors.
func Load(fsys fs.FS, dir string) (*Bundle, error) {
	main := path.Join(dir, MainFile)
	text, err := readFile(fsys, dir, MainFile, config.MaxFile)
	if err != nil {
		return nil, fmt.Errorf("read definition: %w", err)
	}
	d, l, err := parse(main, text)
	if err != nil {
		return nil, err
	}
	contents := map[string][]byte{MainFile: text}
	total := len(text)
	for i, name := range d.Files {
		if badPath(name) != "" || i >= MaxFiles {
			continue // reported already
		}
		data, err := readFile(fsys, dir, name, MaxFileSize)
		if errors.Is(err, fs.ErrNotExist) {
			l.add(fmt.Sprintf("files[%d]", i), "%q does not exist beside the definition", name)
			continue
		}
		if err != nil {
			l.add(fmt.Sprintf("files[%d]", i), "%v", err)
			continue
		}
		if total += len(data); total > MaxTotalSize {
			l.add("files", "are larger than %s together", config.Size(MaxTotalSize))
			break
		}
		contents[name] = data
	}
	return l.bundle(d, contents)
}

// FromFiles makes a bundle of files already in memory, by path: MainFile, and exactly those that it names.
func FromFiles(contents map[string][]byte) (*Bundle, error) {
	text, ok := contents[MainFile]
	if !ok {
		return nil, config.Errors{{File: MainFile, Problem: "is missing"}}
	}
	d, l, err := parse(MainFile, text)
	if err != nil {
		return nil, err
	}
	total := 0
	for i, name := range d.Files {
		data, ok := contents[name]
		if !ok {
			l.add(fmt.Sprintf("files[%d]", i), "%q is missing", clip(name))
		}
		if len(data) > MaxFileSize {
			l.add(fmt.Sprintf("files[%d]", i), "is larger than %s", config.Size(MaxFileSize))
		}
		total += len(data)
	}
	if total > MaxTotalSize {
		l.add("files", "are larger than %s together", config.Size(MaxTotalSize))
	}
	for _, name := range sortedKeys(contents) {
		if name != MainFile && !slices.Contains(d.Files, name) {
			l.add("files", "does not name %q, which came with the definition", clip(name))
		}
	}
	return l.bundle(d, contents)
}

// bundle checks what only the files can show, and puts the bundle together.
func (l *lint) bundle(d *Definition, contents map[string][]byte) (*Bundle, error) {
	for i, c := range d.Config {
		if text, ok := contents[c.Template]; ok {
			l.template(fmt.Sprintf("config[%d].template", i), d, c, text)
		}
	}
	if script, ok := contents[d.Run.Script]; ok && d.Run.Script != "" {
		d.Run.Interpreter = interpreter(script)
		if d.Run.Interpreter == nil && len(d.Run.Command) == 0 {
			l.add("run.script", `%s must begin with "#!" and an absolute path, such as "#!/bin/sh"`, d.Run.Script)
		}
	}
	if err := l.errs.Err(); err != nil {
		return nil, err
	}
	b := &Bundle{Definition: d}
	for _, name := range slices.Sorted(maps.Keys(contents)) {
		data := contents[name]
		sum := sha256.Sum256(data)
		b.Files = append(b.Files, File{Path: name, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(data)), Data: data})
	}
	b.Digest = Digest(b.Files)
	return b, nil
}

// interpreter returns what the first line of a script names, as the kernel reads it: a program and at
// most one argument.
func interpreter(script []byte) []string {
	line, _, _ := bytes.Cut(script[:min(len(script), 256)], []byte("\n"))
	rest, ok := strings.CutPrefix(strings.TrimRight(string(line), " \t\r"), "#!")
	program, argument, _ := strings.Cut(strings.Trim(rest, " \t"), " ")
	if !ok || !path.IsAbs(program) || strings.ContainsRune(rest, 0) {
		return nil
	}
	if argument = strings.Trim(argument, " \t"); argument == "" {
		return []string{program}
	}
	return []string{program, argument}
}

// readFile reads a regular file below dir without following links.
func readFile(fsys fs.FS, dir, name string, most int64) ([]byte, error) {
	if err := regular(fsys, dir, name); err != nil {
		return nil, err
	}
	f, err := fsys.Open(path.Join(dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("%s is larger than %s", name, config.Size(most))
	}
	return data, nil
}

// regular checks that name is a regular file below dir, reached through directories only.
func regular(fsys fs.FS, dir, name string) error {
	at := dir
	elements := strings.Split(name, "/")
	for i, element := range elements {
		at = path.Join(at, element)
		info, err := fs.Lstat(fsys, at)
		if err != nil {
			return err
		}
		last := i == len(elements)-1
		if last && !info.Mode().IsRegular() || !last && !info.IsDir() {
			return fmt.Errorf("%s is no regular file below the folder; links are not followed", name)
		}
	}
	return nil
}
