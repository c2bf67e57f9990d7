package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"consort/shared/userapi"
)

// process is a running program of Consort.
type process struct {
	cmd    *exec.Cmd
	errors *os.File // its standard error
	waited chan struct{}
	err    error
}

// start runs a program of Consort. When first is not nil it gets the first line of standard output.
func (b *bench) start(dir string, first *string, program string, args ...string) (*process, error) {
	log, err := os.OpenFile(filepath.Join(dir, program+".log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(filepath.Join(b.bin, program), args...), errors: log, waited: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stderr = dir, log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	if first != nil {
		*first, err = bufio.NewReader(out).ReadString('\n')
	}
	go func() {
		defer close(p.waited)
		_, _ = io.Copy(io.Discard, out)
		p.err = p.cmd.Wait()
	}()
	if err != nil {
		err = errors.Join(fmt.Errorf("%s did not start: %s", program, p.lastWords()), p.stop())
		return nil, err
	}
	return p, nil
}

func (p *process) lastWords() string {
	text, _ := os.ReadFile(p.errors.Name())
	return strings.TrimSpace(string(text[max(0, len(text)-500):]))
}

// stop ends the program, and kills it when it does not end within 10 s.
func (p *process) stop() error {
	defer p.errors.Close()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.waited:
		return p.err
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.waited
		return fmt.Errorf("%s did not stop: %s", p.cmd.Path, p.lastWords())
	}
}

// resident is the memory the program takes, in bytes.
func (p *process) resident() int64 {
	kib, _ := strconv.ParseInt(strings.TrimSuffix(field(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid), "VmRSS"), " kB"), 10, 64)
	return kib << 10
}

// cpu is how long the program has used a core, and how long the processes that it started and that ended have. On a
// shared machine it is steadier than any clock.
func (p *process) cpu() (own, started time.Duration) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	_, rest, _ := strings.Cut(string(text), ") ") // behind the name, from the third field on
	fields := strings.Fields(rest)
	if len(fields) < 15 {
		return 0, 0
	}
	ticks := func(i int) time.Duration {
		n, _ := strconv.ParseInt(fields[i], 10, 64)
		return time.Duration(n) * (time.Second / 100)
	}
	return ticks(11) + ticks(12), ticks(13) + ticks(14)
}

// server is a started "consort dev" or "consort coordinator".
type server struct {
	*process
	dir     string // of its data
	address string // of its HTTP front
	client  *userapi.Client
}

// dev starts "consort dev" with its data in dir.
func (b *bench) dev(dir string, args ...string) (*server, error) {
	return b.serve(dir, append([]string{"dev", "--data", dir, "--http", "127.0.0.1:0", "--sftp", "127.0.0.1:0"}, args...)...)
}

// operator is the token of the operator of a server started by coordinator.
const operator = "bench"

// coordinator starts "consort coordinator" with its data in dir and the examples published.
func (b *bench) coordinator(dir string, hash string) (*server, error) {
	file := filepath.Join(dir, "coordinator.toml")
	text := fmt.Sprintf("data = 'coordinator'\nhttp = '127.0.0.1:0'\nsftp = '127.0.0.1:0'\nexamples = true\nanonymous = true\n"+
		"[[token]]\nname = 'bench'\nsha256 = '%s'\noperator = true\n", hash)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return b.serve(dir, "coordinator", "--config", file, "--log-level", "warn")
}

func (b *bench) serve(dir string, args ...string) (*server, error) {
	var line string
	p, err := b.start(dir, &line, "consort", args...)
	if err != nil {
		return nil, err
	}
	s := &server{process: p, dir: dir}
	for _, word := range strings.Fields(line) {
		if url, ok := strings.CutPrefix(word, "http=http://"); ok {
			s.address = url
		}
	}
	token := ""
	if args[0] == "coordinator" {
		token = operator
	}
	if s.client, err = userapi.New(userapi.Config{Server: s.url(), Token: token}); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return s, nil
}

func (s *server) url() string { return "http://" + s.address }

// submit makes a job; fields are name=value.
func (s *server) submit(ctx context.Context, definition string, draft bool, fields ...string) (userapi.Ref, error) {
	job := userapi.Submission{Definition: definition, Draft: draft}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, "=")
		job.Fields = append(job.Fields, userapi.Field{Name: name, Value: value})
	}
	made, err := s.client.Submit(ctx, job)
	return userapi.Ref{Definition: definition, ID: made.ID}, err
}

// finished waits until a job has completed.
func (s *server) finished(ctx context.Context, job userapi.Ref) error {
	doc, err := s.client.Wait(ctx, job, userapi.WaitOptions{})
	if err != nil {
		return err
	}
	if doc.Phase != "COMPLETED" {
		return fmt.Errorf("job %s ended as %s", job.ID, doc.Phase)
	}
	return nil
}
