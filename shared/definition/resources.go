package definition

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"consort/shared/config"
)

// Range is a default that the user may change within bounds; where Min equals Max it is fixed.
type Range[T ~int | ~int64] struct {
	Default T `json:"default"`
	Min     T `json:"min"`
	Max     T `json:"max"`
}

// Limits is what a run may use. Cores and gpus count per task, memory and scratch per node.
type Limits struct {
	Nodes   Range[int]         `json:"nodes"`
	Tasks   Range[int]         `json:"tasks"`
	Cores   Range[int]         `json:"cores"`
	GPUs    Range[int]         `json:"gpus"`
	Memory  Range[config.Size] `json:"memory"`
	Scratch Range[config.Size] `json:"scratch"`
	Network bool               `json:"network"`
}

// Resources is what one job asks for. Cores and GPUs count per task, memory and scratch per node.
type Resources struct {
	Nodes        int   `json:"nodes"`
	Tasks        int   `json:"tasks"`
	Cores        int   `json:"cores"`
	GPUs         int   `json:"gpus"`
	MemoryBytes  int64 `json:"memory_bytes"`
	ScratchBytes int64 `json:"scratch_bytes"`
	Network      bool  `json:"network"`
}

// ResourcePrefix begins the names of the POST fields that set resources, in any case.
const ResourcePrefix = "resource_"

// ResourceKeys are the keys that may follow ResourcePrefix and that {resource.KEY} knows.
var ResourceKeys = []string{"nodes", "tasks", "cores", "gpus", "memory", "scratch"}

// Resources returns the resources of a job: the defaults, changed by the fields resource_<key> among
// the given ones, whatever their case. Other fields are left alone.
func (d *Definition) Resources(given map[string][]string) (Resources, []Problem) {
	l := d.Limits
	r := Resources{
		Nodes: l.Nodes.Default, Tasks: l.Tasks.Default, Cores: l.Cores.Default, GPUs: l.GPUs.Default,
		MemoryBytes: int64(l.Memory.Default), ScratchBytes: int64(l.Scratch.Default), Network: l.Network,
	}
	var problems []Problem
	seen := map[string]bool{}
	for _, name := range sortedKeys(given) {
		key, ok := strings.CutPrefix(strings.ToLower(name), ResourcePrefix)
		if !ok {
			continue
		}
		for _, value := range given[name] {
			why := "must be given once"
			if !seen[key] {
				why = r.set(l, key, value)
			}
			seen[key] = true
			if why != "" {
				problems = append(problems, Problem{Name: ResourcePrefix + key, Value: clip(value), Why: why})
			}
		}
	}
	return r, problems
}

// set changes one resource, or says why not.
func (r *Resources) set(l Limits, key, value string) (why string) {
	switch key {
	case "nodes":
		return setCount(&r.Nodes, l.Nodes, value)
	case "tasks":
		return setCount(&r.Tasks, l.Tasks, value)
	case "cores":
		return setCount(&r.Cores, l.Cores, value)
	case "gpus":
		return setCount(&r.GPUs, l.GPUs, value)
	case "memory":
		return setSize(&r.MemoryBytes, l.Memory, value)
	case "scratch":
		return setSize(&r.ScratchBytes, l.Scratch, value)
	}
	return "unknown resource; there are " + strings.Join(ResourceKeys, ", ")
}

func setCount(into *int, within Range[int], value string) (why string) {
	n, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil {
		return "must be a whole number"
	}
	if n < within.Min || n > within.Max {
		return fmt.Sprintf("must be from %d to %d", within.Min, within.Max)
	}
	*into = n
	return ""
}

func setSize(into *int64, within Range[config.Size], value string) (why string) {
	n, err := config.ParseSize(strings.TrimSpace(value))
	if err != nil {
		return `must be a size, such as "2 GiB"`
	}
	if n < within.Min || n > within.Max {
		return fmt.Sprintf("must be from %s to %s", within.Min, within.Max)
	}
	*into = int64(n)
	return ""
}

// text returns a resource as {resource.KEY} expands: a count, or for memory and scratch whole MiB, as
// CONSORT_MEMORY_MB.
func (r Resources) text(key string) string {
	switch key {
	case "nodes":
		return strconv.Itoa(r.Nodes)
	case "tasks":
		return strconv.Itoa(r.Tasks)
	case "cores":
		return strconv.Itoa(r.Cores)
	case "gpus":
		return strconv.Itoa(r.GPUs)
	case "memory":
		return strconv.FormatInt(r.MemoryBytes>>20, 10)
	}
	return strconv.FormatInt(r.ScratchBytes>>20, 10)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
