package rocrate

import (
	"slices"
	"strconv"
	"strings"

	"consort/shared/prov"
)

// What became of an action. The profile wants these as text.
const (
	statusCompleted = "http://schema.org/CompletedActionStatus"
	statusFailed    = "http://schema.org/FailedActionStatus"
)

// action adds the job as the action that it was.
func (p *plan) action(g *graph) {
	rec := &p.Record
	results := p.results()
	typ := "CreateAction"
	if len(results) == 0 {
		typ = "ActivateAction"
	}
	e := newEntity(p.job(), typ)
	e["name"] = p.title() + ": " + rec.Job
	e["description"] = p.story()
	e.link("instrument", p.definition())
	e.link("agent", p.owner(g))
	if !rec.Started.IsZero() {
		e["startTime"] = timeText(rec.Started)
	}
	if !rec.Ended.IsZero() {
		e["endTime"] = timeText(rec.Ended)
	}
	p.outcome(e)
	e.link("object", p.objects(g)...)
	e.link("result", results...)
	e.link("participant", p.sites(g)...)
	e.link("environment", p.environment(g)...)
	e.link("resourceUsage", p.usage(g)...)
	e.link("additionalProperty", p.circumstances(g)...)
	p.image(g, e)
	g.add(e)
}

// outcome tells how the job ended. An archived job does not say so itself.
func (p *plan) outcome(e entity) {
	rec := &p.Record
	if rec.Ended.IsZero() {
		return
	}
	committed := p.attempt != nil && p.attempt.Outcome == prov.OutcomeCommitted
	if rec.Phase == "COMPLETED" || rec.Phase == "ARCHIVED" && rec.Error == nil && committed {
		e["actionStatus"] = statusCompleted
		return
	}
	e["actionStatus"] = statusFailed
	e["error"] = "The job was aborted."
	if rec.Error != nil {
		e["error"] = strings.Trim(rec.Error.Class+": "+rec.Error.Message, ": ")
	} else if rec.Phase == "ERROR" {
		e["error"] = "The job failed."
	}
}

// objects lists what the job was given: input files, parameters, configuration files.
func (p *plan) objects(g *graph) []string {
	var ids []string
	for _, in := range p.inputs {
		ids = append(ids, in.id)
	}
	secret := map[string]bool{}
	for _, d := range p.Record.Definition.Parameters {
		secret[d.Name] = d.Secret
	}
	for _, param := range p.Record.Parameters {
		e := newEntity(p.iri(prov.ParameterID(p.Record.Job, param.Name)), "PropertyValue")
		e["name"] = param.Name
		switch {
		case param.Secret || secret[param.Name]:
			e["description"] = "A secret: its value is not recorded."
		case param.Private:
			e["description"] = "Private: its value is not told."
		case len(param.Values) == 1:
			e["value"] = param.Values[0]
		case len(param.Values) > 1:
			e["value"] = param.Values
		}
		if _, told := e["value"]; told && param.Default {
			e["description"] = "The default."
		}
		g.add(e)
		ids = append(ids, e["@id"].(string))
	}
	for _, c := range p.Record.Configs {
		e := newEntity(p.iri(prov.ConfigID(p.Record.Job, c.Name)), "CreativeWork")
		e["name"] = c.Name
		e["description"] = "A configuration file."
		if c.Script {
			e["description"] = "The script that was run."
		}
		e.put("sha256", c.SHA256)
		g.add(e)
		ids = append(ids, e["@id"].(string))
	}
	return ids
}

// sites adds the site that ran the job.
func (p *plan) sites(g *graph) []string {
	if p.attempt == nil || p.attempt.Site == "" {
		return nil
	}
	e := newEntity(p.iri(prov.SiteID(p.attempt.Site)), "Organization")
	e["name"] = p.attempt.Site
	g.add(e)
	return []string{e["@id"].(string)}
}

func (p *plan) environment(g *graph) []string {
	var ids []string
	for i, v := range p.Environment {
		ids = append(ids, g.value("#environment-"+strconv.Itoa(i+1), v.Name, v.Value, ""))
	}
	return ids
}

// usage lists what the attempt that counts took.
func (p *plan) usage(g *graph) []string {
	a := p.attempt
	if a == nil {
		return nil
	}
	var ids []string
	if a.CPUSeconds != nil {
		ids = append(ids, g.value("#cpu-time", "CPU time", strconv.FormatFloat(*a.CPUSeconds, 'f', -1, 64), "s"))
	}
	if a.MaxRSS > 0 {
		ids = append(ids, g.value("#memory", "greatest resident set size", strconv.FormatInt(a.MaxRSS, 10), "byte"))
	}
	if a.Cores > 0 {
		ids = append(ids, g.value("#cores", "cores", strconv.Itoa(int(a.Cores)), ""))
	}
	if a.WallSeconds != nil {
		ids = append(ids, g.value("#wall-time", "wall time", strconv.FormatFloat(*a.WallSeconds, 'f', -1, 64), "s"))
	}
	return ids
}

// circumstances lists where and by which programs the job was run, and how its code ended.
func (p *plan) circumstances(g *graph) []string {
	var ids []string
	say := func(id, name, value string) {
		if value != "" {
			ids = append(ids, g.value(id, name, value, ""))
		}
	}
	c := p.Record.Controller
	say("#coordinator", "coordinator", strings.TrimSpace(c.Name+" "+c.Version))
	if a := p.attempt; a != nil {
		say("#agent", "site agent", strings.TrimSpace(a.Agent.Name+" "+a.Agent.Version))
		say("#batch-system", "batch system", a.Batch)
		say("#batch-id", "id in the batch system", a.BatchID)
		say("#node", "node", a.Node)
		if a.Exit != nil {
			say("#exit-status", "exit status", strconv.Itoa(int(*a.Exit)))
		}
		say("#signal", "signal", a.Signal)
		if p.imageName() == "" {
			say("#image-digest", "digest of the container image", a.Image)
		}
	}
	if from := p.Record.ReusedFrom; from != "" {
		say("#reused-from", "job whose results these are", p.iri(prov.JobID(from)))
	}
	return ids
}

// imageName is the container image that the code ran in, by the name that the site or else the definition has for it.
func (p *plan) imageName() string {
	if p.attempt == nil || p.attempt.Image == "" {
		return ""
	}
	for _, s := range slices.Concat(p.attempt.Software, p.Record.Definition.Software) {
		if s.Image != "" {
			return s.Image
		}
	}
	return ""
}

// image adds the container image that the code ran in.
func (p *plan) image(g *graph, action entity) {
	name := p.imageName()
	if name == "" {
		return
	}
	e := newEntity("#container-image", "ContainerImage")
	ref := parseImage(name)
	e.link("additionalType", termsRun+ref.kind)
	e["name"], e["registry"] = ref.name, ref.registry
	e.put("tag", ref.tag)
	e.put("sha256", strings.TrimPrefix(p.attempt.Image, "sha256:"))
	g.add(e)
	action.link("containerImage", "#container-image")
}

// The kinds of container images that the terms of the profile know.
const (
	kindDocker = "DockerImage"
	kindSIF    = "SIFImage"
)

// reference is a container image by name, as [scheme://][registry/]name[:tag][@digest]. Without a registry Docker's is
// meant.
type reference struct{ kind, registry, name, tag string }

func parseImage(s string) reference {
	r := reference{kind: kindDocker, registry: "docker.io"}
	scheme, rest, found := strings.Cut(s, "://")
	if !found {
		rest = s
	}
	rest, _, _ = strings.Cut(rest, "@") // the digest that ran is in the record
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		rest, r.tag = rest[:i], rest[i+1:]
	}
	switch {
	case scheme == "library":
		r.kind, r.registry = kindSIF, "cloud.sylabs.io"
	case scheme == "oras":
		r.kind = kindSIF
	case strings.HasSuffix(rest, ".sif"):
		r.kind, r.registry = kindSIF, "file"
	}
	r.name = rest
	if host, name, found := strings.Cut(rest, "/"); found && (strings.ContainsAny(host, ".:") || host == "localhost") {
		r.registry, r.name = host, name
	}
	return r
}
