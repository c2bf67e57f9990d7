package definition

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode"
)

// MaxFiles is the greatest number of files a definition may name.
const MaxFiles = 500

// ReservedDir is a name in the working directory that definitions leave to the agent.
const ReservedDir = ".consort"

// reservedEnvironment is set by the agent.
var reservedEnvironment = []string{"PATH", "HOME", "TMPDIR", "LC_ALL", "TZ", "SOURCE_DATE_EPOCH"}

// badPath says why p cannot be a path in the working directory, or "".
func badPath(p string) string {
	switch {
	case p == "" || p == "." || !fs.ValidPath(p) || len(p) > 255:
		return `must be a relative path without "..", such as "data/list.txt"`
	case strings.HasPrefix(p, "-"):
		return `must not begin with "-"`
	case strings.ContainsFunc(p, func(r rune) bool { return r == '\\' || !unicode.IsPrint(r) }):
		return "must be printable and hold no backslash"
	case p == ReservedDir || strings.HasPrefix(p, ReservedDir+"/"):
		return ReservedDir + " is reserved"
	}
	return ""
}

// badGlob is badPath for patterns of path.Match.
func badGlob(p string) string {
	if why := badPath(p); why != "" {
		return why
	}
	if strings.Contains(p, "**") {
		return `"**" is not supported; write one "*" per directory, as in "*/*.fits"`
	}
	if _, err := path.Match(p, ""); err != nil {
		return `is no pattern; allowed: "*", "?" and "[a-z]"`
	}
	return ""
}

func isGlob(p string) bool { return strings.ContainsAny(p, "*?[") }

func (l *lint) files(d *Definition) {
	seen := map[string]bool{MainFile: true}
	for i, name := range d.Files {
		key := fmt.Sprintf("files[%d]", i)
		if why := badPath(name); why != "" {
			l.add(key, "%s", why)
		}
		if seen[name] {
			l.add(key, "%q is there twice; %s is always part of a definition", clip(name), MainFile)
		}
		seen[name] = true
	}
	if len(d.Files) > MaxFiles {
		l.add("files", "names %d files, at most %d are allowed", len(d.Files), MaxFiles)
	}
	for i, c := range d.Config {
		key := fmt.Sprintf("config[%d]", i)
		if why := badPath(c.File); why != "" {
			l.add(key+".file", "%s", why)
		}
		if !slices.Contains(d.Files, c.Template) {
			l.add(key+".template", "%q is not one of files", clip(c.Template))
		}
		l.enum(key+".style", string(c.Style), texts(Styles))
	}
}

// workingDirectory checks that no two things are to stand at the same place.
func (l *lint) workingDirectory(d *Definition) {
	owner := map[string]string{} // of each path
	below := map[string]string{} // of each folder, something in it
	claim := func(key, name, what string) {
		if other, taken := owner[name]; taken {
			l.add(key, "%q is already the path of %s", clip(name), other)
			return
		}
		if other, taken := below[name]; taken {
			l.add(key, "%q is already the folder of %s", clip(name), other)
			return
		}
		owner[name] = what
		for dir := path.Dir(name); dir != "." && dir != "/"; dir = path.Dir(dir) {
			if other, taken := owner[dir]; taken {
				l.add(key, "%q would be inside of %s", clip(name), other)
				return
			}
			below[dir] = what
		}
	}
	for i, f := range d.Files {
		if !slices.Contains(d.Files[:i], f) { // a repeated file has been reported
			claim(fmt.Sprintf("files[%d]", i), f, "the file "+clip(f))
		}
	}
	for i, c := range d.Config {
		claim(fmt.Sprintf("config[%d].file", i), c.File, "the configuration file "+clip(c.File))
	}
	for i, in := range d.Inputs {
		claim(fmt.Sprintf("input[%d].file", i), strings.TrimSuffix(in.File, "/"), "input "+in.Name)
	}
	for i, o := range d.Outputs {
		if o.File != "" && !isGlob(o.File) {
			claim(fmt.Sprintf("output[%d].file", i), o.File, "output "+o.Name)
		}
	}
}

// run validates [run].
func (l *lint) run(d *Definition) {
	r := &d.Run
	switch {
	case r.Script == "" && len(r.Command) == 0:
		l.add("run", "needs command or script")
	case r.Script != "" && !slices.Contains(d.Files, r.Script):
		l.add("run.script", "%q is not one of files", clip(r.Script))
	case r.Script != "" && len(r.Command) > 0 && !usesScript(r.Command):
		l.add("run.command", "must hold {script} when there is also a script")
	}
	if r.Launcher != "" {
		l.enum("run.launcher", r.Launcher, Launchers)
	}
	l.length("run.command", len(r.Command))
	for i, e := range r.Command {
		l.element(fmt.Sprintf("run.command[%d]", i), d, e)
	}
	if len(r.Command) > 0 && (r.Command[0].Sub || r.Command[0].List[0] == "" || strings.Contains(r.Command[0].List[0], "{param.") || strings.Contains(r.Command[0].List[0], "{input.")) {
		l.add("run.command[0]", "must be the program, written in the definition itself")
	}
	for _, name := range sortedKeys(r.Environment) {
		l.environment("run.environment."+name, d, name, r.Environment[name])
	}
	if r.Stdin != "" {
		l.stdin(d, r.Stdin)
	}
	l.exit(&r.Exit)
}

func usesScript(command []Element) bool {
	return slices.ContainsFunc(command, func(e Element) bool {
		return slices.ContainsFunc(e.List, func(s string) bool { return strings.Contains(s, "{script}") })
	})
}

// element checks one element of the command.
func (l *lint) element(key string, d *Definition, e Element) {
	if e.Sub && len(e.List) == 0 {
		l.add(key, "must not be an empty list")
	}
	for i, s := range e.List {
		at := key
		if e.Sub {
			at = fmt.Sprintf("%s[%d]", key, i)
		}
		l.noNUL(at, s)
		if len(s) > MaxArgument {
			l.add(at, "must not be longer than %d bytes", MaxArgument)
		}
		parts := l.parts(at, d, s)
		if len(parts) < 2 {
			continue
		}
		for _, p := range parts {
			if d.many(p) {
				l.add(at, "{%s} may have many values, so it must be an argument of its own", p.name())
			}
		}
	}
}

// parts splits a text and checks that what its placeholders name exists and may be shown.
func (l *lint) parts(key string, d *Definition, s string) []part {
	parts, err := parseParts(s)
	if err != nil {
		l.add(key, "%v", err)
		return nil
	}
	for _, p := range parts {
		if why := d.refuses(p); why != "" {
			l.add(key, "%s", why)
		}
	}
	return parts
}

// refuses says why a placeholder cannot be used at all, or "".
func (d *Definition) refuses(p part) string {
	switch p.kind {
	case paramRef:
		param := d.Parameter(p.text)
		if param == nil || param.Name != p.text {
			return fmt.Sprintf("{%s}: there is no such parameter; there are: %s", p.name(), joined(parameterNames(d)))
		}
		if param.Secret {
			return fmt.Sprintf("{%s} is secret: it is only in the file of secrets", p.name())
		}
	case inputRef:
		if in := d.Input(p.text); in == nil || in.Name != p.text {
			return fmt.Sprintf("{%s}: there is no such input; there are: %s", p.name(), joined(inputNames(d)))
		}
	case resourceRef:
		if !slices.Contains(ResourceKeys, p.text) {
			return fmt.Sprintf("{%s}: there is no such resource; there are: %s", p.name(), strings.Join(ResourceKeys, ", "))
		}
	case scriptRef:
		if d.Run.Script == "" {
			return "{script}: there is no script"
		}
	}
	return ""
}

// name returns what stands between the braces.
func (p part) name() string {
	switch p.kind {
	case paramRef:
		return "param." + p.text
	case inputRef:
		return "input." + p.text
	case resourceRef:
		return "resource." + p.text
	}
	return "script"
}

// many tells whether a placeholder may expand to more than one argument.
func (d *Definition) many(p part) bool {
	switch p.kind {
	case paramRef:
		param := d.Parameter(p.text)
		return param != nil && param.Multiplicity.Many()
	case inputRef:
		in := d.Input(p.text)
		return in != nil && in.Multiplicity.Many()
	}
	return false
}

// environment checks one variable. Values of users never get there.
func (l *lint) environment(key string, d *Definition, name, value string) {
	switch {
	case !envPattern.MatchString(name):
		l.add(key, "is no name of an environment variable")
	case slices.Contains(reservedEnvironment, name) || strings.HasPrefix(name, "CONSORT_"):
		l.add(key, "is set by the agent; not allowed: %s, CONSORT_*", strings.Join(reservedEnvironment, ", "))
	}
	l.noNUL(key, value)
	for _, p := range l.parts(key, d, value) {
		if p.kind == paramRef || d.many(p) {
			l.add(key, "{%s}: values of users never reach the environment; use an argument, a configuration file or $CONSORT_PARAMS", p.name())
		}
	}
}

func (l *lint) stdin(d *Definition, s string) {
	parts := l.parts("run.stdin", d, s)
	if len(parts) != 1 || parts[0].kind != inputRef || d.many(parts[0]) {
		l.add("run.stdin", `must be "{input.NAME}" with an input of one file`)
	}
}

func (l *lint) exit(e *Exit) {
	seen := map[int]bool{}
	for _, list := range []struct {
		key   string
		codes []int
	}{{"ok", e.OK}, {"user", e.User}, {"transient", e.Transient}} {
		for i, code := range list.codes {
			key := fmt.Sprintf("run.exit.%s[%d]", list.key, i)
			if code < 0 || code > 255 {
				l.add(key, "must be from 0 to 255")
			}
			if seen[code] {
				l.add(key, "exit code %d is there twice", code)
			}
			seen[code] = true
		}
	}
	if len(e.OK) == 0 {
		l.add("run.exit.ok", "must hold at least one exit code")
	}
}
