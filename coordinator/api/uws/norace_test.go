//go:build !race

package uws_test

const raceEnabled = false
