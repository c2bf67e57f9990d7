package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"consort/shared/userapi"
	"consort/shared/uws"
)

// parallelMembers is how many files of a collection are fetched at a time.
const parallelMembers = 8

var resultHeading = []string{"RESULT", "SIZE", "TYPE", "SHA-256", "FILE"}

func resultRows(results []userapi.Result) [][]string {
	rows := make([][]string, len(results))
	for i, r := range results {
		file := r.FileName
		if r.Collection {
			file = fmt.Sprintf("%d files", r.Files)
		}
		rows[i] = []string{r.ID, bytesText(r.Size), r.ContentType, r.SHA256, file}
	}
	return rows
}

func (a *App) resultsListCommand() *cobra.Command {
	cmd := command("ls ID", "List the results of a job",
		`List the results of a job; the main one comes first.`,
		"  consort job results ls j01ke5nz",
		arguments(1, 1), func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			job, err := a.findJob(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			if a.output == jsonFormat {
				return a.printJSON(job.Results)
			}
			if len(job.Results) == 0 {
				a.say("%s", noResults(job))
				return nil
			}
			return a.printTable(resultHeading, resultRows(job.Results))
		})
	cmd.Aliases = []string{"list"}
	return cmd
}

func (a *App) resultsGetCommand() *cobra.Command {
	var (
		dir     string
		replace bool
	)
	cmd := command("get ID [RESULT...]", "Fetch results of a job",
		`Fetch the results of a job, all or those named ("result" is the main one), into a folder. A collection becomes
a folder of its own. The path of each file is printed on standard output.

Every file is checked against its SHA-256 before it gets its name; a download that was cut goes on where it
stopped, also when the command is run again. Files that are there already are left alone. Names that could
lead out of the folder, or hide in it, are changed.`,
		`  consort job results get j01ke5nz -d out
  consort job results get j01ke5nz result
  consort job results get j01ke5nz images -d out --replace`,
		arguments(1, -1), func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			job, err := a.findJob(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			wanted, err := choose(job, args[1:])
			if err != nil {
				return err
			}
			return a.fetchAll(cmd.Context(), c, job, wanted, dir, replace)
		})
	cmd.Flags().StringVarP(&dir, "dir", "d", ".", "`folder` to write into; made if missing")
	cmd.Flags().BoolVar(&replace, "replace", false, "overwrite files that have other content")
	must(cmd.MarkFlagDirname("dir"))
	return cmd
}

// choose picks results by id.
func choose(job *userapi.Job, names []string) ([]userapi.Result, error) {
	if len(job.Results) == 0 {
		return nil, errors.New(noResults(job))
	}
	if len(names) == 0 {
		return job.Results, nil
	}
	var wanted []userapi.Result
	for _, name := range names {
		r := findResult(job, name)
		if r == nil {
			var have []string
			for _, r := range job.Results {
				have = append(have, r.ID)
			}
			return nil, fmt.Errorf("job %s has no result %q; it has %s", job.ID, name, strings.Join(have, ", "))
		}
		wanted = append(wanted, *r)
	}
	return wanted, nil
}

// findResult finds a result by its id, or the main one as "result".
func findResult(job *userapi.Job, name string) *userapi.Result {
	for i, r := range job.Results {
		if r.ID == name || name == "result" && i == 0 {
			return &job.Results[i]
		}
	}
	return nil
}

func noResults(job *userapi.Job) string {
	switch {
	case job.Phase == string(uws.Archived):
		return fmt.Sprintf("job %s is archived: its files are gone, its provenance stays", job.ID)
	case !uws.Phase(job.Phase).Final():
		return fmt.Sprintf("job %s is %s and has no results yet; wait with: consort job wait %s", job.ID, job.Phase, job.ID)
	}
	return fmt.Sprintf("job %s ended as %s without results", job.ID, job.Phase)
}

// fetch is one run of results get.
type fetch struct {
	app     *App
	client  *userapi.Client
	dir     string
	root    *os.Root
	replace bool
	names   map[string]bool // taken, of the files at the top
	meter   *meter
	files   []fetchedFile
}

// fetchedFile is what results get tells of each file.
type fetchedFile struct {
	Result  string `json:"result"`
	Path    string `json:"path"`
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256"`
	Fetched bool   `json:"fetched"` // false: it was there already
}

func (a *App) fetchAll(ctx context.Context, c *userapi.Client, job *userapi.Job, wanted []userapi.Result, dir string, replace bool) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open the folder: %w", err)
	}
	defer root.Close()
	f := &fetch{app: a, client: c, dir: dir, root: root, replace: replace, names: map[string]bool{}, meter: a.newMeter()}
	for _, r := range wanted {
		f.meter.total += r.Size
	}
	for _, r := range wanted {
		if r.Collection {
			err = f.collection(ctx, job, r)
		} else {
			err = f.single(ctx, r)
		}
		if err != nil {
			break
		}
	}
	f.meter.clear()
	if a.output == jsonFormat && err == nil {
		return a.printJSON(f.files)
	}
	if errors.Is(err, context.Canceled) {
		return &advice{err, "Interrupted. The same command goes on where this one stopped."}
	}
	return err
}

func (f *fetch) single(ctx context.Context, r userapi.Result) error {
	name := r.FileName
	if name == "" {
		name = r.ID
	}
	name = unique(f.names, userapi.SafeName(name))
	file, err := f.one(ctx, r.ID, name, userapi.Download{URL: r.URL, SHA256: r.SHA256, Size: r.Size})
	return errors.Join(err, f.tell(file))
}

// collection fetches the files of a collection into a folder named for it.
func (f *fetch) collection(ctx context.Context, job *userapi.Job, r userapi.Result) error {
	folder := unique(f.names, userapi.SafeName(r.ID))
	names, cursor := map[string]bool{}, ""
	for {
		page, err := f.client.Members(ctx, job.ID, r.ID, cursor)
		if err != nil {
			return err
		}
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(parallelMembers)
		fetched := make([]*fetchedFile, len(page.Members))
		for i, m := range page.Members {
			name := path.Join(folder, unique(names, userapi.SafePath(m.Path)))
			g.Go(func() (err error) {
				fetched[i], err = f.one(ctx, r.ID, name, userapi.Download{URL: m.URL, SHA256: m.SHA256, Size: m.Size})
				return err
			})
		}
		err = g.Wait()
		if err = errors.Join(err, f.tell(fetched...)); err != nil {
			return err
		}
		if page.Next == "" || page.Next == cursor || len(page.Members) == 0 {
			return nil
		}
		cursor = page.Next
	}
}

// one fetches one file. Several may be fetched at a time.
func (f *fetch) one(ctx context.Context, result, name string, d userapi.Download) (*fetchedFile, error) {
	d.Name, d.Replace = name, f.replace
	before := int64(0)
	d.Progress = func(n int64) {
		f.meter.add(n - before)
		before = n
	}
	fetched, err := f.client.Download(ctx, f.root, d)
	if err != nil {
		return nil, err
	}
	f.meter.add(d.Size - before)
	return &fetchedFile{Result: result, Path: filepath.Join(f.dir, filepath.FromSlash(name)), Size: d.Size, SHA256: d.SHA256, Fetched: fetched}, nil
}

// tell notes files that are there, and prints their paths.
func (f *fetch) tell(files ...*fetchedFile) error {
	f.meter.clear()
	for _, file := range files {
		if file == nil {
			continue // not fetched, which another error tells
		}
		f.files = append(f.files, *file)
		if f.app.output == jsonFormat {
			continue
		}
		if _, err := fmt.Fprintln(f.app.Out, file.Path); err != nil {
			return err
		}
	}
	return nil
}

// unique reserves a name, changed when it is taken: names that differed may be alike once they are safe, or
// on a disk that does not tell upper from lower case.
func unique(taken map[string]bool, name string) string {
	extension := path.Ext(name)
	stem := strings.TrimSuffix(name, extension)
	for n := 2; taken[strings.ToLower(name)]; n++ {
		name = stem + "-" + strconv.Itoa(n) + extension
	}
	taken[strings.ToLower(name)] = true
	return name
}

// meter shows how far downloads are: on a terminal in one line, elsewhere in a line every ten seconds.
type meter struct {
	app   *App
	live  bool
	total int64

	mu    sync.Mutex
	done  int64
	last  time.Time
	began time.Time
	drawn bool
}

func (a *App) newMeter() *meter {
	now := time.Now()
	return &meter{app: a, live: terminal(a.Err), last: now, began: now}
}

func (m *meter) add(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += n
	every := 10 * time.Second
	if m.live {
		every = 200 * time.Millisecond
	}
	if m.app.quiet || time.Since(m.last) < every {
		return
	}
	m.last = time.Now()
	text := fmt.Sprintf("%s of %s, %s/s", bytesText(m.done), bytesText(m.total), bytesText(int64(float64(m.done)/time.Since(m.began).Seconds())))
	if !m.live {
		fmt.Fprintln(m.app.Err, text)
		return
	}
	fmt.Fprintf(m.app.Err, "\r\x1b[K%s", clip(text, m.app.width(m.app.Err)-1))
	m.drawn = true
}

// clear makes room for another line.
func (m *meter) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.drawn {
		fmt.Fprint(m.app.Err, "\r\x1b[K")
		m.drawn = false
	}
}
