package prov

import (
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"

	"consort/shared/votable"
)

// TableInfo describes one table of provenance.
type TableInfo struct {
	Name        string // e.g. "wasGeneratedBy"
	Description string
	Utype       string // the class that the rows are of
	Columns     []votable.Field
}

// attributeTable holds what no column of the other tables has, bundleTable the bundles.
const (
	attributeTable = "attribute"
	bundleTable    = "bundle"
)

// Tables lists the tables of a model: one for every class, one of bundles, and one of the attributes that
// have no column elsewhere. Columns that end in _id refer to rows of other tables.
func Tables(m Model) []TableInfo {
	var tables []TableInfo
	for _, s := range sections(m) {
		tables = append(tables, s.table())
	}
	return append(tables,
		TableInfo{Name: bundleTable, Description: "Bundles, each a set of records with a name of its own", Utype: "prov:Bundle",
			Columns: []votable.Field{textColumn("id", "meta.id;meta.main", "prov:Bundle.id", "")}},
		TableInfo{Name: attributeTable, Description: "Attributes without a column in the other tables", Columns: []votable.Field{
			textColumn("owner", "meta.id.parent", "", "The id of the row that has the attribute"),
			textColumn("owner_table", "meta.table", "", "The table of that row"),
			textColumn("name", "meta.id", "", ""), textColumn("value", "", "", ""), textColumn("datatype", "meta.code.class", "", ""),
			textColumn("language", "meta.code", "", "The language of the value, if it has one"),
			bundleColumn,
		}})
}

var bundleColumn = textColumn("bundle_id", "meta.id.parent", "", "The bundle of the record; none: it is of the document itself")

// textColumn makes a column of texts. Any text may stand in it, see xml_escape.go.
func textColumn(name, ucd, utype, about string) votable.Field {
	return votable.Field{Name: name, Datatype: votable.UnicodeChar, Arraysize: "*", UCD: ucd, Utype: utype, Description: about}
}

func timeColumn(name, utype string) votable.Field {
	return votable.Field{Name: name, Datatype: votable.Char, Arraysize: "*", XType: "timestamp", UCD: timeUCDs[name], Utype: utype}
}

var timeUCDs = map[string]string{"startTime": "time.start", "endTime": "time.end", "time": "time", "generatedAtTime": "time.creation", "invalidatedAtTime": "time.end"}

// table describes the table of a section.
func (s *section) table() TableInfo {
	t := TableInfo{Name: s.name, Description: s.about, Utype: "prov:" + rdfTerms[s.kind].class}
	if s.class != "" {
		t.Utype = "voprov:" + s.class
	}
	kind := &shapes[s.kind]
	if !kind.bare {
		t.Columns = append(t.Columns, textColumn("id", "meta.id;meta.main", s.utype("id"), ""))
	}
	for i, r := range kind.refs {
		t.Columns = append(t.Columns, textColumn(s.formalKey(i).Local+"_id", "meta.id", s.utype(r.name), ""))
	}
	for _, name := range kind.times {
		t.Columns = append(t.Columns, timeColumn(name, s.utype(name)))
	}
	for _, f := range s.fields {
		switch {
		case f.mode == moment:
			t.Columns = append(t.Columns, timeColumn(f.name, s.utype(f.name)))
		case f.name == "usageDescription", f.name == "generationDescription":
			t.Columns = append(t.Columns, textColumn(f.name+"_id", "meta.id", s.utype(f.name), ""))
		default:
			t.Columns = append(t.Columns, textColumn(f.name, f.ucd, s.utype(f.name), ""))
		}
	}
	for _, l := range s.links {
		t.Columns = append(t.Columns, textColumn(l.name+"_id", "meta.id", s.utype(l.name), ""))
	}
	t.Columns = append(t.Columns, bundleColumn)
	return t
}

// voFormal are the ids, times and references of the IVOA model that are no fields of a section.
var voFormal = map[string]bool{
	"Entity.id": true, "DatasetEntity.id": true, "ValueEntity.id": true, "Activity.id": true, "Agent.id": true,
	"Activity.startTime": true, "Activity.endTime": true, "Used.time": true, "Used.entity": true, "WasGeneratedBy.activity": true,
	"WasAssociatedWith.agent": true, "WasAttributedTo.agent": true, "Entity.entityDescription": true, "DatasetEntity.entityDescription": true,
	"ValueEntity.entityDescription": true, "Activity.activityDescription": true, "Parameter.parameterDescription": true, "Parameter.valueEntity": true,
	"ConfigFile.configFileDescription": true, "WasConfiguredBy.parameter": true, "WasConfiguredBy.configFile": true,
}

// utype gives the utype of a column: that of the IVOA model's VO-DML where it has one, else one made in the
// same way of the classes of PROV.
func (s *section) utype(name string) string {
	if s.class != "" && (voFormal[s.class+"."+name] || slices.ContainsFunc(s.fields, func(f field) bool { return f.name == name })) {
		return "voprov:" + s.class + "." + name
	}
	return "prov:" + rdfTerms[s.kind].class + "." + name
}

// Rows goes through the rows of a table: a cell for each column, nil, a string or a time.Time. There are none
// of a table that Tables does not list.
func Rows(g *Graph, m Model, table string) iter.Seq[[]any] { return rows(views(g, m), table) }

// bundleView is the view of the document, or of a bundle named by a string.
type bundleView struct {
	*view
	bundle any
	// blanks counts the records without id before those of each kind, from the beginning of the document. Their
	// ids are _:n1, _:n2, … as in PROV-JSON.
	blanks [lastKind + 1]int
}

func views(g *Graph, m Model) []bundleView {
	all := []bundleView{{view: newView(g, m)}}
	for _, b := range g.bundles {
		all = append(all, bundleView{view: newView(b.graph, m), bundle: b.id.String()})
	}
	blanks := 0
	for i := range all {
		for k := Entity; k <= lastKind; k++ {
			all[i].blanks[k] = blanks
			for r := range all[i].records(k) {
				if r.ID.IsZero() {
					blanks++
				}
			}
		}
	}
	return all
}

func rows(views []bundleView, table string) iter.Seq[[]any] {
	return func(yield func([]any) bool) {
		for i := range views {
			if !views[i].table(table, yield) {
				return
			}
		}
	}
}

// table yields the rows of a table.
func (v *bundleView) table(name string, yield func([]any) bool) bool {
	switch name {
	case bundleTable:
		return v.bundle == nil || yield([]any{v.bundle})
	case attributeTable:
		for k := Entity; k <= lastKind; k++ {
			if !v.attributes(k, yield) {
				return false
			}
		}
		return true
	}
	i := slices.IndexFunc(v.sections, func(s section) bool { return s.name == name })
	if i < 0 {
		return false
	}
	s := &v.sections[i]
	return v.visit(s.kind, func(r *Record, of *section, blank int) bool {
		return of != s || yield(v.row(s, r, blank))
	})
}

// visit goes through the records of a kind, each with the number of its id if it has none of its own.
func (v *bundleView) visit(k Kind, each func(r *Record, s *section, blank int) bool) bool {
	blank := v.blanks[k]
	for r, s := range v.records(k) {
		if r.ID.IsZero() {
			blank++
		}
		if !each(r, s, blank) {
			return false
		}
	}
	return true
}

func idText(r *Record, blank int) string {
	if r.ID.IsZero() {
		return "_:n" + strconv.Itoa(blank)
	}
	return r.ID.String()
}

func (v *bundleView) row(s *section, r *Record, blank int) []any {
	var cells []any
	kind := &shapes[s.kind]
	if !kind.bare {
		cells = append(cells, idText(r, blank))
	}
	for i := range kind.refs {
		cells = append(cells, nameCell(r.Ref(i)))
	}
	for i := range kind.times {
		cells = append(cells, r.times()[i])
	}
	fields, _ := v.show(s, r)
	for i, values := range fields {
		cells = append(cells, fieldCell(&s.fields[i], values))
	}
	for _, l := range s.links {
		cells = append(cells, nameCell(v.link(l.how, s, r)))
	}
	return append(cells, v.bundle)
}

func nameCell(q QName) any {
	if q.IsZero() {
		return nil
	}
	return q.String()
}

func fieldCell(f *field, values []Value) any {
	if len(values) == 0 {
		return nil
	}
	text := single(values).text
	if f.mode == moment {
		t, _ := parseTime(text) // the field takes nothing else
		return t
	}
	return text
}

// attributes yields the rows of the table of attributes for the records of a kind.
func (v *bundleView) attributes(k Kind, yield func([]any) bool) bool {
	return v.visit(k, func(r *Record, s *section, blank int) bool {
		_, rest := v.show(s, r)
		for _, a := range rest {
			var lang any
			if a.Value.lang != "" {
				lang = a.Value.lang
			}
			if !yield([]any{idText(r, blank), s.name, a.Name.String(), a.Value.text, a.Value.typ.String(), lang, v.bundle}) {
				return false
			}
		}
		return true
	})
}

// WriteVOTable writes the graph as one VOTable document with the tables of a model, row by row. There is no
// official layout; ours has a table for every class and a column for every attribute of the model. The status is
// OVERFLOW when fed:truncated says of an element that the graph is a part.
func WriteVOTable(w io.Writer, g *Graph, m Model) error {
	return writeTables(w, g, m, Tables(m), truncated(g))
}

// truncated tells whether an element has fed:truncated.
func truncated(g *Graph) bool {
	for r := range g.All() {
		if !r.Kind.IsElement() {
			continue
		}
		if v, ok := r.Attr(nameTruncated); ok && v == Boolean(true) {
			return true
		}
	}
	return false
}

var nameTruncated = fedTerm("truncated")

// WriteTable writes one of the tables of WriteVOTable alone, with the status OVERFLOW when it is a part. The error is
// an ErrNotFound if there is none of that name.
func WriteTable(w io.Writer, g *Graph, m Model, table string, part bool) error {
	tables := Tables(m)
	i := slices.IndexFunc(tables, func(t TableInfo) bool { return t.Name == table })
	if i < 0 {
		return fmt.Errorf("%w: table %.80q", ErrNotFound, table)
	}
	return writeTables(w, g, m, tables[i:i+1], part)
}

func writeTables(w io.Writer, g *Graph, m Model, tables []TableInfo, part bool) error {
	var out *votable.Writer
	all := views(g, m)
	for i := range tables {
		t := &tables[i]
		meta := votable.Meta{Name: t.Name, Description: t.Description, TableUtype: t.Utype, Utype: "voprov:Provenance", Fields: t.Columns}
		var err error
		if i == 0 {
			meta.Infos = namespaceInfos(g)
			out, err = votable.NewWriter(w, meta)
		} else {
			err = out.NextTable(meta)
		}
		if err == nil {
			err = writeRows(out, rows(all, t.Name))
		}
		if err != nil {
			return fmt.Errorf("writing PROV-VOTABLE: table %s: %w", t.Name, err)
		}
	}
	end := out.Close
	if part {
		end = out.CloseOverflow
	}
	if err := end(); err != nil {
		return fmt.Errorf("writing PROV-VOTABLE: %w", err)
	}
	return nil
}

// namespaceInfos tell what the prefixes of the names in the tables stand for.
func namespaceInfos(g *Graph) []votable.Info {
	var infos []votable.Info
	for _, ns := range g.Namespaces() {
		infos = append(infos, votable.Info{Name: "prefix", Value: ns.Prefix, Text: ns.IRI})
	}
	if fed := fedPrefix(g); g.iri(fed) == "" {
		infos = append(infos, votable.Info{Name: "prefix", Value: fed, Text: IRIFed})
	}
	return infos
}

func writeRows(out *votable.Writer, rows iter.Seq[[]any]) error {
	for row := range rows {
		for i, cell := range row {
			if text, ok := cell.(string); ok {
				row[i] = xmlSafe(text)
			}
		}
		if err := out.Row(row...); err != nil {
			return err
		}
	}
	return nil
}
