package definition

import (
	"fmt"
	"slices"
	"strings"

	"consort/shared/config"
	"consort/shared/ids"
)

// xtypes holds what DALI 1.1 section 3.3 says of the types it names.
var xtypes = map[string]struct {
	types     []Type
	arraysize string // "" any
}{
	"timestamp": {[]Type{String}, ""},
	"hms":       {[]Type{String}, ""},
	"dms":       {[]Type{String}, ""},
	"uuid":      {[]Type{String}, ""},
	"interval":  {[]Type{Int, Long, Float, Double}, "2"},
	"point":     {[]Type{Float, Double}, "2"},
	"circle":    {[]Type{Float, Double}, "3"},
	"polygon":   {[]Type{Float, Double}, "*"},
}

// fieldNames checks the names of parameters and inputs, which are POST fields.
func (l *lint) fieldNames(d *Definition) {
	seen := map[string]bool{}
	check := func(path, name string) {
		lower := strings.ToLower(name)
		switch {
		case !ids.ValidField(name):
			l.add(path, "must be a letter followed by letters, digits or _, at most 64 characters")
		case reservedField(name):
			l.add(path, "%q is reserved; not allowed in any case: %s, %s*", name, strings.Join(reservedFields, ", "), ResourcePrefix)
		case seen[lower]:
			l.add(path, "%q is there twice among parameters and inputs, ignoring case", name)
		}
		seen[lower] = true
	}
	for i, p := range d.Parameters {
		check(fmt.Sprintf("parameter[%d].name", i), p.Name)
	}
	for i, in := range d.Inputs {
		check(fmt.Sprintf("input[%d].name", i), in.Name)
	}
	l.length("parameter", len(d.Parameters))
	l.length("input", len(d.Inputs))
}

func reservedField(name string) bool {
	return slices.Contains(reservedFields, strings.ToUpper(name)) || strings.HasPrefix(strings.ToLower(name), ResourcePrefix)
}

func (l *lint) checkParameter(path string, p *Parameter) {
	l.line(path+".title", p.Title)
	l.line(path+".unit", p.Unit)
	l.line(path+".utype", p.UType)
	l.text(path+".description", p.Description)
	l.enum(path+".group", p.Group, Groups)
	if p.UCD != "" && !ucdPattern.MatchString(p.UCD) {
		l.add(path+".ucd", `must be an UCD, such as "time.period"`)
	}
	if !slices.Contains(Types, p.Type) {
		l.enum(path+".type", string(p.Type), texts(Types))
		return // nothing else can be judged
	}
	if l.shape(path, p) {
		l.constraints(path, p)
	}
}

// shape checks array size and xtype, and tells whether values can be checked at all.
func (l *lint) shape(path string, p *Parameter) bool {
	if p.ArraySize != "" && !arraySizePattern.MatchString(p.ArraySize) {
		l.add(path+".arraysize", `must be a VOTable arraysize, such as "2", "*" or "3x*"`)
		return false
	}
	if p.XType == "" {
		return true
	}
	known, ok := xtypes[p.XType]
	switch {
	case !xtypePattern.MatchString(p.XType):
		l.add(path+".xtype", "must be a letter followed by letters, digits, : . _ or -")
	case ok && !slices.Contains(known.types, p.Type):
		l.add(path+".xtype", "%s needs type %s", p.XType, strings.Join(texts(known.types), " or "))
	case ok && known.arraysize != "" && p.ArraySize != known.arraysize:
		l.add(path+".xtype", "%s needs arraysize = %q", p.XType, known.arraysize)
	}
	return true
}

// constraints checks range, options, pattern and length, and the default against them all.
func (l *lint) constraints(path string, p *Parameter) {
	if p.Min != "" && p.Max != "" && p.Type.compare(p.Min.String(), p.Max.String()) > 0 {
		l.add(path+".min", "min %s is above max %s", p.Min, p.Max)
		return
	}
	if (p.Pattern != "" || p.MaxLength != 0) && !p.Type.Textual() {
		l.add(path, "pattern and max_length are for strings and URIs; type is %s", p.Type)
		return
	}
	if p.MaxLength < 0 || p.MaxLength > MaxValue {
		l.add(path+".max_length", "must be from 1 to %d characters", MaxValue)
	}
	if p.Pattern != "" {
		if _, err := compileWhole(p.Pattern); err != nil {
			l.add(path+".pattern", "is no RE2 expression: %v", err)
			return
		}
		if len(p.Options) > 0 {
			l.add(path+".pattern", "needs either options or a pattern, not both")
		}
	}
	if p.Secret && p.Default != nil {
		l.add(path+".default", "a secret has no default, as the definition is public")
		return
	}
	if l.options(path, p) {
		l.defaultValue(path, p)
	}
}

func (l *lint) options(path string, p *Parameter) bool {
	ok := true
	all := p.Options
	p.Options = nil // each option must hold the other constraints
	seen := map[string]bool{}
	for i := range all {
		key := fmt.Sprintf("%s.options[%d]", path, i)
		value, err := p.check(all[i].Value)
		switch {
		case err != nil:
			l.add(key+".value", "%v", err)
			ok = false
		case seen[value]:
			l.add(key+".value", "%q is there twice", clip(value))
			ok = false
		default:
			all[i].Value = value
		}
		seen[value] = true
		l.line(key+".title", all[i].Title)
	}
	p.Options = all
	l.length(path+".options", len(all))
	return ok
}

func (l *lint) defaultValue(path string, p *Parameter) {
	for i, v := range p.Default {
		value, err := p.check(v)
		if err != nil {
			l.add(path+".default", "%q %v", clip(v), err)
			continue
		}
		p.Default[i] = value
	}
	if p.Default != nil && !p.Multiplicity.Allows(len(p.Default)) {
		l.add(path+".default", "has %d values, multiplicity is %s", len(p.Default), p.Multiplicity)
	}
}

func (l *lint) checkInput(path string, in *Input) {
	l.enum(path+".usage", in.Usage, Usages)
	l.line(path+".title", in.Title)
	l.text(path+".description", in.Description)
	for i, t := range in.ContentType {
		l.mediaType(fmt.Sprintf("%s.content_type[%d]", path, i), t)
	}
	dir, isDir := strings.CutSuffix(in.File, "/")
	switch why := badPath(dir); {
	case why != "":
		l.add(path+".file", "%s", why)
	case in.Multiplicity.Many() && !isDir:
		l.add(path+".file", `must be a directory such as "images/", as multiplicity is %s`, in.Multiplicity)
	case !in.Multiplicity.Many() && isDir:
		l.add(path+".file", "must be a file, as multiplicity is %s", in.Multiplicity)
	}
	l.sources(path, in)
}

func (l *lint) sources(path string, in *Input) {
	if len(in.From) == 0 {
		l.add(path+".from", "must name at least one of %s", strings.Join(texts(Sources), ", "))
	}
	for i, s := range in.From {
		l.enum(fmt.Sprintf("%s.from[%d]", path, i), string(s), texts(Sources))
	}
	byID := slices.Contains(in.From, FromID)
	switch {
	case byID && in.URL == "":
		l.add(path+".url", "must be set when from holds id: a template with {ID}")
	case !byID && in.URL != "":
		l.add(path+".url", "is only for inputs whose from holds id")
	case in.URL != "" && strings.Count(in.URL, "{ID}") != 1:
		l.add(path+".url", "must hold {ID} once")
	case in.URL != "":
		l.link(path+".url", strings.Replace(in.URL, "{ID}", "x", 1))
	}
	if in.MaxSize > 1024*config.TiB {
		l.add(path+".max_size", "must not be above 1024 TiB")
	}
	if in.Default == "" {
		return
	}
	if in.Multiplicity.Min > 1 {
		l.add(path+".default", "is one file, multiplicity is %s", in.Multiplicity)
	}
	if err := in.allowed(ParseReference(in.Default)); err != "" {
		l.add(path+".default", "%s", err)
	}
}
