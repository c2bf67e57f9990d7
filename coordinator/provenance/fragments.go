package provenance

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"consort/coordinator/command"
	"consort/coordinator/state"
	"consort/shared/siteapi"
)

// signed is a fragment that a site contributed, with what is needed to judge it.
type signed struct {
	record *state.FragmentRecord
	keys   [][]byte // the site's key, and those it had before
	before *neighbour
	after  *neighbour
	twice  bool // the site's number was used for two
}

// neighbour is the fragment with the number before, or after, as far as it is there.
type neighbour struct {
	record *state.FragmentRecord // nil: erased with its job
}

// readSigned reads what surrounds a fragment in its site's chain.
func readSigned(v *state.View, record *state.FragmentRecord) (*signed, error) {
	s := &signed{record: record}
	site, err := v.Site(record.Site)
	if err != nil {
		return nil, fmt.Errorf("read site %s: %w", record.Site, err)
	}
	s.keys = append([][]byte{site.PublicKey}, site.FormerKeys...)
	number := record.GetFragment().GetNumber()
	around, err := v.SiteFragments(record.Site, max(number, 1)-1, 8)
	if err != nil {
		return nil, err
	}
	for _, f := range around {
		switch {
		case f.Number == number:
			s.twice = s.twice || f.Job != record.Job || f.Epoch != record.Epoch
		case f.Number+1 == number:
			s.before, err = readNeighbour(v, f)
		case f.Number == number+1:
			s.after, err = readNeighbour(v, f)
		}
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

func readNeighbour(v *state.View, f state.SiteFragment) (*neighbour, error) {
	records, err := v.Fragments(f.Job)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		if r.Epoch == f.Epoch {
			return &neighbour{r}, nil
		}
	}
	return &neighbour{}, nil
}

// checkAttempts goes through what sites signed of the attempts.
func (e *evidence) checkAttempts(r *Report) {
	for _, a := range e.attempts {
		what := fmt.Sprintf("attempt %d", a.Epoch)
		i := slices.IndexFunc(e.fragments, func(s *signed) bool { return s.record.Epoch == a.Epoch })
		switch {
		case i >= 0:
			e.checkSigned(r, what, a, e.fragments[i])
		case a.Fragment != 0:
			r.add(what+": signature", false, fmt.Sprintf("fragment %d of %s is gone", a.Fragment, a.Site))
		case a.State == state.AttemptCommitted:
			r.add(what+": signature", false, "the site signed nothing")
		}
	}
}

// checkSigned checks one fragment: that the site signed it, that it stands in the site's chain, and that the state
// says what it says.
func (e *evidence) checkSigned(r *Report, what string, a *state.Attempt, s *signed) {
	f := s.record.GetFragment()
	p, detail := open(s)
	r.add(what+": signature", p != nil, detail)
	if p == nil {
		return
	}
	s.checkChain(r, what, p)
	named := p.Site == a.Site && s.record.Site == a.Site && p.Job == a.Job && p.Epoch == a.Epoch && p.ClusterID == e.cluster && a.Fragment == f.Number
	r.add(what+": subject", named, differ(named, fmt.Sprintf("fragment %d of %s is about this attempt", f.Number, a.Site), "the fragment is about another attempt"))
	e.compare(r, what, a, p)
}

// open checks the signature with the keys that the site has had: which one is older than the fragment nobody can
// tell, and a key that was revoked signed honestly before.
func open(s *signed) (*siteapi.FragmentPayload, string) {
	f := s.record.GetFragment()
	message := "no key of " + s.record.Site + " made the signature"
	for i, key := range s.keys {
		if len(key) != ed25519.PublicKeySize {
			continue
		}
		p, err := siteapi.OpenFragment(key, &siteapi.Fragment{Number: f.GetNumber(), Payload: f.GetPayload(), Signature: f.GetSignature()})
		if err == nil && i > 0 {
			return p, fmt.Sprintf("by %s, with a key that it had before", s.record.Site)
		}
		if err == nil {
			return p, "by " + s.record.Site
		}
		if ed25519.Verify(key, f.GetPayload(), f.GetSignature()) {
			message = err.Error()
		}
	}
	return nil, message
}

// checkChain compares the hashes that fragments of a site give of the ones before them.
func (s *signed) checkChain(r *Report, what string, p *siteapi.FragmentPayload) {
	what += ": chain"
	own := payloadHash(s.record)
	switch {
	case s.twice:
		r.add(what, false, fmt.Sprintf("number %d of %s was used twice", p.Number, p.Site))
		return
	case s.before != nil && s.before.record != nil && payloadHash(s.before.record) != p.Previous:
		r.add(what, false, fmt.Sprintf("fragment %d is not the one that this one follows", p.Number-1))
		return
	case s.after != nil && s.after.record != nil:
		if next, _ := open(&signed{record: s.after.record, keys: s.keys}); next != nil && next.Previous != own {
			r.add(what, false, fmt.Sprintf("fragment %d follows another one than this", p.Number+1))
			return
		}
	}
	r.add(what, true, fmt.Sprintf("number %d of %s%s", p.Number, p.Site, s.gap(p)))
}

// gap tells why the fragment before could not be compared.
func (s *signed) gap(p *siteapi.FragmentPayload) string {
	switch {
	case p.Number <= 1:
		return ""
	case s.before == nil:
		return "; the one before never came"
	case s.before.record == nil:
		return "; the one before was erased with its job"
	}
	return ""
}

func payloadHash(r *state.FragmentRecord) string {
	sum := sha256.Sum256(r.GetFragment().GetPayload())
	return hex.EncodeToString(sum[:])
}

// compare checks that the state says of an attempt what the site signed.
func (e *evidence) compare(r *Report, what string, a *state.Attempt, p *siteapi.FragmentPayload) {
	check := func(name string, same bool, signed, kept any) {
		r.add(what+": "+name, same, differ(same, fmt.Sprint(signed), fmt.Sprintf("the site signed %v, the record says %v", signed, kept)))
	}
	check("definition", p.Digest == e.job.Digest, p.Digest, e.job.Digest)
	check("outcome", p.Outcome == a.State, p.Outcome, a.State)
	if a.Epoch == e.job.CommitEpoch {
		hash := e.manifestHash()
		check("manifest", p.ManifestHash == hash, p.ManifestHash, hash)
	}
	f := a.GetFacts()
	if p.Facts.ExitCode != nil {
		kept := int(f.GetExitCode())
		check("exit code", f != nil && f.ExitCode != nil && kept == *p.Facts.ExitCode, *p.Facts.ExitCode, kept)
	}
	if p.Facts.Node != "" {
		check("node", p.Facts.Node == f.GetNode(), p.Facts.Node, f.GetNode())
	}
	if p.Facts.BatchID != "" {
		check("batch id", p.Facts.BatchID == f.GetBatchId(), p.Facts.BatchID, f.GetBatchId())
	}
	for _, l := range p.Facts.Logs {
		kept := ""
		for _, k := range f.GetLogs() {
			if k.Name == l.Name {
				kept = k.Sha256
			}
		}
		check(l.Name, kept == l.SHA256, l.SHA256, kept)
	}
	signed, kept := signedInputs(p.Inputs), e.inputs()
	check("inputs", slices.Equal(signed, kept), signed, kept)
	if signed, kept := signedReads(p.Facts), keptReads(f); len(signed) > 0 {
		check("what was read", slices.Equal(signed, kept), signed, kept)
	}
}

// signedReads are the SHA-256 of what an attempt fetched, and of the configuration files that it made.
func signedReads(f siteapi.Facts) []string {
	var all []string
	for _, t := range f.Transfers {
		if !t.Out {
			all = append(all, t.SHA256)
		}
	}
	for _, c := range f.Configs {
		all = append(all, c.SHA256)
	}
	return all
}

// keptReads are the same as the state has them.
func keptReads(f *command.Facts) []string {
	var all []string
	for _, t := range f.GetTransfers() {
		if !t.Out {
			all = append(all, t.Sha256)
		}
	}
	for _, c := range f.GetConfigs() {
		all = append(all, c.Sha256)
	}
	return all
}

// manifestHash is what the site made of the parts, made again.
func (e *evidence) manifestHash() string {
	parts := make([][]siteapi.ManifestFile, len(e.parts))
	for i, part := range e.parts {
		for _, f := range part.Files {
			parts[i] = append(parts[i], siteapi.ManifestFile{Output: f.Output, Path: f.Path, SHA256: f.Sha256, Size: f.Size, ContentType: f.ContentType})
		}
	}
	return siteapi.ManifestHash(parts)
}

func signedInputs(files []siteapi.File) []string {
	var all []string
	for _, f := range files {
		if f.SHA256 != "" {
			all = append(all, f.Path+" "+f.SHA256)
		}
	}
	slices.Sort(all)
	return all
}

// inputs are the inputs whose content was known when the attempt was leased.
func (e *evidence) inputs() []string {
	var all []string
	for _, in := range e.job.Spec.Inputs {
		if in.Sha256 != "" && in.Source != command.Input_PARAMETERS {
			all = append(all, in.Name+" "+in.Sha256)
		}
	}
	slices.Sort(all)
	return all
}
