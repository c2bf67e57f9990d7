package picture

import (
	"strings"

	"consort/shared/prov"
)

// relation is a kind of edge.
type relation uint8

const (
	relGeneration relation = iota
	relUsage
	relCommunication
	relStart
	relEnd
	relInvalidation
	relDerivation
	relAttribution
	relAssociation
	relDelegation
	relInfluence
	relSpecialization
	relAlternate
	relMembership
	relPlan
	relDescribed
	relRelated
	relConfigured
	relationCount
)

// stroke is how the edges of a relation look. Colours are darker than those of other tools, for contrast with
// white; relations of one colour differ in their dashes.
type stroke struct {
	name string
	ink  ink
	dash []float64
}

var (
	dashed = []float64{6, 3}
	dotted = []float64{1.5, 3}
)

var strokes = [relationCount]stroke{
	relGeneration:     {"wasGeneratedBy", 0x006400, nil},
	relUsage:          {"used", 0x8B0000, nil},
	relCommunication:  {"wasInformedBy", 0x1F3A93, nil},
	relStart:          {"wasStartedBy", 0x1F3A93, dashed},
	relEnd:            {"wasEndedBy", 0x1F3A93, dotted},
	relInvalidation:   {"wasInvalidatedBy", alarm, dashed},
	relDerivation:     {"wasDerivedFrom", 0x333333, nil},
	relAttribution:    {"wasAttributedTo", 0x8A5500, dashed},
	relAssociation:    {"wasAssociatedWith", 0x8A5500, nil},
	relDelegation:     {"actedOnBehalfOf", 0x8A5500, dotted},
	relInfluence:      {"wasInfluencedBy", 0x6B6B6B, nil},
	relSpecialization: {"specializationOf", 0x7A3E9D, dashed},
	relAlternate:      {"alternateOf", 0x7A3E9D, dotted},
	relMembership:     {"hadMember", 0x7A3E9D, nil},
	relPlan:           {"plan", 0x8A5500, dotted},
	relDescribed:      {"isDescribedBy", 0xB8430F, nil},
	relRelated:        {"isRelatedTo", 0x6B6B6B, dashed},
	relConfigured:     {"wasConfiguredBy", 0x2E7D2E, dashed},
}

var relations = map[prov.Kind]relation{
	prov.Generation:     relGeneration,
	prov.Usage:          relUsage,
	prov.Communication:  relCommunication,
	prov.Start:          relStart,
	prov.End:            relEnd,
	prov.Invalidation:   relInvalidation,
	prov.Derivation:     relDerivation,
	prov.Attribution:    relAttribution,
	prov.Association:    relAssociation,
	prov.Delegation:     relDelegation,
	prov.Influence:      relInfluence,
	prov.Specialization: relSpecialization,
	prov.Alternate:      relAlternate,
	prov.Membership:     relMembership,
}

// ivoaRelations are the relations of ProvDM 1.0 by the type that stands for them in a W3C document.
var ivoaRelations = map[prov.QName]relation{
	voprov("DescriptionRelation"):   relDescribed,
	voprov("RelatedToRelation"):     relRelated,
	voprov("ConfigurationRelation"): relConfigured,
}

// classify gives the relation of a record in the model of the picture, and the role or type that details it.
func (d *diagram) classify(r *prov.Record) (relation, string) {
	rel := relations[r.Kind]
	if d.model == ModelIVOA {
		for typ, r2 := range ivoaRelations {
			if r.Kind == prov.Influence && r.HasType(typ) {
				return r2, ""
			}
		}
	}
	for _, name := range []prov.QName{nameRole, voprov("role"), nameType} {
		v, ok := r.Attr(name)
		if !ok {
			continue
		}
		if q, isName := v.QName(); isName {
			return rel, strings.TrimSuffix(q.Local, "Relation")
		}
		return rel, plain(clip(v.Text(), 80))
	}
	return rel, ""
}

// laterSecond tells that the first node of a relation is the earlier one, not the later as in all others: the
// members of a collection come after it, so that who made it comes before both.
func (r relation) laterSecond() bool { return r == relMembership }
