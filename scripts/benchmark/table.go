package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// row is one figure of the table. Empty cells are left blank.
type row struct {
	figure, value, ceiling, ratio, target string
	verdict                               string // ok, miss, or blank where nothing was promised
}

// table collects rows and says each at once on standard error.
type table struct{ rows []row }

func (t *table) add(r row) {
	t.rows = append(t.rows, r)
	fmt.Fprintf(os.Stderr, "  %s: %s  %s %s %s %s\n", r.figure, r.value, r.ceiling, r.ratio, r.target, r.verdict)
}

// note adds a figure without a promise.
func (t *table) note(figure, value string) { t.add(row{figure: figure, value: value}) }

// within adds a figure that is good when it is at most a bound.
func within[T int64 | time.Duration](t *table, figure string, got, most T, show func(T) string) {
	t.add(row{figure: figure, value: show(got), target: "≤ " + show(most), verdict: verdict(got <= most)})
}

// against adds a figure beside its ceiling; target is the ratio to reach, 0 when none was promised.
func (t *table) against(figure, value, ceiling string, ratio, target float64) {
	r := row{figure: figure, value: value, ceiling: ceiling, ratio: fmt.Sprintf("%.2f", ratio)}
	if target > 0 {
		r.target, r.verdict = fmt.Sprintf("≥ %.1f", target), verdict(ratio >= target)
	}
	t.add(r)
}

func verdict(ok bool) string {
	if ok {
		return "ok"
	}
	return "miss"
}

// print writes the table as Markdown, in columns.
func (t *table) print(w io.Writer) {
	cells := [][]string{{"figure", "measured", "ceiling", "ratio", "target", ""}}
	for _, r := range t.rows {
		cells = append(cells, []string{r.figure, r.value, r.ceiling, r.ratio, r.target, r.verdict})
	}
	width := make([]int, len(cells[0]))
	for _, line := range cells {
		for i, c := range line {
			width[i] = max(width[i], len([]rune(c)))
		}
	}
	rule := make([]string, len(width))
	for i, n := range width {
		rule[i] = strings.Repeat("-", n)
	}
	for _, line := range slices.Insert(cells, 1, rule) {
		for i, c := range line {
			fmt.Fprintf(w, "| %s%s ", c, strings.Repeat(" ", width[i]-len([]rune(c))))
		}
		fmt.Fprintln(w, "|")
	}
}

func rate(perSecond float64) string { return fmt.Sprintf("%.0f/s", perSecond) }

func mibs(perSecond float64) string { return fmt.Sprintf("%.0f MiB/s", perSecond/(1<<20)) }

func mib(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

// ms shows a duration with three digits.
func ms(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'g', 3, 64) + " ms"
}

func quantiles(p50, p99 time.Duration) string {
	return fmt.Sprintf("p50 %s, p99 %s", ms(p50), ms(p99))
}

// machine says where and when this was measured.
func machine() []string {
	return []string{
		fmt.Sprintf("%s, %d cores (%s), %s, Linux %s, %s", time.Now().UTC().Format("2006-01-02 15:04 UTC"), runtime.NumCPU(),
			field("/proc/cpuinfo", "model name"), memory(), firstWord("/proc/sys/kernel/osrelease"), runtime.Version()),
		"load average at the start: " + load(),
	}
}

func load() string { return firstWord("/proc/loadavg") }

func memory() string {
	kib, _ := strconv.ParseInt(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 10, 64)
	return fmt.Sprintf("%.0f GiB", float64(kib)/(1<<20))
}

// field returns the first value of a name in a file of "name: value" lines, empty if there is none.
func field(file, name string) string {
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func firstWord(file string) string {
	text, _ := os.ReadFile(file)
	word, _, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	return word
}
