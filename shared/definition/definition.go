// Package definition is the job definition: one TOML file, and the files it names, that say what a code
// takes, how it is started and what it leaves behind. The package reads and validates definitions,
// checks the values and inputs of a job against them, and expands them into what an agent runs:
// arguments, environment, configuration files, params.json, matched outputs.
//
// It is pure: it opens only the file systems it is given, starts no process and knows neither HTTP nor
// batch systems. It decides nothing about who may run a definition; that is the site's policy.
package definition

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"consort/shared/config"
)

// Format is the version of the definition format that this package reads.
const Format = 1

var (
	// ErrMissingOutput: a declared output that is not optional was not left in the working directory,
	// or is no regular file. The job fails in class "definition".
	ErrMissingOutput = errors.New("a declared output is missing")
	// ErrTooManyOutputs: a pattern matched more files than its multiplicity, or than MaxOutputFiles, allows.
	ErrTooManyOutputs = errors.New("more output files than allowed")
	// ErrArgument: a value cannot be passed as an argument: it begins with "-", holds a NUL or is too long.
	ErrArgument = errors.New("a value cannot be an argument")
	// ErrNotRenderable: a value cannot be written into a configuration file in its style.
	ErrNotRenderable = errors.New("a value cannot be written into a configuration file")
)

// Definition is the content of a definition.toml, with defaults filled in. Treat it as read-only: it is
// shared by every job of its version.
type Definition struct {
	Format      int           `toml:"format" json:"format"`
	Name        string        `toml:"name" json:"name"`
	Version     string        `toml:"version" json:"version"`
	Aliases     []string      `toml:"aliases" json:"aliases,omitempty"`
	Title       string        `toml:"title" json:"title"`
	Description string        `toml:"description" json:"description,omitempty"`
	Type        string        `toml:"type" json:"type,omitempty"` // one of ActivityTypes
	Subtype     string        `toml:"subtype" json:"subtype,omitempty"`
	Doc         string        `toml:"doc" json:"doc,omitempty"`
	Cite        []string      `toml:"cite" json:"cite,omitempty"` // "bibcode:…", "doi:…", "ascl:…"
	Licence     Licence       `toml:"licence" json:"licence,omitzero"`
	People      []Person      `toml:"people" json:"people,omitempty"`
	Files       []string      `toml:"files" json:"files,omitempty"`
	Config      []ConfigFile  `toml:"config" json:"config,omitempty"`
	Software    []Software    `toml:"software" json:"software,omitempty"`
	Limits      Limits        `toml:"-" json:"resources"`
	Duration    DurationRange `toml:"duration" json:"duration"`
	Retention   DurationRange `toml:"retention" json:"retention"`
	Retry       Retry         `toml:"retry" json:"retry"`
	Parameters  []Parameter   `toml:"-" json:"parameters"`
	Inputs      []Input       `toml:"-" json:"inputs"`
	Run         Run           `toml:"-" json:"run"`
	Outputs     []Output      `toml:"output" json:"outputs"`
}

// Licence holds SPDX expressions for the code and for what it produces.
type Licence struct {
	Code    string `toml:"code" json:"code,omitempty"`
	Results string `toml:"results" json:"results,omitempty"`
}

// Person is an agent of the IVOA Provenance Data Model related to the definition.
type Person struct {
	Name    string `toml:"name" json:"name"`
	Role    string `toml:"role" json:"role,omitempty"` // one of AgentRoles
	Email   string `toml:"email" json:"email,omitempty"`
	ORCID   string `toml:"orcid" json:"orcid,omitempty"`
	Contact bool   `toml:"contact" json:"contact,omitempty"`
}

// ConfigFile is a file rendered from a template before the run.
type ConfigFile struct {
	File     string `toml:"file" json:"file"`         // in the working directory
	Template string `toml:"template" json:"template"` // one of Files
	Style    Style  `toml:"style" json:"style"`
}

// Software is an abstract name that a site's policy maps to a path, modules or a container.
type Software struct {
	Name    string   `toml:"name" json:"name"`
	Version string   `toml:"version" json:"version,omitempty"` // wanted, as ">=2.25"
	Report  []string `toml:"report" json:"report,omitempty"`   // command that prints the version really used
	Image   string   `toml:"image" json:"image,omitempty"`
}

// DurationRange is a default and a greatest length of time.
type DurationRange struct {
	Default config.Duration `toml:"default" json:"default"`
	Max     config.Duration `toml:"max" json:"max"`
}

// Retry says what happens after a failed attempt.
type Retry struct {
	Max  int     `toml:"max" json:"max"` // further attempts after the first, 0 to 10
	On   []Class `toml:"on" json:"on"`
	Lost string  `toml:"lost" json:"lost"` // one of LostPolicies
}

// Parameter is a value that the user may set.
type Parameter struct {
	Name         string       `toml:"name" json:"name"`
	Type         Type         `toml:"type" json:"type"`
	ArraySize    string       `toml:"arraysize" json:"arraysize,omitempty"` // VOTable arraysize; a value then is numbers separated by blanks
	XType        string       `toml:"xtype" json:"xtype,omitempty"`         // DALI xtype
	Default      []string     `toml:"-" json:"default,omitzero"`            // nil: none
	Min          json.Number  `toml:"-" json:"min,omitempty"`
	Max          json.Number  `toml:"-" json:"max,omitempty"`
	Unit         string       `toml:"unit" json:"unit,omitempty"`
	UType        string       `toml:"utype" json:"utype,omitempty"`
	UCD          string       `toml:"ucd" json:"ucd,omitempty"`
	Title        string       `toml:"title" json:"title,omitempty"`
	Description  string       `toml:"description" json:"description,omitempty"`
	Group        string       `toml:"group" json:"group"` // one of Groups
	Options      []Option     `toml:"-" json:"options,omitempty"`
	Pattern      string       `toml:"pattern" json:"pattern,omitempty"`       // RE2, of the whole value
	MaxLength    int          `toml:"max_length" json:"max_length,omitempty"` // characters
	Multiplicity Multiplicity `toml:"multiplicity" json:"multiplicity"`
	Required     bool         `toml:"-" json:"required"` // must be given before a run: no default and not declared optional
	Secret       bool         `toml:"secret" json:"secret,omitempty"`
}

// Option is one allowed value of a parameter, in canonical form.
type Option struct {
	Value string `json:"value"`
	Title string `json:"title,omitempty"`
}

// Input is a file, or several, that a job reads.
type Input struct {
	Name         string       `toml:"name" json:"name"`
	Usage        string       `toml:"usage" json:"usage"` // one of Usages
	Title        string       `toml:"title" json:"title,omitempty"`
	Description  string       `toml:"description" json:"description,omitempty"`
	ContentType  []string     `toml:"content_type" json:"content_type,omitempty"`
	Multiplicity Multiplicity `toml:"multiplicity" json:"multiplicity"`
	Required     bool         `toml:"-" json:"required"`
	Default      string       `toml:"default" json:"default,omitempty"`
	MaxSize      config.Size  `toml:"max_size" json:"max_size,omitempty"` // of one file; 0: the server's limit
	Unpack       bool         `toml:"unpack" json:"unpack,omitempty"`
	File         string       `toml:"file" json:"file"` // path in the working directory; ends in "/" where there may be many
	From         []Source     `toml:"from" json:"from"`
	URL          string       `toml:"url" json:"url,omitempty"` // template for source "id", with {ID}
}

// Run is how the code is started.
type Run struct {
	Command     []Element         `toml:"-" json:"command,omitempty"`
	Script      string            `toml:"script" json:"script,omitempty"` // one of Files
	Interpreter []string          `toml:"-" json:"interpreter,omitempty"` // from the script's "#!" line; known once the files are
	Environment map[string]string `toml:"environment" json:"environment,omitempty"`
	Stdin       string            `toml:"stdin" json:"stdin,omitempty"`       // "{input.NAME}"
	Launcher    string            `toml:"launcher" json:"launcher,omitempty"` // "" or "mpi"
	Exit        Exit              `toml:"exit" json:"exit"`
}

// Exit sorts exit codes; a code in none of the lists is of class "definition".
type Exit struct {
	OK        []int `toml:"ok" json:"ok"`
	User      []int `toml:"user" json:"user,omitempty"`
	Transient []int `toml:"transient" json:"transient,omitempty"`
}

// Element is a part of a command: one argument, or a list that is dropped when a value in it is unset.
// In JSON it is a string or an array of strings.
type Element struct {
	List []string
	Sub  bool // written as a list
}

// MarshalJSON writes a string or an array.
func (e Element) MarshalJSON() ([]byte, error) {
	if e.Sub {
		return json.Marshal(e.List)
	}
	return json.Marshal(strings.Join(e.List, ""))
}

// UnmarshalJSON reads a string or an array.
func (e *Element) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*e = Element{List: []string{one}}
		return nil
	}
	e.Sub = true
	return json.Unmarshal(data, &e.List)
}

// Output is a file, or a collection of files, that a job leaves behind.
type Output struct {
	Name         string       `toml:"name" json:"name"` // role, and result id
	Usage        string       `toml:"usage" json:"usage"`
	Title        string       `toml:"title" json:"title,omitempty"`
	Description  string       `toml:"description" json:"description,omitempty"`
	Main         bool         `toml:"main" json:"main,omitempty"`
	File         string       `toml:"file" json:"file,omitempty"`           // path or pattern of path.Match, per directory
	NameFrom     string       `toml:"name_from" json:"name_from,omitempty"` // parameter whose value is the path
	ContentType  string       `toml:"content_type" json:"content_type"`
	Multiplicity Multiplicity `toml:"multiplicity" json:"multiplicity"`
	DerivedFrom  []string     `toml:"derived_from" json:"derived_from,omitzero"` // nil: every Main input
}

// Collection tells whether the output may hold several files, and so is served as one.
func (o *Output) Collection() bool { return o.Multiplicity.Max != 1 }

// Values that the vocabularies of the format allow.
var (
	ActivityTypes = []string{"Observation", "Simulation", "Reduction", "Calibration", "Reconstruction", "Selection", "Analysis"}
	Usages        = []string{"Main", "Calibration", "Preview", "Setup", "Quality", "Log", "Context"}
	AgentRoles    = []string{"Author", "Contributor", "Coordinator", "Creator", "Curator", "Editor", "Funder", "Investigator", "Observer", "Operator", "Provider", "Publisher"}
	Groups        = []string{"required", "common", "advanced"}
	LostPolicies  = []string{"hold", "requeue", "stop"}
	Launchers     = []string{"mpi"}
)

// Source is where an input may come from.
type Source string

// The sources of inputs.
const (
	FromUpload Source = "upload" // bytes sent with the job
	FromURL    Source = "url"    // fetched by the agent
	FromJob    Source = "job"    // a result of an earlier job, "consort:<job>/<result>"
	FromID     Source = "id"     // an identifier put into the input's URL template
)

// Sources lists all sources.
var Sources = []Source{FromUpload, FromURL, FromJob, FromID}

// Style is how values are written into a configuration file.
type Style string

// The styles of configuration files.
const (
	Plain    Style = "plain"
	INI      Style = "ini"
	Namelist Style = "namelist"
	JSON     Style = "json"
	YAML     Style = "yaml"
)

// Styles lists all styles.
var Styles = []Style{Plain, INI, Namelist, JSON, YAML}

// Parameter returns the parameter of that name, ignoring case as DALI 3.1 asks, or nil.
func (d *Definition) Parameter(name string) *Parameter {
	for i := range d.Parameters {
		if strings.EqualFold(d.Parameters[i].Name, name) {
			return &d.Parameters[i]
		}
	}
	return nil
}

// Input returns the input of that name, ignoring case, or nil.
func (d *Definition) Input(name string) *Input {
	for i := range d.Inputs {
		if strings.EqualFold(d.Inputs[i].Name, name) {
			return &d.Inputs[i]
		}
	}
	return nil
}

// Output returns the output of that name, or nil.
func (d *Definition) Output(name string) *Output {
	for i := range d.Outputs {
		if d.Outputs[i].Name == name {
			return &d.Outputs[i]
		}
	}
	return nil
}

// Main returns the main output.
func (d *Definition) Main() *Output {
	for i := range d.Outputs {
		if d.Outputs[i].Main {
			return &d.Outputs[i]
		}
	}
	return nil
}

// DerivedFrom returns the names of the inputs that an output was derived from: those it declares, else
// every input of usage Main.
func (d *Definition) DerivedFrom(o *Output) []string {
	if o.DerivedFrom != nil {
		return slices.Clone(o.DerivedFrom)
	}
	var names []string
	for _, in := range d.Inputs {
		if in.Usage == "Main" {
			names = append(names, in.Name)
		}
	}
	return names
}
