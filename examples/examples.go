// Package examples holds the job definitions that come with the product: a Lomb–Scargle periodogram
// with real data, the folding of a series at a period, and two codes for tests. Their scripts need a
// POSIX shell and awk only. It holds files and no logic.
package examples

import "embed"

// FS holds one folder per definition, named as the definition: fold, many, periodogram, probe.
//
//go:embed fold many periodogram probe
var FS embed.FS

// Sunspots is the path in FS of the example series: yearly sunspot numbers, 1700 to 2008. Its origin and
// licence are told in periodogram/DATA.md.
const Sunspots = "periodogram/sunspots.csv"
