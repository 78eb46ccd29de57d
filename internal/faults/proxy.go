// Package faults injects faults into tests with real programs and services: a proxy with slow, cut or
// silent connections and lost answers, and a full disk.
package faults

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy forwards connections to one address. It is safe for concurrent use. Settings apply to open and to
// later connections.
type Proxy struct {
	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when a setting below changes
	refuses bool
	hangs   bool
	delay   time.Duration
	loses   func(answer []byte) bool
	pairs   map[*pair]struct{}

	lost atomic.Int64
}

// NewProxy starts a proxy to target on a free port of 127.0.0.1. It stops after the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{target: target, listener: l, changed: make(chan struct{}), pairs: make(map[*pair]struct{})}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.Refuse()
		p.running.Wait()
	})
	return p
}

// Addr returns the address of the proxy.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Delay delays the data of the service by d. Zero ends the delay.
func (p *Proxy) Delay(d time.Duration) { p.set(func() { p.delay = d }) }

// Hang keeps every connection open and forwards nothing in either direction.
func (p *Proxy) Hang() { p.set(func() { p.hangs = true }) }

// Refuse cuts every open and every later connection.
func (p *Proxy) Refuse() {
	p.set(func() { p.refuses = true })
	p.Cut()
}

// Lose drops each answer of the service for which match returns true, and cuts the connection: the request
// was executed, but the program does not learn it. Match gets the data of one read. Nil loses none.
func (p *Proxy) Lose(match func(answer []byte) bool) { p.set(func() { p.loses = match }) }

// Lost returns the number of dropped answers.
func (p *Proxy) Lost() int { return int(p.lost.Load()) }

// Heal ends all faults. Connections that hung continue.
func (p *Proxy) Heal() {
	p.set(func() { p.refuses, p.hangs, p.delay, p.loses = false, false, 0, nil })
}

// Cut resets every open connection.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pair := range p.pairs {
		pair.cut()
	}
}

// Connections returns the number of open connections.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pairs)
}

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) accept() {
	for {
		program, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		} else if err != nil {
			continue
		}
		p.running.Go(func() { p.serve(program) })
	}
}

// pair is a connection of the program and its connection to the service.
type pair struct {
	program, service net.Conn
	ended            chan struct{}
	once             sync.Once
}

func (c *pair) cut() {
	c.once.Do(func() {
		close(c.ended)
		for _, conn := range []net.Conn{c.program, c.service} {
			_ = conn.(*net.TCPConn).SetLinger(0) // a reset, not FIN
			_ = conn.Close()
		}
	})
}

func (p *Proxy) serve(program net.Conn) {
	service, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil {
		_ = program.Close()
		return
	}
	c := &pair{program: program, service: service, ended: make(chan struct{})}
	p.mu.Lock()
	p.pairs[c] = struct{}{}
	if p.refuses {
		c.cut()
	}
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.pass(c, program, service, false) })
	both.Go(func() { p.pass(c, service, program, true) })
	both.Wait()
	p.mu.Lock()
	delete(p.pairs, c)
	p.mu.Unlock()
}

// pass forwards the data of one side to the other.
func (p *Proxy) pass(c *pair, from, to net.Conn, answers bool) {
	defer c.cut()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if !p.let(c, buffer[:n], answers) {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// let waits until data may be forwarded, and reports whether it may at all.
func (p *Proxy) let(c *pair, data []byte, answers bool) bool {
	came := time.Now()
	for {
		p.mu.Lock()
		changed, hangs, delay, loses := p.changed, p.hangs, p.delay, p.loses
		p.mu.Unlock()
		if answers && loses != nil && loses(data) {
			p.lost.Add(1)
			return false
		}
		var until <-chan time.Time
		switch rest := delay - time.Since(came); {
		case hangs:
		case !answers || rest <= 0:
			return true
		default:
			until = time.After(rest)
		}
		select {
		case <-until:
		case <-changed:
		case <-c.ended:
			return false
		}
	}
}

// Committed matches the answer of Postgres to a successful commit: CommandComplete with the tag
// COMMIT, or that of a statement that changes rows, followed by ReadyForQuery outside a transaction
// (https://www.postgresql.org/docs/15/protocol-message-formats.html).
func Committed(answer []byte) bool {
	changed := false
	for len(answer) >= 5 {
		kind, length := answer[0], int(binary.BigEndian.Uint32(answer[1:]))
		if length < 4 || length >= len(answer) {
			return false
		}
		body := answer[5 : 1+length]
		answer = answer[1+length:]
		switch kind {
		case 'C':
			verb, _, _ := bytes.Cut(bytes.TrimRight(body, "\x00"), []byte(" "))
			switch string(verb) {
			case "COMMIT":
				return true
			case "INSERT", "UPDATE", "DELETE":
				changed = true
			}
		case 'Z':
			if changed && string(body) == "I" {
				return true
			}
		}
	}
	return false
}
