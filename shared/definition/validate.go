package definition

import (
	"fmt"
	"mime"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"consort/shared/ids"
)

// Limits of the format.
const (
	maxTitle = 200      // characters of a title, an unit and other short texts
	maxText  = 32 << 10 // bytes of a description
	maxList  = 1000     // parameters, inputs, outputs, arguments, options
)

// reservedFields cannot name a parameter or an input, in any case: they are control fields of UWS and
// DALI. See also ResourcePrefix.
var reservedFields = []string{
	"PHASE", "ACTION", "RUNID", "EXECUTIONDURATION", "DESTRUCTION", "QUOTE", "WAIT", "AFTER", "LAST",
	"UPLOAD", "RESPONSEFORMAT", "REQUEST", "REUSE",
}

// reservedOutputs cannot name an output, in any case, nor can a name that begins with "prov".
var reservedOutputs = []string{"result", "stdout", "stderr", "rocrate"}

var (
	aliasPattern   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)
	citePattern    = regexp.MustCompile(`^(bibcode|doi|ascl):[^\s\x00-\x1f]{1,200}$`)
	spdxPattern    = regexp.MustCompile(`^[A-Za-z0-9.+() -]{1,200}$`)
	orcidPattern   = regexp.MustCompile(`^(https://orcid\.org/)?[0-9]{4}-[0-9]{4}-[0-9]{4}-[0-9]{3}[0-9X]$`)
	ucdPattern     = regexp.MustCompile(`^[A-Za-z0-9.;_-]{1,200}$`)
	xtypePattern   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9:._-]{0,63}$`)
	softwareName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$`)
	softwareWanted = regexp.MustCompile(`^((>=|<=|==|=|>|<)?[0-9][A-Za-z0-9._+-]{0,40}(, *|$))*$`)
	envPattern     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
)

// definition validates the whole definition, apart from what only its files can show.
func (l *lint) definition(d *Definition) {
	l.identity(d)
	l.texts(d)
	l.people(d)
	l.files(d)
	l.software(d)
	l.times(d)
	for i := range d.Parameters {
		l.checkParameter(fmt.Sprintf("parameter[%d]", i), &d.Parameters[i])
	}
	for i := range d.Inputs {
		l.checkInput(fmt.Sprintf("input[%d]", i), &d.Inputs[i])
	}
	l.fieldNames(d)
	l.run(d)
	l.outputs(d)
	l.workingDirectory(d)
}

func (l *lint) identity(d *Definition) {
	switch {
	case d.Format == 0:
		l.add("format", "must be set: format = %d", Format)
	case d.Format != Format:
		l.add("format", "format %d is not known; allowed: %d", d.Format, Format)
	}
	if !ids.ValidName(d.Name) {
		l.add("name", "must be lower-case words joined by hyphens, such as \"source-extractor\", at most %d characters", ids.MaxName)
	}
	if !ids.ValidVersion(d.Version) {
		l.add("version", `must be one to three numbers joined by dots, such as "1.2.0"`)
	}
	seen := map[string]bool{strings.ToLower(d.Name): true}
	for i, alias := range d.Aliases {
		path := fmt.Sprintf("aliases[%d]", i)
		if !aliasPattern.MatchString(alias) {
			l.add(path, "must be letters, digits, _ . or -, at most 64 characters")
		}
		if seen[strings.ToLower(alias)] {
			l.add(path, "%q is there twice, ignoring case", clip(alias))
		}
		seen[strings.ToLower(alias)] = true
	}
}

func (l *lint) texts(d *Definition) {
	if strings.TrimSpace(d.Title) == "" {
		l.add("title", "must say in a few words what the code is")
	}
	l.line("title", d.Title)
	l.text("description", d.Description)
	l.line("subtype", d.Subtype)
	if d.Type != "" {
		l.enum("type", d.Type, ActivityTypes)
	}
	if d.Doc != "" {
		l.link("doc", d.Doc)
	}
	for i, c := range d.Cite {
		if !citePattern.MatchString(c) {
			l.add(fmt.Sprintf("cite[%d]", i), `must begin with bibcode:, doi: or ascl:`)
		}
	}
	l.spdx("licence.code", d.Licence.Code)
	l.spdx("licence.results", d.Licence.Results)
}

func (l *lint) spdx(path, s string) {
	if s != "" && !spdxPattern.MatchString(s) {
		l.add(path, `must be an SPDX expression, such as "CC-BY-4.0"`)
	}
}

func (l *lint) people(d *Definition) {
	for i, p := range d.People {
		path := fmt.Sprintf("people[%d]", i)
		if strings.TrimSpace(p.Name) == "" {
			l.add(path+".name", "must be set")
		}
		l.line(path+".name", p.Name)
		if p.Role != "" {
			l.enum(path+".role", p.Role, AgentRoles)
		}
		if at := strings.LastIndexByte(p.Email, '@'); p.Email != "" && (at < 1 || at == len(p.Email)-1 || strings.ContainsAny(p.Email, " <>\t\n")) {
			l.add(path+".email", "must be a mail address")
		}
		if p.ORCID != "" && !orcidPattern.MatchString(p.ORCID) {
			l.add(path+".orcid", "must be an ORCID, such as 0000-0002-1825-0097")
		}
	}
}

func (l *lint) software(d *Definition) {
	seen := map[string]bool{}
	for i, s := range d.Software {
		path := fmt.Sprintf("software[%d]", i)
		if !softwareName.MatchString(s.Name) {
			l.add(path+".name", "must be letters, digits, . _ + or -")
		}
		if seen[s.Name] {
			l.add(path+".name", "%q is there twice", clip(s.Name))
		}
		seen[s.Name] = true
		if !softwareWanted.MatchString(s.Version) {
			l.add(path+".version", `must be versions such as ">=2.25" or ">=1.0, <2"`)
		}
		for j, arg := range s.Report {
			l.noNUL(fmt.Sprintf("%s.report[%d]", path, j), arg)
		}
		l.line(path+".image", s.Image)
	}
}

func (l *lint) times(d *Definition) {
	for _, r := range []struct {
		key string
		DurationRange
		most time.Duration
	}{{"duration", d.Duration, 366 * 24 * time.Hour}, {"retention", d.Retention, 100 * 366 * 24 * time.Hour}} {
		for _, v := range []struct {
			key string
			is  time.Duration
		}{{".default", r.Default.Std()}, {".max", r.Max.Std()}} {
			if v.is < time.Second || v.is > r.most || v.is%time.Second != 0 {
				l.add(r.key+v.key, "must be whole seconds, from 1s to %dd", int(r.most.Hours()/24))
			}
		}
		if r.Default > r.Max {
			l.add(r.key, "default %s is above max %s", r.Default, r.Max)
		}
	}
	if d.Retry.Max < 0 || d.Retry.Max > 10 {
		l.add("retry.max", "must be from 0 to 10")
	}
	for i, c := range d.Retry.On {
		l.enum(fmt.Sprintf("retry.on[%d]", i), string(c), texts(RetryClasses))
	}
	l.enum("retry.lost", d.Retry.Lost, LostPolicies)
}

// outputs validates all [[output]].
func (l *lint) outputs(d *Definition) {
	seen := map[string]bool{}
	mains := 0
	for i := range d.Outputs {
		o := &d.Outputs[i]
		path := fmt.Sprintf("output[%d]", i)
		l.outputName(path+".name", o.Name)
		if seen[strings.ToLower(o.Name)] {
			l.add(path+".name", "%q is there twice, ignoring case", clip(o.Name))
		}
		seen[strings.ToLower(o.Name)] = true
		if o.Main {
			mains++
		}
		l.output(path, d, o)
	}
	switch {
	case len(d.Outputs) == 0:
		l.add("output", "needs at least one [[output]]")
	case mains != 1:
		l.add("output", "exactly one output must have main = true, not %d", mains)
	}
	l.length("output", len(d.Outputs))
}

func (l *lint) outputName(path, name string) {
	if !ids.ValidField(name) {
		l.add(path, "must be a letter followed by letters, digits or _, at most 64 characters")
	}
	lower := strings.ToLower(name)
	if slices.Contains(reservedOutputs, lower) || strings.HasPrefix(lower, "prov") {
		l.add(path, "%q is reserved; not allowed: %s, prov*", clip(name), strings.Join(reservedOutputs, ", "))
	}
}

func (l *lint) output(path string, d *Definition, o *Output) {
	l.enum(path+".usage", o.Usage, Usages)
	l.line(path+".title", o.Title)
	l.text(path+".description", o.Description)
	l.mediaType(path+".content_type", o.ContentType)
	switch {
	case o.File != "" && o.NameFrom != "":
		l.add(path, "needs either file or name_from, not both")
	case o.File == "" && o.NameFrom == "":
		l.add(path, "needs file, a path or pattern in the working directory, or name_from")
	case o.NameFrom != "":
		l.nameFrom(path+".name_from", d, o)
	default:
		l.outputFile(path+".file", o)
	}
	for i, name := range o.DerivedFrom {
		if in := d.Input(name); in == nil || in.Name != name {
			l.add(fmt.Sprintf("%s.derived_from[%d]", path, i), "%q is no input; there are: %s", clip(name), joined(inputNames(d)))
		}
	}
}

func (l *lint) nameFrom(path string, d *Definition, o *Output) {
	p := d.Parameter(o.NameFrom)
	switch {
	case p == nil || p.Name != o.NameFrom:
		l.add(path, "%q is no parameter; there are: %s", clip(o.NameFrom), joined(parameterNames(d)))
	case !slices.Contains(Types, p.Type): // said there
	case p.Type != String || p.Pattern == "" || p.Secret || p.Multiplicity.Many():
		l.add(path, "parameter %s must be a single string with a pattern, and no secret", p.Name)
	case p.Required || p.Default != nil:
	case o.Multiplicity.Min > 0:
		l.add(path, "parameter %s may stay unset, so the output must be optional", p.Name)
	}
	if o.Multiplicity.Many() {
		l.add(path, "names one file, so multiplicity must be 1 or 0..1")
	}
}

func (l *lint) outputFile(path string, o *Output) {
	if why := badGlob(o.File); why != "" {
		l.add(path, "%s", why)
		return
	}
	if o.Multiplicity.Many() && !isGlob(o.File) {
		l.add(path, "must be a pattern such as \"*.fits\", as multiplicity is %s", o.Multiplicity)
	}
}

// mediaType checks a content type such as "image/fits" or "text/plain; charset=utf-8".
func (l *lint) mediaType(path, s string) {
	t, _, err := mime.ParseMediaType(s)
	if major, minor, ok := strings.Cut(t, "/"); err != nil || !ok || major == "" || minor == "" {
		l.add(path, `must be a media type, such as "image/fits"`)
	}
}

func (l *lint) enum(path, value string, allowed []string) {
	if !slices.Contains(allowed, value) {
		l.add(path, "%q is not known; allowed: %s", clip(value), strings.Join(allowed, ", "))
	}
}

func (l *lint) link(path, s string) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		l.add(path, "must be an http or https address")
	}
}

// line checks a short text of one line.
func (l *lint) line(path, s string) {
	if utf8.RuneCountInString(s) > maxTitle || strings.ContainsFunc(s, unicode.IsControl) {
		l.add(path, "must be one line of at most %d characters", maxTitle)
	}
}

// text checks a longer text.
func (l *lint) text(path, s string) {
	if err := checkText(String, s); err != nil {
		l.add(path, "%v", err)
		return
	}
	if len(s) > maxText {
		l.add(path, "must not be longer than %d bytes", maxText)
	}
}

func (l *lint) noNUL(path, s string) {
	if strings.ContainsRune(s, 0) {
		l.add(path, "must not hold a NUL")
	}
}

func (l *lint) length(path string, n int) {
	if n > maxList {
		l.add(path, "there are %d, at most %d are allowed", n, maxList)
	}
}

func texts[S ~string](list []S) []string {
	all := make([]string, len(list))
	for i, s := range list {
		all[i] = string(s)
	}
	return all
}

func joined(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func inputNames(d *Definition) []string {
	var names []string
	for _, in := range d.Inputs {
		names = append(names, in.Name)
	}
	return names
}

func parameterNames(d *Definition) []string {
	var names []string
	for _, p := range d.Parameters {
		names = append(names, p.Name)
	}
	return names
}
