//go:build !race

package worldtest

// race tells that the test runs with the race detector; the programs that it builds then do, too.
const race = false
