// Command benchmark measures Consort's real programs on this machine, on loopback, each figure beside what
// the machine could do at best, measured in the same run. It prints one table; docs/benchmarks.md says what
// the figures mean.
//
// It is not a test: a missed target is a word in the table, not an exit status.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// bench is one run.
type bench struct {
	bin   string // directory of the programs
	dir   string // for everything that is written
	quick bool   // less of everything
	table table
}

// section is a group of figures that are measured together.
type section struct {
	name, about string
	run         func(context.Context, *bench) error
}

var sections = []section{
	{"requests", "creates and reads of jobs by 1, 16 and 64 clients", requests},
	{"list", "job lists of many jobs, and starting with them", lists},
	{"run", "from RUN to the process and to COMPLETED", runs},
	{"pace", "jobs completed per second at a site of 64 slots", pace},
	{"push", "outputs beside OpenSSH sftp and sha256sum", push},
	{"prov", "lineage among two million files", prov},
	{"idle", "what an idle agent takes, and waking who waits", idle},
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	b := &bench{}
	var root string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&b.bin, "bin", "bin", "`directory` of consort and consort-agent")
	flags.StringVar(&root, "dir", "", "`directory` for the data, on the disk to measure (default: the system's for temporary files)")
	flags.BoolVar(&b.quick, "quick", false, "shorter, and lists of at most 100,000 jobs")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: scripts/bench [--quick] [--dir DIR] [SECTION…]\n\nsections, all by default:")
		for _, s := range sections {
			fmt.Fprintf(flags.Output(), "  %-9s %s\n", s.name, s.about)
		}
	}
	wanted, err := parse(flags, os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if b.bin, err = filepath.Abs(b.bin); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(root, "consort-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return b.measure(ctx, wanted)
}

// parse takes flags and sections in any order.
func parse(flags *flag.FlagSet, args []string) (wanted []section, err error) {
	var names []string
	for len(args) > 0 {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if args = flags.Args(); len(args) > 0 {
			names, args = append(names, args[0]), args[1:]
		}
	}
	for _, n := range names {
		if !slices.ContainsFunc(sections, func(s section) bool { return s.name == n }) {
			return nil, fmt.Errorf("there is no section %q; see --help", n)
		}
	}
	for _, s := range sections {
		if len(names) == 0 || slices.Contains(names, s.name) {
			wanted = append(wanted, s)
		}
	}
	return wanted, nil
}

// measure runs the sections and prints the table, also when one of them breaks off.
func (b *bench) measure(ctx context.Context, wanted []section) error {
	fmt.Printf("%s\n\n", strings.Join(machine(), "\n"))
	var errs []error
	for _, s := range wanted {
		fmt.Fprintf(os.Stderr, "%s: %s (load %s)\n", s.name, s.about, load())
		begun := time.Now()
		if err := s.run(ctx, b); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
			fmt.Fprintf(os.Stderr, "%s: %v\n", s.name, err)
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n", s.name, time.Since(begun).Round(100*time.Millisecond))
		if ctx.Err() != nil {
			break
		}
	}
	b.table.print(os.Stdout)
	return errors.Join(errs...)
}

// scratch makes a directory for one part of the run.
func (b *bench) scratch(name string) (string, error) {
	return os.MkdirTemp(b.dir, name+"-")
}

// either chooses between a short and a full run.
func either[T any](quick bool, short, full T) T {
	if quick {
		return short
	}
	return full
}
