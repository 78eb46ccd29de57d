package web

import (
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/doctor"
	"github.com/durward-auth/durward/server/internal/explain"
)

// front is GET /: what this server is, and the way to the account.
func (s *Server) front(w http.ResponseWriter, r *http.Request) error {
	public, _ := url.Parse(s.c.Settings.PublicURL) // httpapi.New checks it
	d := struct {
		Host, Email string
		Open        bool
	}{Host: public.Host, Open: s.c.Settings.Registration == "open"}
	if p := durward.From(r.Context()); p != nil {
		if u, err := s.c.Parts.DB.UserByID(r.Context(), p.Subject); err == nil {
			d.Email = u.Email
		}
	}
	return s.render(w, r, "front.html", d)
}

// reasonGroup is a part of the list of explanations.
type reasonGroup struct {
	ID      string // of the heading
	Heading string // key of a text, or the title of a family
	English bool   // Heading is the title of a family
	Path    string // page of the family, or ""
	Entries []reasonEntry
}

// reasonEntry is one line of the list.
type reasonEntry struct{ Status, Title, ID, Summary, Path string }

// reasonList is the data of /errors/.
type reasonList struct {
	Query  string // as typed
	Groups []reasonGroup
	Found  int
}

// maxQuery is the maximum length of a search that is used, in octets.
const maxQuery = 200

// reasons returns the explanations that have each word of a query, in groups.
func (s *Server) reasons(query string) reasonList {
	query = query[:min(len(query), maxQuery)]
	d := reasonList{Query: query}
	words := strings.Fields(strings.ToLower(query))
	add := func(g reasonGroup, entries []reasonEntry) {
		for _, e := range entries {
			text := strings.ToLower(strings.Join([]string{e.Status, e.Title, e.ID, e.Summary}, " "))
			if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) }) {
				g.Entries = append(g.Entries, e)
			}
		}
		if d.Found += len(g.Entries); len(g.Entries) > 0 {
			d.Groups = append(d.Groups, g)
		}
	}
	pages := func(kind explain.Kind, family string) (entries []reasonEntry) {
		for _, p := range explain.Of(kind) {
			if p.Family == family {
				p = p.With(s.c.Settings.Figures)
				e := reasonEntry{Title: p.Title, ID: p.ID, Summary: p.Summary, Path: p.Path()}
				if p.Status != 0 {
					e.Status = strconv.Itoa(p.Status)
				}
				entries = append(entries, e)
			}
		}
		return entries
	}
	add(reasonGroup{ID: "subjects", Heading: "errors.subjects"}, pages(explain.KindPage, ""))
	add(reasonGroup{ID: "codes", Heading: "errors.codes"}, pages(explain.KindCode, ""))
	for _, f := range doctor.Families {
		g := reasonGroup{ID: "family-" + f.ID, Heading: f.Title, English: true}
		if page, ok := explain.Find(f.ID); ok {
			g.Path = page.Path()
		}
		add(g, pages(explain.KindCause, f.ID))
	}
	var schemes []reasonEntry
	for _, x := range explain.Schemes {
		schemes = append(schemes, reasonEntry{Title: x.Name, ID: x.Name, Summary: x.What, Path: schemePath + x.Name})
	}
	add(reasonGroup{ID: "schemes", Heading: "errors.schemes"}, schemes)
	return d
}

// schemePath begins the paths of explanations of schemes.
const schemePath = "/errors/scheme/"

// reasonPage is the data of the page of one explanation.
type reasonPage struct {
	explain.Page
	Level   string         // name of the level that is shown; "" if the page has no levels
	Query   string         // "?level=" with the level if the URL names one, for links to other pages
	Cause   *doctor.Cause  // of a cause
	Group   explain.Page   // of a cause: its family
	Causes  []explain.Page // of a code: its causes; of a family: its members
	Related []explain.Page
}

// errorPage is GET /errors/ and the pages below it: explanations of refusals for developers. An ID may have
// capital or small letters, level names the level, and the figures are those of the configuration.
func (s *Server) errorPage(w http.ResponseWriter, r *http.Request) error {
	id := strings.TrimPrefix(r.URL.Path, "/errors/")
	if id == "" {
		return s.render(w, r, "errors.html", s.reasons(r.URL.Query().Get("q")))
	}
	if scheme, ok := explain.SchemeOf(path.Base(id)); ok && strings.EqualFold(schemePath+scheme.Name, r.URL.Path) {
		return s.render(w, r, "scheme.html", scheme)
	}
	p, ok := explain.Find(path.Base(id))
	if !ok || !strings.EqualFold(p.Path(), r.URL.Path) {
		return fmt.Errorf("no explanation of that code, cause, subject or scheme: %w", durward.NotFound)
	}
	return s.render(w, r, "error.html", s.reasonPage(p, r.URL.Query().Get("level")))
}

func (s *Server) reasonPage(p explain.Page, level string) reasonPage {
	d := reasonPage{Page: p.With(s.c.Settings.Figures), Level: level}
	if _, ok := p.Level(level); ok {
		d.Query = "?level=" + level
	} else if _, ok := p.Level(explain.DefaultLevel); ok {
		d.Level = explain.DefaultLevel
	} else if levels := p.Levels(); len(levels) > 0 {
		d.Level = levels[0].Name
	} else {
		d.Level = ""
	}
	for _, id := range p.Related {
		related, _ := explain.Find(id)
		d.Related = append(d.Related, related)
	}
	d.Group, _ = explain.Find(p.Family)
	for _, c := range doctor.Causes {
		page, ok := explain.Find(c.ID)
		if p.Kind == explain.KindCause && c.ID == p.ID {
			d.Cause = &c
		} else if ok && (p.Kind == explain.KindCode && slices.Contains(c.Codes, p.ID) || p.Kind == explain.KindFamily && c.Family == p.ID) {
			d.Causes = append(d.Causes, page)
		}
	}
	return d
}
