package web

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/httpapi"
	"github.com/durward-auth/durward/server/internal/issuer"
	"github.com/durward-auth/durward/server/internal/store"
)

// The console is for administrators: a page calls the same functions as the endpoints under /api/admin, so it
// can do nothing that they cannot. Other users get the page of status 403 with INSUFFICIENT_SCOPE (contract.md
// s7): documents name the URLs of the console, so a 404 would hide nothing and mislead an administrator who
// signed in with the wrong account.

// consoleSignIn is the maximum age of a sign-in that may read the console.
const consoleSignIn = time.Hour

// console serves e to administrators who signed in at most an hour ago, with a second factor unless the
// configuration allows administration without it.
func (s *Server) console(e endpoint) http.Handler {
	return s.administration(consoleSignIn, e)
}

// consoleChange serves e, which changes something, to administrators who signed in a short time ago.
func (s *Server) consoleChange(e endpoint) http.Handler {
	return s.administration(httpapi.AdminChangeAge, func(w http.ResponseWriter, r *http.Request) error {
		if err := s.api.CheckFactor(r); err != nil {
			return s.toStepUp(w, r, httpapi.AdminChangeAge, err)
		}
		return e(w, r)
	})
}

func (s *Server) administration(maxAge time.Duration, e endpoint) http.Handler {
	p := s.api.AdminPolicy(maxAge)
	p.Schemes = []durward.Scheme{s.api.Schemes.Cookie}
	scope := durward.Policy{Scopes: p.Scopes, Freshness: p.Freshness} // a user without the right is not asked to step up
	return s.require(scope, func(w http.ResponseWriter, r *http.Request) error {
		if _, err := s.guard.Check(r, p); err != nil {
			return s.toStepUp(w, r, maxAge, err)
		}
		return e(w, r)
	})
}

// toStepUp leads an administrator whose sign-in is too old or too weak to the page that renews it, and one
// without a second factor to the page that adds it. Both lead back to the page, of a form to the page that
// shows the form. toStepUp returns any other error.
func (s *Server) toStepUp(w http.ResponseWriter, r *http.Request, maxAge time.Duration, err error) error {
	query := url.Values{"return_to": {s.consoleBack(r)}}
	switch {
	case errors.Is(err, durward.EnrolmentRequired):
		s.guard.Report(r, err)
		return s.see(w, r, s.path("/login/enrol?"+query.Encode()))
	case errors.Is(err, durward.StepUpRequired):
		s.guard.Report(r, err)
		p := s.api.AdminPolicy(maxAge)
		query.Set("max_age", strconv.FormatInt(int64(p.MaxAge/time.Second), 10))
		if len(p.ACR) > 0 {
			query.Set("acr_values", strings.Join(p.ACR, " "))
		}
		return s.see(w, r, s.path("/step-up?"+query.Encode()))
	}
	return err
}

// consoleBack returns the page to come back to.
func (s *Server) consoleBack(r *http.Request) string {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return s.path(r.URL.RequestURI())
	}
	back := r.URL.Path
	if id := r.PathValue("id"); id != "" && strings.HasPrefix(back, "/console/applications/") {
		back = "/console/applications/" + id
	} else if id != "" {
		back = "/console/users/" + id
	} else if strings.HasPrefix(back, "/console/signing-keys/") {
		back = "/console/signing-keys"
	}
	return s.path((&url.URL{Path: back}).EscapedPath())
}

// consolePage is the data of the pages of the console.
type consolePage struct {
	*page
	Section string
	Done    string // notice of the last form, in the language of the page
}

// Page returns the part of p that all pages have.
func (p consolePage) Page() *page { return p.page }

// ConsolePath returns the path of a section.
func (p consolePage) ConsolePath(section string) string {
	if section == "overview" {
		return p.Path("/console")
	}
	return p.Path("/console/" + section)
}

// Time returns a time in the language of the page, with its zone.
func (p consolePage) Time(t time.Time) string { return timeText(p.Lang, t) }

// Number returns a number with separators of thousands.
func (p consolePage) Number(n int64) string { return numberText(p.Lang, n) }

// Code returns the text of a code of the program, such as the kind of an event, or the code itself if this
// program does not know it.
func (p consolePage) Code(table, code string) string {
	if found := p.T("console." + table + "_" + code); !strings.HasPrefix(found, "console.") {
		return found
	}
	return code
}

// timeText returns a time in a language, in UTC.
func timeText(language string, t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	if language == "de" {
		return t.UTC().Format("02.01.2006, 15:04 MST")
	}
	return t.UTC().Format("2 Jan 2006, 15:04 MST")
}

// numberText returns a number in a language.
func numberText(language string, n int64) string {
	digits, separator := strconv.FormatInt(n, 10), ","
	if language == "de" {
		separator = "."
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + separator + digits[i:]
	}
	return digits
}

// showConsole shows a page of the console. f is nil, or a form with mistakes.
func (s *Server) showConsole(w http.ResponseWriter, r *http.Request, name, section string, data any, f *form) error {
	p := s.pageOf(r, data)
	p.Wide, p.Form = true, f
	c := consolePage{page: p, Section: section}
	if done := r.URL.Query().Get("done"); done != "" {
		if found := p.T("console.done_" + done); !strings.HasPrefix(found, "console.") {
			c.Done = found
		}
	}
	status := http.StatusOK
	if f != nil && len(f.Mistakes) > 0 {
		status = http.StatusUnprocessableEntity
	}
	return s.write(w, r, status, name, c)
}

// consoleFault records a refusal that is about a form, and adds it with its id to the mistakes of the form. It
// returns err if the refusal is about the request as a whole.
func (s *Server) consoleFault(r *http.Request, f *form, err error) error {
	refused, _ := errors.AsType[*durward.Refusal](err)
	lang, field, say := languageOf(r), "", ""
	if refused != nil {
		field, _ = refused.Members["member"].(string)
	}
	known := func(key string) string { return texts()[lang]["console."+key] }
	switch {
	case errors.Is(err, durward.EmailTaken):
		field, say = "email", known("email_taken")
	case refused == nil:
		return err
	case errors.Is(err, durward.InvalidRequest):
		say = cmp.Or(known("bad_"+strings.ReplaceAll(field, "-", "_")), refused.Detail)
	case errors.Is(err, store.ErrFactorOwed):
		say = known("factor_owed")
	case errors.Is(err, durward.Forbidden):
		say = cmp.Or(refused.Detail, known("forbidden"))
	}
	if say == "" {
		return err
	}
	f.Wrong(field, say+" "+text(lang, "refused.id")+" "+s.guard.Report(r, err).ID)
	return nil
}

// overview is the data of /console.
type overview struct {
	At      time.Time
	Range   string
	Ranges  []string
	Charts  []*chart
	Sums    []sumRow
	Codes   []codeRow
	Totals  store.Totals
	Checks  []httpapi.Check
	Lag     time.Duration
	Hashes  int64
	Key     store.Key // the active signing key
	Changes time.Time // when the next one takes over
	Tasks   []task
}

// sumRow is how often something happened in each window.
type sumRow struct {
	Title, Name string // keys of texts: of the chart and of the series
	N           []int64
}

// codeRow is how many requests were refused with a code in each window.
type codeRow struct {
	Code string
	N    []int64
	Part int64 // of the most frequent code, in percent
}

// task is an open task of the administrators.
type task struct{ Text, Path string }

func hasLabel(c store.Count, name, label string) bool {
	return c.Name == name && (label == "" || slices.Contains(strings.Fields(c.Labels), label))
}

func newCharts() []*chart {
	of := func(name, label string) func(store.Count) bool {
		return func(c store.Count) bool { return hasLabel(c, name, label) }
	}
	return []*chart{
		{ID: "sign-ins", Title: "console.sign_ins", Series: []series{
			{Name: "console.sign_ins_ok", Class: "c1", of: of("sign_ins", "outcome=ok")},
			{Name: "console.sign_ins_refused", Class: "c2", of: func(c store.Count) bool {
				return c.Name == "sign_ins" && !hasLabel(c, "sign_ins", "outcome=ok") && !hasLabel(c, "sign_ins", "outcome=second_factor_required")
			}},
		}},
		{ID: "refusals", Title: "console.refusals", Series: []series{
			{Name: "console.refusals", Class: "c2", of: of("refusals", "")},
		}},
		{ID: "refreshes", Title: "console.refreshes", Series: []series{
			{Name: "console.refreshes_new", Class: "c1", of: of("refreshes", "outcome=rotated")},
			{Name: "console.refreshes_repeated", Class: "c3", of: of("refreshes", "outcome=repeated")},
		}},
		{ID: "thefts", Title: "console.thefts", Series: []series{
			{Name: "console.thefts", Class: "c4", of: of("events", "kind="+store.EventRefreshTheft)},
		}},
	}
}

// showOverview is GET /console.
func (s *Server) showOverview(w http.ResponseWriter, r *http.Request) error {
	ctx, now := r.Context(), s.c.Parts.Now()
	d := &overview{At: now, Range: r.URL.Query().Get("range")}
	shown := slices.IndexFunc(windows, func(w window) bool { return w.Name == cmp.Or(d.Range, "day") })
	if shown < 0 {
		return badForm("range", "is not hour, day or week")
	}
	d.Range = windows[shown].Name
	codes := map[string]*codeRow{}
	for n, window := range windows {
		d.Ranges = append(d.Ranges, window.Name)
		counts, err := s.c.Parts.DB.Counts(ctx, window.start(now), now, window.step)
		if err != nil {
			return err
		}
		charts := newCharts()
		for i, c := range charts {
			c.draw(window, now, counts)
			for j, series := range c.Series {
				if n == 0 {
					d.Sums = append(d.Sums, sumRow{c.Title, series.Name, make([]int64, len(windows))})
				}
				d.Sums[place(charts[:i])+j].N[n] = series.Sum
			}
		}
		for _, c := range counts {
			for label := range strings.FieldsSeq(c.Labels) {
				if code, ok := strings.CutPrefix(label, "code="); ok && c.Name == "refusals" {
					if codes[code] == nil {
						codes[code] = &codeRow{Code: code, N: make([]int64, len(windows))}
					}
					codes[code].N[n] += c.N
				}
			}
		}
		if n == shown {
			d.Charts = charts
		}
	}
	var most int64
	for _, c := range codes {
		d.Codes = append(d.Codes, *c)
		most = max(most, c.N[shown])
	}
	slices.SortFunc(d.Codes, func(a, b codeRow) int {
		return cmp.Or(cmp.Compare(b.N[shown], a.N[shown]), cmp.Compare(a.Code, b.Code))
	})
	for i := range d.Codes {
		d.Codes[i].Part = d.Codes[i].N[shown] * 100 / max(1, most)
	}
	var err error
	if d.Totals, err = s.c.Parts.DB.Totals(ctx); err != nil {
		return err
	}
	keys, err := s.c.Parts.DB.Keys(ctx, store.UseSigning)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.State == store.KeyActive {
			d.Key, d.Changes = k, issuer.NextChange(k)
		}
	}
	d.Checks = s.api.Checks(ctx)
	d.Lag = max(0, now.Sub(s.c.Parts.Revocations.AsOf())).Round(100 * time.Millisecond)
	d.Hashes = s.c.Parts.Accounts.Hasher.Pending()
	d.Tasks = s.tasks(languageOf(r), d)
	return s.showConsole(w, r, "console.html", "overview", d, nil)
}

// place returns the number of series of charts.
func place(charts []*chart) (n int) {
	for _, c := range charts {
		n += len(c.Series)
	}
	return n
}

// lateMail is the age of the oldest mail in the outbox that becomes an open task.
const lateMail = 15 * time.Minute

// tasks returns the open tasks.
func (s *Server) tasks(lang string, d *overview) (tasks []task) {
	add := func(open bool, key, path string) {
		if open {
			tasks = append(tasks, task{text(lang, "console.task_"+key), s.path(path)})
		}
	}
	week := d.Sums[len(d.Sums)-1].N[len(windows)-1]
	add(week > 0, "theft", "/console/log?kind="+store.EventRefreshTheft)
	add(d.Totals.Administrators == 1, "one_admin", "/console/users")
	add(s.c.Settings.AdminWithoutFactor, "admin_factor", "/console/settings")
	add(s.c.Settings.InsecureAllowHTTP, "http", "/console/settings")
	add(d.Totals.Mails > 0 && d.At.Sub(d.Totals.OldestMail) > lateMail, "mail", "/console/log?kind="+store.EventMailFailed)
	for _, c := range d.Checks {
		add(!c.OK, "check", "/console")
	}
	add(d.Totals.Locked > 0, "locked", "/console/users?locked=true")
	return slices.CompactFunc(tasks, func(a, b task) bool { return a == b })
}

// showSettings is GET /console/settings. Secrets are masked in the settings that the server has.
func (s *Server) showSettings(w http.ResponseWriter, r *http.Request) error {
	return s.showConsole(w, r, "console-settings.html", "settings", s.api.Effective(), nil)
}

// signingKeysData is the data of /console/signing-keys.
type signingKeysData struct {
	Keys    []issuer.KeyView
	Changes time.Time
	Shared  bool // tokens are signed with a shared secret, so there are no keys

	IDTokens bool // there is a key for ID tokens alone
}

// showSigningKeys is GET /console/signing-keys.
func (s *Server) showSigningKeys(w http.ResponseWriter, r *http.Request) error {
	return s.signingKeysPage(w, r, nil)
}

func (s *Server) signingKeysPage(w http.ResponseWriter, r *http.Request, f *form) error {
	keys, err := issuer.SigningKeys(r.Context(), s.c.Parts.DB)
	if err != nil {
		return err
	}
	d := signingKeysData{Shared: !s.c.Parts.Issuer.Publishes()}
	for _, k := range keys {
		if k.State == store.KeyActive && k.Use == store.UseIDToken {
			d.IDTokens = true
		} else if k.State == store.KeyActive {
			d.Changes = issuer.NextChange(k)
		}
		d.Keys = append(d.Keys, issuer.KeyViewOf(k))
	}
	return s.showConsole(w, r, "console-signing-keys.html", "signing-keys", d, f)
}

// rotateKey is POST /console/signing-keys/rotate.
func (s *Server) rotateKey(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(w, r, "now", "use")
	if err != nil {
		return err
	}
	if err := s.c.Parts.Issuer.Rotate(r.Context(), f.Value("use"), f.Has("now"), s.api.By(r)); err != nil {
		if err := s.consoleFault(r, f, err); err != nil {
			return err
		}
		return s.signingKeysPage(w, r, f)
	}
	return s.see(w, r, s.path("/console/signing-keys?done=rotated"))
}

// showRetireKey is GET /console/signing-keys/retire: it asks whether a key is to be withdrawn at once.
func (s *Server) showRetireKey(w http.ResponseWriter, r *http.Request) error {
	kid := r.URL.Query().Get("kid")
	if kid == "" { // as after a reload of the page that shows a mistake
		return s.see(w, r, s.path("/console/signing-keys"))
	}
	return s.retireKeyPage(w, r, kid, nil)
}

func (s *Server) retireKeyPage(w http.ResponseWriter, r *http.Request, kid string, f *form) error {
	keys, err := issuer.SigningKeys(r.Context(), s.c.Parts.DB)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(keys, func(k store.Key) bool { return k.ID == kid && k.State != store.KeyGone })
	if at < 0 {
		return fmt.Errorf("web: no signing key to withdraw: %w", durward.NotFound)
	}
	return s.showConsole(w, r, "console-retire.html", "signing-keys", issuer.KeyViewOf(keys[at]), f)
}

// retireKey is POST /console/signing-keys/retire. To withdraw a key at once revokes tokens, so the form has to
// be confirmed.
func (s *Server) retireKey(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(w, r, "kid", "now", "confirm")
	if err != nil {
		return err
	}
	now := f.Has("now")
	if now && !f.Has("confirm") {
		f.Wrong("confirm", text(languageOf(r), "console.withdraw_unconfirmed"))
		return s.retireKeyPage(w, r, f.Value("kid"), f)
	}
	if _, err := s.c.Parts.Issuer.Retire(r.Context(), f.Value("kid"), now, s.api.By(r)); err != nil {
		if err := s.consoleFault(r, f, err); err != nil {
			return err
		}
		return s.signingKeysPage(w, r, f)
	}
	done := "retired"
	if now {
		done = "withdrawn"
	}
	return s.see(w, r, s.path("/console/signing-keys?done="+done))
}

// keysOf returns the API keys of a user, newest first.
func (s *Server) keysOf(r *http.Request, id string) (views []account.KeyView, err error) {
	keys, err := s.c.Parts.DB.APIKeys(r.Context(), id, "", listLength)
	for _, k := range keys {
		views = append(views, account.KeyViewOf(k))
	}
	return views, err
}

// listLength is the number of rows of a page.
const listLength = 50
