// Package worldtest tests the whole: coordinator, agent and client together, in one process and as the real
// programs, with processes killed at every dangerous point. It holds tests only; what one package does is
// tested in that package.
package worldtest
