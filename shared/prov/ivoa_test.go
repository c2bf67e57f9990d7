package prov

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"consort/shared/schemas"
	"pgregory.net/rapid"
)

func ivoaOf(t rapid.TB, g *Graph) string {
	t.Helper()
	var b strings.Builder
	if err := WriteIVOAJSON(&b, g); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestIVOAGolden(t *testing.T) {
	for _, c := range cases {
		golden(t, c.name+".ivoa.json", ivoaOf(t, graphOf(t, c.record())))
	}
}

// vodml is what the tests need of the VO-DML of the IVOA model.
type vodml struct {
	Types    []vodmlType `xml:"objectType"`
	Packages []struct {
		Types []vodmlType `xml:"objectType"`
	} `xml:"package"`
}

type vodmlType struct {
	Name       string      `xml:"name"`
	Extends    string      `xml:"extends>vodml-ref"`
	Attributes []vodmlRole `xml:"attribute"`
	References []vodmlRole `xml:"reference"`
}

type vodmlRole struct {
	Name string `xml:"name"`
	Type string `xml:"datatype>vodml-ref"`
	Min  int    `xml:"multiplicity>minOccurs"`
	Max  int    `xml:"multiplicity>maxOccurs"` // -1: any number
}

// modelClasses finds the classes of the VO-DML, with what they inherit.
func modelClasses(t testing.TB) map[string]vodmlType {
	t.Helper()
	text, err := schemas.FS.ReadFile("Provenance-v1.0.vo-dml.xml")
	if err != nil {
		t.Fatal(err)
	}
	var model vodml
	if err := xml.Unmarshal(text, &model); err != nil {
		t.Fatal(err)
	}
	classes := map[string]vodmlType{}
	all := model.Types
	for _, p := range model.Packages {
		all = append(all, p.Types...)
	}
	for _, c := range all {
		classes[c.Name] = c
	}
	for name, c := range classes {
		if parent, ok := classes[strings.TrimPrefix(c.Extends, "voprov:")]; ok {
			c.Attributes = slices.Concat(parent.Attributes, c.Attributes)
			c.References = slices.Concat(parent.References, c.References)
			classes[name] = c
		}
	}
	if len(classes) != 21 || len(classes["DatasetEntity"].Attributes) < 6 || classes["Parameter"].Attributes[0].Min != 1 {
		t.Fatalf("the VO-DML was not understood: %d classes, %+v", len(classes), classes["Parameter"])
	}
	return classes
}

// provOnly are the kinds of records of MODEL=IVOA that stand for no class of the model: relations of PROV-DM,
// and those by which voprov writes references and compositions.
var provOnly = []string{
	"wasInformedBy", "wasStartedBy", "wasEndedBy", "wasInvalidatedBy", "wasDerivedFrom", "actedOnBehalfOf", "wasInfluencedBy",
	"specializationOf", "alternateOf", "hadMember", "isDescribedBy", "isRelatedTo", "hadReference",
}

// checkModel checks a document of MODEL=IVOA against the VO-DML: all classes and attributes exist, mandatory
// ones are there, single ones stand once.
func checkModel(classes map[string]vodmlType, sections map[string]map[string]map[string]any) error {
	for key, records := range sections {
		class, known := classes[strings.ToUpper(key[:1])+key[1:]]
		if !known && !slices.Contains(provOnly, key) {
			return fmt.Errorf("the model has no class %s", key)
		}
		for id, r := range records {
			if err := checkInstance(key, class, r); err != nil {
				return fmt.Errorf("%s %s: %w", key, id, err)
			}
		}
	}
	return nil
}

// voprovFormal are the formal references of voprov's own relations.
var voprovFormal = map[string][]string{
	"isDescribedBy": {"described", "descriptor"}, "isRelatedTo": {"related", "relator"}, "hadReference": {"referenced", "referrer"},
	"wasConfiguredBy": {"configured", "configurator"},
}

func checkInstance(key string, class vodmlType, r map[string]any) error {
	roles := slices.Concat(class.Attributes, class.References)
	for name, value := range r {
		prefix, local, _ := strings.Cut(name, ":")
		if prefix != "voprov" && name != "prov:name" && name != "prov:role" && name != "prov:value" || slices.Contains(voprovFormal[key], local) {
			continue
		}
		if class.Name == "" && name == "prov:role" && slices.Contains([]string{"wasStartedBy", "wasEndedBy", "wasInvalidatedBy"}, key) {
			continue // PROV-DM has it
		}
		i := slices.IndexFunc(roles, func(r vodmlRole) bool { return r.Name == local })
		if i < 0 {
			return fmt.Errorf("the model does not know %s", name)
		}
		if _, several := value.([]any); several && roles[i].Max != -1 {
			return fmt.Errorf("%s has several values", name)
		}
		if roles[i].Type == "voprov:AgentType" && !slices.Contains([]any{"Person", "Organization", "SoftwareAgent"}, value) {
			return fmt.Errorf("%v is no type of agent", value)
		}
	}
	for _, role := range roles {
		if role.Min == 0 || role.Name == "id" {
			continue
		}
		if r["voprov:"+role.Name] == nil && r["prov:"+role.Name] == nil {
			return fmt.Errorf("%s is missing", role.Name)
		}
	}
	return nil
}

// parseIVOA reads a document of MODEL=IVOA, without its bundles.
func parseIVOA(t rapid.TB, document string) map[string]map[string]map[string]any {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal([]byte(document), &raw); err != nil {
		t.Fatal(err)
	}
	delete(raw, "prefix")
	delete(raw, "bundle")
	sections := map[string]map[string]map[string]any{}
	for key, text := range raw {
		var records map[string]map[string]any
		if err := json.Unmarshal(text, &records); err != nil {
			t.Fatal(err)
		}
		sections[key] = records
	}
	return sections
}

func TestIVOAModel(t *testing.T) {
	classes := modelClasses(t)
	for _, c := range cases {
		sections := parseIVOA(t, ivoaOf(t, graphOf(t, c.record())))
		if err := checkModel(classes, sections); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		checkRelations(t, c.name, sections)
	}
}

// checkRelations checks that the relations of a document join the classes that the model joins, as often as
// it permits.
func checkRelations(t *testing.T, name string, sections map[string]map[string]map[string]any) {
	t.Helper()
	class := map[any]string{}
	for key, records := range sections {
		for id, r := range records {
			if r["prov:agent"] == nil && !strings.HasPrefix(id, "_:") && !slices.Contains(provOnly, key) && key != "used" && key != "wasGeneratedBy" {
				class[id] = key
			}
		}
	}
	descriptions := map[string]string{"activity": "activityDescription", "datasetEntity": "datasetDescription", "parameter": "parameterDescription", "configFile": "configFileDescription"}
	times := map[any]int{}
	for id, r := range sections["isDescribedBy"] {
		from, to := r["voprov:described"], r["voprov:descriptor"]
		if times[from]++; times[from] > 1 {
			t.Errorf("%s: %v is described twice", name, from)
		}
		if class[from] == "" || class[to] != descriptions[class[from]] {
			t.Errorf("%s: %s: %v (%s) is described by %v (%s)", name, id, from, class[from], to, class[to])
		}
	}
	parts := map[string][]string{
		"activityDescription": {"usageDescription", "generationDescription", "parameterDescription", "configFileDescription"},
		"usageDescription":    {"datasetDescription"}, "generationDescription": {"datasetDescription"},
	}
	for id, r := range sections["isRelatedTo"] {
		if typ, ok := sections["entity"][r["voprov:related"].(string)]["prov:type"].(map[string]any); ok && typ["$"] == "fed:Software" {
			continue // voprov relates any two things; the model knows no software
		}
		if whole, part := class[r["voprov:relator"]], class[r["voprov:related"]]; !slices.Contains(parts[whole], part) {
			t.Errorf("%s: %s: a %s is a part of a %s", name, id, part, whole)
		}
	}
	for id, r := range sections["wasConfiguredBy"] {
		if class[r["voprov:configured"]] != "activity" || !strings.EqualFold(class[r["voprov:configurator"]], r["voprov:artefactType"].(string)) {
			t.Errorf("%s: %s: %v", name, id, r)
		}
	}
	made := map[any]int{}
	for _, r := range sections["wasGeneratedBy"] {
		if made[r["prov:entity"]]++; made[r["prov:entity"]] > 1 {
			t.Errorf("%s: %v is generated twice", name, r["prov:entity"])
		}
	}
	if len(sections["activityDescription"]) != 1 || len(sections["isDescribedBy"]) == 0 || len(sections["wasConfiguredBy"]) == 0 {
		t.Errorf("%s: the description of the job is missing", name)
	}
}

// TestIVOAModelOfAnything checks that no graph makes a document with names that the model does not know.
func TestIVOAModelOfAnything(t *testing.T) {
	classes := modelClasses(t)
	types := []string{"Parameter", "ConfigFile", "DatasetEntity", "ValueEntity", "ActivityDescription", "UsageDescription", "DatasetDescription", "ParameterDescription", "Nothing"}
	names := []string{"name", "role", "value", "type", "location", "contentType", "options", "title", "generatedAtTime", "valueType"}
	rapid.Check(t, func(t *rapid.T) {
		g := genGraph(true).Draw(t, "graph")
		given := 0
		for range rapid.IntRange(0, 8).Draw(t, "more") {
			r := Record{Kind: rapid.SampledFrom([]Kind{Entity, Activity, Agent}).Draw(t, "kind"), ID: QName{"ex", rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "id")}}
			r.Attrs = append(r.Attrs, Attr{nameType, Name(voprovTerm(rapid.SampledFrom(types).Draw(t, "class")))})
			for range rapid.IntRange(0, 5).Draw(t, "attributes") {
				prefix := rapid.SampledFrom([]string{"prov", "voprov"}).Draw(t, "prefix")
				r.Attrs = append(r.Attrs, Attr{QName{prefix, rapid.SampledFrom(names).Draw(t, "name")}, genValue(true).Draw(t, "value")})
			}
			if err := g.Add(r); err != nil {
				t.Fatal(err)
			}
		}
		document := ivoaOf(t, g)
		sections := parseIVOA(t, document)
		// Relations of a foreign graph may lack what the model wants of them: they are written all the same.
		for _, key := range []string{"used", "wasGeneratedBy", "wasAssociatedWith"} {
			given += len(sections[key])
			for id, r := range sections[key] {
				if r["prov:entity"] == nil || r["prov:activity"] == nil {
					delete(sections[key], id)
				}
			}
		}
		delete(sections, "wasAssociatedWith")
		if err := checkModel(classes, sections); err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		if want := len(g.records[Usage]) + len(g.records[Generation]) + len(g.records[Association]); given != want {
			t.Fatalf("%d of %d relations are written", given, want)
		}
	})
}

// TestIVOAManyAttributes holds the sorting of attributes to linear time: 100,000 of a kind that each model shows.
func TestIVOAManyAttributes(t *testing.T) {
	g := newTestGraph(t)
	r := Record{Kind: Entity, ID: QName{"jdl", "d"}, Attrs: []Attr{{nameType, Name(voprovTerm("UsageDescription"))}}}
	for i := range 20_000 {
		text := String(strconv.Itoa(i))
		r.Attrs = append(r.Attrs, Attr{nameVO, text}, Attr{nameContent, text}, Attr{nameValue, text}, Attr{voprovTerm("options"), text})
	}
	if err := g.Add(r); err != nil {
		t.Fatal(err)
	}
	if document := ivoaOf(t, g); !strings.Contains(document, `"fed:options":["0",`) || !strings.Contains(document, `"fed:dataset.19999":{`) {
		t.Errorf("%d bytes without what was given", len(document))
	}
	for _, m := range models {
		if document := string(votableOf(t, g, m)); !strings.Contains(document, ">19999<") {
			t.Errorf("%s: %d bytes without what was given", m, len(document))
		}
	}
}

// TestIVOAKeepsAll checks that what the model does not know is still there.
func TestIVOAKeepsAll(t *testing.T) {
	g, err := New(Namespace{"fed", "http://other.example/"}, Namespace{"ex", "http://ex.example/"})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Add(Record{Kind: Entity, ID: QName{"ex", "p"}, Attrs: []Attr{
		{nameType, Name(typeParameter)}, {nameType, Name(QName{"ex", "T"})}, {voprovTerm("value"), String(`a"`)}, {voprovTerm("value"), String("b")},
		{nameValue, Int(3)}, {voprovTerm("title"), String("t")}, {QName{"ex", "a"}, Boolean(true)}, {nameLabel, LangString("l", "en")},
	}}); err != nil {
		t.Fatal(err)
	}
	if err := g.Add(Record{Kind: Entity, ID: QName{"ex", "d"}, Attrs: []Attr{{nameContent, String("text/csv")}, {nameContent, String("text/x")}}}); err != nil {
		t.Fatal(err)
	}
	want := `{
"prefix":{
"prov":"http://www.w3.org/ns/prov#",
"xsd":"http://www.w3.org/2001/XMLSchema#",
"voprov":"http://www.ivoa.net/documents/ProvenanceDM/index.html#",
"fed":"http://other.example/",
"ex":"http://ex.example/",
"fed1":"https://w3id.org/consort/prov#"},
"datasetEntity":{
"ex:d":{"fed1:contentType":"text/x"}},
"datasetDescription":{
"fed1:dataset.text_x2F_csv":{"prov:name":"text/csv","voprov:contentType":"text/csv"}},
"parameter":{
"ex:p":{"prov:name":{"$":"l","lang":"en"},"prov:value":"[\"a\\\"\",\"b\"]","prov:type":{"$":"ex:T","type":"prov:QUALIFIED_NAME"},"fed1:value":{"$":"3","type":"xsd:int"},"fed1:title":"t","ex:a":{"$":"true","type":"xsd:boolean"},"prov:label":{"$":"l","lang":"en"}}},
"isDescribedBy":{
"_:n1":{"voprov:described":"ex:d","voprov:descriptor":"fed1:dataset.text_x2F_csv"}}}
`
	if got := ivoaOf(t, g); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestIVOADescribesOnce checks that a description which the graph has already is not made again.
func TestIVOADescribesOnce(t *testing.T) {
	g := newTestGraph(t)
	for _, r := range []Record{
		{Kind: Entity, ID: QName{"ent", "a"}, Attrs: []Attr{{nameContent, String("text/csv")}}}, {Kind: Entity, ID: QName{"ent", "b"}, Attrs: []Attr{{nameContent, String("text/csv")}}},
		{Kind: Entity, ID: QName{"fed", "dataset.text_x2F_csv"}, Attrs: []Attr{{nameType, Name(voprovTerm("DatasetDescription"))}, {nameName, String("mine")}}},
	} {
		if err := g.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	document := ivoaOf(t, g)
	if strings.Count(document, `"fed:dataset.text_x2F_csv":`) != 1 || !strings.Contains(document, `"prov:name":"mine"`) || strings.Count(document, `"voprov:descriptor":"fed:dataset.text_x2F_csv"`) != 2 {
		t.Error(document)
	}
}
