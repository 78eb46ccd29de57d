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

func main() {
	binary := flag.String("durward", "../.build/durward", "path of the program")
	dir := flag.String("dir", "", "folder for data, on the disk to measure; a temporary folder by default")
	seconds := flag.Float64("seconds", 5, "length of each measurement over HTTP")
	sessions := flag.Int("sessions", 200_000, "sessions in the filled databases; 10 million take ten minutes")
	only := flag.Bool("only-sessions", false, "measure only the filled databases")
	flag.Parse()
	testing.Init()
	// Short enough for the number of prepared Digest responses.
	if err := flag.Set("test.benchtime", "200ms"); err != nil {
		panic(err)
	}
	if err := run(*binary, *dir, *sessions, *only, time.Duration(*seconds*float64(time.Second))); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// row is a line of the table.
type row struct{ what, figure, limit, ratio, aim string }

func run(binary, dir string, sessions int, only bool, length time.Duration) error {
	if _, err := os.Stat(binary); err != nil {
		return fmt.Errorf("%w: run make build", err)
	}
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "durward-bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	var rows []row
	filled := func() ([]row, error) { return many(binary, dir, sessions, length) }
	measures := []func() ([]row, error){
		cached,
		uncached,
		schemes,
		revocations,
		func() ([]row, error) { return refreshes(binary, dir, length) },
		func() ([]row, error) { return onPostgres(binary, dir, length) },
		func() ([]row, error) { return signIns(binary, dir, length) },
		transports,
		func() ([]row, error) { return start(binary, dir) },
		filled,
	}
	if only {
		measures = measures[len(measures)-1:]
	}
	for _, measure := range measures {
		more, err := measure()
		if err != nil {
			return err
		}
		rows = append(rows, more...)
	}
	fmt.Printf("%s, %d cores, %s, %s\n\n", processor(), runtime.NumCPU(), runtime.GOOS+"/"+runtime.GOARCH,
		runtime.Version())
	fmt.Println("| what | figure | limit, same run | ratio | aim |\n|---|---|---|---|---|")
	for _, r := range rows {
		fmt.Printf("| %s | %s | %s | %s | %s |\n", r.what, r.figure, r.limit, r.ratio, r.aim)
	}
	return nil
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
