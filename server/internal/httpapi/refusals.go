package httpapi

import (
	"net/http"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// recordRefusal gives a refusal and its cause to the security log. It does not wait.
func (s *Server) recordRefusal(r *http.Request, f *durward.Refusal) {
	cause := ""
	if f.Err != nil {
		cause = strings.TrimSuffix(strings.TrimSuffix(f.Err.Error(), string(f.Code)), ": ") // the row has the code
	}
	d := store.Denial{
		ID:        f.ID,
		Code:      string(f.Code),
		Status:    f.Status,
		Method:    r.Method,
		Path:      account.WithoutKeys(r.URL.Path),
		Scheme:    f.Scheme,
		Cause:     cause,
		Network:   request.Info{Addr: durward.ClientAddr(r.Context())}.Network(),
		RequestID: requestID(r.Context()),
	}
	if p := durward.From(r.Context()); p != nil {
		d.Subject = p.Subject
	}
	s.c.SecurityLog.AddRefusal(r.Context(), d)
}
