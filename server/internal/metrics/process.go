package metrics

import (
	"bytes"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
)

// processFamilies returns the metrics of the Go runtime and, on Linux, of the process, with the names that
// the client library of Prometheus gives them.
func processFamilies() []family {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	counter := func(name, help string, value float64) family {
		return family{name, help, "counter", func() []sample { return only(value) }}
	}
	gauge := func(name, help string, value float64) family {
		return family{name, help, "gauge", func() []sample { return only(value) }}
	}
	memory := func(name, help string, value uint64) family { return gauge("go_memstats_"+name, help, float64(value)) }
	gogc := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(gogc)
	threads, _ := runtime.ThreadCreateProfile(nil)
	families := []family{
		{"go_info", "Information about the Go environment.", "gauge", func() []sample {
			return []sample{{labels: []label{{"version", runtime.Version()}}, value: 1}}
		}},
		{"go_gc_duration_seconds", "A summary of the pause times of garbage collections.", "summary", pauses},
		gauge("go_goroutines", "Number of goroutines.", float64(runtime.NumGoroutine())),
		gauge("go_threads", "Number of threads of the operating system that were created.", float64(threads)),
		gauge("go_sched_gomaxprocs_threads", "Number of threads that run Go code at the same time (GOMAXPROCS).", float64(runtime.GOMAXPROCS(0))),
		gauge("go_gc_gogc_percent", "Target of garbage collection (GOGC), in percent.", float64(gogc[0].Value.Uint64())),
		gauge("go_gc_gomemlimit_bytes", "Memory limit of the Go runtime (GOMEMLIMIT).", float64(debug.SetMemoryLimit(-1))),
		memory("alloc_bytes", "Octets of allocated objects on the heap.", m.Alloc),
		counter("go_memstats_alloc_bytes_total", "Octets allocated since the start.", float64(m.TotalAlloc)),
		counter("go_memstats_mallocs_total", "Objects allocated since the start.", float64(m.Mallocs)),
		counter("go_memstats_frees_total", "Objects freed since the start.", float64(m.Frees)),
		memory("sys_bytes", "Octets obtained from the operating system.", m.Sys),
		memory("heap_alloc_bytes", "Octets of allocated objects on the heap.", m.HeapAlloc),
		memory("heap_sys_bytes", "Octets of the heap obtained from the operating system.", m.HeapSys),
		memory("heap_idle_bytes", "Octets in unused spans of the heap.", m.HeapIdle),
		memory("heap_inuse_bytes", "Octets in used spans of the heap.", m.HeapInuse),
		memory("heap_released_bytes", "Octets of the heap returned to the operating system.", m.HeapReleased),
		memory("heap_objects", "Number of objects on the heap.", m.HeapObjects),
		memory("stack_inuse_bytes", "Octets in spans of stacks.", m.StackInuse),
		memory("stack_sys_bytes", "Octets of stacks obtained from the operating system.", m.StackSys),
		memory("mspan_inuse_bytes", "Octets of used mspan structures.", m.MSpanInuse),
		memory("mspan_sys_bytes", "Octets for mspan structures obtained from the operating system.", m.MSpanSys),
		memory("mcache_inuse_bytes", "Octets of used mcache structures.", m.MCacheInuse),
		memory("mcache_sys_bytes", "Octets for mcache structures obtained from the operating system.", m.MCacheSys),
		memory("buck_hash_sys_bytes", "Octets of the tables for profiling.", m.BuckHashSys),
		memory("gc_sys_bytes", "Octets of the metadata of garbage collection.", m.GCSys),
		memory("other_sys_bytes", "Octets of other allocations of the runtime.", m.OtherSys),
		memory("next_gc_bytes", "Size of the heap at which the next garbage collection begins.", m.NextGC),
		gauge("go_memstats_last_gc_time_seconds", "Time of the last garbage collection, in seconds since 1970.", float64(m.LastGC)/1e9),
	}
	add := func(f family, ok bool) {
		if ok {
			families = append(families, f)
		}
	}
	if stat, ok := processStat(); ok {
		add(counter("process_cpu_seconds_total", "Processor time of the process, user and system.", (stat[11]+stat[12])/ticks), true)
		add(gauge("process_virtual_memory_bytes", "Octets of virtual memory.", stat[20]), true)
		add(gauge("process_resident_memory_bytes", "Octets of resident memory.", stat[21]*float64(os.Getpagesize())), true)
		boot, ok := field("/proc/stat", "btime ", 0)
		add(gauge("process_start_time_seconds", "Start of the process, in seconds since 1970.", boot+stat[19]/ticks), ok)
	}
	if open, err := os.ReadDir("/proc/self/fd"); err == nil {
		add(gauge("process_open_fds", "Number of open file descriptors.", float64(len(open))), true)
	}
	limit, ok := field("/proc/self/limits", "Max open files ", 0)
	add(gauge("process_max_fds", "Limit on the number of open file descriptors.", limit), ok)
	limit, ok = field("/proc/self/limits", "Max address space ", 0)
	add(gauge("process_virtual_memory_max_bytes", "Limit on the octets of virtual memory.", limit), ok)
	received, ok := field("/proc/self/net/netstat", "IpExt: ", 6)
	add(counter("process_network_receive_bytes_total", "Octets received over the network.", received), ok)
	sent, ok := field("/proc/self/net/netstat", "IpExt: ", 7)
	add(counter("process_network_transmit_bytes_total", "Octets sent over the network.", sent), ok)
	return families
}

// pauses returns the quantiles of the last pauses of garbage collections.
func pauses() (samples []sample) {
	stats := debug.GCStats{PauseQuantiles: make([]time.Duration, 5)}
	debug.ReadGCStats(&stats)
	for i, pause := range stats.PauseQuantiles {
		samples = append(samples, sample{"", []label{{"quantile", number(float64(i) / 4)}}, pause.Seconds()})
	}
	return append(samples, sample{suffix: "_sum", value: stats.PauseTotal.Seconds()}, sample{suffix: "_count", value: float64(stats.NumGC)})
}

// ticks is the number of clock ticks in a second in the files of Linux: USER_HZ, 100 on every architecture of Go.
const ticks = 100

// processStat returns the fields of /proc/self/stat without the first two. So field 0 is the process state; proc(5)
// counts it as 3.
func processStat() (fields []float64, ok bool) {
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return nil, false
	}
	for _, word := range bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:]) { // the name before may have spaces
		n, _ := strconv.ParseFloat(string(word), 64) // the state is no number
		fields = append(fields, n)
	}
	return fields, len(fields) > 21
}

// field returns a number from the last line of a file that begins with prefix. word counts from 0.
func field(file, prefix string, word int) (n float64, ok bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(strings.TrimPrefix(line, prefix))
		if !strings.HasPrefix(line, prefix) || len(words) <= word {
			continue
		}
		if words[word] == "unlimited" {
			n, ok = math.MaxUint64, true
		} else if n, err = strconv.ParseFloat(words[word], 64); err == nil {
			ok = true
		}
	}
	return n, ok
}
