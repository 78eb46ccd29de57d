package httpapi

import (
	"net/http"
	"time"

	"github.com/durward-auth/durward"
)

// appItem is an application that the user allowed.
type appItem struct {
	ClientID  string    `json:"client_id"`
	Name      string    `json:"name"`
	Since     time.Time `json:"since"`
	Scopes    []string  `json:"scopes"`
	Resources []string  `json:"resources"`
}

// apps is GET /api/apps.
func (s *Server) apps(w http.ResponseWriter, r *http.Request) error {
	all, err := s.c.OAuth.Applications(r.Context(), durward.From(r.Context()).Subject)
	items := make([]appItem, 0, len(all))
	for _, a := range all {
		item := appItem{ClientID: a.Client.ID, Name: a.Client.Name, Since: a.Since.UTC(), Scopes: append([]string{}, a.Scopes...), Resources: []string{}}
		for _, resource := range a.Resources {
			item.Resources = append(item.Resources, resource.URL)
		}
		items = append(items, item)
	}
	return answer(w, http.StatusOK, list[appItem]{Items: items}, err)
}

// withdraw is DELETE /api/apps/{client}.
func (s *Server) withdraw(w http.ResponseWriter, r *http.Request) error {
	return noContent(w, s.Withdraw(r, r.PathValue("client")))
}

// Withdraw takes back what the user of a request allowed to a client. It refuses with NotFound if there is
// nothing to take back.
func (s *Server) Withdraw(r *http.Request, clientID string) error {
	p := durward.From(r.Context())
	return unknown("application", s.c.OAuth.Withdraw(r.Context(), p.Subject, clientID, p.SessionID, from(r)))
}
