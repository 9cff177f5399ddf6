package main

import (
	"fmt"
	"html"
	"slices"
	"strings"
)

// Dimensions of the plot, in pixels.
const (
	plotWidth  = 720
	labelWidth = 150 // of the names, left of the bars
	valueWidth = 60  // of the figures, right of the bars
	barHeight  = 20
	rowHeight  = 32
)

// plot returns an SVG with a bar for each peer: the time of a valid request relative
// to a bare handler. A bar that is far longer than the others is cut short and has a
// gap. The colours are readable on light and on dark backgrounds.
func plot(rows []row) string {
	rows = slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.handler[valid].ns == 0 })
	longest := 1.0
	for _, r := range rows {
		if ratio := r.handler[valid].ratio; ratio < 8 {
			longest = max(longest, ratio)
		}
	}
	scale := (plotWidth - labelWidth - valueWidth) / (longest * 1.1)
	var b strings.Builder
	height := len(rows)*rowHeight + 30
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="14" fill="#768390" role="img">`+"\n", plotWidth, height)
	fmt.Fprintf(&b, "<title>Time of a valid create in the handler, relative to a bare net/http handler</title>\n")
	for i, r := range rows {
		ratio := r.handler[valid].ratio
		colour, weight := "#8b949e", "normal"
		if r.name == "ours" {
			colour, weight = "#2f81f7", "bold"
		}
		y := i * rowHeight
		width := min(ratio, longest*1.1) * scale
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end" font-weight="%s">%s</text>`, labelWidth-8, y+barHeight-2, weight, html.EscapeString(r.name))
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.0f" height="%d" fill="%s"/>`, labelWidth, y+2, width, barHeight, colour)
		if ratio > longest { // cut short: draw a slanted gap near its end
			x := labelWidth + width - 30
			fmt.Fprintf(&b, `<path d="M%.0f %d l6 -24 M%.0f %d l6 -24" stroke="#768390" stroke-width="2"/>`, x, y+24, x+6, y+24)
		}
		fmt.Fprintf(&b, `<text x="%.0f" y="%d" font-weight="%s">%s ×</text>`+"\n", labelWidth+width+8, y+barHeight-2, weight, number(ratio))
	}
	x := labelWidth + scale // of bare
	fmt.Fprintf(&b, `<path d="M%.0f 0 v%d" stroke="#768390" stroke-dasharray="3 3"/>`, x, len(rows)*rowHeight)
	fmt.Fprintf(&b, `<text x="%d" y="%d" font-size="12">time of a valid create in the handler, × bare net/http</text>`+"\n</svg>\n", labelWidth, height-10)
	return b.String()
}
