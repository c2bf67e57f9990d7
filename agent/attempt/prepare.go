package attempt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"consort/agent/batch"
	"consort/agent/journal"
	"consort/shared/definition"
	"consort/shared/siteapi"
)

// prepare fetches what the attempt needs and lays it out, up to the wrapper. All of it is private to the
// attempt and can be done again.
func (a *Attempt) prepare(ctx context.Context) error {
	bundle, err := a.bundle(ctx)
	if err != nil {
		return err
	}
	grant, err := a.rt.Allow(bundle.Definition, &a.lease)
	if errors.Is(err, ErrUndecided) {
		return failf(string(definition.ClassSiteTransient), "site %s: %v", a.rt.Site, err)
	}
	if err != nil {
		return a.denied(err)
	}
	if err := a.dir.make(); err != nil {
		return transient(err)
	}
	given, err := a.values(bundle.Definition)
	if err != nil {
		return err
	}
	if err := a.placeFiles(bundle); err != nil {
		return err
	}
	in, err := a.place(ctx, bundle, grant)
	if err != nil {
		return err
	}
	given.Inputs = in.paths
	asked, reports := toAsk(bundle.Definition, grant.Software)
	argv, configs, err := a.write(bundle, given, grant.Variables, reports)
	if err != nil {
		return err
	}
	return a.save(journal.Submitting, a.rt.Journal.Put, func(r *record) {
		r.Argv, r.Rule, r.MaxOut = argv, grant.Rule, grant.MaxOutput
		r.Facts.Staged = time.Now().UTC()
		r.Facts.Transfers = in.transfers
		r.Facts.Configs = configs
		r.Facts.Software, r.Facts.Image, r.Asked = grant.Software, grant.Image, asked
	})
}

// denied is the failure of an attempt that the site's policy refuses.
func (a *Attempt) denied(err error) error {
	return failf(string(definition.ClassSiteConfig), "site %s: %v", a.rt.Site, err)
}

func (a *Attempt) bundle(ctx context.Context) (*definition.Bundle, error) {
	return a.rt.Bundles.get(ctx, a.rt.Client, a.rt.Cache, &a.lease)
}

// transient marks an error of this machine, such as a full disk.
func transient(err error) error {
	return failf(string(definition.ClassSiteTransient), "the site could not prepare the job: %v", err)
}

func (a *Attempt) limit() time.Duration {
	return time.Duration(a.lease.ExecutionSeconds) * time.Second
}

// Cores is how many cores the tasks of an attempt need together.
func Cores(r siteapi.Resources) int { return max(1, r.Cores) * max(1, r.Tasks) }

// values computes what placeholders expand to, but for the inputs.
func (a *Attempt) values(d *definition.Definition) (definition.ArgvContext, error) {
	given := map[string][]string{}
	for _, p := range a.lease.Parameters {
		given[p.Name] = append(given[p.Name], p.Values...)
	}
	values, problems := d.Check(given, true)
	if len(problems) > 0 {
		return definition.ArgvContext{}, failf(string(definition.ClassUser), "%v", problems[0])
	}
	r := a.lease.Resources
	return definition.ArgvContext{
		Values: values,
		Script: d.Run.Script,
		Resources: definition.Resources{
			Nodes: r.Nodes, Tasks: r.Tasks, Cores: r.Cores, GPUs: r.GPUs,
			MemoryBytes: r.MemoryBytes, ScratchBytes: r.ScratchBytes, Network: r.Network,
		},
	}, nil
}

// placeFiles puts the files of the definition into the working directory.
func (a *Attempt) placeFiles(bundle *definition.Bundle) error {
	for _, f := range bundle.Files {
		if f.Path == definition.MainFile {
			continue
		}
		if err := writeNew(filepath.Join(a.dir.work(), f.Path), f.Data, 0o400); err != nil {
			return transient(err)
		}
	}
	return nil
}

// write renders configuration, parameters and the wrapper, and returns the arguments of the code and what is told
// of the configuration.
func (a *Attempt) write(bundle *definition.Bundle, given definition.ArgvContext, site map[string]string, reports [][]string) ([]string, []siteapi.Config, error) {
	d := bundle.Definition
	argv, err := d.Argv(given)
	if err != nil {
		return nil, nil, failf(string(definition.ClassUser), "%v", err)
	}
	configs, err := a.writeConfigs(bundle, given)
	if err != nil {
		return nil, nil, err
	}
	secrets, err := a.writeValues(d, given)
	if err != nil {
		return nil, nil, err
	}
	env, err := a.environment(d, given, site, secrets)
	if err != nil {
		return nil, nil, err
	}
	return argv, configs, a.writeWrapper(d, given, argv, env, reports)
}

// writeValues writes the parameters, the secret ones to a file of their own, and tells whether there are such.
func (a *Attempt) writeValues(d *definition.Definition, given definition.ArgvContext) (secret bool, err error) {
	params, err := d.ParamsJSON(given.Values)
	if err != nil {
		return false, err
	}
	secrets, err := d.SecretsJSON(given.Values)
	if err != nil {
		return false, err
	}
	if err := os.WriteFile(a.dir.file(paramsFile), params, 0o600); err != nil {
		return false, transient(err)
	}
	if secrets == nil {
		return false, nil
	}
	if err := os.WriteFile(a.dir.file(secretsFile), secrets, 0o600); err != nil {
		return false, transient(err)
	}
	return true, nil
}

// writeConfigs makes the configuration files, and returns what is told of them.
func (a *Attempt) writeConfigs(bundle *definition.Bundle, given definition.ArgvContext) ([]siteapi.Config, error) {
	var told []siteapi.Config
	for _, c := range bundle.Definition.Config {
		template := bundle.File(c.Template)
		if template == nil {
			return nil, failf(string(definition.ClassDefinition), "the template %s is not among the definition's files", c.Template)
		}
		text, err := bundle.Definition.RenderConfig(c, template.Data, given)
		if err != nil {
			return nil, failf(string(definition.ClassUser), "%v", err)
		}
		if err := writeNew(filepath.Join(a.dir.work(), c.File), text, 0o600); err != nil {
			return nil, transient(err)
		}
		sum := sha256.Sum256(text)
		told = append(told, siteapi.Config{Name: c.File, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(text))})
	}
	return told[:min(len(told), siteapi.MaxConfigs)], nil
}

func (a *Attempt) writeWrapper(d *definition.Definition, given definition.ArgvContext, argv, env []string, reports [][]string) error {
	p := batch.Program{
		Job: a.lease.Job, Epoch: a.lease.Epoch, Args: argv, Env: env,
		WorkDir: a.dir.work(), Stdout: a.dir.file(stdoutFile), Stderr: a.dir.file(stderrFile),
		Reports: reports,
	}
	if stdin := d.Stdin(given); stdin != "" {
		p.Stdin = filepath.Join(a.dir.work(), stdin)
	}
	_, err := batch.WriteWrapper(a.dir.meta(), p)
	if errors.Is(err, batch.ErrProgram) {
		return failf(string(definition.ClassDefinition), "%v", err)
	}
	if err != nil {
		return transient(err)
	}
	return nil
}

// environment is everything the code finds in its environment: what the site gives, over it what the definition
// sets, over both what the agent sets. No text of a user is in it.
func (a *Attempt) environment(d *definition.Definition, given definition.ArgvContext, site map[string]string, secrets bool) ([]string, error) {
	own, err := d.Environment(given)
	if err != nil {
		return nil, failf(string(definition.ClassDefinition), "%v", err)
	}
	env := maps.Clone(site)
	if env == nil {
		env = map[string]string{}
	}
	for _, v := range own {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	maps.Copy(env, map[string]string{
		"HOME":               a.dir.home(),
		"TMPDIR":             a.dir.tmp(),
		"LC_ALL":             "C.UTF-8",
		"TZ":                 "UTC",
		"SOURCE_DATE_EPOCH":  strconv.FormatInt(a.lease.Created.Unix(), 10),
		"CONSORT_PARAMS":     a.dir.file(paramsFile),
		"CONSORT_ERROR_FILE": a.dir.file(errorFile),
		"CONSORT_CORES":      strconv.Itoa(max(1, a.lease.Resources.Cores)),
		"CONSORT_MEMORY_MB":  strconv.FormatInt(a.lease.Resources.MemoryBytes>>20, 10),
	})
	if secrets {
		env["CONSORT_SECRETS"] = a.dir.file(secretsFile)
	}
	list := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list, nil
}

// writeNew writes a file of the working directory, and the directories above it.
func writeNew(path string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
