package httpapi

import (
	"context"
	"net/http"
	"slices"
)

// healthz is GET /healthz: the process runs.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) error {
	return answer(w, http.StatusOK, readiness{Status: "ok"}, nil)
}

// Check is the state of one part of the node.
type Check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
}

type readiness struct {
	Status string  `json:"status"`
	Checks []Check `json:"checks,omitempty"`
}

// readyz is GET /readyz: the node can serve new requests. The response names the failing checks,
// the log has the errors. Faults with which a node can work, and those that would take every node out
// of the load balancer at once, make it "degraded" but leave it ready.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	if s.stopping.Load() {
		return answer(w, http.StatusServiceUnavailable, readiness{Status: "stopping"}, nil)
	}
	ping := s.c.DB.Ping(r.Context())
	if ping != nil {
		s.c.Log.Error("cannot reach the database", "error", ping)
	}
	ready := readiness{Status: "ready"}
	checks, status := s.checks(ping)
	if ready.Checks = checks; slices.ContainsFunc(checks, func(c Check) bool { return !c.OK }) {
		ready.Status = "degraded"
	}
	return answer(w, status, ready, nil)
}

// Checks returns the checks of readyz.
func (s *Server) Checks(ctx context.Context) []Check {
	checks, _ := s.checks(s.c.DB.Ping(ctx))
	return checks
}

// checks returns the checks of readyz and its status. ping is the error of a ping of the database.
func (s *Server) checks(ping error) (checks []Check, status int) {
	status = http.StatusOK
	add := func(name string, ok bool, statusIfNot int) {
		checks = append(checks, Check{name, ok})
		if !ok {
			status = max(status, statusIfNot)
		}
	}
	add("database", ping == nil, http.StatusServiceUnavailable)
	add("revocations", s.c.Revocations.Err() == nil, http.StatusServiceUnavailable)
	if s.c.Sessions.RolledBack() {
		add("store_history", false, http.StatusServiceUnavailable)
	} else {
		add("store_history", s.c.Sessions.Recorded(), http.StatusOK)
	}
	if err := s.c.Issuer.Err(); err != nil {
		add("keys", false, http.StatusServiceUnavailable)
	} else {
		add("keys", s.c.Issuer.ReadErr() == nil, http.StatusOK)
	}
	add("hash_queue", !s.c.Accounts.Hasher.Full(), http.StatusOK)
	if s.c.Mail != nil {
		add("mail", s.c.Mail() == nil, http.StatusOK)
	}
	if s.c.Redis != nil {
		add("redis", s.c.Redis() == nil, http.StatusOK)
	}
	return checks, status
}
