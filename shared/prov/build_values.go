package prov

import "strconv"

func (b *builder) parameters() {
	described := map[string]bool{}
	secret := map[string]bool{}
	for _, p := range b.rec.Definition.Parameters {
		described[p.Name], secret[p.Name] = true, p.Secret
	}
	for _, p := range b.rec.Parameters {
		id := ParameterID(b.rec.Job, p.Name)
		var l attrList
		l.types(typeParameter)
		l.text(nameName, p.Name)
		switch {
		case p.Secret || secret[p.Name]:
			l.put(nameSecret, Boolean(true))
		case p.Private:
			l.put(namePrivate, Boolean(true))
		default:
			for _, v := range p.Values {
				l.put(voprovTerm("value"), String(v))
			}
			if len(p.Values) == 1 { // PROV-XML takes prov:value once
				l.put(nameValue, typedParameter(p.Type, p.Values[0]))
			}
		}
		if !p.Private { // whether a value is the default one tells of it
			l.put(nameDefault, Boolean(p.Default))
		}
		b.add(Record{Kind: Entity, ID: id, Attrs: l})
		b.configured(id, "Parameter")
		if described[p.Name] {
			b.describe(id, b.part(PartParameter, p.Name), typeDescription)
		}
	}
}

// configured states that a parameter or a configuration file configured the job.
func (b *builder) configured(by QName, artefact string) {
	b.add(Record{Kind: Influence, Refs: []QName{b.job, by}, Attrs: []Attr{
		{nameType, Name(typeConfigured)}, {voprovTerm("artefactType"), String(artefact)}}})
}

// typedParameter gives a parameter's value the datatype of its definition, where the text has its form.
func typedParameter(typ, text string) Value {
	switch typ {
	case "boolean":
		if v, err := strconv.ParseBool(text); err == nil {
			return Boolean(v)
		}
	case "int":
		if n, err := strconv.ParseInt(text, 10, 32); err == nil {
			return Int(int32(n))
		}
	case "long":
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return Long(n)
		}
	case "float", "double":
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			return Double(f)
		}
	case "uri":
		return AnyURI(text)
	}
	return String(text)
}

// configs states the configuration files and the script of the job. Templates are parts of the definition alone.
func (b *builder) configs() {
	described := map[string]bool{}
	for _, c := range b.rec.Definition.Configs {
		described[c.Name] = true
	}
	for _, c := range b.rec.Configs {
		var l attrList
		l.types(typeConfigFile)
		if c.Script {
			l.types(typeScript)
		}
		l.text(nameLabel, c.Name)
		l.text(nameName, c.Name)
		l.text(voprovTerm("location"), c.Name)
		id := ConfigID(b.rec.Job, c.Name)
		if c.Script || c.Fixed {
			b.file(id, l, "", c.SHA256, c.Size)
		} else { // made for this job and kept nowhere, so that there is no content to find by its hash
			b.digested(id, l, "", c.SHA256, c.Size)
		}
		b.configured(id, "ConfigFile")
		if described[c.Name] {
			b.describe(id, b.part(PartConfig, c.Name), typeDescription)
		}
	}
}
