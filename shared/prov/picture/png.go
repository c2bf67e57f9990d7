package picture

import (
	"fmt"
	"image"
	"image/color"
	imagedraw "image/draw"
	"image/png"
	"io"
	"math"

	"golang.org/x/image/font"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
	"golang.org/x/image/vector"
)

const (
	pngSide  = 4096 // pixels at most
	pngScale = 2.0  // pixels for one of the scene, where there is room
	pngLeast = 0.45 // below this texts cannot be read
)

// writePNG renders a scene as pixels.
func (s *scene) writePNG(w io.Writer) error {
	scale := min(pngScale, pngSide/math.Ceil(s.w), pngSide/math.Ceil(s.h))
	if scale < pngLeast {
		return fmt.Errorf("%w: %.0f by %.0f cannot be read within %d pixels a side; ask for SVG", ErrTooLarge, s.w, s.h, pngSide)
	}
	bounds := image.Rect(0, 0, int(math.Floor(s.w*scale)), int(math.Floor(s.h*scale)))
	p := &painter{dst: image.NewRGBA(bounds), scale: scale, faces: map[faceKey]font.Face{}}
	imagedraw.Draw(p.dst, bounds, image.White, image.Point{}, imagedraw.Src)
	for i := range s.groups {
		for k := range s.groups[i].items {
			if err := p.item(&s.groups[i].items[k]); err != nil {
				return err
			}
		}
	}
	encoder := png.Encoder{CompressionLevel: png.DefaultCompression}
	if err := encoder.Encode(w, p.dst); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

type faceKey struct {
	size float64
	bold bool
}

type painter struct {
	dst    *image.RGBA
	scale  float64
	faces  map[faceKey]font.Face
	raster vector.Rasterizer
}

func (i ink) uniform() *image.Uniform {
	return image.NewUniform(color.RGBA{uint8(i >> 16), uint8(i >> 8), uint8(i), 255})
}

func (p *painter) item(it *item) error {
	if it.text != "" {
		return p.text(it)
	}
	lines := p.flatten(it.path)
	if it.fill != none {
		p.fill(lines, it.fill)
	}
	if it.stroke == none {
		return nil
	}
	for _, line := range lines {
		for _, dash := range dashes(line, it.dash, p.scale) {
			p.stroke(dash, it.width*p.scale, it.stroke)
		}
	}
	return nil
}

func (p *painter) text(it *item) error {
	key := faceKey{it.size, it.bold}
	face := p.faces[key]
	if face == nil {
		var err error
		face, err = opentype.NewFace(typeface(it.bold), &opentype.FaceOptions{Size: it.size * p.scale, DPI: 72, Hinting: font.HintingNone})
		if err != nil {
			return fmt.Errorf("scaling the font: %w", err)
		}
		p.faces[key] = face
	}
	d := font.Drawer{Dst: p.dst, Src: it.fill.uniform(), Face: face}
	x := it.at.x * p.scale
	if it.anchor == middle {
		x -= float64(d.MeasureString(it.text)) / 64 / 2
	}
	d.Dot = fixed.Point26_6{X: fixed.Int26_6(math.Round(x * 64)), Y: fixed.Int26_6(math.Round(it.at.y * p.scale * 64))}
	d.DrawString(it.text)
	return nil
}

// curveSteps is into how many straight pieces a curve is divided.
const curveSteps = 20

// flatten turns a path into lines, in pixels.
func (p *painter) flatten(steps path) [][]point {
	var lines [][]point
	var line []point
	scaled := func(q point) point { return point{q.x * p.scale, q.y * p.scale} }
	for i := range steps {
		s := &steps[i]
		switch s.op {
		case 'M':
			if line != nil {
				lines = append(lines, line)
			}
			line = []point{scaled(s.p[0])}
		case 'L':
			line = append(line, scaled(s.p[0]))
		case 'C':
			from, a, b, c := line[len(line)-1], scaled(s.p[0]), scaled(s.p[1]), scaled(s.p[2])
			for k := 1; k <= curveSteps; k++ {
				line = append(line, bezier(from, a, b, c, float64(k)/curveSteps))
			}
		case 'Z':
			line = append(line, line[0])
		}
	}
	return append(lines, line)
}

func bezier(a, b, c, d point, t float64) point {
	s := 1 - t
	w0, w1, w2, w3 := s*s*s, 3*s*s*t, 3*s*t*t, t*t*t
	return point{w0*a.x + w1*b.x + w2*c.x + w3*d.x, w0*a.y + w1*b.y + w2*c.y + w3*d.y}
}

// fill paints the inside of lines.
func (p *painter) fill(lines [][]point, color ink) {
	p.paint(lines, 0, color, func(dx, dy float64) {
		for _, line := range lines {
			p.raster.MoveTo(float32(line[0].x-dx), float32(line[0].y-dy))
			for _, q := range line[1:] {
				p.raster.LineTo(float32(q.x-dx), float32(q.y-dy))
			}
			p.raster.ClosePath()
		}
	})
}

// paint lets add put paths into a raster just large enough for the lines and a border.
func (p *painter) paint(lines [][]point, border float64, color ink, add func(dx, dy float64)) {
	r := image.Rectangle{Min: image.Pt(math.MaxInt32, math.MaxInt32), Max: image.Pt(math.MinInt32, math.MinInt32)}
	for _, line := range lines {
		for _, q := range line {
			r.Min.X, r.Min.Y = min(r.Min.X, int(math.Floor(q.x-border))), min(r.Min.Y, int(math.Floor(q.y-border)))
			r.Max.X, r.Max.Y = max(r.Max.X, int(math.Ceil(q.x+border))), max(r.Max.Y, int(math.Ceil(q.y+border)))
		}
	}
	if r = r.Intersect(p.dst.Rect); r.Empty() {
		return
	}
	p.raster.Reset(r.Dx(), r.Dy())
	add(float64(r.Min.X), float64(r.Min.Y))
	p.raster.Draw(p.dst, r, color.uniform(), image.Point{})
}

// piece is how many points of a line are stroked at once: long lines in one raster would be slow.
const piece = 12

func (p *painter) stroke(line []point, width float64, color ink) {
	for len(line) > 1 {
		n := min(piece, len(line))
		part := line[:n]
		p.paint([][]point{part}, width, color, func(dx, dy float64) {
			for i := 1; i < len(part); i++ {
				p.segment(part[i-1], part[i], width/2, dx, dy)
			}
		})
		line = line[n-1:]
	}
}

// segment adds a line with round ends, as one outline; all turn the same way, so where two overlap the
// raster adds nothing.
func (p *painter) segment(a, b point, half, dx, dy float64) {
	angle := math.Atan2(b.y-a.y, b.x-a.x)
	const corners = 6
	first := true
	for _, end := range []struct {
		point
		turn float64
	}{{b, angle - math.Pi/2}, {a, angle + math.Pi/2}} {
		for k := 0; k <= corners; k++ {
			t := end.turn + math.Pi*float64(k)/corners
			x, y := float32(end.x+half*math.Cos(t)-dx), float32(end.y+half*math.Sin(t)-dy)
			if first {
				p.raster.MoveTo(x, y)
				first = false
			} else {
				p.raster.LineTo(x, y)
			}
		}
	}
	p.raster.ClosePath()
}

// dashes cuts a line into dashes, whose lengths and gaps are in pixels of the scene.
func dashes(line []point, pattern []float64, scale float64) [][]point {
	if pattern == nil {
		return [][]point{line}
	}
	var out [][]point
	on, left, at := true, pattern[0]*scale, 0
	current := []point{line[0]}
	for i := 1; i < len(line); i++ {
		a, b := line[i-1], line[i]
		length := math.Hypot(b.x-a.x, b.y-a.y)
		for done := 0.0; length-done > left; {
			done += left
			q := point{a.x + (b.x-a.x)*done/length, a.y + (b.y-a.y)*done/length}
			if on {
				out = append(out, append(current, q))
			}
			on, at = !on, (at+1)%len(pattern)
			left, current = pattern[at]*scale, []point{q}
			length, a, done = length-done, q, 0
		}
		left -= length
		current = append(current, b)
	}
	if on && len(current) > 1 {
		out = append(out, current)
	}
	return out
}
