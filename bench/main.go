// Bench measures the hot paths of Durward and prints the table of docs/performance.md. Each figure
// stands beside its limit, measured in the same run: the raw signature, the raw statement, the raw
// hash, or a handler that responds with 204. Machines are noisy, so compare the ratios.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	program  = flag.String("durward", "../.build/durward", "path of the program")
	dir      = flag.String("dir", "", "folder for data, on the disk to measure; a temporary folder by default")
	seconds  = flag.Float64("seconds", 5, "length of each measurement over HTTP")
	sessions = flag.Int("sessions", 200_000, "sessions in the filled databases; 10 million take ten minutes")
	only     = flag.Bool("only-sessions", false, "measure only the filled databases")
	onlyApps = flag.Bool("only-applications", false, "measure only the endpoints of OAuth 2.0")
	hydra    = flag.String("hydra", "", "path of Ory Hydra, to measure it beside the endpoints of OAuth 2.0; none by default")

	length time.Duration // of each measurement over HTTP
)

func main() {
	flag.Parse()
	testing.Init()
	length = time.Duration(*seconds * float64(time.Second))
	if err := try(run); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// failure is the panic of check.
type failure struct{ error }

// check ends the measurement if err is not nil. Deferred calls stop what it started.
func check(err error) {
	if err != nil {
		panic(failure{err})
	}
}

// must returns v if err is nil.
func must[T any](v T, err error) T {
	check(err)
	return v
}

// try calls f and returns the error that check got.
func try(f func()) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case failure:
			err = p.error
		default:
			panic(p)
		}
	}()
	f()
	return nil
}

// row is a line of the table.
type row struct{ what, figure, limit, ratio, aim string }

func run() {
	// Short enough for the number of prepared Digest responses.
	check(flag.Set("test.benchtime", "200ms"))
	if _, err := os.Stat(*program); err != nil {
		check(fmt.Errorf("%w: run make build", err))
	}
	if *dir == "" {
		*dir = must(os.MkdirTemp("", "durward-bench-"))
		defer os.RemoveAll(*dir)
	}
	measures := []func() []row{
		cached, uncached, schemes, revocations, refreshes, onPostgres, signIns, enumeration, transports, start, applications, many,
	}
	switch {
	case *only:
		measures = []func() []row{many}
	case *onlyApps:
		measures = []func() []row{applications}
	}
	fmt.Printf("%s, %d cores, %s, %s\n\n", processor(), runtime.NumCPU(), runtime.GOOS+"/"+runtime.GOARCH,
		runtime.Version())
	fmt.Println("| what | figure | limit, same run | ratio | aim |\n|---|---|---|---|---|")
	for _, measure := range measures {
		for _, r := range measure() {
			fmt.Printf("| %s | %s | %s | %s | %s |\n", r.what, r.figure, r.limit, r.ratio, r.aim)
		}
	}
}

func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return "unknown processor"
}

// medians makes each measurement three times, in turn, so that a busy moment of the machine
// disturbs all of them, and returns the median of each.
func medians(measures ...func() float64) []float64 {
	figures := make([][]float64, len(measures))
	for range 3 {
		for i, measure := range measures {
			figures[i] = append(figures[i], measure())
		}
	}
	all := make([]float64, len(measures))
	for i := range all {
		all[i] = median(figures[i])
	}
	return all
}

func median[T int | float64 | time.Duration](all []T) T {
	slices.Sort(all)
	return all[len(all)/2]
}

// rounded formats a duration with up to four digits.
func rounded(d time.Duration) string {
	switch {
	case d < 10*time.Microsecond:
		return fmt.Sprintf("%d ns", d.Nanoseconds())
	case d < time.Millisecond:
		return fmt.Sprintf("%.1f µs", float64(d)/1e3)
	}
	return fmt.Sprintf("%.1f ms", float64(d)/1e6)
}
