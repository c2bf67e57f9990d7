package policy

import (
	"fmt"

	"consort/shared/config"
	"consort/shared/prov"
	"consort/shared/siteapi"
)

// Fetch says which inputs the agent may get by their URLs, for all that Allow allows.
type Fetch struct {
	URLs    []string    `toml:"urls,omitempty"`     // patterns as siteapi.CheckURLPattern reads them; none: nothing is fetched
	MaxSize config.Size `toml:"max_size,omitempty"` // of one file; 0: DefaultMaxFetch
}

// DefaultMaxFetch is the size up to which a file is fetched when the policy does not say.
const DefaultMaxFetch = 10 * config.GiB

// allows returns nil when a URL may be fetched, else a *Refusal.
func (f *Fetch) allows(text string) error {
	u, err := siteapi.ParseURL(text)
	if err != nil {
		return &Refusal{Clause: "fetch.urls", Why: err.Error()}
	}
	if !siteapi.URLAllowed(f.URLs, u) {
		return &Refusal{Clause: "fetch.urls", Why: fmt.Sprintf("%s is not among what may be fetched", prov.PublicURL(u.String()))}
	}
	return nil
}

// Most is the size up to which a file is fetched.
func (f *Fetch) Most() int64 {
	if f.MaxSize == 0 {
		return int64(DefaultMaxFetch)
	}
	return int64(f.MaxSize)
}

// emptyLimits finds what is written down and empty, as Policy.emptyLimits does.
func (f *Fetch) emptyLimits(where *config.Positions) []problem {
	var found []problem
	if where.Has("fetch.urls") && len(f.URLs) == 0 {
		found = append(found, problem{"fetch.urls", "it names nothing; leave it out to have nothing fetched"})
	}
	if where.Has("fetch.max_size") && f.MaxSize == 0 {
		found = append(found, problem{"fetch.max_size", fmt.Sprintf("it would allow nothing; leave it out for %v", DefaultMaxFetch)})
	}
	return found
}

func (f *Fetch) problems() []problem {
	if len(f.URLs) > siteapi.MaxURLPatterns {
		return []problem{{"fetch.urls", fmt.Sprintf("there are %d, at most %d are allowed", len(f.URLs), siteapi.MaxURLPatterns)}}
	}
	var all []problem
	for i, pattern := range f.URLs {
		if err := siteapi.CheckURLPattern(pattern); err != nil {
			all = append(all, problem{fmt.Sprintf("fetch.urls[%d]", i), fmt.Sprintf("%.100q is no pattern: %v", pattern, err)})
		}
	}
	return all
}
