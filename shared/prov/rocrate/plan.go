package rocrate

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"
	"time"

	"consort/shared/prov"
)

// file is a result, a member of one, or a log.
type file struct {
	id           string // of the entity
	path         string // in the zip; empty: not there
	url          string
	result, part string // as the record has them
	name         string
	mediaType    string
	sha256       string
	size         *int64
	note         string // for readers
}

// provenanceLog is what a code told of its own provenance.
const provenanceLog = "provenance"

// folder is a result of many files.
type folder struct {
	id, path string
	name     string
	note     string
	files    []file
}

// input is a file that the job asked for.
type input struct {
	id  string
	rec *prov.InputRecord
}

// plan is the crate with the ids of its entities.
type plan struct {
	*Crate
	iris    map[string]string // by prefix
	when    time.Time         // of every entry of the zip
	attempt *prov.AttemptRecord
	ids     map[string]bool // taken
	paths   paths
	inputs  []input
	files   []file // results of one file, then logs
	folders []folder
	// documents, with what is known once they are written
	documents []file
}

func newPlan(c *Crate) (*plan, error) {
	rec := &c.Record
	if rec.Job == "" || rec.Definition.Name == "" {
		return nil, fmt.Errorf("%w: a job id and a definition are needed", ErrIncomplete)
	}
	namespaces, err := prov.Namespaces(c.Authority)
	if err != nil {
		return nil, err
	}
	p := &plan{Crate: c, iris: map[string]string{}, ids: map[string]bool{}, paths: paths{}}
	for _, ns := range namespaces {
		p.iris[ns.Prefix] = ns.IRI
	}
	if p.when = firstTime(rec.Ended, rec.Started, rec.Created, c.Published); p.when.IsZero() {
		return nil, fmt.Errorf("%w: the job has no time", ErrIncomplete)
	}
	p.attempt = deciding(rec.Attempts)
	for i := range rec.Inputs {
		p.input(&rec.Inputs[i])
	}
	for i := range rec.Results {
		p.result(&rec.Results[i])
	}
	for _, l := range rec.Logs {
		f := file{result: l.ID, name: l.ID + ".log", mediaType: "text/plain", sha256: l.SHA256, size: l.Size}
		if l.ID == provenanceLog {
			f.name, f.mediaType = l.ID+".json", "application/json"
		}
		if l.Size != nil && l.FullSize > *l.Size {
			f.note = fmt.Sprintf("A part of the %d bytes that the code wrote.", l.FullSize)
		}
		p.files = append(p.files, p.file(f))
	}
	for _, d := range c.Documents {
		path := p.paths.take("provenance", d.Name)
		p.documents = append(p.documents, file{id: relative(path), path: path, name: d.Name, mediaType: d.MediaType})
	}
	return p, nil
}

func firstTime(times ...time.Time) time.Time {
	for _, t := range times {
		if !t.IsZero() {
			return t.UTC()
		}
	}
	return time.Time{}
}

// deciding is the attempt that made the results, else the last that started, else none.
func deciding(attempts []prov.AttemptRecord) *prov.AttemptRecord {
	var last *prov.AttemptRecord
	for i := range attempts {
		a := &attempts[i]
		if a.Outcome == prov.OutcomeCommitted {
			return a
		}
		if !a.Started.IsZero() {
			last = a
		}
	}
	return last
}

func (p *plan) iri(q prov.QName) string { return p.iris[q.Prefix] + q.Local }

// id takes the first of the wanted ids that is free, else the last.
func (p *plan) id(wanted ...string) string {
	for _, id := range wanted {
		if id != "" && !p.ids[id] {
			p.ids[id] = true
			return id
		}
	}
	return wanted[len(wanted)-1]
}

// input names an input by its public address, if it has one, else by the entity that it is in the record.
func (p *plan) input(rec *prov.InputRecord) {
	var address, entity string
	switch {
	case rec.Job != "":
		entity = p.iri(prov.ResultID(rec.Job, rec.Result))
	case rec.URL != "":
		address, entity = webAddress(prov.PublicURL(rec.URL)), p.iri(prov.ExternalID(rec.URL, rec.SHA256))
	default:
		entity = p.iri(prov.UploadID(rec.Upload))
	}
	if p.ids[entity] {
		return // the same file in another role
	}
	p.inputs = append(p.inputs, input{p.id(address, entity), rec})
}

// webAddress gives an absolute address that is valid as an id, or nothing.
func webAddress(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "ftp" {
		return ""
	}
	return escapeIRI(u.String())
}

// escapeIRI escapes what may not stand in an IRI (RFC 3987), and leaves escapes as they are.
func escapeIRI(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func (p *plan) result(r *prov.ResultRecord) {
	if !r.Collection && len(r.Members) == 0 {
		p.files = append(p.files, p.file(file{result: r.ID, name: cmp.Or(r.Name, r.ID), mediaType: r.MediaType, sha256: r.SHA256, size: r.Size, note: retraction(r.Retracted)}))
		return
	}
	f := folder{id: p.id(p.iri(prov.ResultID(p.Record.Job, r.ID))), name: cmp.Or(r.Name, r.ID), note: retraction(r.Retracted)}
	if p.packs() {
		f.path = p.paths.takeFolder(r.ID)
		f.id = p.id(relative(f.path))
	}
	for i := range r.Members {
		m := &r.Members[i]
		f.files = append(f.files, p.file(file{result: r.ID, part: m.Path, name: m.Path, mediaType: m.MediaType, sha256: m.SHA256, size: m.Size}))
	}
	p.folders = append(p.folders, f)
}

// retraction tells readers that a file is not to be relied on.
func retraction(r *prov.RetractionRecord) string {
	if r == nil {
		return ""
	}
	text := "Retracted on " + timeText(r.Time)
	if r.By != "" {
		text += " by " + r.By
	}
	if r.Reason != "" {
		text += ": " + r.Reason
	}
	return text + "."
}

// packs tells whether the files of the job go into the zip.
func (p *plan) packs() bool { return p.Open != nil && p.Record.Destroyed.IsZero() }

// file gives a file its place and its id: in the zip, else where it can be had, else what it is in the record.
func (p *plan) file(f file) file {
	entity := prov.ResultID(p.Record.Job, f.result)
	if f.part != "" {
		entity = prov.MemberID(p.Record.Job, f.result, f.part)
	}
	if p.URL != nil && p.Record.Destroyed.IsZero() {
		f.url = webAddress(p.URL(f.result, f.part))
	}
	if p.packs() {
		f.path = p.paths.take("data", f.result, f.name)
		f.id = p.id(relative(f.path))
		return f
	}
	f.id = p.id(f.url, p.iri(entity))
	return f
}

// relative is the id of something in the zip.
func relative(path string) string { return (&url.URL{Path: path}).EscapedPath() }
