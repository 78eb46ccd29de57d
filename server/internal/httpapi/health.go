package httpapi

import (
	"net/http"
)

// healthz is GET /healthz: the process answers.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) error {
	return answer(w, http.StatusOK, map[string]string{"status": "ok"})
}

type check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
}

type readiness struct {
	Status string  `json:"status"`
	Checks []check `json:"checks,omitempty"`
}

// readyz is GET /readyz: new requests may come. What is wrong goes to the log;
// here stands only where to look. A node without what it can do without is degraded
// and takes requests all the same: one that said no would take all nodes out of
// service at once.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	if s.stopping.Load() {
		return answer(w, http.StatusServiceUnavailable, readiness{Status: "stopping"})
	}
	ping := s.c.DB.Ping(r.Context())
	if ping != nil {
		s.c.Log.Error("the database does not answer", "error", ping)
	}
	ready, status := readiness{Status: "ready"}, http.StatusOK
	look := func(name string, ok bool, otherwise int) {
		ready.Checks = append(ready.Checks, check{name, ok})
		if !ok {
			ready.Status, status = "degraded", max(status, otherwise)
		}
	}
	look("database", ping == nil, http.StatusServiceUnavailable)
	look("revocations", s.c.Revocations.Err() == nil, http.StatusServiceUnavailable)
	look("store_history", !s.c.Issuer.WentBack(), http.StatusServiceUnavailable)
	if s.c.Redis != nil {
		look("redis", s.c.Redis() == nil, http.StatusOK)
	}
	return answer(w, status, ready)
}
