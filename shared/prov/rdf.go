package prov

// rdfTerm tells how PROV-O (W3C recommendation of 2013-04-30) names a kind of record. The unqualified property has the
// name of the relation in PROV-N, the qualified one is "qualified" and the class.
type rdfTerm struct {
	class string
	// refs are the properties of the qualified relation for the formal references after the first, which is the subject
	// that the relation is about.
	refs []string
	// times are the properties of the formal times.
	times []string
}

var rdfTerms = [lastKind + 1]rdfTerm{
	Entity:        {class: "Entity"},
	Activity:      {class: "Activity", times: []string{"startedAtTime", "endedAtTime"}},
	Agent:         {class: "Agent"},
	Generation:    {class: "Generation", refs: []string{"activity"}, times: []string{"atTime"}},
	Usage:         {class: "Usage", refs: []string{"entity"}, times: []string{"atTime"}},
	Communication: {class: "Communication", refs: []string{"activity"}},
	Start:         {class: "Start", refs: []string{"entity", "hadActivity"}, times: []string{"atTime"}},
	End:           {class: "End", refs: []string{"entity", "hadActivity"}, times: []string{"atTime"}},
	Invalidation:  {class: "Invalidation", refs: []string{"activity"}, times: []string{"atTime"}},
	Derivation:    {class: "Derivation", refs: []string{"entity", "hadActivity", "hadGeneration", "hadUsage"}},
	Attribution:   {class: "Attribution", refs: []string{"agent"}},
	Association:   {class: "Association", refs: []string{"agent", "hadPlan"}},
	Delegation:    {class: "Delegation", refs: []string{"agent", "hadActivity"}},
	Influence:     {class: "Influence", refs: []string{"influencer"}},
	// PROV-O has no qualified form of these; the classes are those of PROV-JSONLD.
	Specialization: {class: "Specialization"},
	Alternate:      {class: "Alternate"},
	Membership:     {class: "Membership"},
}
