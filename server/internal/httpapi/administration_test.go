package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/issuer"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/securitylog"
	"github.com/durward-auth/durward/server/internal/session"
	"github.com/durward-auth/durward/server/internal/store"
)

// read decodes the response to a request of an administrator.
func read[T any](w *env, token, path string) (v T) {
	w.t.Helper()
	if r := w.do("GET", path, token, nil); r.StatusCode != 200 || json.Unmarshal(r.body, &v) != nil {
		w.t.Fatalf("%s: %s %s", path, r.Status, r.body)
	}
	return v
}

func TestEvents(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	root, _ := w.administrator("root@example.com")
	start := w.clock.Now()
	w.clock.Advance(time.Minute)
	token := w.signInAs("root@example.com")
	for range 3 {
		w.signIn()
	}
	w.status(w.do("POST", "/api/admin/users/"+w.ada.ID+"/lock", token, nil), 204)
	for query, want := range map[string]string{
		"?user_id=" + w.ada.ID:                                "user_locked signed_in signed_in signed_in user_added",
		"?kind=user_locked":                                   "user_locked",
		"?actor=" + root:                                      "user_locked",
		"?actor=" + root + "&kind=signed_in":                  "",
		"?kind=signed_in&user_id=" + w.ada.ID:                 "signed_in signed_in signed_in",
		"?kind=signed_in&user_id=" + w.ada.ID + "&limit=2":    "signed_in signed_in",
		"?until=" + start.Format(time.RFC3339):                "",
		"?kind=user_locked&since=2026-01-02T03:04:05Z":        "user_locked",
		"?kind=user_locked&until=2026-01-02T03:04:05%2B01:00": "",
	} {
		var got []string
		for _, e := range read[list[securitylog.EventLine]](w, token, "/api/admin/events"+query).Items {
			got = append(got, e.Kind)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("events%s: got %q, want %q", query, got, want)
		}
	}
	seen := make(map[string]bool)
	for after := ""; ; {
		page := read[list[securitylog.EventLine]](w, token, "/api/admin/events?limit=2&after="+after)
		for _, e := range page.Items {
			if seen[e.ID] || after != "" && e.ID >= after {
				t.Errorf("pages of 2: %s after %s comes twice or in another order", e.ID, after)
			}
			seen[e.ID] = true
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if all := w.events(""); len(seen) != len(all) {
		t.Errorf("pages have %d events, want %d", len(seen), len(all))
	}
	// All that reading is one event of the administrator.
	if e := w.events(store.EventLogRead); len(e) != 1 || e[0].UserID != root || e[0].Detail != "events" || e[0].SessionID == "" {
		t.Errorf("events of reading: %+v, want one of the administrator", e)
	}
	w.clock.Advance(readingOnce + time.Second)
	read[list[securitylog.EventLine]](w, w.signInAs("root@example.com"), "/api/admin/events")
	if e := w.events(store.EventLogRead); len(e) != 2 {
		t.Errorf("after an hour: %d events of reading, want 2", len(e))
	}
	for _, query := range []string{"?since=yesterday", "?until=2026-13-01T00:00:00Z", "?limit=0", "?format=xml", "?kind=%00", "?after=%ff"} {
		w.refused(w.do("GET", "/api/admin/events"+query, w.signInAs("root@example.com"), nil), 400, "INVALID_REQUEST")
	}
}

// exported returns the events of an export.
func (w *env) exported(token, query string) (events []securitylog.EventLine) {
	w.t.Helper()
	r := w.do("GET", "/api/admin/events?format=jsonl"+query, token, nil)
	if r.StatusCode != 200 || r.Header.Get("Content-Type") != "application/jsonl" || r.Header.Get("Cache-Control") != "no-store" {
		w.t.Fatalf("export: %s %v %s", r.Status, r.Header, r.body)
	}
	for line := range strings.Lines(string(r.body)) {
		var e securitylog.EventLine
		if err := json.Unmarshal([]byte(line), &e); err != nil || !strings.HasSuffix(line, "\n") {
			w.t.Fatalf("line %q: %v", line, err)
		}
		events = append(events, e)
	}
	return events
}

// An export has every event once, oldest first, but not those of the last minute; the next one continues
// after it.
func TestExportEvents(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	_, token := w.administrator("root@example.com")
	var many []store.Event
	for n := range exportPage + 10 {
		e := request.Info{}.Event(store.EventSignInRefused, "wrong password", "some-user", "", w.clock.Now())
		e.Detail = fmt.Sprint(n)
		many = append(many, e)
	}
	if err := w.db.AddEvents(t.Context(), many); err != nil {
		t.Fatal(err)
	}
	if got := w.exported(token, "&user_id=some-user"); len(got) != 0 {
		t.Errorf("within the minute: %d events, want none", len(got))
	}
	w.clock.Advance(store.EventLate + time.Second)
	got := w.exported(token, "&user_id=some-user")
	if len(got) != len(many) {
		t.Fatalf("%d events, want %d", len(got), len(many))
	}
	for n, e := range got {
		if e.Detail != fmt.Sprint(n) {
			t.Fatalf("event %d: %+v, want the order of the ids", n, e)
		}
	}
	if rest := w.exported(token, "&user_id=some-user&after="+got[len(got)-3].ID); len(rest) != 2 {
		t.Errorf("after the third last: %d events, want 2", len(rest))
	}
	r, err := http.NewRequest("HEAD", w.url+"/api/admin/events?format=jsonl", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if head := w.send(r); head.StatusCode != 200 || len(head.body) != 0 || head.Header.Get("Content-Type") != "application/jsonl" {
		t.Errorf("HEAD: %s %v", head.Status, head.Header)
	}
}

// An export ends in the middle if its administrator was locked meanwhile.
func TestExportOfLockedAdministrator(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	root, token := w.administrator("root@example.com")
	var many []store.Event
	for range 5 * exportPage {
		e := request.Info{}.Event(store.EventSignInRefused, "wrong password", "some-user", "", w.clock.Now().Add(-time.Hour))
		e.Detail = strings.Repeat("x", 4000) // more than the buffers of a connection hold
		many = append(many, e)
	}
	if err := w.db.AddEvents(t.Context(), many); err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest("GET", w.url+"/api/admin/events?format=jsonl", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := w.sessions.LockUser(t.Context(), root, request.Info{Actor: store.Operator}); err != nil {
		t.Fatal(err)
	}
	lines := json.NewDecoder(res.Body)
	n := 0
	for ; err == nil; n++ {
		var e securitylog.EventLine
		err = lines.Decode(&e)
	}
	if n > 4*exportPage || !strings.Contains(err.Error(), "unexpected EOF") {
		t.Errorf("got %d lines and %v, want a body that breaks off", n, err)
	}
}

// The list of refusals has pages and filters.
func TestDenials(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	_, token := w.administrator("root@example.com")
	var ids []string
	for n, d := range []store.Denial{
		{Code: "TOKEN_EXPIRED", Path: "/api/profile", Network: "192.0.2.0/24"},
		{Code: "TOKEN_EXPIRED", Path: "/api/keys", Network: "198.51.100.0/24"},
		{Code: "FORBIDDEN", Path: "/api/keys/%", Network: "192.0.2.0/24"},
	} {
		d.ID, d.At, d.Status, d.Method, d.RequestID, d.Cause = store.NewID(), w.clock.Now(), 401, "GET", "r", fmt.Sprintf("cause %d", n)
		ids = append(ids, d.ID)
		if err := w.db.AddDenials(t.Context(), []store.Denial{d}); err != nil {
			t.Fatal(err)
		}
	}
	for query, want := range map[string]string{
		"?code=TOKEN_EXPIRED":                  "cause 1 cause 0",
		"?code=token_expired":                  "cause 1 cause 0",
		"?path=/api/keys":                      "cause 2 cause 1",
		"?path=/api/keys/%25":                  "cause 2",
		"?path=/api/%25":                       "",
		"?network=192.0.2.0/24":                "cause 2 cause 0",
		"?network=192.0.2.0/24&code=FORBIDDEN": "cause 2",
		"?limit=1&code=TOKEN_EXPIRED":          "cause 1",
		"?code=TOKEN_EXPIRED&after=" + ids[1]:  "cause 0",
		"?code=UNKNOWN":                        "",
	} {
		var got []string
		for _, d := range read[list[securitylog.DenialLine]](w, token, "/api/admin/denials"+query).Items {
			got = append(got, d.Cause)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("denials%s: got %q, want %q", query, got, want)
		}
	}
	if e := w.events(store.EventLogRead); len(e) != 1 || e[0].Detail != "refusals" {
		t.Errorf("events of reading: %+v, want one", e)
	}
	w.refused(w.do("GET", "/api/admin/denials?limit=0", token, nil), 400, "INVALID_REQUEST")
	w.refused(w.do("GET", "/api/admin/denials?path=%00", token, nil), 400, "INVALID_REQUEST")
}

func TestDenial(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	root, token := w.administrator("root@example.com")
	r := w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": randomPassword()})
	id := r.Header.Get("Durward-Denial")
	w.eventually("the refusal is stored", func() bool { return w.do("GET", "/api/admin/denials/"+id, token, nil).StatusCode == 200 })
	for _, name := range []string{id, strings.ToLower(id), "urn:durward:denial:" + id} {
		d := read[securitylog.DenialLine](w, token, "/api/admin/denials/"+name)
		if d.ID != id || d.Code != "INVALID_CREDENTIALS" || d.Status != 401 || d.Path != testPrefix+"/api/auth/login" || !strings.Contains(d.Cause, "password") || d.Explanation == "" {
			t.Errorf("%s: %+v", name, d)
		}
	}
	w.refused(w.do("GET", "/api/admin/denials/01ARZ3NDEKTSV4RRFFQ69G5FAV", token, nil), 404, "NOT_FOUND")
	if e := w.events(store.EventLogRead); len(e) != 1 || e[0].UserID != root || e[0].Detail != "refusals" {
		t.Errorf("events of reading: %+v, want one", e)
	}
}

func TestSigningKeys(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	root, token := w.administrator("root@example.com")
	keys := func() (all []issuer.KeyView, byState map[string][]string) {
		all = read[list[issuer.KeyView]](w, token, "/api/admin/signing-keys").Items
		byState = make(map[string][]string)
		for _, k := range all {
			byState[k.State] = append(byState[k.State], k.ID)
		}
		return all, byState
	}
	_, before := keys()
	if len(before[store.KeyActive]) != 1 || len(before[store.KeyPending]) != 1 {
		t.Fatalf("keys: %v", before)
	}
	stolen := before[store.KeyActive][0]
	w.status(w.do("POST", "/api/admin/signing-keys/rotate", token, nil), 200)
	_, rotated := keys()
	if len(rotated[store.KeyPending]) != 2 || rotated[store.KeyActive][0] != stolen {
		t.Errorf("after rotate: %v, want another pending key", rotated)
	}
	w.refused(w.do("POST", "/api/admin/signing-keys/none/retire", token, nil), 404, "NOT_FOUND")
	ada := w.signIn()
	var r issuer.RetiredView
	got := w.do("POST", "/api/admin/signing-keys/"+stolen+"/retire", token, object{"now": true})
	if got.StatusCode != 200 || json.Unmarshal(got.body, &r) != nil || r.ID != stolen || r.State != store.KeyGone || !r.Revoked || !slices.Contains(rotated[store.KeyPending], r.Signs) {
		t.Fatalf("retire: %s %s", got.Status, got.body)
	}
	w.dead(ada.AccessToken, "TOKEN_REVOKED")
	w.dead(token, "TOKEN_REVOKED")
	w.works(w.tokens(w.refreshWith(ada.RefreshToken)).AccessToken)
	token = w.signInAs("root@example.com")
	w.refused(w.do("POST", "/api/admin/signing-keys/"+stolen+"/retire", token, object{"now": true}), 400, "INVALID_REQUEST")
	w.status(w.do("POST", "/api/admin/signing-keys/rotate", token, object{"now": true}), 200)
	all, _ := keys()
	if text, err := json.Marshal(all); err != nil || strings.Contains(string(text), "sealed") || strings.Contains(string(text), `"d"`) {
		t.Errorf("keys with secrets: %s", text)
	}
	for _, kind := range []string{store.EventKeyWithdrawn, store.EventKeyCreated, store.EventKeyState} {
		if events := w.events(kind); !slices.ContainsFunc(events, func(e store.Event) bool { return e.Actor == root && e.Network != "" }) {
			t.Errorf("events %s: %+v, want one by the administrator", kind, events)
		}
	}
	shared := newEnv(t, settings{tweak: func(c *issuer.Config, _ *session.Config) {
		c.Algorithm, c.SharedSecret = "HS256", []byte("0123456789abcdef0123456789abcdef")
	}})
	_, token = shared.administrator("root@example.com")
	for _, path := range []string{"rotate", "shared/retire"} {
		shared.refused(shared.do("POST", "/api/admin/signing-keys/"+path, token, nil), 400, "INVALID_REQUEST")
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{mode: "invite"})
	_, token := w.administrator("root@example.com")
	s := w.signIn()
	w.cookieOf(adaEmail)
	k := w.key(s.AccessToken, object{})
	w.key(s.AccessToken, object{})
	w.status(w.do("DELETE", "/api/keys/"+k.ID, s.AccessToken, nil), 204)
	w.status(w.do("POST", "/api/admin/users", token, object{"email": "eve@example.com"}), 201)
	want := map[string]any{"users": 3.0, "administrators": 1.0, "locked": 0.0, "unverified": 0.0, "with_second_factor": 0.0, "sessions": 3.0, "api_keys": 1.0, "mails_waiting": 3.0} // an invitation and two notices of keys
	check := func() {
		t.Helper()
		got := read[map[string]any](w, token, "/api/admin/stats")
		for name, n := range want {
			if got[name] != n {
				t.Errorf("%s: got %v, want %v", name, got[name], n)
			}
		}
	}
	check()
	w.status(w.do("POST", "/api/admin/users/"+w.ada.ID+"/lock", token, nil), 204)
	want["locked"], want["sessions"], want["mails_waiting"] = 1.0, 1.0, 4.0 // with the notice of the lock
	check()
}

// The counts of all nodes add up in steps.
func TestCounts(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	_, token := w.administrator("root@example.com")
	at := w.clock.Now().Truncate(time.Hour)
	add := func(ago time.Duration, node, labels string, n int64) {
		t.Helper()
		if err := w.db.AddCounts(t.Context(), []store.Count{{At: at.Add(-ago), Node: node, Name: "refusals", Labels: labels, N: n}}); err != nil {
			t.Fatal(err)
		}
	}
	const expired, missing = "code=TOKEN_EXPIRED scheme=Bearer", "code=TOKEN_MISSING"
	add(25*time.Hour, "a", expired, 100)
	add(time.Hour, "a", expired, 1)
	add(time.Hour, "b", expired, 2)
	add(50*time.Minute, "b", expired, 4)
	add(50*time.Minute, "b", missing, 8)
	counts := func(query string) []countItem {
		return read[list[countItem]](w, token, "/api/admin/counts"+query).Items
	}
	bearer := map[string]string{"code": "TOKEN_EXPIRED", "scheme": "Bearer"}
	want := []countItem{
		{at.Add(-time.Hour), "refusals", bearer, 3},
		{at.Add(-50 * time.Minute), "refusals", bearer, 4},
		{at.Add(-50 * time.Minute), "refusals", map[string]string{"code": "TOKEN_MISSING"}, 8},
	}
	if got := counts(""); !reflect.DeepEqual(got, want) {
		t.Errorf("the last day: got %+v, want %+v", got, want)
	}
	if got := counts("?step=3600"); len(got) != 2 || got[0].N != 7 || got[1].N != 8 {
		t.Errorf("in steps of an hour: got %+v, want 7 and 8", got)
	}
	day := func(d int) string { return at.Add(time.Duration(-24*d) * time.Hour).UTC().Format(time.RFC3339) }
	if got := counts("?until=" + day(1) + "&since=" + day(2)); len(got) != 1 || got[0].N != 100 {
		t.Errorf("the day before: got %+v, want 100", got)
	}
	for _, query := range []string{"?step=299", "?step=x", "?since=yesterday", "?since=" + day(8)} {
		w.refused(w.do("GET", "/api/admin/counts"+query, token, nil), 400, "INVALID_REQUEST")
	}
}

// The first administrator is added with the link, once.
func TestSetup(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{adminFactor: true})
	begin := func() string {
		t.Helper()
		token, err := w.people.BeginSetup(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return token.Reveal()
	}
	body := func(token string) object {
		return object{"token": token, "email": "root@example.com", "password": adaPassword, "name": "Root"}
	}
	setup := func(token string) reply { return w.do("POST", "/api/auth/setup", "", body(token)) }
	former := begin()
	expired := begin()
	w.refused(setup(former), 400, "INVALID_REQUEST") // a later start replaced it
	w.clock.Advance(account.SetupLife)
	w.refused(setup(expired), 400, "INVALID_REQUEST")
	token := begin()
	for _, wrong := range []string{"x", strings.Repeat("A", 43), token + "=", token[:42], strings.ToLower(token)} {
		forged := body(wrong)
		forged["password"] = "short" // checked after the token
		if p := w.refused(w.do("POST", "/api/auth/setup", "", forged), 400, "INVALID_REQUEST"); p["member"] != "token" {
			t.Errorf("%q: %v, want the member token", wrong, p)
		}
	}
	weak := body(token)
	weak["password"] = "short"
	w.refused(w.do("POST", "/api/auth/setup", "", weak), 400, "INVALID_REQUEST")
	taken := body(token)
	taken["email"] = adaEmail
	w.refused(w.do("POST", "/api/auth/setup", "", taken), 409, "EMAIL_TAKEN")

	// Of 20 requests at once one succeeds.
	var group sync.WaitGroup
	statuses := make([]int, 20)
	for n := range statuses {
		group.Go(func() {
			one := body(token)
			one["email"] = fmt.Sprintf("root%d@example.com", n)
			statuses[n] = w.do("POST", "/api/auth/setup", "", one).StatusCode
		})
	}
	group.Wait()
	slices.Sort(statuses)
	if statuses[0] != 201 || statuses[1] != 400 {
		t.Errorf("at once: %v, want 201 once and 400", statuses)
	}
	w.refused(setup(token), 400, "INVALID_REQUEST")
	if _, err := w.people.BeginSetup(t.Context()); err == nil {
		t.Error("a link although there is an administrator")
	}
	admins, err := w.db.FindUsers(t.Context(), store.UserFilter{Admin: true, Limit: 10})
	if err != nil || len(admins) != 1 {
		t.Fatalf("administrators: %v, %v, want one", admins, err)
	}
	// Nor later, when the administrator is none any more.
	no := false
	if err := w.sessions.SetUser(t.Context(), admins[0].ID, account.Change{Admin: &no}, request.Info{Actor: store.Operator}); err != nil {
		t.Fatal(err)
	}
	w.refused(setup(token), 400, "INVALID_REQUEST")
	// A link ends when the operator adds an administrator.
	other := begin()
	w.administrator("operators@example.com")
	w.refused(setup(other), 400, "INVALID_REQUEST")
	yes := true
	if err := w.sessions.SetUser(t.Context(), admins[0].ID, account.Change{Admin: &yes}, request.Info{Actor: store.Operator}); err != nil {
		t.Fatal(err)
	}
	first := w.signInAs(admins[0].Email)
	w.refused(w.do("GET", "/api/admin/users", first, nil), 403, "ENROLMENT_REQUIRED")
	if !slices.ContainsFunc(w.events(store.EventUserAdded), func(e store.Event) bool {
		return e.UserID == admins[0].ID && strings.Contains(e.Detail, "first administrator") && e.Network != ""
	}) {
		t.Errorf("events: %+v", w.events(store.EventUserAdded))
	}
}
