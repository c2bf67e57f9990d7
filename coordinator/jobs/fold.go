package jobs

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"consort/coordinator/command"
	"consort/coordinator/state"
)

// Values of parameters that together are too large for a command are kept in one content file, which the job
// holds like an input. It stands among the inputs under a name that no input can have; nobody but this file
// sees it.
const (
	foldedName   = "*"
	inlineLimit  = 24 << 10 // bytes of all values that may stand in a command
	maxFoldedRaw = 8 << 20  // of the file: JSON may escape every byte of a form
)

// fold moves the largest values out until the rest is small. It returns what stays, and the input that
// stands for what was moved, nil when nothing was.
func (s *Service) fold(ctx context.Context, parameters []*command.Parameter) ([]*command.Parameter, *command.Input, error) {
	total := sizeOfAll(parameters)
	if total <= inlineLimit {
		return parameters, nil, nil
	}
	bySize := slices.Clone(parameters)
	slices.SortStableFunc(bySize, func(a, b *command.Parameter) int { return cmp.Compare(sizeOf(b), sizeOf(a)) })
	moved := map[string][]string{}
	for _, p := range bySize {
		if total <= inlineLimit/2 {
			break
		}
		if p.Secret { // never into a file of the store
			continue
		}
		moved[p.Name] = p.Values
		total -= sizeOf(p)
	}
	if total > inlineLimit {
		return nil, nil, fmt.Errorf("%w: the secret parameters have %d bytes together; at most %d are allowed", ErrTooLarge, total, inlineLimit)
	}
	data, err := json.Marshal(moved) // sorts by name: the same values are the same content
	if err != nil {
		return nil, nil, fmt.Errorf("encode large parameters: %w", err)
	}
	blob, err := s.cfg.Files.Put(ctx, bytes.NewReader(data), maxFoldedRaw)
	if err != nil {
		return nil, nil, fmt.Errorf("store large parameters: %w", err)
	}
	rest := slices.DeleteFunc(slices.Clone(parameters), func(p *command.Parameter) bool { return moved[p.Name] != nil })
	return rest, &command.Input{
		Name: foldedName, Source: command.Input_PARAMETERS, Sha256: blob.SHA256, Size: blob.Size, ContentType: "application/json",
	}, nil
}

func sizeOf(p *command.Parameter) int {
	n := len(p.Name) + 16
	for _, v := range p.Values {
		n += len(v) + 4
	}
	return n
}

func sizeOfAll(parameters []*command.Parameter) int {
	total := 0
	for _, p := range parameters {
		total += sizeOf(p)
	}
	return total
}

// Spec reads what a job was asked to do, with the values that were folded away back in their place.
func (s *Service) Spec(v *state.View, id string) (*state.Spec, error) {
	spec, err := v.Spec(id)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(spec.Inputs, isFolded)
	if i < 0 {
		return spec, nil
	}
	f, err := s.cfg.Files.Open(spec.Inputs[i].Sha256)
	if err != nil {
		return nil, fmt.Errorf("open large parameters of job %s: %w", id, err)
	}
	defer f.Close()
	var moved map[string][]string
	data, err := io.ReadAll(io.LimitReader(f, maxFoldedRaw))
	if err == nil {
		err = json.Unmarshal(data, &moved)
	}
	if err != nil {
		return nil, fmt.Errorf("read large parameters of job %s: %w", id, err)
	}
	spec.Inputs = slices.Delete(spec.Inputs, i, i+1)
	for name, values := range moved {
		spec.Parameters = append(spec.Parameters, &command.Parameter{Name: name, Values: values})
	}
	slices.SortFunc(spec.Parameters, func(a, b *command.Parameter) int { return cmp.Compare(a.Name, b.Name) })
	return spec, nil
}

func isFolded(in *command.Input) bool { return in.Source == command.Input_PARAMETERS }

// foldUpdate lays the changed parameters over those there are and folds the whole: which of them stand in a
// file may change with any of them. While nothing does, only what was asked for is sent, so that changes of
// different parameters at the same time, on different nodes even, do not undo each other.
func (s *Service) foldUpdate(ctx context.Context, have, set []*command.Parameter, body *command.UpdateJob) error {
	all := slices.DeleteFunc(slices.Clone(have), func(p *command.Parameter) bool {
		return slices.ContainsFunc(set, func(q *command.Parameter) bool { return q.Name == p.Name })
	})
	all = append(all, set...)
	if sizeOfAll(have) <= inlineLimit && sizeOfAll(all) <= inlineLimit {
		body.SetParameters = set
		return nil
	}
	rest, folded, err := s.fold(ctx, all)
	if err != nil {
		return err
	}
	body.Unset = []string{foldedName}
	if folded == nil {
		body.SetParameters = rest
		return nil
	}
	for _, p := range all {
		if !slices.Contains(rest, p) {
			body.Unset = append(body.Unset, p.Name)
		}
	}
	body.SetParameters = rest
	body.SetInputs = append(body.SetInputs, folded)
	return nil
}
