package prov

import "slices"

// Kind is what a record states: the existence of an element, or a relation (PROV-DM section 5).
type Kind uint8

// The kinds of records, in the order in which documents list them.
const (
	Entity Kind = iota + 1
	Activity
	Agent
	Generation     // wasGeneratedBy(entity, activity, time)
	Usage          // used(activity, entity, time)
	Communication  // wasInformedBy(informed, informant)
	Start          // wasStartedBy(activity, trigger, starter, time)
	End            // wasEndedBy(activity, trigger, ender, time)
	Invalidation   // wasInvalidatedBy(entity, activity, time)
	Derivation     // wasDerivedFrom(generatedEntity, usedEntity, activity, generation, usage)
	Attribution    // wasAttributedTo(entity, agent)
	Association    // wasAssociatedWith(activity, agent, plan)
	Delegation     // actedOnBehalfOf(delegate, responsible, activity)
	Influence      // wasInfluencedBy(influencee, influencer)
	Specialization // specializationOf(specificEntity, generalEntity)
	Alternate      // alternateOf(alternate1, alternate2)
	Membership     // hadMember(collection, entity)
)

const lastKind = Membership

// ref describes one formal reference of a kind of relation. A target of zero is any element.
type ref struct {
	name   string
	target Kind
}

// shape describes a kind. References come first, times after them, as in every expression of PROV-N. The
// first required references are mandatory; PROV-N lets all the others be left out together.
type shape struct {
	name     string
	refs     []ref
	times    []string
	required int
	bare     bool // has neither id nor attributes
}

var shapes = [lastKind + 1]shape{
	Entity:         {name: "entity"},
	Activity:       {name: "activity", times: []string{"startTime", "endTime"}},
	Agent:          {name: "agent"},
	Generation:     {name: "wasGeneratedBy", refs: []ref{{"entity", Entity}, {"activity", Activity}}, times: []string{"time"}, required: 1},
	Usage:          {name: "used", refs: []ref{{"activity", Activity}, {"entity", Entity}}, times: []string{"time"}, required: 1},
	Communication:  {name: "wasInformedBy", refs: []ref{{"informed", Activity}, {"informant", Activity}}, required: 2},
	Start:          {name: "wasStartedBy", refs: []ref{{"activity", Activity}, {"trigger", Entity}, {"starter", Activity}}, times: []string{"time"}, required: 1},
	End:            {name: "wasEndedBy", refs: []ref{{"activity", Activity}, {"trigger", Entity}, {"ender", Activity}}, times: []string{"time"}, required: 1},
	Invalidation:   {name: "wasInvalidatedBy", refs: []ref{{"entity", Entity}, {"activity", Activity}}, times: []string{"time"}, required: 1},
	Derivation:     {name: "wasDerivedFrom", refs: []ref{{"generatedEntity", Entity}, {"usedEntity", Entity}, {"activity", Activity}, {"generation", Generation}, {"usage", Usage}}, required: 2},
	Attribution:    {name: "wasAttributedTo", refs: []ref{{"entity", Entity}, {"agent", Agent}}, required: 2},
	Association:    {name: "wasAssociatedWith", refs: []ref{{"activity", Activity}, {"agent", Agent}, {"plan", Entity}}, required: 1},
	Delegation:     {name: "actedOnBehalfOf", refs: []ref{{"delegate", Agent}, {"responsible", Agent}, {"activity", Activity}}, required: 2},
	Influence:      {name: "wasInfluencedBy", refs: []ref{{"influencee", 0}, {"influencer", 0}}, required: 2},
	Specialization: {name: "specializationOf", refs: []ref{{"specificEntity", Entity}, {"generalEntity", Entity}}, required: 2, bare: true},
	Alternate:      {name: "alternateOf", refs: []ref{{"alternate1", Entity}, {"alternate2", Entity}}, required: 2, bare: true},
	Membership:     {name: "hadMember", refs: []ref{{"collection", Entity}, {"entity", Entity}}, required: 2, bare: true},
}

// kindNames finds a kind by its name in PROV-N and PROV-JSON; formalNames has the local names, in the prov
// namespace, that no free attribute may take.
var kindNames, formalNames = func() (map[string]Kind, map[string]bool) {
	kinds, formal := map[string]Kind{}, map[string]bool{}
	for k := Entity; k <= lastKind; k++ {
		kinds[shapes[k].name] = k
		for _, r := range shapes[k].refs {
			formal[r.name] = true
		}
		for _, t := range shapes[k].times {
			formal[t] = true
		}
	}
	return kinds, formal
}()

// String is the name of the kind in PROV-N and PROV-JSON, such as "wasGeneratedBy".
func (k Kind) String() string {
	if !k.valid() {
		return "unknown"
	}
	return shapes[k].name
}

// IsElement tells whether k is an entity, an activity or an agent, not a relation.
func (k Kind) IsElement() bool { return k >= Entity && k <= Agent }

func (k Kind) valid() bool { return k >= Entity && k <= lastKind }

// placed gives the name under which the W3C document shows an attribute of a record of kind k. Of the prov
// namespace PROV-XML permits five names only, prov:role, prov:value and prov:location with some kinds only
// (schema prov-core.xsd), and strings only as prov:label; elsewhere the attribute of the same name of the
// voprov vocabulary stands for it, in every format alike.
func placed(k Kind, a *Attr) QName {
	if a.Name.Prefix != "prov" {
		return a.Name
	}
	fits := false
	switch a.Name {
	case nameType:
		fits = true
	case nameLabel:
		fits = a.Value.typ == typeString || a.Value.typ == typeLangString
	case nameRole:
		switch k {
		case Generation, Usage, Start, End, Invalidation, Association:
			fits = true
		}
	case nameValue:
		fits = k == Entity
	case nameLocation:
		switch k {
		case Entity, Activity, Agent, Generation, Usage, Start, End, Invalidation:
			fits = true
		}
	}
	if fits {
		return a.Name
	}
	return voprovTerm(a.Name.Local)
}

// placedAttrs gives the attributes of a record under the names of the W3C document, equal names together.
// PROV permits prov:value once (PROV-DM section 5.7.2.5): the second value, too, is one of voprov.
func placedAttrs(r *Record) []Attr {
	valued := false
	name := func(a *Attr) QName {
		q := placed(r.Kind, a)
		if q == nameValue {
			if valued {
				return voprovTerm(q.Local)
			}
			valued = true
		}
		return q
	}
	for i := range r.Attrs {
		q := name(&r.Attrs[i])
		if q == r.Attrs[i].Name {
			continue
		}
		attrs := append(slices.Clone(r.Attrs[:i]), Attr{q, r.Attrs[i].Value})
		for _, b := range r.Attrs[i+1:] {
			attrs = append(attrs, Attr{name(&b), b.Value})
		}
		return unite(make([]Attr, 0, len(attrs)), attrs)
	}
	return r.Attrs
}
