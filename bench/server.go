package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/argon2"
	_ "modernc.org/sqlite"

	"github.com/durward-auth/durward/api"
	auth "github.com/durward-auth/durward/client"
)

const (
	email    = "ada@example.com"
	password = "plenty of words in a row"
	clients  = 32
)

// server is a running durward serve.
type server struct {
	cmd *exec.Cmd
	url string
	api *api.Client
}

// command prepares a run of the program with a data folder, and with the database of a URL or, if
// the URL is empty, the folder's own.
func command(data, database string, args ...string) *exec.Cmd {
	cmd := exec.Command(*program, append(args, "--data", data)...)
	cmd.Env = []string{"DURWARD_LOG_LEVEL=warn", "DURWARD_LIMITS_NETWORK_FAILURES=0", "DURWARD_LIMITS_NETWORK_HASHES=0"}
	if database != "" {
		cmd.Env = append(cmd.Env, "DURWARD_DATABASE_URL="+database)
	}
	return cmd
}

// begin starts durward serve, with more variables in its environment. It returns the time to the first
// response.
func begin(data, database string, env ...string) (*server, time.Duration) {
	cmd := command(data, database, "serve", "--listen", "127.0.0.1:0")
	cmd.Env = append(cmd.Env, env...)
	cmd.Stderr = os.Stderr
	out := must(cmd.StdoutPipe())
	began := time.Now()
	check(cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		check(errors.Join(fmt.Errorf("the server did not start: %w", err), cmd.Wait()))
	}
	url := strings.TrimSpace(strings.TrimPrefix(line, "durward: listening on "))
	s := &server{cmd, url, must(api.NewClient(api.ClientConfig{URL: url, HTTP: client}))}
	res, err := http.Get(url + "/readyz")
	took := time.Since(began)
	if err == nil {
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			err = fmt.Errorf("readyz: %s", res.Status)
		}
	}
	if err != nil {
		check(errors.Join(err, s.end()))
	}
	return s, took
}

func (s *server) end() error {
	return errors.Join(s.cmd.Process.Signal(syscall.SIGTERM), s.cmd.Wait())
}

// addUser creates a data folder of this name and a user in its database. It returns the folder's
// path.
func addUser(name, database string) (data string) {
	data = filepath.Join(*dir, name)
	cmd := command(data, database, "user", "add", email, "--password-stdin")
	cmd.Stdin = strings.NewReader(password)
	if out, err := cmd.CombinedOutput(); err != nil {
		check(fmt.Errorf("user add: %w: %s", err, out))
	}
	return data
}

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4 * clients}}

// refresh replaces a refresh token by its successor.
func (s *server) refresh(token *auth.Token) error {
	next, err := s.api.Refresh(context.Background(), *token)
	if err == nil {
		*token = next
	}
	return err
}

// signIn signs the user in and returns the tokens.
func (s *server) signIn() (auth.Token, error) {
	return s.api.SignIn(context.Background(), email, password)
}

// rate runs work in a number of goroutines for a time and returns the calls per second.
func rate(goroutines int, length time.Duration, work func(i int) error) float64 {
	var done atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	began := time.Now()
	for i := range goroutines {
		all.Go(func() {
			for time.Since(began) < length && failed.Load() == nil {
				if err := work(i); err != nil {
					failed.Store(&err)
					return
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		check(*err)
	}
	return float64(done.Load()) / time.Since(began).Seconds()
}

// signedIn signs in once for each client and returns the refresh tokens.
func signedIn(s *server) []auth.Token {
	held := make([]auth.Token, clients)
	for i := range held {
		held[i] = must(s.signIn())
	}
	return held
}

// rawDatabase creates a database with the grants of one sign-in per client, and returns its data
// folder. It has no server and no other users, so raw statements can be measured on it.
func rawDatabase(name, database string) string {
	data := addUser(name, database)
	filler, _ := begin(data, database)
	check(errors.Join(try(func() { signedIn(filler) }), filler.end()))
	return data
}

// refreshes measures refreshes over HTTP, each durable before its response. It has three limits:
// the raw statement with one commit for all clients, the raw fsync, and a 204 handler with the same
// client.
func refreshes() []row {
	s, _ := begin(addUser("refresh", ""), "")
	defer s.end()
	held := signedIn(s)
	raw := rawDatabase("raw", "")
	empty := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer empty.Close()
	nothing := func(int) error {
		res, err := client.Post(empty.URL, "application/json",
			strings.NewReader(`{"refresh_token":"dr_AQEBog4BQ3dy7pbHzzSU9yDsAAAAAHLPBXTu6HM1JrZnVJinrc78I-6Hmbzd3-6Q"}`))
		if err != nil {
			return err
		}
		return res.Body.Close()
	}
	figures := medians(
		func() float64 { return rate(clients, length/3, func(c int) error { return s.refresh(&held[c]) }) },
		func() float64 { return groupCommit(raw, clients) },
		rawSync,
		func() float64 { return rate(clients, length/3, nothing) },
	)
	figure := fmt.Sprintf("%.0f/s", figures[0])
	ratio := func(limit float64) string { return fmt.Sprintf("%.2f", figures[0]/limit) }
	return []row{
		{fmt.Sprintf("refresh over HTTP, durable, %d clients", clients), figure,
			fmt.Sprintf("the raw statement, %d per commit %.0f/s", clients, figures[1]), ratio(figures[1]),
			"4 000/s on two quiet cores; ≥ 0.20"},
		{"the same", figure, fmt.Sprintf("204 handler, same client %.0f/s", figures[3]), ratio(figures[3]), ""},
		{"the same", figure, fmt.Sprintf("fsync of 4 KiB, in sequence %.0f/s", figures[2]), ratio(figures[2]), ""},
	}
}

// groupCommit returns the number of grants per second that one connection can rotate durably, with
// the server's statement and table, in transactions of this many grants.
func groupCommit(data string, count int) float64 {
	db := must(sql.Open("sqlite", "file:"+filepath.Join(data,
		"durward.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"))
	defer db.Close()
	db.SetMaxOpenConns(1)
	ctx := context.Background()
	ids := grantIDs(db)[:count]
	conn := must(db.Conn(ctx))
	defer conn.Close()
	begin, commit := must(conn.PrepareContext(ctx, "BEGIN IMMEDIATE")), must(conn.PrepareContext(ctx, "COMMIT"))
	rotation := must(conn.PrepareContext(ctx, rotate))
	return float64(count) * rate(1, length/3, func(int) error {
		if _, err := begin.Exec(); err != nil {
			return err
		}
		for _, id := range ids {
			if _, err := rotation.Exec(rotated(id)...); err != nil {
				return err
			}
		}
		_, err := commit.Exec()
		return err
	})
}

// rawSync returns the number of writes with fsync of 4 KiB per second.
func rawSync() float64 {
	f := must(os.Create(filepath.Join(*dir, "raw.sync")))
	defer f.Close()
	page := make([]byte, 4096)
	return rate(1, length/3, func(int) error {
		if _, err := f.WriteAt(page, 0); err != nil {
			return err
		}
		return f.Sync()
	})
}

// signIns measures sign-ins over HTTP. The limit is the raw hash.
func signIns() []row {
	s, _ := begin(addUser("signin", ""), "")
	defer s.end()
	salt := make([]byte, 16)
	cores := runtime.NumCPU()
	figures := medians(
		func() float64 { return rate(clients, length/3, func(int) error { _, err := s.signIn(); return err }) },
		func() float64 {
			return rate(cores, length/3, func(int) error {
				argon2.IDKey([]byte(password), salt, 2, 19456, 1, 32)
				return nil
			})
		},
	)
	return []row{{fmt.Sprintf("sign-ins over HTTP, %d clients", clients), fmt.Sprintf("%.1f/s", figures[0]),
		fmt.Sprintf("raw argon2id on %d cores %.1f/s", cores, figures[1]),
		fmt.Sprintf("%.2f", figures[0]/figures[1]), "≥ 0.95"}}
}

// start measures the time from the start of durward serve to its first response, and its memory at
// rest.
func start() []row {
	data := addUser("start", "")
	var warm, cold, process []time.Duration
	var memory []int
	for i := range 9 {
		s, took := begin(data, "")
		warm = append(warm, took)
		time.Sleep(2 * time.Second) // at rest
		memory = append(memory, resident(s))
		check(s.end())
		s, took = begin(filepath.Join(*dir, fmt.Sprint("cold", i)), "")
		cold = append(cold, took)
		check(s.end())
		began := time.Now()
		check(exec.Command(*program, "version").Run())
		process = append(process, time.Since(began))
	}
	limit := "durward version, whole run " + rounded(median(process))
	ratio := func(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(median(process))) }
	return []row{
		{"start to first response, plain serve", rounded(median(warm)), limit, ratio(median(warm)), "60 ms"},
		{"the same, empty folder: database, keys", rounded(median(cold)), limit, ratio(median(cold)), ""},
		{"memory at rest, plain serve", megabytes(median(memory)), "", "", "30 MB"},
	}
}

// resident returns the resident memory of a server in KiB.
func resident(s *server) int {
	text := must(os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid)))
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmRSS:" {
			return must(strconv.Atoi(fields[1]))
		}
	}
	panic(failure{errors.New("no VmRSS")})
}

func megabytes(kib int) string { return fmt.Sprintf("%.1f MB", float64(kib)/1000*1.024) }
