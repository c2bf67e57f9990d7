package rocrate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"consort/shared/prov"
)

// IRIs of the specifications that a crate conforms to.
const (
	contextCrate   = "https://w3id.org/ro/crate/1.1/context"
	contextRun     = "https://w3id.org/ro/terms/workflow-run/context"
	specCrate      = "https://w3id.org/ro/crate/1.1"
	profileProcess = "https://w3id.org/ro/wfrun/process/0.5"
	termsRun       = "https://w3id.org/ro/terms/workflow-run#"
)

// noLicence is said where RO-Crate requires a licence and the definition declares none.
const noLicence = "No licence was declared for these results: ask their owner before using them."

// entity is an item of the flattened graph. Members without content are left out.
type entity map[string]any

// put sets a member unless its text is empty.
func (e entity) put(key, text string) {
	if text != "" {
		e[key] = text
	}
}

// link sets a member to references; one alone is no list.
func (e entity) link(key string, ids ...string) {
	var refs []entity
	for _, id := range ids {
		refs = append(refs, entity{"@id": id})
	}
	switch len(refs) {
	case 0:
	case 1:
		e[key] = refs[0]
	default:
		e[key] = refs
	}
}

func newEntity(id, typ string) entity { return entity{"@id": id, "@type": typ} }

// metadata writes ro-crate-metadata.json, one entity after the other.
func (p *plan) metadata(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "{\"@context\": [%q, %q],\n\"@graph\": [", contextCrate, contextRun); err != nil {
		return fmt.Errorf("writing the metadata: %w", err)
	}
	g := &graph{out: w, ids: map[string]bool{}}
	descriptor := newEntity("ro-crate-metadata.json", "CreativeWork")
	descriptor.link("about", "./")
	descriptor.link("conformsTo", specCrate)
	g.add(descriptor)
	p.root(g)
	p.action(g)
	p.tool(g)
	for _, in := range p.inputs {
		p.addInput(g, in)
	}
	for _, f := range p.files {
		p.addFile(g, f)
	}
	for _, d := range p.folders {
		p.addFolder(g, d)
	}
	for i, f := range p.documents {
		e := fileEntity(f)
		e.put("description", p.Documents[i].Description)
		e.link("about", p.job())
		g.add(e)
	}
	if g.err == nil {
		_, g.err = io.WriteString(w, "\n]}\n")
	}
	if g.err != nil {
		return fmt.Errorf("writing the metadata: %w", g.err)
	}
	return nil
}

// graph writes entities; the first error stays, and no id comes twice.
type graph struct {
	out io.Writer
	ids map[string]bool
	err error
}

func (g *graph) add(e entity) {
	id := e["@id"].(string)
	if g.err != nil || g.ids[id] {
		return
	}
	var b bytes.Buffer
	if len(g.ids) > 0 {
		b.WriteByte(',')
	}
	g.ids[id] = true
	b.WriteByte('\n')
	j := json.NewEncoder(&b)
	j.SetEscapeHTML(false)
	if g.err = j.Encode(e); g.err != nil {
		return
	}
	_, g.err = g.out.Write(bytes.TrimRight(b.Bytes(), "\n"))
}

// value adds a PropertyValue and gives its id.
func (g *graph) value(id, name, value, unit string) string {
	e := newEntity(id, "PropertyValue")
	e["name"], e["value"] = name, value
	e.put("unitText", unit)
	g.add(e)
	return id
}

func (p *plan) job() string { return p.iri(prov.JobID(p.Record.Job)) }

// title names the definition that ran.
func (p *plan) title() string {
	d := &p.Record.Definition
	return strings.TrimSpace(cmp.Or(d.Title, d.Name) + " " + d.Version)
}

// story tells in a sentence what happened.
func (p *plan) story() string {
	text := fmt.Sprintf("Job %s of %s %s, %s", p.Record.Job, p.Record.Definition.Name, p.Record.Definition.Version, p.Record.Phase)
	if p.attempt != nil && p.attempt.Site != "" {
		text += " at " + p.attempt.Site
	}
	if n := len(p.Record.Attempts); n > 1 {
		text += fmt.Sprintf(" after %d attempts", n)
	}
	if p.Record.ReusedFrom != "" {
		text += "; its results are those of job " + p.Record.ReusedFrom
	}
	return text + "."
}

func (p *plan) root(g *graph) {
	e := newEntity("./", "Dataset")
	e["name"] = cmp.Or(p.Name, p.title()+": "+p.Record.Job)
	e["description"] = cmp.Or(p.Description, p.story())
	e["datePublished"] = timeText(firstTime(p.Published, p.when))
	e.put("identifier", p.job())
	e.link("conformsTo", profileProcess)
	e.link("author", p.owner(g))
	e.link("mentions", p.job())
	var parts []string
	for _, in := range p.inputs {
		parts = append(parts, in.id)
	}
	for _, f := range p.documents {
		parts = append(parts, f.id)
	}
	e.link("hasPart", append(parts, p.results()...)...)
	if d := &p.Record.Definition; d.ResultsLicence != "" {
		g.licence(e, d.ResultsLicence)
	} else {
		none := newEntity("#no-licence", "CreativeWork")
		none["name"], none["description"] = "No licence", noLicence
		g.add(none)
		e.link("license", "#no-licence")
	}
	g.add(e)
	profile := newEntity(profileProcess, "CreativeWork")
	profile["name"], profile["version"] = "Process Run Crate", "0.5"
	g.add(profile)
}

// results lists what the job made: files, collections and logs.
func (p *plan) results() []string {
	var ids []string
	for _, f := range p.files {
		ids = append(ids, f.id)
	}
	for _, d := range p.folders {
		ids = append(ids, d.id)
	}
	return ids
}

// spdxID is one licence of the SPDX list, not an expression of several.
var spdxID = regexp.MustCompile(`^[A-Za-z0-9.-]+$`)

// licence adds the licence of an entity, by the address of the SPDX list where it is one of that.
func (g *graph) licence(of entity, expression string) {
	id := "#" + url.PathEscape(expression)
	if spdxID.MatchString(expression) && !strings.HasPrefix(expression, "LicenseRef-") {
		id = "https://spdx.org/licenses/" + expression
	}
	of.link("license", id)
	e := newEntity(id, "CreativeWork")
	e["name"], e["description"] = expression, "A licence, as an SPDX expression: "+expression
	g.add(e)
}

var orcid = regexp.MustCompile(`^(?:https?://orcid\.org/)?([0-9]{4}-[0-9]{4}-[0-9]{4}-[0-9]{3}[0-9X])$`)

// person adds a person, known by ORCID or else by the given id.
func (g *graph) person(id, name, orcidText string) string {
	if m := orcid.FindStringSubmatch(orcidText); m != nil {
		id = "https://orcid.org/" + m[1]
	}
	e := newEntity(id, "Person")
	e["name"] = name
	g.add(e)
	return id
}

// anonymous is the owner of jobs without one, as in the graph of the record.
const anonymous = "anonymous"

func (p *plan) owner(g *graph) string {
	u := p.Record.Owner
	user := cmp.Or(u.ID, anonymous)
	return g.person(p.iri(prov.UserID(user)), cmp.Or(u.Name, user), u.ORCID)
}

// tool adds the job definition as the application that ran.
func (p *plan) tool(g *graph) {
	d := &p.Record.Definition
	e := newEntity(p.definition(), "SoftwareApplication")
	e["name"] = cmp.Or(d.Title, d.Name)
	e["url"] = cmp.Or(webAddress(d.Doc), p.definition())
	e["softwareVersion"] = cmp.Or(d.Version, "unknown")
	e.put("description", d.Description)
	e.put("sha256", d.Digest)
	if d.CodeLicence != "" {
		g.licence(e, d.CodeLicence)
	}
	var authors, contributors, works []string
	for i, who := range d.People {
		id := g.person("#person-"+strconv.Itoa(i+1), who.Name, who.ORCID)
		switch who.Role {
		case "", "Author", "Creator":
			authors = append(authors, id)
		default:
			contributors = append(contributors, id)
		}
	}
	for _, cite := range d.Cite {
		works = append(works, g.work(cite))
	}
	e.link("author", authors...)
	e.link("contributor", contributors...)
	e.link("citation", works...)
	e.link("softwareRequirements", p.software(g)...)
	g.add(e)
}

// software adds the programs that the code ran with.
func (p *plan) software(g *graph) []string {
	if p.attempt == nil {
		return nil
	}
	var ids []string
	for _, s := range p.attempt.Software {
		id := p.iri(prov.SoftwareID(s.Name, s.Version))
		e := newEntity(id, "SoftwareApplication")
		e["name"], e["url"], e["softwareVersion"] = s.Name, id, cmp.Or(s.Version, "unknown")
		e.put("sha256", strings.TrimPrefix(s.Digest, "sha256:"))
		g.add(e)
		ids = append(ids, id)
	}
	return ids
}

// works has where the kinds of citations of a definition lead to.
var works = map[string]string{"doi": "https://doi.org/", "bibcode": "https://ui.adsabs.harvard.edu/abs/", "ascl": "https://ascl.net/"}

// work adds something to cite, such as "doi:10.1000/182".
func (g *graph) work(cite string) string {
	scheme, name, _ := strings.Cut(cite, ":")
	id := "#" + url.PathEscape(cite)
	if home := works[scheme]; home != "" {
		id = home + strings.ReplaceAll(url.PathEscape(name), "%2F", "/")
	}
	e := newEntity(id, "ScholarlyArticle")
	e["name"] = cite
	g.add(e)
	return id
}

// definition is the IRI of the version of the job definition.
func (p *plan) definition() string {
	return p.iri(prov.DefinitionID(p.Record.Definition.Name, p.Record.Definition.Version))
}

func fileEntity(f file) entity {
	e := newEntity(f.id, "File")
	e.put("name", f.name)
	e.put("encodingFormat", f.mediaType)
	e.put("sha256", f.sha256)
	e.put("description", f.note)
	if f.size != nil {
		e["contentSize"] = strconv.FormatInt(*f.size, 10)
	}
	return e
}

func (p *plan) addFile(g *graph, f file) {
	e := fileEntity(f)
	if f.url != "" && f.url != f.id {
		e["contentUrl"] = f.url
	}
	p.destroyed(e)
	g.add(e)
}

// destroyed tells that a file can no longer be had.
func (p *plan) destroyed(e entity) {
	t := p.Record.Destroyed
	if t.IsZero() {
		return
	}
	text := "Destroyed on " + timeText(t)
	if p.Record.Reason != "" {
		text += ": " + p.Record.Reason
	}
	if note, ok := e["description"].(string); ok {
		text = note + " " + text
	}
	e["description"] = text + "."
}

func (p *plan) addFolder(g *graph, d folder) {
	e := newEntity(d.id, "Dataset")
	e["name"] = d.name
	var parts []string
	for _, f := range d.files {
		p.addFile(g, f)
		parts = append(parts, f.id)
	}
	e.link("hasPart", parts...)
	e.put("description", d.note)
	p.destroyed(e)
	g.add(e)
}

func (p *plan) addInput(g *graph, in input) {
	e := fileEntity(file{id: in.id, name: cmp.Or(in.rec.Name, in.rec.Result, in.rec.Role), mediaType: in.rec.MediaType, sha256: in.rec.SHA256, size: in.rec.Size})
	e["description"] = strings.TrimSpace("Input " + in.rec.Role + ". " + retraction(in.rec.Retracted))
	g.add(e)
}

// timeText writes a time to the millisecond, with its offset in figures, as the recommendations of the profile have it.
func timeText(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000-07:00") }
