// Package picture draws a provenance graph as SVG or PNG: entities as ellipses, activities as rectangles,
// agents as houses, in the colours of the W3C, and in those of the IVOA for what its model adds. An edge
// points from effect to cause, as PROV states its relations.
//
// The graph is read into nodes and edges, groups of nodes collapse where there are too many, a layered layout
// of our own gives every node a place in the order of time, and the result is a scene of plain shapes and
// texts. SVG and PNG are two renderers of that scene. Everything is a pure function of graph and options: the
// same input gives the same bytes. No text of the graph is trusted.
//
// An SVG made here holds no script, style, font or reference to anything outside: it is fine under a content
// security policy that forbids all of them. A bundle is drawn as one folder; what is in it is not.
package picture

import (
	"errors"
	"fmt"
	"io"

	"consort/shared/prov"
)

var (
	// ErrOption says that an option has none of its permitted values.
	ErrOption = errors.New("bad picture option")
	// ErrTooLarge says that the picture would be illegible within the largest permitted PNG.
	ErrTooLarge = errors.New("picture too large")
)

// Direction is where edges point, from effect to cause, as in rankdir of Graphviz and GD of OPUS.
type Direction string

// The directions: with LR the past is on the right, with BT at the top.
const (
	LeftRight Direction = "LR"
	BottomTop Direction = "BT"
	TopBottom Direction = "TB"
	RightLeft Direction = "RL"
)

// Model is the vocabulary of the picture.
type Model string

// The models. ModelIVOA names and colours the classes and relations that the IVOA Provenance Data Model 1.0
// adds: Parameter, ConfigFile, ActivityDescription, wasConfiguredBy, isDescribedBy and so on.
const (
	ModelW3C  Model = "W3C"
	ModelIVOA Model = "IVOA"
)

const (
	// DefaultMax is the number of nodes above which groups collapse.
	DefaultMax = 150
	// LargestMax is the largest permitted number of nodes.
	LargestMax = 1000
)

// Options change what is drawn. The zero Options are fine.
type Options struct {
	// Direction is where edges point; default LeftRight.
	Direction Direction
	// Attributes puts a note with its attributes beside every node.
	Attributes bool
	// Model is the vocabulary; default ModelW3C.
	Model Model
	// Link gives the address that a node leads to: http, https or relative. Without a function, or for an
	// empty or other address, the node is no link. PNG has no links.
	Link func(prov.QName) string
	// Title heads the picture.
	Title string
	// Max is the number of nodes above which groups collapse; default DefaultMax, at most LargestMax.
	Max int
	// Focus lists the nodes to highlight. They collapse last.
	Focus []prov.QName
}

// WriteSVG draws a graph as SVG. Links have the href of SVG 2, all else is SVG 1.1.
func WriteSVG(w io.Writer, g *prov.Graph, o Options) error {
	s, err := draw(g, o)
	if err != nil {
		return fmt.Errorf("drawing provenance as SVG: %w", err)
	}
	if err := s.writeSVG(w); err != nil {
		return fmt.Errorf("drawing provenance as SVG: %w", err)
	}
	return nil
}

// WritePNG draws a graph as PNG of at most 4096 pixels a side. Larger pictures are scaled down; one that
// would not be legible then is an ErrTooLarge. Characters that Go Regular lacks are shown as boxes.
func WritePNG(w io.Writer, g *prov.Graph, o Options) error {
	s, err := draw(g, o)
	if err != nil {
		return fmt.Errorf("drawing provenance as PNG: %w", err)
	}
	if err := s.writePNG(w); err != nil {
		return fmt.Errorf("drawing provenance as PNG: %w", err)
	}
	return nil
}

// omission is what a picture does not show, of a number of elements.
type omission struct{ total, elements, relations int }

// draw makes the scene of a graph.
func draw(g *prov.Graph, o Options) (*scene, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	d := readGraph(g, o)
	total := len(d.nodes)
	d.collapse(o.Max)
	left := omission{total: total, elements: d.cut(o.Max), relations: d.thin(o.Max)}
	return d.arrange(&o).scene(&o, left), nil
}

// complete fills in defaults and checks the rest.
func (o *Options) complete() error {
	if o.Direction == "" {
		o.Direction = LeftRight
	}
	if o.Model == "" {
		o.Model = ModelW3C
	}
	if o.Max == 0 {
		o.Max = DefaultMax
	}
	switch o.Direction {
	case LeftRight, BottomTop, TopBottom, RightLeft:
	default:
		return fmt.Errorf("%w: direction %.20q is none of LR, BT, TB, RL", ErrOption, o.Direction)
	}
	if o.Model != ModelW3C && o.Model != ModelIVOA {
		return fmt.Errorf("%w: model %.20q is neither W3C nor IVOA", ErrOption, o.Model)
	}
	if o.Max < 1 || o.Max > LargestMax {
		return fmt.Errorf("%w: %d nodes at most; must be 1 to %d", ErrOption, o.Max, LargestMax)
	}
	return nil
}

// vertical tells whether edges point up or down.
func (d Direction) vertical() bool { return d == BottomTop || d == TopBottom }

// reversed tells whether the rank axis runs against x or y.
func (d Direction) reversed() bool { return d == BottomTop || d == RightLeft }
