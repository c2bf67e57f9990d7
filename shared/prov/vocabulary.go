package prov

import _ "embed"

//go:embed vocabulary.ttl
var vocabularyTurtle []byte

// Vocabulary is the definition of our own terms, those of the prefix fed, in Turtle. The caller must not change it.
func Vocabulary() []byte { return vocabularyTurtle }
