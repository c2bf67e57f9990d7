package definitions_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"

	"consort/coordinator/command"
	"consort/coordinator/content"
	"consort/coordinator/definitions"
	"consort/coordinator/state"
	"consort/shared/definition"
)

// log applies what is proposed to a state at once.
type log struct {
	*state.Store
	index uint64
}

func (l *log) Propose(_ context.Context, c *command.Command) (*command.Result, error) {
	data, err := command.Encode(c)
	if err != nil {
		return nil, err
	}
	l.index++
	results, err := l.ApplyBatch([]state.Entry{{Index: l.index, Term: 1, Data: data}})
	if err != nil {
		return nil, err
	}
	return results[0].(*command.Result), nil
}

// TestGetAfterPublish: what was found is kept until something is published, and what was not found is asked again.
func TestGetAfterPublish(t *testing.T) {
	dir, quiet := t.TempDir(), slog.New(slog.DiscardHandler)
	store, err := state.Open(state.Config{Dir: filepath.Join(dir, "state"), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	contents, err := content.Open(content.Config{Dir: filepath.Join(dir, "content"), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	s := definitions.New(&log{Store: store}, store, contents)
	if _, err := s.Get("one"); !errors.Is(err, definitions.ErrNotFound) {
		t.Errorf("before anything is published: %v", err)
	}
	for _, version := range []string{"1", "1.1", "2"} {
		bundle, err := definition.FromFiles(map[string][]byte{"definition.toml": []byte(toml("one", version, "One"))})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Publish(t.Context(), bundle); err != nil {
			t.Fatal(err)
		}
		for _, ref := range []string{"one", "one", "one@" + version} {
			e, err := s.Get(ref)
			if err != nil {
				t.Fatal(err)
			}
			if e.Record.Version != version || e.Definition.Version != version {
				t.Errorf("%s is %s and %s after %s was published", ref, e.Record.Version, e.Definition.Version, version)
			}
		}
	}
}
