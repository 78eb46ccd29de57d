package lab

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"strings"

	"github.com/durward-auth/durward"
)

const style = `:root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem}
ul{padding:0;list-style:none}li{margin:.6rem 0}code{font-size:.95em;overflow-wrap:anywhere}.status{display:inline-block;min-width:2.6rem;font-variant-numeric:tabular-nums;opacity:.75}p.about{margin:0 0 0 2.6rem}`

// pagePolicy lets the page use its own style and nothing else.
var pagePolicy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

var page = template.Must(template.New("lab").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Lab of refusals</title><style>` + style + `</style></head><body>
<h1>Lab of refusals</h1>
<p>Each address refuses a request for one known reason. Point your HTTP client at it and see how it behaves.
All keys and passwords of the lab are public. <a href="/lab.json"><code>/lab.json</code></a> has the requests to send,
<a href="/lab/token?kind=good"><code>/lab/token?kind=…</code></a> gives tokens: {{range .Kinds}}<code>{{.}}</code> {{end}}</p>
{{range .Sections}}<h2>{{.Title}}</h2>
<ul>{{range .Endpoints}}<li><span class="status">{{.Status}}</span><a href="{{.Path}}"><code>{{.Path}}</code></a><p class="about">{{.About}}</p></li>
{{end}}</ul>
{{end}}</body></html>
`))

// section is a part of the page.
type section struct {
	Title     string
	Endpoints []Endpoint
}

// list serves the page with all endpoints.
func (s *site) list(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		s.open.Refuse(w, r, &durward.Refusal{Code: durward.MethodNotAllowed, Allow: []string{http.MethodGet, http.MethodHead}})
		return
	}
	sections := []section{{Title: "Causes"}, {Title: "Codes of Durward"}, {Title: "Faults of servers"}, {Title: "Flows"}}
	for _, e := range s.endpoints {
		to := 0
		for i, prefix := range []string{"/lab/code/", "/lab/fault/", "/lab/flow/"} {
			if strings.HasPrefix(e.Path, prefix) {
				to = i + 1
			}
		}
		sections[to].Endpoints = append(sections[to].Endpoints, e.Endpoint)
	}
	var body bytes.Buffer
	if err := page.Execute(&body, map[string]any{"Sections": sections, "Kinds": kindNames()}); err != nil {
		s.open.Refuse(w, r, &durward.Refusal{Code: durward.Internal, Err: err})
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(body.Bytes()) // an error means that the client disconnected
}
