package web

import (
	"net/http"
	"strings"

	"github.com/durward-auth/durward/server/internal/mail"
)

// devRoutes returns the pages of the demonstration for developers.
func (s *Server) devRoutes() map[string]map[string]http.Handler {
	return map[string]map[string]http.Handler{
		"/dev/mail":  {"GET": s.open(s.devMail)},
		"/dev/parts": {"GET": s.open(s.devParts)},
	}
}

// letter is a mail as /dev/mail shows it.
type letter struct {
	mail.Letter
	Paragraphs []paragraph
}

// paragraph is a paragraph of a mail. A link to this server is a paragraph of its own.
type paragraph struct {
	Text string
	Link bool
}

// devMail is GET /dev/mail: the newest mails of the demonstration, of all users.
func (s *Server) devMail(w http.ResponseWriter, r *http.Request) error {
	found, err := mail.Letters(s.c.MailFolder, 20)
	if err != nil {
		return err
	}
	letters := make([]letter, len(found))
	for i, l := range found {
		letters[i].Letter = l
		for text := range strings.SplitSeq(strings.ReplaceAll(strings.TrimSpace(l.Text), "\r\n", "\n"), "\n\n") {
			link := strings.HasPrefix(text, s.c.Settings.PublicURL+"/") && !strings.ContainsAny(text, " \n")
			letters[i].Paragraphs = append(letters[i].Paragraphs, paragraph{text, link})
		}
	}
	return s.render(w, r, "dev-mail.html", letters)
}

// devParts is GET /dev/parts: all parts of the pages in all states, for work on the style sheet.
func (s *Server) devParts(w http.ResponseWriter, r *http.Request) error {
	p := s.pageOf(r, "01JE9ZQ6V7M8N9P0Q1R2S3T4V5")
	p.Form = &form{values: map[string][]string{"wrong_email": {"ada@"}}}
	p.Form.Wrong("wrong_email", text(p.Lang, "login.email_missing"))
	p.Form.Wrong("wrong_password", text(p.Lang, "login.password_missing"))
	p.Form.Wrong("", text(p.Lang, "refused.INVALID_CREDENTIALS"))
	return s.write(w, r, http.StatusOK, "dev-parts.html", p)
}
