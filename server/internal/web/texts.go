package web

import (
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"sync"

	"github.com/pelletier/go-toml/v2"

	"github.com/durward-auth/durward/server/internal/request"
)

//go:embed texts/*.toml
var textFiles embed.FS

// texts holds the texts of the pages by language and key, such as "login.title".
var texts = sync.OnceValue(func() map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, language := range request.Languages {
		file, err := textFiles.ReadFile("texts/" + language + ".toml")
		if err != nil {
			panic(err) // the program was built without its texts
		}
		var tables map[string]map[string]string
		if err := toml.Unmarshal(file, &tables); err != nil {
			panic(fmt.Errorf("texts/%s.toml: %w", language, err))
		}
		all[language] = map[string]string{}
		for table, entries := range tables {
			for key, text := range entries {
				all[language][table+"."+key] = text
			}
		}
	}
	return all
})

// text returns a text in a language. Each %s of the text is replaced by the next one of values.
func text(language, key string, values ...any) string {
	found, ok := texts()[language][key]
	if !ok {
		return key // a test finds missing keys
	}
	if len(values) > 0 {
		return fmt.Sprintf(found, values...)
	}
	return found
}

// languageCookie is the name of the cookie with the language that a user chose. It is no secret.
const languageCookie = "durward-language"

// languageOf returns the language of the response: of ui_locales (OpenID Connect Core s3.1.2.1), else of
// the cookie, else of Accept-Language, else the first one.
func languageOf(r *http.Request) string {
	if wanted := strings.Fields(r.URL.Query().Get("ui_locales")); len(wanted) > 0 {
		if found := request.Language(strings.Join(wanted, ",")); found != "" {
			return found
		}
	}
	if sent, err := r.Cookie(languageCookie); err == nil {
		for _, language := range request.Languages {
			if sent.Value == language {
				return language
			}
		}
	}
	if found := request.Language(r.Header.Get("Accept-Language")); found != "" {
		return found
	}
	return request.Languages[0]
}

// setLanguage is POST /language: it keeps the language that the user chose and goes back.
func (s *Server) setLanguage(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(w, r, "language", "return_to")
	if err != nil {
		return err
	}
	for _, language := range request.Languages {
		if f.Value("language") == language {
			http.SetCookie(w, &http.Cookie{
				Name:     languageCookie,
				Value:    language,
				Path:     "/",
				MaxAge:   365 * 24 * 60 * 60,
				Secure:   s.secure,
				HttpOnly: true,
				SameSite: http.SameSiteLaxMode,
			})
			return s.leave(w, r, s.localReturn(f.Value("return_to")))
		}
	}
	return badForm("language", "is none of the languages of the pages")
}

// html marks a text of the text files as HTML. It is for texts with emphasis; they hold no value of a user.
func html(s string) template.HTML { return template.HTML(s) }
