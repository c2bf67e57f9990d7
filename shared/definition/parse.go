package definition

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"consort/shared/config"
)

// MainFile is the name of the TOML file within a definition's folder.
const MainFile = "definition.toml"

// document is the TOML file as it is decoded. It shadows those fields of Definition that may be written
// in several ways; their keys are read here and converted afterwards, so that errors name their line.
type document struct {
	Definition
	Resources resourcesTOML   `toml:"resources"`
	Parameter []parameterTOML `toml:"parameter"`
	Input     []inputTOML     `toml:"input"`
	Run       runTOML         `toml:"run"`
}

type resourcesTOML struct {
	Nodes   any  `toml:"nodes"`
	Tasks   any  `toml:"tasks"`
	Cores   any  `toml:"cores"`
	GPUs    any  `toml:"gpus"`
	Memory  any  `toml:"memory"`
	Scratch any  `toml:"scratch"`
	Network bool `toml:"network"`
}

type parameterTOML struct {
	Parameter
	Default  any          `toml:"default"`
	Min      any          `toml:"min"`
	Max      any          `toml:"max"`
	Options  []optionTOML `toml:"options"`
	Required *bool        `toml:"required"`
}

type optionTOML struct {
	Value any    `toml:"value"`
	Title string `toml:"title"`
}

type inputTOML struct {
	Input
	Required *bool `toml:"required"`
}

type runTOML struct {
	Run
	Command []any `toml:"command"`
}

// Parse reads and validates the TOML text of a definition; file names it in errors. The error is a
// config.Errors with everything that was found. What only the named files can show (that they exist,
// the script's interpreter, placeholders in templates) is checked by Load.
func Parse(file string, text []byte) (*Definition, error) {
	d, l, err := parse(file, text)
	if err != nil {
		return nil, err
	}
	if err := l.errs.Err(); err != nil {
		return nil, err
	}
	return d, nil
}

// parse returns the definition and what is wrong with it; an error only when the text could not be decoded.
func parse(file string, text []byte) (*Definition, *lint, error) {
	l := &lint{file: file}
	var doc document
	if err := config.Decode(file, text, &doc); err != nil {
		l.errs = config.List(err)
		if slices.ContainsFunc(l.errs, func(e *config.Error) bool { return !e.Unknown }) {
			return nil, nil, err
		}
	}
	where, err := config.Locate(text)
	if err != nil {
		return nil, nil, fmt.Errorf("locate keys of %s: %w", file, err)
	}
	l.where = where
	d := l.convert(&doc)
	l.definition(d)
	return d, l, nil
}

// lint collects what is wrong with one definition.
type lint struct {
	file  string
	where *config.Positions
	errs  config.Errors
}

// add notes a problem with the key at path.
func (l *lint) add(path, format string, args ...any) {
	line, column := l.where.Find(path)
	l.errs = append(l.errs, &config.Error{File: l.file, Line: line, Column: column, Key: path, Problem: fmt.Sprintf(format, args...)})
}

// convert turns the decoded document into a Definition with defaults filled in.
func (l *lint) convert(doc *document) *Definition {
	d := doc.Definition
	d.Limits = l.limits(&doc.Resources)
	l.durations("duration", &d.Duration, time.Hour, 24*time.Hour)
	l.durations("retention", &d.Retention, 30*24*time.Hour, 365*24*time.Hour)
	d.Retry = l.retry(d.Retry)
	for i := range d.Config {
		setDefault(&d.Config[i].Style, Plain)
	}
	for i := range doc.Parameter {
		d.Parameters = append(d.Parameters, l.parameter(fmt.Sprintf("parameter[%d]", i), &doc.Parameter[i]))
	}
	for i := range doc.Input {
		d.Inputs = append(d.Inputs, newInput(&doc.Input[i]))
	}
	d.Run = doc.Run.Run
	d.Run.Command = l.command(doc.Run.Command)
	if d.Run.Exit.OK == nil {
		d.Run.Exit.OK = []int{0}
	}
	for i := range d.Outputs {
		o := &d.Outputs[i]
		setDefault(&o.Usage, "Main")
		setDefault(&o.ContentType, "application/octet-stream")
		setDefault(&o.Multiplicity, Multiplicity{1, 1})
	}
	return &d
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// durations fills in a missing default or maximum; a lone default is also the maximum.
func (l *lint) durations(key string, r *DurationRange, def, longest time.Duration) {
	hasDefault, hasMax := l.where.Has(key+".default"), l.where.Has(key+".max")
	switch {
	case !hasDefault && !hasMax:
		r.Default, r.Max = config.Duration(def), config.Duration(longest)
	case !hasMax:
		r.Max = r.Default
	case !hasDefault:
		r.Default = min(config.Duration(def), r.Max)
	}
}

func (l *lint) retry(r Retry) Retry {
	if !l.where.Has("retry.max") {
		r.Max = 2
	}
	if r.On == nil {
		r.On = []Class{ClassSiteTransient, ClassPreempted, ClassLost}
	}
	setDefault(&r.Lost, "hold")
	return r
}

func (l *lint) limits(doc *resourcesTOML) Limits {
	count := func(key string, v any, def, least, most int64) Range[int] {
		r := l.resource("resources."+key, v, wholeNumber, def, least, most)
		return Range[int]{int(r.Default), int(r.Min), int(r.Max)}
	}
	size := func(key string, v any, least config.Size) Range[config.Size] {
		r := l.resource("resources."+key, v, sizeText, int64(config.GiB), int64(least), int64(1024*config.TiB))
		return Range[config.Size]{config.Size(r.Default), config.Size(r.Min), config.Size(r.Max)}
	}
	return Limits{
		Nodes:   count("nodes", doc.Nodes, 1, 1, 100_000),
		Tasks:   count("tasks", doc.Tasks, 1, 1, 10_000_000),
		Cores:   count("cores", doc.Cores, 1, 1, 4096),
		GPUs:    count("gpus", doc.GPUs, 0, 0, 1024),
		Memory:  size("memory", doc.Memory, config.MiB),
		Scratch: size("scratch", doc.Scratch, 0),
		Network: doc.Network,
	}
}

// resource reads a fixed value or a table of default, min and max.
func (l *lint) resource(path string, v any, read func(any) (int64, error), def, least, most int64) Range[int64] {
	r := Range[int64]{def, def, def}
	table, isTable := v.(map[string]any)
	set := func(path string, v any, into ...*int64) {
		n, err := read(v)
		if err == nil && (n < least || n > most) {
			err = fmt.Errorf("must be from %s to %s", shown(read, least), shown(read, most))
		}
		if err != nil {
			l.add(path, "%v", err)
			return
		}
		for _, p := range into {
			*p = n
		}
	}
	switch {
	case v == nil:
	case !isTable:
		set(path, v, &r.Default, &r.Min, &r.Max)
	default:
		for _, key := range sortedKeys(table) {
			if !slices.Contains([]string{"default", "min", "max"}, key) {
				l.add(path+"."+key, "unknown key; allowed: default, min, max")
			}
		}
		if table["default"] == nil {
			l.add(path, "needs a default")
			return r
		}
		set(path+".default", table["default"], &r.Default, &r.Min, &r.Max)
		if table["min"] != nil {
			set(path+".min", table["min"], &r.Min)
		}
		if table["max"] != nil {
			set(path+".max", table["max"], &r.Max)
		}
		if r.Min > r.Default || r.Default > r.Max {
			l.add(path, "must have min ≤ default ≤ max")
		}
	}
	return r
}

// shown writes a bound in the way that read reads it.
func shown(read func(any) (int64, error), n int64) string {
	if _, err := read(n); err == nil {
		return strconv.FormatInt(n, 10)
	}
	return config.Size(n).String()
}

func wholeNumber(v any) (int64, error) {
	n, ok := v.(int64)
	if !ok {
		return 0, fmt.Errorf("must be a whole number, or a table of default, min and max")
	}
	return n, nil
}

func sizeText(v any) (int64, error) {
	s, ok := v.(string)
	if !ok {
		return 0, fmt.Errorf(`must be a size such as "2 GiB", or a table of default, min and max`)
	}
	n, err := config.ParseSize(s)
	return int64(n), err
}

// parameter converts one [[parameter]]. Values are checked by validation; here only their TOML type.
func (l *lint) parameter(path string, doc *parameterTOML) Parameter {
	p := doc.Parameter
	setDefault(&p.Type, String)
	setDefault(&p.Group, "common")
	setDefault(&p.Multiplicity, Multiplicity{1, 1})
	if !slices.Contains(Types, p.Type) {
		return p // validation says so, and no value can be judged
	}
	if doc.Default != nil {
		p.Default = l.defaults(path+".default", &p, doc.Default)
	}
	p.Min = json.Number(l.number(path+".min", &p, doc.Min))
	p.Max = json.Number(l.number(path+".max", &p, doc.Max))
	for i, o := range doc.Options {
		key := fmt.Sprintf("%s.options[%d]", path, i)
		if o.Value == nil {
			l.add(key, "needs a value")
			continue
		}
		text, err := scalarText(p.Type, o.Value)
		if err != nil {
			l.add(key+".value", "%v", err)
		}
		p.Options = append(p.Options, Option{text, o.Title})
	}
	p.Required = doc.Required == nil && p.Multiplicity.Min > 0 || doc.Required != nil && *doc.Required
	if doc.Default != nil {
		p.Required = false
	}
	return p
}

// defaults converts a default: one value; for an array parameter also its elements; where there may be
// several values, also a list of them.
func (l *lint) defaults(path string, p *Parameter, v any) []string {
	list, isList := v.([]any)
	if !isList {
		list = []any{v}
	}
	texts := make([]string, 0, len(list))
	for _, element := range list {
		text, err := scalarText(p.Type, element)
		if s, ok := element.(string); ok && p.isArray() {
			text, err = s, nil
		}
		if err != nil {
			l.add(path, "%v", err)
			return nil
		}
		texts = append(texts, text)
	}
	switch {
	case isList && p.isArray() && !p.Multiplicity.Many():
		return []string{strings.Join(texts, " ")}
	case isList && !p.Multiplicity.Many():
		l.add(path, "must be one value, as multiplicity is %s", p.Multiplicity)
	}
	return texts
}

func (l *lint) number(path string, p *Parameter, v any) string {
	if v == nil {
		return ""
	}
	if !p.Type.Numeric() {
		l.add(path, "only numbers have a range; type is %s", p.Type)
		return ""
	}
	text, err := scalarText(p.Type, v)
	if err == nil {
		text, err = p.Type.canonical(text)
	}
	if err != nil {
		l.add(path, "%v", err)
		return ""
	}
	return text
}

// scalarText writes a TOML value of a parameter of type t as text.
func scalarText(t Type, v any) (string, error) {
	switch v := v.(type) {
	case string:
		if t.Textual() {
			return v, nil
		}
	case bool:
		if t == Boolean {
			return strconv.FormatBool(v), nil
		}
	case int64:
		if t.Numeric() {
			return strconv.FormatInt(v, 10), nil
		}
	case float64:
		if t == Float || t == Double {
			return floatText(v)
		}
	}
	return "", fmt.Errorf("must be a value of type %s", t)
}

func floatText(v float64) (string, error) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "", fmt.Errorf("must be a finite number")
	}
	return strconv.FormatFloat(v, 'g', -1, 64), nil
}

func newInput(doc *inputTOML) Input {
	in := doc.Input
	setDefault(&in.Usage, "Main")
	setDefault(&in.Multiplicity, Multiplicity{1, 1})
	if in.File == "" {
		in.File = in.Name
		if in.Multiplicity.Many() {
			in.File += "/"
		}
	}
	if in.From == nil {
		in.From = []Source{FromUpload, FromURL, FromJob}
	}
	in.Required = doc.Required == nil && in.Multiplicity.Min > 0 || doc.Required != nil && *doc.Required
	if in.Default != "" {
		in.Required = false
	}
	return in
}

// command converts the elements of run.command: strings, and lists of strings.
func (l *lint) command(list []any) []Element {
	var elements []Element
	for i, v := range list {
		path := fmt.Sprintf("run.command[%d]", i)
		switch v := v.(type) {
		case string:
			elements = append(elements, Element{List: []string{v}})
		case []any:
			e := Element{Sub: true}
			for j, w := range v {
				s, ok := w.(string)
				if !ok {
					l.add(fmt.Sprintf("%s[%d]", path, j), "must be a string")
				}
				e.List = append(e.List, s)
			}
			elements = append(elements, e)
		default:
			l.add(path, "must be a string or a list of strings")
		}
	}
	return elements
}
