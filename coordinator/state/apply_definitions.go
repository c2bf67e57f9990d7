package state

import (
	"slices"

	"consort/coordinator/command"
	"consort/shared/ids"
)

// maxBundleFiles is the greatest number of files of a job definition.
const maxBundleFiles = 400

// publishDefinition adds a version. A version never changes, a name never passes to another definition.
func (t *tx) publishDefinition(c *command.PublishDefinition) *command.Result {
	if bad := checkDefinition(c); bad != nil {
		return bad
	}
	k, old := keyDefinition(c.Name, c.Version), new(Definition)
	if t.get(k, old) {
		if old.Digest != c.Digest {
			return refuse(command.Result_REFUSED, "%s@%s is published with other content; a version never changes: publish a new one",
				c.Name, c.Version)
		}
		return &command.Result{Definition: c.Name}
	}
	if owner, ok := t.raw(keyAlias(c.Name)); ok {
		return refuse(command.Result_EXISTS, "%s is an alias of %s", c.Name, owner)
	}
	for _, alias := range c.Aliases {
		if owner, ok := t.raw(keyAlias(alias)); ok && string(owner) != c.Name {
			return refuse(command.Result_EXISTS, "alias %s belongs to %s", alias, owner)
		}
		if alias == c.Name || len(t.keys(newKey(tagDefinition).text(alias), 1)) > 0 {
			return refuse(command.Result_EXISTS, "alias %s is the name of a definition", alias)
		}
	}
	t.put(k, &Definition{Name: c.Name, Version: c.Version, Digest: c.Digest, Files: c.Files, Aliases: c.Aliases,
		Title: c.Title, PublishedUs: t.now, Defaults: c.Defaults})
	for _, alias := range c.Aliases {
		t.set(keyAlias(alias), []byte(c.Name))
	}
	for _, f := range c.Files {
		t.hold(definitionHolder(c.Digest), f.Sha256, f.Size)
	}
	t.events = append(t.events, Event{Kind: DefinitionEvent, Definition: c.Name, Index: t.index})
	return &command.Result{Definition: c.Name}
}

// digest returns the digest of a published version, and whether there is one.
func (t *tx) digest(name, version string) (string, bool) {
	k := versionKey{name, version}
	if digest, ok := t.b.digests[k]; ok {
		return digest, true
	}
	d := new(Definition)
	if !t.get(keyDefinition(name, version), d) {
		return "", false
	}
	t.b.digests[k] = d.Digest
	return d.Digest, true
}

func checkDefinition(c *command.PublishDefinition) *command.Result {
	badFile := func(f *command.BundleFile) bool { return !ids.ValidSHA256(f.Sha256) || f.Size < 0 }
	badAlias := func(alias string) bool { return !ids.ValidName(alias) }
	switch {
	case !ids.ValidName(c.Name) || !ids.ValidVersion(c.Version):
		return refuse(command.Result_INVALID, "%.64q@%.64q cannot name a definition", c.Name, c.Version)
	case c.Digest == "" || len(c.Digest) > maxText:
		return refuse(command.Result_INVALID, "the definition's digest is malformed")
	case len(c.Files) > maxBundleFiles:
		return refuse(command.Result_TOO_LARGE, "a definition has at most %d files", maxBundleFiles)
	case len(c.Defaults) > maxParameters:
		return refuse(command.Result_TOO_LARGE, "a definition has at most %d defaults", maxParameters)
	case slices.ContainsFunc(c.Files, badFile):
		return refuse(command.Result_INVALID, "a file's SHA-256 or size is malformed")
	case slices.ContainsFunc(c.Aliases, badAlias):
		return refuse(command.Result_INVALID, "an alias is malformed")
	}
	return nil
}
