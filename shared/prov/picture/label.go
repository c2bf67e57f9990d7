package picture

import (
	"net/url"
	gopath "path"
	"strconv"
	"strings"

	"consort/shared/prov"
)

// labels gives the name of a node and what it is, both in full length. They are asked for again and again, and
// do not change.
func (d *diagram) labels(n *node) (name, what string) {
	if n.label == "" {
		n.label, n.what = d.findLabels(n)
	}
	return n.label, n.what
}

func (d *diagram) findLabels(n *node) (name, what string) {
	if len(n.merged) > 0 {
		return n.groupLabels()
	}
	if n.sort == sortRedacted {
		return "redacted", n.kind.String() + " you may not read"
	}
	if n.record == nil {
		return plain(n.id.Local), n.kind.String() + ", not described here"
	}
	name = n.ownName()
	switch n.sort {
	case sortJob:
		return name, n.text(prov.QName{Prefix: "uws", Local: "jobId"})
	case sortAttempt:
		return name, join(" ", d.class(n), prefixed("at ", n.text(fed("site"))))
	case sortTransfer:
		return "transfer " + n.text(fed("direction")), join(", ", n.text(fed("protocol")), n.bytes())
	case sortParameter:
		return n.parameter(name), d.class(n)
	case sortContent:
		return shortHash(n.text(fed("sha256")), name), join(", ", "SHA-256 content", n.bytes())
	case sortReplica:
		return "copy at " + n.text(fed("site")), d.class(n)
	case sortDataset, sortMember, sortLog:
		return name, join(", ", n.text(voprov("contentType")), n.bytes())
	}
	return name, d.class(n)
}

// ownName is the label of a node, or its name, or where it is, or the last resort, its identifier.
func (n *node) ownName() string {
	names := []prov.QName{nameLabel, voprov("name"), voprov("role"), voprov("title")}
	if n.sort == sortJob { // its label repeats the job's id
		names[0], names[1] = names[1], names[0]
	}
	for _, name := range names {
		if s := n.text(name); s != "" {
			return s
		}
	}
	if u, err := url.Parse(n.text(prov.QName{Prefix: "prov", Local: "location"})); err == nil && len(gopath.Base(u.Path)) > 1 {
		return plain(gopath.Base(u.Path))
	}
	if unescaped, err := prov.Unescape(n.tail()); err == nil {
		return plain(unescaped)
	}
	return plain(n.id.Local)
}

// tail is the identifier without the job that it belongs to, which the picture shows by edges.
func (n *node) tail() string {
	if _, tail, found := strings.Cut(n.id.Local, ".r."); found && n.id.Prefix == "ent" {
		return tail
	}
	return n.id.Local
}

func (n *node) text(name prov.QName) string {
	if n.record == nil {
		return ""
	}
	v, _ := n.record.Attr(name)
	return plain(clip(v.Text(), 300))
}

func (n *node) parameter(name string) string {
	if n.text(fed("isSecret")) == "true" {
		return name + " (secret)"
	}
	var values []string
	for _, a := range n.record.Attrs {
		if a.Name == voprov("value") && len(values) < 5 {
			values = append(values, plain(clip(a.Value.Text(), 100)))
		}
	}
	if values == nil {
		return name
	}
	return name + " = " + strings.Join(values, ", ")
}

// class is the most telling type of a node, or its kind in PROV.
func (d *diagram) class(n *node) string {
	class := n.kind.String()
	if n.record == nil {
		return class
	}
	for _, a := range n.record.Attrs {
		q, ok := a.Value.QName()
		if a.Name != nameType || !ok {
			continue
		}
		if q.Prefix == "voprov" && d.model == ModelIVOA || q.Prefix == "fed" || q.Prefix == "prov" {
			class = q.Local
		} else {
			class = q.String()
		}
	}
	return class
}

// bytes tells the size of a file.
func (n *node) bytes() string {
	size, err := strconv.ParseInt(n.text(fed("bytes")), 10, 64)
	if err != nil || size < 0 {
		return ""
	}
	if size < 1000 {
		return strconv.FormatInt(size, 10) + " B"
	}
	f, unit := float64(size), 0
	for f >= 999.5 && unit < len(units)-1 {
		f /= 1000
		unit++
	}
	return strconv.FormatFloat(f, 'g', 3, 64) + " " + units[unit]
}

var units = []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}

func shortHash(hash, otherwise string) string {
	if hash == "" {
		return otherwise
	}
	return clip(hash, 12)
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// join puts together the texts that are not empty.
func join(sep string, parts ...string) string {
	var some []string
	for _, p := range parts {
		if p != "" {
			some = append(some, p)
		}
	}
	return strings.Join(some, sep)
}

const (
	titleAttributes = 20  // attributes told in full text
	titleText       = 200 // bytes of each
	titleMembers    = 20  // members of a group named
)

// fullText is what is told of a node when it is pointed at.
func (d *diagram) fullText(n *node) string {
	name, what := d.labels(n)
	lines := []string{join(", ", append([]string{name, what}, n.marks...)...)}
	if len(n.merged) > 0 {
		for i, m := range n.merged {
			if i == titleMembers {
				lines = append(lines, "and "+strconv.Itoa(len(n.merged)-i)+" more")
				break
			}
			name, _ := d.labels(m)
			lines = append(lines, name+" ("+m.id.String()+")")
		}
		return strings.Join(lines, "\n")
	}
	lines = append(lines, n.id.String())
	return strings.Join(append(lines, n.attributes(titleAttributes, titleText)...), "\n")
}

// attributes lists times and free attributes as lines, at most so many, each text cut to a number of bytes.
func (n *node) attributes(most, bytes int) []string {
	if n.record == nil {
		return nil
	}
	var lines []string
	add := func(name, value string) { lines = append(lines, name+" = "+plain(clip(value, bytes))) }
	for _, t := range []struct {
		name string
		prov.Value
	}{{"startTime", prov.DateTime(n.record.Time)}, {"endTime", prov.DateTime(n.record.End)}} {
		if !strings.HasPrefix(t.Text(), "0001-01-01T00:00:00Z") {
			add(t.name, t.Text())
		}
	}
	for i, a := range n.record.Attrs {
		if len(lines) >= most {
			return append(lines, "and "+strconv.Itoa(len(n.record.Attrs)-i)+" more")
		}
		add(a.Name.String(), a.Value.Text())
	}
	return lines
}
