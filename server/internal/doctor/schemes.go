package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/durward-auth/durward/server/internal/explain"
)

// This file names the schemes of Authorization.

// schemes are names of schemes in wide use, in lower case: those of package explain, and words that
// clients write in their place.
var schemes = func() []string {
	names := []string{"api-key", "client", "tok:", "nodebasic", "pve", "deploy-token", "genielgkey", "uclouds", "emby"}
	for _, s := range explain.Schemes {
		names = append(names, strings.ToLower(s.Name))
	}
	return names
}()

// maxSchemeNotes bounds the notes of schemes in a report.
const maxSchemeNotes = 6

// schemeNotes explains each scheme of the exchange that Durward cannot answer or does not know.
func (e *evidence) schemeNotes() (notes []string) {
	note := func(name, who string) {
		s, ok := explain.SchemeOf(name)
		text := fmt.Sprintf("%s the scheme %s. The doctor does not know it; the documentation of the server describes it.", who, e.quote(name))
		if ok && s.Answered {
			return
		} else if ok {
			text = fmt.Sprintf("%s %s. %s", who, s.Name, s.Summary())
		}
		if len(notes) < maxSchemeNotes && !slices.Contains(notes, text) {
			notes = append(notes, text)
		}
	}
	for _, c := range e.challenges {
		if c.Scheme != "" {
			note(c.Scheme, "The server offers")
		}
	}
	for _, name := range []string{"Authorization", "Proxy-Authorization"} {
		for _, value := range e.request.Header.Values(name) {
			scheme, _, _ := strings.Cut(value, " ")
			if s, ok := explain.SchemeOf(scheme); ok { // an unknown word may be a secret
				note(s.Name, "The request uses")
			}
		}
	}
	return notes
}
