package telemetry

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker: -ldflags "-X consort/shared/telemetry.version=v1.2.3".
var version string

// Build says what a program was built from.
type Build struct {
	Version  string // "v1.2.3", or "devel"
	Revision string // of the source, empty if unknown
	Time     string // of the revision, RFC 3339, empty if unknown
	Modified bool   // the source differed from the revision
	Go       string // version of the compiler
}

// Version returns what this program was built from.
func Version() Build {
	b := Build{Version: version, Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if ok && b.Version == "" && info.Main.Version != "(devel)" {
		b.Version = info.Main.Version
	}
	if b.Version == "" {
		b.Version = "devel"
	}
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// String returns one line for --version.
func (b Build) String() string {
	s := b.Version
	if b.Revision != "" {
		s += fmt.Sprintf(" (%.12s", b.Revision)
		if b.Modified {
			s += ", modified"
		}
		s += ")"
	}
	return s + " " + b.Go
}
