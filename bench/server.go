package main

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
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
}

// begin starts durward serve on a data folder, optionally with a database URL. It returns the time
// to the first response.
func begin(binary, data string, database ...string) (*server, time.Duration, error) {
	cmd := exec.Command(binary, "serve", "--listen", "127.0.0.1:0", "--data", data)
	cmd.Env = []string{"DURWARD_LOG_LEVEL=warn", "DURWARD_LIMITS_NETWORK_FAILURES=0"}
	for _, url := range database {
		cmd.Env = append(cmd.Env, "DURWARD_DATABASE_URL="+url)
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, 0, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, 0, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("the server did not start: %w", err), cmd.Wait())
	}
	s := &server{cmd, strings.TrimSpace(strings.TrimPrefix(line, "durward: listening on "))}
	res, err := http.Get(s.url + "/readyz")
	if err != nil {
		return nil, 0, errors.Join(err, s.end())
	}
	took := time.Since(began)
	res.Body.Close()
	if res.StatusCode != 200 {
		return nil, 0, errors.Join(fmt.Errorf("readyz: %s", res.Status), s.end())
	}
	return s, took, nil
}

func (s *server) end() error {
	return errors.Join(s.cmd.Process.Signal(syscall.SIGTERM), s.cmd.Wait())
}

// folder creates a data folder with one user.
func folder(binary, dir, name string) (string, error) {
	data := filepath.Join(dir, name)
	return data, addUser(binary, data)
}

func addUser(binary, data string, database ...string) error {
	cmd := exec.Command(binary, "user", "add", email, "--password-stdin", "--data", data)
	cmd.Env = []string{}
	for _, url := range database {
		cmd.Env = append(cmd.Env, "DURWARD_DATABASE_URL="+url)
	}
	cmd.Stdin = strings.NewReader(password)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("user add: %w: %s", err, out)
	}
	return nil
}

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4 * clients}}

func post(url string, body any) (map[string]any, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	res, err := client.Post(url, "application/json", bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != 200 {
		return nil, fmt.Errorf("%s: %s %s", url, res.Status, answer)
	}
	var object map[string]any
	return object, json.Unmarshal(answer, &object)
}

// rate runs work in a number of goroutines for a time and returns the calls per second.
func rate(goroutines int, length time.Duration, work func(i int) error) (float64, error) {
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
		return 0, *err
	}
	return float64(done.Load()) / time.Since(began).Seconds(), nil
}

// signedIn signs in once for each client and returns the refresh tokens.
func signedIn(s *server) ([]string, error) {
	held := make([]string, clients)
	for i := range held {
		tokens, err := post(s.url+"/api/auth/login", map[string]string{"email": email, "password": password})
		if err != nil {
			return nil, err
		}
		held[i] = tokens["refresh_token"].(string)
	}
	return held, nil
}

// refreshes measures refreshes over HTTP, each durable before its response. It has three limits:
// the raw statement with one commit for all clients, the raw fsync, and a 204 handler with the same
// client.
func refreshes(binary, dir string, length time.Duration) ([]row, error) {
	data, err := folder(binary, dir, "refresh")
	if err != nil {
		return nil, err
	}
	s, _, err := begin(binary, data)
	if err != nil {
		return nil, err
	}
	defer s.end()
	held, err := signedIn(s)
	if err != nil {
		return nil, err
	}
	// The limit is measured on a separate database without other users.
	rawData, err := folder(binary, dir, "raw")
	if err != nil {
		return nil, err
	}
	filler, _, err := begin(binary, rawData)
	if err != nil {
		return nil, err
	}
	if _, err := signedIn(filler); err != nil {
		return nil, errors.Join(err, filler.end())
	}
	if err := filler.end(); err != nil {
		return nil, err
	}
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
	var over, group, alone, sync204 []float64
	for range 3 {
		r, err := rate(clients, length/3, func(c int) error { return refresh(s, &held[c]) })
		if err != nil {
			return nil, err
		}
		over = append(over, r)
		if r, err = groupCommit(rawData, length/3); err != nil {
			return nil, err
		}
		group = append(group, r)
		if r, err = rawSync(dir, length/3); err != nil {
			return nil, err
		}
		alone = append(alone, r)
		if r, err = rate(clients, length/3, nothing); err != nil {
			return nil, err
		}
		sync204 = append(sync204, r)
	}
	figure := median(over)
	return []row{
		{fmt.Sprintf("refresh over HTTP, durable, %d clients", clients), fmt.Sprintf("%.0f/s", figure),
			fmt.Sprintf("the raw statement, %d per commit %.0f/s", clients, median(group)),
			fmt.Sprintf("%.2f", figure/median(group)), "4 000/s on two quiet cores; ≥ 0.20"},
		{"the same", fmt.Sprintf("%.0f/s", figure), fmt.Sprintf("204 handler, same client %.0f/s", median(sync204)),
			fmt.Sprintf("%.2f", figure/median(sync204)), ""},
		{"the same", fmt.Sprintf("%.0f/s", figure), fmt.Sprintf("fsync of 4 KiB, in sequence %.0f/s", median(alone)),
			fmt.Sprintf("%.2f", figure/median(alone)), ""},
	}, nil
}

// groupCommit returns the number of grants per second that one connection can rotate durably, with
// the server's statement and table, in transactions of one grant per client.
func groupCommit(data string, length time.Duration) (float64, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(data,
		"durward.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return 0, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	ctx := context.Background()
	ids, err := grantIDs(db)
	if err != nil {
		return 0, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	var failed error
	prepare := func(text string) *sql.Stmt {
		stmt, err := conn.PrepareContext(ctx, text)
		failed = errors.Join(failed, err)
		return stmt
	}
	start, commit := prepare("BEGIN IMMEDIATE"), prepare("COMMIT")
	moves := prepare(move)
	if failed != nil {
		return 0, failed
	}
	batches, err := rate(1, length, func(int) error {
		if _, err := start.Exec(); err != nil {
			return err
		}
		now := time.Now()
		for _, id := range ids {
			if _, err := moves.Exec(id, now.UnixMicro(), now.Add(time.Hour).UnixMicro(), "127.0.0.0/24",
				"Go program"); err != nil {
				return err
			}
		}
		_, err := commit.Exec()
		return err
	})
	return batches * clients, err
}

// rawSync returns the number of writes with fsync of 4 KiB per second.
func rawSync(dir string, length time.Duration) (float64, error) {
	f, err := os.Create(filepath.Join(dir, "raw.sync"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	page := make([]byte, 4096)
	return rate(1, length, func(int) error {
		if _, err := f.WriteAt(page, 0); err != nil {
			return err
		}
		return f.Sync()
	})
}

// signIns measures sign-ins over HTTP. The limit is the raw hash.
func signIns(binary, dir string, length time.Duration) ([]row, error) {
	data, err := folder(binary, dir, "signin")
	if err != nil {
		return nil, err
	}
	s, _, err := begin(binary, data)
	if err != nil {
		return nil, err
	}
	defer s.end()
	salt := make([]byte, 16)
	cores := runtime.NumCPU()
	var over, hashes []float64
	for range 3 {
		r, err := rate(clients, length/3, func(int) error {
			_, err := post(s.url+"/api/auth/login", map[string]string{"email": email, "password": password})
			return err
		})
		if err != nil {
			return nil, err
		}
		over = append(over, r)
		r, _ = rate(cores, length/3, func(int) error {
			argon2.IDKey([]byte(password), salt, 2, 19456, 1, 32)
			return nil
		})
		hashes = append(hashes, r)
	}
	return []row{{fmt.Sprintf("sign-ins over HTTP, %d clients", clients), fmt.Sprintf("%.1f/s", median(over)),
		fmt.Sprintf("raw argon2id on %d cores %.1f/s", cores, median(hashes)),
		fmt.Sprintf("%.2f", median(over)/median(hashes)), "≥ 0.95"}}, nil
}

// start measures the time from the start of durward serve to its first response, and its memory at
// rest.
func start(binary, dir string) ([]row, error) {
	data, err := folder(binary, dir, "start")
	if err != nil {
		return nil, err
	}
	var warm, cold, process []time.Duration
	var memory []int
	for i := range 9 {
		s, took, err := begin(binary, data)
		if err != nil {
			return nil, err
		}
		warm = append(warm, took)
		time.Sleep(2 * time.Second) // at rest
		kib, err := resident(s.cmd.Process.Pid)
		if err := errors.Join(err, s.end()); err != nil {
			return nil, err
		}
		memory = append(memory, kib)
		if s, took, err = begin(binary, filepath.Join(dir, fmt.Sprint("cold", i))); err != nil {
			return nil, err
		}
		cold = append(cold, took)
		if err := s.end(); err != nil {
			return nil, err
		}
		began := time.Now()
		if err := exec.Command(binary, "version").Run(); err != nil {
			return nil, err
		}
		process = append(process, time.Since(began))
	}
	limit := "durward version, whole run " + rounded(median(process))
	return []row{
		{"start to first response, plain serve", rounded(median(warm)), limit,
			fmt.Sprintf("%.1f", float64(median(warm))/float64(median(process))), "60 ms"},
		{"the same, empty folder: database, keys", rounded(median(cold)), limit,
			fmt.Sprintf("%.1f", float64(median(cold))/float64(median(process))), ""},
		{"memory at rest, plain serve", fmt.Sprintf("%.1f MB", float64(median(memory))/1000*1.024), "", "", "30 MB"},
	}, nil
}

// resident returns the resident memory of a process in KiB.
func resident(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmRSS:" {
			return strconv.Atoi(fields[1])
		}
	}
	return 0, errors.New("no VmRSS")
}
