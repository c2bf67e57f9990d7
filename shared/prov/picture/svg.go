package picture

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"net/url"
	"strconv"
	"strings"
)

// fontFamily names fonts with about the widths of Go Regular, by which the layout was made.
const fontFamily = "Go, Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"

// writeSVG renders a scene with presentation attributes only: no style, no script, nothing from outside. The
// picture is a group of two lists, so that links in it stay reachable; edges are told in its description.
func (s *scene) writeSVG(w io.Writer) error {
	p := &svgPrinter{bufio.NewWriter(w)}
	width, height := coordinate(math.Ceil(s.w)), coordinate(math.Ceil(s.h))
	p.printf(`<svg xmlns="http://www.w3.org/2000/svg" width="%s" height="%s" viewBox="0 0 %s %s" role="group" aria-label="%s" font-family="%s">`+"\n",
		width, height, width, height, escape(s.title), escape(fontFamily))
	p.printf("<title>%s</title>\n<desc>%s</desc>\n", escape(s.title), escape(s.desc))
	p.printf(`<rect width="%s" height="%s" fill="#FFFFFF"/>`+"\n", width, height)
	p.groups(s.groups, roleEdge, `<g aria-hidden="true" stroke-linejoin="round">`)
	p.groups(s.groups, roleNode, `<g role="list" aria-label="Nodes">`)
	p.groups(s.groups, roleFrame, `<g>`)
	p.printf("</svg>\n")
	if err := p.Flush(); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

type svgPrinter struct{ *bufio.Writer }

// printf leaves errors to the final Flush.
func (p *svgPrinter) printf(format string, args ...any) { fmt.Fprintf(p, format, args...) }

func (p *svgPrinter) groups(all []group, which role, open string) {
	p.printf("%s\n", open)
	for i := range all {
		if g := &all[i]; g.role == which {
			p.group(g)
		}
	}
	p.printf("</g>\n")
}

func (p *svgPrinter) group(g *group) {
	closing := "</g>\n"
	switch {
	case g.role == roleNode && g.href != "":
		p.printf(`<g role="listitem"><a href="%s">`, escape(g.href))
		closing = "</a></g>\n"
	case g.role == roleNode:
		p.printf(`<g role="listitem">`)
	default:
		p.printf("<g>")
	}
	if g.title != "" {
		p.printf("<title>%s</title>", escape(g.title))
	}
	for i := range g.items {
		p.item(&g.items[i])
	}
	p.printf("%s", closing)
}

func (p *svgPrinter) item(it *item) {
	if it.text != "" {
		p.printf(`<text x="%s" y="%s" font-size="%s" fill="%s"`, coordinate(it.at.x), coordinate(it.at.y), coordinate(it.size), it.fill)
		if it.bold {
			p.printf(` font-weight="bold"`)
		}
		if it.anchor == middle {
			p.printf(` text-anchor="middle"`)
		}
		p.printf(">%s</text>", escape(it.text))
		return
	}
	p.printf(`<path d="`)
	p.path(it.path)
	p.printf(`" fill="%s"`, it.fill)
	if it.stroke != none {
		p.printf(` stroke="%s" stroke-width="%s"`, it.stroke, coordinate(it.width))
	}
	if it.dash != nil {
		var lengths []string
		for _, d := range it.dash {
			lengths = append(lengths, coordinate(d))
		}
		p.printf(` stroke-dasharray="%s"`, strings.Join(lengths, " "))
	}
	p.printf("/>")
}

func (p *svgPrinter) path(steps path) {
	for i := range steps {
		p.WriteByte(steps[i].op)
		for k, at := range steps[i].points() {
			if k > 0 {
				p.WriteByte(' ')
			}
			p.WriteString(coordinate(at.x) + " " + coordinate(at.y))
		}
	}
}

// coordinate writes a number with one decimal place.
func coordinate(f float64) string {
	tenths := math.Round(f*10) / 10
	if tenths == 0 { // no minus sign
		tenths = 0
	}
	return strconv.FormatFloat(tenths, 'f', -1, 64)
}

// String writes a colour as SVG does.
func (i ink) String() string {
	if i == none {
		return "none"
	}
	return fmt.Sprintf("#%06X", int32(i))
}

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;")

// escape makes a text of the scene, which holds no character that XML forbids but in titles of callers, fit
// for content and attributes. Line ends of titles stay.
func escape(s string) string {
	return escaper.Replace(strings.Map(func(r rune) rune {
		if r == '\n' {
			return r
		}
		return plainRune(r)
	}, s))
}

// link gives the address a node leads to, if it is one that may stand in a page.
func (f *figure) link(o *Options) string {
	if o.Link == nil || f.merged != nil || f.sort == sortRedacted {
		return ""
	}
	href := o.Link(f.id)
	u, err := url.Parse(href)
	if err != nil || u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https" {
		return ""
	}
	return href
}
