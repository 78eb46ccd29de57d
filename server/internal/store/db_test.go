package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// noon is the time of the clock in these tests.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 123456000, time.UTC)

// later is the end of the revocations in these tests.
var later = noon.Add(2 * time.Hour)

// openAt opens the database of an address and closes it with the test.
func openAt(t testing.TB, address string) *DB {
	t.Helper()
	c := configOf(address)
	c.Now = func() time.Time { return noon }
	db, err := Open(t.Context(), c)
	if err != nil {
		t.Fatalf("Open(%q): %v", address, err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return db
}

var lastEvent atomic.Int64

// anEvent returns an event with an id of its own.
func anEvent(kind, userID string) Event {
	return Event{
		ID: fmt.Sprintf("01EVENT%012d", lastEvent.Add(1)), Kind: kind, At: noon, UserID: userID, Actor: Operator, SessionID: "session-1",
		Outcome: "ok", Network: "192.0.2.0/24", Device: "Firefox on Linux", DenialID: "denial-1", Detail: "a detail",
	}
}

func aUser(id string) User {
	return User{
		ID: id, Email: id + "@Example.com", EmailKey: id + "@example.com", Name: "Ada of " + id, Password: "$argon2id$" + id,
		CreatedAt: noon, PasswordChangedAt: noon,
	}
}

func aSession(id, userID string) Session {
	return Session{
		ID: id, UserID: userID, ClientID: "durward", Scope: "openid profile", CreatedAt: noon, EndsAt: noon.Add(12 * time.Hour),
		AuthTime: noon, ACR: "aal1", AMR: []string{"pwd", "otp"}, Network: "192.0.2.0/24", Device: "Firefox on Linux", Agent: "Firefox",
	}
}

// aGrantID returns an id of 16 bytes that begins with name.
func aGrantID(name string) (id [16]byte) {
	copy(id[:], name)
	return id
}

func aGrant(name, sessionID string) Grant {
	return Grant{
		ID: aGrantID(name), SessionID: sessionID, ClientID: "durward", Scope: "openid", Generation: 1, Salt: []byte("salt\x00\xff" + name), Key: 3,
		Network: "192.0.2.0/24", Agent: "Firefox", JKT: "thumbprint of " + name, CreatedAt: noon, IdleEnds: noon.Add(7 * 24 * time.Hour), Ends: noon.Add(30 * 24 * time.Hour),
	}
}

func aMove(name string, from, to uint32) Rotate {
	return Rotate{GrantID: aGrantID(name), From: from, To: to, At: noon.Add(time.Minute), IdleEnds: noon.Add(8 * 24 * time.Hour), Network: "198.51.100.0/24", Agent: "curl"}
}

var home = Place{Network: "192.0.2.0/24", Browser: "Firefox"}

func aKey(id, use, state string, number uint8) Key {
	k := Key{ID: id, Use: use, Algorithm: "ES256", State: state, Number: number, Sealed: []byte("sealed " + id + "\x00\xff"), CreatedAt: noon}
	if state != KeyPending {
		k.ActivatedAt = noon
	}
	if state == KeyRetiring {
		k.RetiredAt = noon
	}
	return k
}

func aDenial(id string) Denial {
	return Denial{
		ID: id, Code: "TOKEN_EXPIRED", Status: 401, At: noon, Method: "GET", Path: "/api/profile", Scheme: "Bearer", Cause: "exp was 3 s ago",
		Network: "192.0.2.0/24", Subject: "ada", RequestID: "request-1",
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// addUser and signIn add the rows with which most tests begin.
func addUser(t testing.TB, db *DB, id string) User {
	t.Helper()
	u := aUser(id)
	must(t, db.CreateUser(t.Context(), u, nil, false, anEvent(EventRegistered, id)))
	return u
}

func signIn(t testing.TB, db *DB, userID, sessionID, grant string) {
	t.Helper()
	_, err := db.CreateSession(t.Context(), aSession(sessionID, userID), aGrant(grant, sessionID), anEvent(EventSignedIn, userID), home, aUser("ada"))
	must(t, err)
}

func aCookie(name, sessionID string) Cookie {
	return Cookie{
		Hash: []byte(name + "\x00\xff"), SessionID: sessionID, Scope: "profile", AuthTime: noon, ACR: "aal1", AMR: []string{"pwd"},
		CreatedAt: noon, UsedAt: noon, IdleEnds: noon.Add(30 * time.Minute),
	}
}

func signInWithCookie(t testing.TB, db *DB, userID, sessionID, cookie string) {
	t.Helper()
	_, err := db.CreateCookieSession(t.Context(), aSession(sessionID, userID), aCookie(cookie, sessionID), anEvent(EventSignedIn, userID), home, aUser("ada"), Replaced{})
	must(t, err)
}

func aProof(sessionID string) Proof {
	return Proof{SessionID: sessionID, User: User{ID: "ada", PasswordChangedAt: noon}, At: noon.Add(time.Minute), ACR: "aal2", Methods: []string{"pwd", "otp"}}
}

// contents returns every row of every table, sorted.
func contents(t testing.TB, db *DB) (lines []string) {
	t.Helper()
	for _, table := range strings.Fields("meta users user_groups factor_groups sessions grants cookies revocations keys places notifications events seals counts hour_counts denials api_keys outbox mail_tokens totp recovery_codes factor_failures signins devices passkeys spent_challenges clients client_secrets oauth_requests codes consents") {
		rows, err := pool(db).QueryContext(context.Background(), `SELECT * FROM `+table)
		must(t, err)
		columns, err := rows.Columns()
		must(t, err)
		for rows.Next() {
			values := make([]any, len(columns))
			for i := range values {
				values[i] = new(any)
			}
			must(t, rows.Scan(values...))
			line := table
			for i, c := range columns {
				line += fmt.Sprintf(" %s=%v", c, *values[i].(*any))
			}
			lines = append(lines, line)
		}
		must(t, errors.Join(rows.Err(), rows.Close()))
	}
	slices.Sort(lines)
	return lines
}

// pool returns the connections for reading.
func pool(db *DB) *sql.DB {
	if e, ok := db.engine.(*sqliteEngine); ok {
		return e.readers
	}
	return db.engine.(*postgresEngine).reading
}

func count(t testing.TB, db *DB, query string, args ...any) (n int) {
	t.Helper()
	must(t, pool(db).QueryRowContext(context.Background(), query, args...).Scan(&n))
	return n
}

func clean(t testing.TB, db *DB) {
	t.Helper()
	problems, err := db.Check(context.Background())
	if err != nil || problems != nil {
		t.Errorf("Check: %q, %v, want no problem", problems, err)
	}
}

// furnish fills a database so that every method of allMethods has rows to read or change.
func furnish(t testing.TB, db *DB) {
	t.Helper()
	ctx := t.Context()
	addUser(t, db, "ada")
	addUser(t, db, "bob")
	for _, s := range []string{"1", "2", "3"} {
		signIn(t, db, "ada", "session-"+s, "grant-"+s)
	}
	signIn(t, db, "bob", "session-4", "grant-4")
	signInWithCookie(t, db, "ada", "session-5", "cookie-5")
	countTries(t, db, "session-2", 1)
	countTries(t, db, "session-3", maxFailures)
	must(t, db.AddKeyIfNone(ctx, aKey("key-active", UseSigning, KeyActive, 0), aKey("key-pending", UseSigning, KeyPending, 0), aKey("key-retiring", UseSigning, KeyRetiring, 0)))
	_, err := db.Revoke(ctx, "jti", "token-1", later)
	must(t, err)
	_, err = db.Revoke(ctx, "jti", "token-2", noon.Add(-revocationsKept))
	must(t, err)
	must(t, db.AddDenials(ctx, []Denial{aDenial("denial-1")}))
	_, err = db.LockUser(ctx, "bob", later, anEvent(EventUserLocked, "bob"))
	must(t, err)
	must(t, db.AddToGroup(ctx, "ada", "staff", 10, anEvent(EventGroupAdded, "ada")))
	must(t, db.RequireFactorOfGroup(ctx, "staff", true, 10, anEvent(EventFactorRequired, "")))
	must(t, db.Beat(ctx, noon))
	must(t, db.AddCounts(ctx, []Count{{At: noon, Node: "node-0", Name: "refusals", Labels: "code=INVALID_TOKEN", N: 1}}))
	must(t, db.CreateAPIKey(ctx, anAPIKey("api-1", "ada"), 10, anEvent(EventAPIKeyCreated, "ada")))
	gone := anAPIKey("api-0", "ada")
	gone.ExpiresAt = noon.Add(time.Second)
	must(t, db.CreateAPIKey(ctx, gone, 10, anEvent(EventAPIKeyCreated, "ada")))
	must(t, db.do(ctx, func(tx *tx) error {
		tx.exec(`UPDATE events SET number = 1, hash = $1 WHERE id = (SELECT min(id) FROM events)`, []byte{1})
		tx.insertSeal(Seal{Number: 1, FirstEvent: 1, LastEvent: 1, FirstKept: 1, Before: []byte{0}, Hash: []byte{1}, At: noon, SignedBy: "key-1", Signature: []byte{2}})
		tx.SetMeta(metaSetup, fmt.Sprintf("07 %d", micros(later)))
		tx.SetMeta(metaImport, "under way")
		return tx.SetMeta(metaImported, "$2b$04$")
	}))
	must(t, db.AddMail(ctx, Mail{ID: "mail-1", Kind: MailResetPassword, Address: "ada@example.com", CreatedAt: noon}))
	must(t, db.AddMailToken(ctx, aMailToken("token-1", "mail-1", noon.Add(time.Minute))))
	must(t, db.AddMailToken(ctx, aMailToken("token-0", "mail-1", noon.Add(-time.Hour))))
	addUser(t, db, "eve")
	signIn(t, db, "eve", "session-6", "grant-6")
	enrol(t, db, "eve", "session-6")
	must(t, db.CreateSignIn(ctx, aSignIn("sign-in-1"), withFactor("eve"), anEvent(EventSignInBegun, "eve")))
	over := aSignIn("sign-in-0")
	over.EndsAt = noon.Add(-time.Second)
	must(t, db.CreateSignIn(ctx, over, withFactor("eve"), anEvent(EventSignInBegun, "eve")))
	must(t, db.StartTOTP(ctx, TOTP{ID: "totp-2", UserID: "eve", Sealed: []byte("sealed 2"), CreatedAt: noon}, "session-6"))
	remember(t, db, aDevice("device-1"), nil)
	must(t, db.AddPasskey(ctx, aPasskey("passkey-1"), SpentChallenge{[]byte("challenge-0"), noon.Add(-time.Hour)}, 9, factorEvent(EventPasskeyAdded)))
	must(t, db.CreateClient(ctx, aClient("app"), []HashedSecret{aSecret("secret-1", "app")}, anEvent(EventClientAdded, "")))
	must(t, db.CreateCode(ctx, aCode("code-1"), "session-1"))
	addClient(t, db, "off")
	_, err = db.DisableClient(ctx, "off", "sid 2 of off", later, anEvent(EventClientDisabled, ""))
	must(t, err)
	past := aCode("code-0")
	past.EndsAt = noon.Add(-2 * codesKept)
	must(t, db.CreateCode(ctx, past, "session-1"))
	must(t, db.CreateRequest(ctx, aRequest("request-1"), 10))
	unbound := aRequest("request-2")
	unbound.Browser = nil
	must(t, db.CreateRequest(ctx, unbound, 10))
	late := aRequest("request-0")
	late.StepEnds = noon.Add(-time.Second)
	must(t, db.CreateRequest(ctx, late, 10))
	must(t, db.GiveConsents(ctx, []Consent{aConsent("", "openid")}, anEvent(EventConsentGiven, "ada")))
}

// aRequest returns an authorization request of the client app.
func aRequest(id string) AuthorizationRequest {
	return AuthorizationRequest{
		Hash: []byte(id + "\x00\xff"), Browser: []byte("browser"), ClientID: "app", Parameters: "client_id=app", Progress: "{}",
		CreatedAt: noon, StepEnds: noon.Add(10 * time.Minute), EndsAt: noon.Add(time.Hour),
	}
}

// aConsent returns a consent of ada for the client app.
func aConsent(resource, scope string) Consent {
	return Consent{UserID: "ada", ClientID: "app", Resource: resource, Scope: scope, CreatedAt: noon}
}

func aClient(id string) Client {
	return Client{
		ID: id, Name: "App " + id, Auth: ClientSecret, RedirectURIs: []string{"https://app.example.com/callback"},
		Grants: []string{"authorization_code", "refresh_token"}, Scopes: []string{"openid", "items:read"}, Resources: []string{"https://api.example.com"},
		Introspects: []string{"https://api.example.com"}, IDTokenAlg: "RS256", SessionID: "sid of " + id, CreatedAt: noon,
	}
}

// addClient adds a client with the secret "secret of ID".
func addClient(t testing.TB, db *DB, id string) {
	t.Helper()
	must(t, db.CreateClient(t.Context(), aClient(id), []HashedSecret{aSecret("secret of "+id, id)}, anEvent(EventClientAdded, "")))
}

func aSecret(id, client string) HashedSecret {
	return HashedSecret{ID: id, ClientID: client, Hash: sha256.Sum256([]byte(id)), CreatedAt: noon}
}

// aCode returns a code of ada for the client app.
func aCode(name string) Code {
	return Code{
		Hash: []byte(name + "\x00\xff"), ClientID: "app", UserID: "ada", ParentID: "session-1", RedirectURI: "https://app.example.com/callback",
		Challenge: "challenge", Nonce: "nonce", Scope: "openid items:read", Resources: []string{"https://api.example.com"}, Claims: "{}", JKT: "thumbprint",
		AuthTime: noon, ACR: "urn:durward:acr:password", AMR: []string{"pwd"}, CreatedAt: noon, EndsAt: noon.Add(time.Minute),
	}
}

// aSpending returns the use of code-1 that begins a session.
func aSpending(session string, e Event) SpendCode {
	return SpendCode{
		Hash: aCode("code-1").Hash, At: noon, Until: later, Replayed: anEvent(EventCodeReplayed, ""),
		Check: func(Code) error { return nil },
		Begin: func(c Code, ends time.Time) NewSession {
			s := aSession(session, c.UserID)
			s.ClientID, s.ParentID, s.EndsAt = c.ClientID, c.ParentID, ends
			g := aGrant(session+" grant", session)
			g.ClientID, g.Resources, g.Claims = c.ClientID, c.Resources, c.Claims
			return NewSession{Session: s, Grant: g, Event: e}
		},
	}
}

func aDevice(id string) Device {
	return Device{ID: id, UserID: "ada", Hash: []byte("hash of " + id), SeenAt: noon}
}

// remember makes a device of ada known and reports whether it is a new one.
func remember(t testing.TB, db *DB, d Device, old []byte) bool {
	t.Helper()
	fresh, err := db.RememberDevice(t.Context(), d, old, aUser(d.UserID))
	must(t, err)
	return fresh
}

// aPasskey returns a passkey of eve.
func aPasskey(id string) Passkey {
	return Passkey{
		ID: id, UserID: "eve", Credential: []byte("credential\x00\xff of " + id), PublicKey: []byte("key\x00\xff of " + id), Flags: 5, Count: 7,
		AAGUID: "00000000-0000-0000-0000-000000000000", Transports: []string{"internal", "hybrid"}, Name: "Phone " + id, CreatedAt: noon,
	}
}

// aUse returns the use of passkey-1 with a challenge.
func aUse(challenge string) PasskeyUse {
	use := PasskeyUse{Passkey: aPasskey("passkey-1"), Was: 7, Challenge: SpentChallenge{[]byte(challenge), later}}
	use.Passkey.Count, use.Passkey.UsedAt = 8, noon
	return use
}

// aNewSession returns a session of eve with a grant, or with a cookie.
func aNewSession(id string, cookie bool) NewSession {
	n := NewSession{Session: aSession(id, "eve"), Event: anEvent(EventSignedIn, "eve"), Place: home}
	if cookie {
		n.Cookie = aCookie("cookie of "+id, id)
	} else {
		n.Grant = aGrant(id[len(id)-12:], id)
	}
	return n
}

// enrol gives a user an authenticator app, whose last step is 1, and a recovery code.
func enrol(t testing.TB, db *DB, userID, session string) {
	t.Helper()
	e := anEvent(EventFactorAdded, userID)
	e.SessionID = session
	must(t, db.StartTOTP(t.Context(), TOTP{ID: "totp of " + userID, UserID: userID, Sealed: []byte("sealed\x00\xff"), CreatedAt: noon}, session))
	if right, u, err := db.ConfirmTOTP(t.Context(), userID, noon.Add(-time.Minute), accept(1), e); !right || err != nil || u.SecondFactorAt != noon {
		t.Fatalf("ConfirmTOTP: got %t, since %s, %v", right, u.SecondFactorAt, err)
	}
	made := anEvent(EventRecoveryCodesMade, userID)
	made.SessionID = session
	must(t, db.ReplaceRecoveryCodes(t.Context(), userID, [][]byte{{1}, {2}, {3}}, made))
}

// withFactor returns a user after enrol.
func withFactor(id string) User {
	u := aUser(id)
	u.SecondFactorAt = noon
	return u
}

// accept returns a function that accepts a code of a step, and refuse one that accepts none.
func accept(step int64) func(TOTP) (int64, bool, error) {
	return func(TOTP) (int64, bool, error) { return step, true, nil }
}

func refuse(TOTP) (int64, bool, error) { return 0, false, nil }

// factorEvent returns an event of eve's session.
func factorEvent(kind string) Event {
	e := anEvent(kind, "eve")
	e.SessionID = "session-6"
	return e
}

// aTry returns a try of a factor of eve with a code of a step, 0 for a wrong code.
func aTry(factor string, step int64) FactorTry {
	f := FactorTry{UserID: "eve", Factor: factor, At: noon, Verify: accept(step), Locked: anEvent(EventFactorLocked, "eve"), Used: anEvent(EventRecoveryCodeUsed, "eve")}
	if step == 0 {
		f.Verify = refuse
	}
	return f
}

func aSignIn(name string) SignIn {
	return SignIn{
		Hash: []byte(name + "\x00\xff"), UserID: "eve", Stage: StageFactor, Methods: []string{"pwd"}, JKT: "thumbprint",
		StartedAt: noon, EndsAt: noon.Add(10 * time.Minute),
	}
}

func aMailToken(hash, mail string, ends time.Time) MailToken {
	return MailToken{Hash: []byte(hash), Purpose: MailResetPassword, UserID: "ada", EmailKey: "ada@example.com", Address: "ada@example.com", MailID: mail, CreatedAt: noon, EndsAt: ends}
}

// countTries counts tries in a session of ada.
func countTries(t testing.TB, db *DB, session string, n int) {
	t.Helper()
	for range n {
		_, err := db.CountTry(t.Context(), session, "ada")
		must(t, err)
	}
}

// ofClient holds the arguments of methods that change a client.
type ofClient struct {
	ID, SID string
	Event   Event
}

// dbMethod is an exported method with arguments that affect a furnished database.
type dbMethod struct {
	name   string
	writes bool
	run    func(context.Context, *DB) error
	// hostile calls the method with one invalid string, by the name of the string.
	hostile func(unfit string) map[string]func(context.Context, *DB) error
	// collides calls the method with an event that exists already, if it writes one.
	collides func(context.Context, *DB) error
}

// methodOf returns the dbMethod of a struct of arguments and a function that takes it.
func methodOf[T any](name string, writes bool, args T, do func(context.Context, *DB, T) error) dbMethod {
	d := dbMethod{name: name, writes: writes}
	d.run = func(ctx context.Context, db *DB) error { return do(ctx, db, args) }
	d.hostile = func(unfit string) map[string]func(context.Context, *DB) error {
		all := make(map[string]func(context.Context, *DB) error)
		for i, path := range stringsIn(reflect.ValueOf(&args).Elem(), name) {
			all[path] = func(ctx context.Context, db *DB) error {
				broken := args
				// Copies of args share the elements of slices, so unfitAt clones them.
				v := reflect.ValueOf(&broken).Elem()
				n := 0
				unfitAt(v, i, &n, unfit)
				return do(ctx, db, broken)
			}
		}
		return all
	}
	if f := reflect.ValueOf(args).FieldByName("Event"); f.IsValid() {
		d.collides = func(ctx context.Context, db *DB) error {
			again := args
			e := reflect.ValueOf(&again).Elem().FieldByName("Event").Addr().Interface().(*Event)
			e.ID = eventTaken
			return do(ctx, db, again)
		}
	}
	return d
}

// eventTaken is the id of an event that TestMethodsAreAtomic inserts first.
const eventTaken = "01TAKEN"

// inputs returns the exported fields of a struct that a write stores: not EndReason, which is only read, not the
// Language of an event, which few writes store, and of the user in a proof only the id.
func inputs(v reflect.Value) iter.Seq2[string, reflect.Value] {
	return func(yield func(string, reflect.Value) bool) {
		for f, field := range v.Fields() {
			if v.Type() == reflect.TypeFor[Proof]() && f.Name == "User" {
				field = field.FieldByName("ID")
			}
			ofEvent := v.Type() == reflect.TypeFor[Event]() && f.Name == "Language"
			if f.Name != "EndReason" && f.IsExported() && !ofEvent && !yield(f.Name, field) {
				return
			}
		}
	}
}

// stringsIn names every string in v.
func stringsIn(v reflect.Value, path string) (paths []string) {
	switch v.Kind() {
	case reflect.String:
		return []string{path}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return nil
		}
		for name, field := range inputs(v) {
			paths = append(paths, stringsIn(field, path+"."+name)...)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return nil
		}
		for i := range v.Len() {
			paths = append(paths, stringsIn(v.Index(i), fmt.Sprintf("%s[%d]", path, i))...)
		}
	}
	return paths
}

// unfitAt makes one string invalid: number want in the order of stringsIn.
func unfitAt(v reflect.Value, want int, n *int, unfit string) {
	switch v.Kind() {
	case reflect.String:
		if *n == want {
			v.SetString(unfit)
		}
		*n++
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for _, field := range inputs(v) {
			unfitAt(field, want, n, unfit)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		own := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(own, v)
		v.Set(own)
		for i := range v.Len() {
			unfitAt(v.Index(i), want, n, unfit)
		}
	}
}

// allMethods lists every exported method of a furnished database.
func allMethods() []dbMethod {
	type byUser struct{ UserID string }
	type withID struct {
		ID    string
		Event Event
	}
	type ofUser struct {
		UserID string
		Event  Event
	}
	type withOwner struct {
		ID, UserID string
		Event      Event
	}
	type newUser struct {
		User      User
		Skeletons []string
		Event     Event
	}
	return []dbMethod{
		methodOf("Reachable", false, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return db.Reachable(ctx) }),
		methodOf("Ping", true, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return db.Ping(ctx) }),
		methodOf("Issuer", true, struct{ Issuer string }{"https://auth.example.com"}, func(ctx context.Context, db *DB, a struct{ Issuer string }) error {
			return db.Issuer(ctx, a.Issuer)
		}),
		methodOf("SaveClocks", true, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return db.SaveClocks(ctx) }),
		methodOf("Beat", true, noon.Add(time.Hour), func(ctx context.Context, db *DB, at time.Time) error { return db.Beat(ctx, at) }),
		methodOf("Start", true, noon.Add(time.Hour), func(ctx context.Context, db *DB, at time.Time) error {
			return errOf(db.Start(ctx, at, time.Minute))
		}),

		methodOf("CreateUser", true, struct {
			User  User
			Event Event
		}{aUser("carol"), anEvent(EventRegistered, "carol")}, func(ctx context.Context, db *DB, a struct {
			User  User
			Event Event
		}) error {
			return db.CreateUser(ctx, a.User, nil, false, a.Event)
		}),
		methodOf("ImportUsers", true, struct{ Users []ImportedUser }{[]ImportedUser{
			{User: aUser("carol"), Event: anEvent(EventUserAdded, "carol"), Blank: "$2b$10$"},
		}}, func(ctx context.Context, db *DB, a struct{ Users []ImportedUser }) error {
			return errOf(db.ImportUsers(ctx, a.Users, ImportOptions{Most: 2, Was: "under way", Next: func([]error) (string, error) { return "state", nil }}))
		}),
		methodOf("ImportState", false, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return errOf(db.ImportState(ctx)) }),
		methodOf("EndImport", true, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return db.EndImport(ctx, "under way") }),
		methodOf("SetUser", true, struct {
			ID, Name, Email, Key string
			Event                Event
		}{"ada", "Countess", "Lady@example.com", "lady@example.com", anEvent(EventUserChanged, "ada")}, func(ctx context.Context, db *DB, a struct {
			ID, Name, Email, Key string
			Event                Event
		}) error {
			return errOf(db.SetUser(ctx, a.ID, UserChange{Name: &a.Name, Email: &a.Email, EmailKey: &a.Key}, later, a.Event))
		}),
		methodOf("DeleteUser", true, struct {
			ID    string
			Event Event
		}{"ada", anEvent(EventUserDeleted, "ada")}, func(ctx context.Context, db *DB, a struct {
			ID    string
			Event Event
		}) error {
			return errOf(db.DeleteUser(ctx, a.ID, later, a.Event))
		}),
		methodOf("Groups", false, byUser{"ada"}, func(ctx context.Context, db *DB, a byUser) error { return errOf(db.Groups(ctx, a.UserID)) }),
		methodOf("GroupSizes", false, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return errOf(db.GroupSizes(ctx)) }),
		methodOf("AddToGroup", true, struct {
			ID, Group string
			Event     Event
		}{"ada", "board", anEvent(EventGroupAdded, "ada")}, func(ctx context.Context, db *DB, a struct {
			ID, Group string
			Event     Event
		}) error {
			return db.AddToGroup(ctx, a.ID, a.Group, 10, a.Event)
		}),
		methodOf("RemoveFromGroup", true, struct {
			ID, Group string
			Event     Event
		}{"ada", "staff", anEvent(EventGroupRemoved, "ada")}, func(ctx context.Context, db *DB, a struct {
			ID, Group string
			Event     Event
		}) error {
			return errOf(db.RemoveFromGroup(ctx, a.ID, a.Group, later, a.Event))
		}),
		methodOf("FactorGroups", false, byUser{"ada"}, func(ctx context.Context, db *DB, a byUser) error { return errOf(db.FactorGroups(ctx, a.UserID)) }),
		methodOf("RequireFactor", true, ofUser{"ada", anEvent(EventFactorRequired, "ada")}, func(ctx context.Context, db *DB, a ofUser) error {
			return db.RequireFactor(ctx, a.UserID, true, a.Event)
		}),
		methodOf("RequireFactorOfGroup", true, struct {
			Group string
			Event Event
		}{"board", anEvent(EventFactorRequired, "")}, func(ctx context.Context, db *DB, a struct {
			Group string
			Event Event
		}) error {
			return db.RequireFactorOfGroup(ctx, a.Group, true, 10, a.Event)
		}),
		methodOf("ImportedHashes", false, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return errOf(db.ImportedHashes(ctx)) }),
		methodOf("DropImportedHashes", true, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error {
			return db.DropImportedHashes(ctx, func(blank string) string { return blank + "%" })
		}),
		methodOf("IndexSkeletons", true, struct{ Version string }{"1"}, func(ctx context.Context, db *DB, a struct{ Version string }) error {
			return db.IndexSkeletons(ctx, a.Version, func(u User) []string { return []string{"of " + u.ID} })
		}),
		methodOf("LookAlikes", false, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return errOf(db.LookAlikes(ctx)) }),
		methodOf("UserByID", false, byUser{"ada"}, func(ctx context.Context, db *DB, a byUser) error { return errOf(db.UserByID(ctx, a.UserID)) }),
		methodOf("UserByEmailKey", false, struct{ Key string }{"ada@example.com"}, func(ctx context.Context, db *DB, a struct{ Key string }) error {
			return errOf(db.UserByEmailKey(ctx, a.Key))
		}),
		methodOf("Users", false, struct{ After string }{"a"}, func(ctx context.Context, db *DB, a struct{ After string }) error {
			return errOf(db.Users(ctx, a.After, 10))
		}),
		methodOf("FindUsers", false, struct{ Search, After string }{"a", "z"}, func(ctx context.Context, db *DB, a struct{ Search, After string }) error {
			return errOf(db.FindUsers(ctx, UserFilter{Search: a.Search, After: a.After, Limit: 10}))
		}),
		methodOf("SetUser", true, struct {
			ID, Name string
			Event    Event
		}{"ada", "Countess", anEvent(EventUserChanged, "ada")}, func(ctx context.Context, db *DB, a struct {
			ID, Name string
			Event    Event
		}) error {
			return errOf(db.SetUser(ctx, a.ID, UserChange{Name: &a.Name}, later, a.Event))
		}),
		methodOf("DeleteUser", true, struct {
			ID    string
			Event Event
		}{"ada", anEvent(EventUserDeleted, "ada")}, func(ctx context.Context, db *DB, a struct {
			ID    string
			Event Event
		}) error {
			return errOf(db.DeleteUser(ctx, a.ID, later, a.Event))
		}),
		methodOf("SetName", true, struct{ ID, Name string }{"ada", "Countess"}, func(ctx context.Context, db *DB, a struct{ ID, Name string }) error {
			return errOf(db.SetName(ctx, a.ID, a.Name))
		}),
		methodOf("SetPasswordHash", true, struct{ ID, Old, New string }{"ada", "$argon2id$ada", "$argon2id$new"}, func(ctx context.Context, db *DB, a struct{ ID, Old, New string }) error {
			return db.SetPasswordHash(ctx, a.ID, a.Old, a.New)
		}),
		methodOf("ChangePassword", true, struct {
			ID, Hash, Keep string
			Event          Event
		}{"ada", "$argon2id$new", "session-2", anEvent(EventPasswordChanged, "ada")}, func(ctx context.Context, db *DB, a struct {
			ID, Hash, Keep string
			Event          Event
		}) error {
			return errOf(db.ChangePassword(ctx, a.ID, a.Hash, a.Keep, noon, later, a.Event))
		}),
		methodOf("ChangePasswordWithCookie", true, struct {
			Hash    string
			Event   Event
			Renewal CookieRenewal
		}{"$argon2id$new", anEvent(EventPasswordChanged, "ada"), aRenewal("session-5", "cookie-5", "cookie-9")}, func(ctx context.Context, db *DB, a struct {
			Hash    string
			Event   Event
			Renewal CookieRenewal
		}) error {
			return errOf(db.ChangePasswordWithCookie(ctx, a.Hash, later, a.Event, a.Renewal))
		}),
		methodOf("LockUser", true, withID{"ada", anEvent(EventUserLocked, "ada")}, func(ctx context.Context, db *DB, a withID) error {
			return errOf(db.LockUser(ctx, a.ID, later, a.Event))
		}),
		methodOf("UnlockUser", true, withID{"bob", anEvent(EventUserUnlocked, "bob")}, func(ctx context.Context, db *DB, a withID) error {
			return db.UnlockUser(ctx, a.ID, a.Event)
		}),

		methodOf("CreateSession", true, struct {
			Session Session
			Grant   Grant
			Event   Event
			Place   Place
		}{aSession("session-9", "ada"), aGrant("grant-9", "session-9"), anEvent(EventSignedIn, "ada"), Place{"203.0.113.0/24", "curl"}}, func(ctx context.Context, db *DB, a struct {
			Session Session
			Grant   Grant
			Event   Event
			Place   Place
		}) error {
			return errOf(db.CreateSession(ctx, a.Session, a.Grant, a.Event, a.Place, aUser("ada")))
		}),
		methodOf("KnownPlace", false, struct {
			UserID string
			Place  Place
		}{"ada", home}, func(ctx context.Context, db *DB, a struct {
			UserID string
			Place  Place
		}) error {
			return errOf(db.KnownPlace(ctx, a.UserID, a.Place, noon))
		}),
		methodOf("KnownDevice", false, byUser{"ada"}, func(ctx context.Context, db *DB, a byUser) error {
			return errOf(db.KnownDevice(ctx, a.UserID, aDevice("device-1").Hash, noon))
		}),
		methodOf("RememberDevice", true, struct{ Device Device }{aDevice("device-2")}, func(ctx context.Context, db *DB, a struct{ Device Device }) error {
			return errOf(db.RememberDevice(ctx, a.Device, nil, aUser("ada")))
		}),
		methodOf("Sessions", false, byUser{"ada"}, func(ctx context.Context, db *DB, a byUser) error { return errOf(db.Sessions(ctx, a.UserID, noon)) }),
		methodOf("EndSession", true, struct {
			ID, UserID, Reason, Tell string
			Event                    Event
		}{"session-1", "ada", "signed_out", "session_ended", anEvent(EventSignedOut, "ada")}, func(ctx context.Context, db *DB, a struct {
			ID, UserID, Reason, Tell string
			Event                    Event
		}) error {
			return errOf(db.EndSession(ctx, a.ID, a.UserID, a.Reason, later, a.Event, a.Tell))
		}),
		methodOf("CountTry", true, byUser{"ada"}, func(ctx context.Context, db *DB, a byUser) error {
			_, err := db.CountTry(ctx, "session-1", a.UserID)
			return err
		}),
		methodOf("ForgetTries", true, struct{ ID string }{"session-2"}, func(ctx context.Context, db *DB, a struct{ ID string }) error {
			return db.ForgetTries(ctx, a.ID, true)
		}),
		methodOf("EndGuessedSession", true, withOwner{"session-3", "ada", anEvent(EventSessionEnded, "ada")}, func(ctx context.Context, db *DB, a withOwner) error {
			return errOf(db.EndGuessedSession(ctx, a.ID, a.UserID, later, a.Event))
		}),
		methodOf("EndSessions", true, struct {
			UserID, Except, Reason string
			Event                  Event
		}{"ada", "session-1", "signed_out", anEvent(EventSignedOut, "ada")}, func(ctx context.Context, db *DB, a struct {
			UserID, Except, Reason string
			Event                  Event
		}) error {
			return errOf(db.EndSessions(ctx, a.UserID, a.Except, a.Reason, later, a.Event))
		}),

		methodOf("GrantByID", false, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error {
			_, _, _, err := db.GrantByID(ctx, aGrantID("grant-1"))
			return err
		}),
		methodOf("RotateRefresh", true, aMove("grant-1", 1, 2), func(ctx context.Context, db *DB, r Rotate) error {
			moved, err := db.RotateRefresh(ctx, r)
			if moved != (err == nil) {
				return fmt.Errorf("moved is %v: %w", moved, err)
			}
			return err
		}),
		methodOf("CountReplay", true, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error {
			return errOf(db.CountReplay(ctx, aGrantID("grant-1"), 1))
		}),
		methodOf("EndGrant", true, struct {
			Reason string
			Event  Event
		}{"theft", anEvent(EventRefreshTheft, "ada")}, func(ctx context.Context, db *DB, a struct {
			Reason string
			Event  Event
		}) error {
			return errOf(db.EndGrant(ctx, aGrantID("grant-1"), a.Reason, later, a.Event))
		}),

		methodOf("CreateCookieSession", true, struct {
			Session Session
			Cookie  Cookie
			Event   Event
			Place   Place
			Old     Replaced
		}{aSession("session-9", "ada"), aCookie("cookie-9", "session-9"), anEvent(EventSignedIn, "ada"), home, Replaced{aCookie("cookie-5", "").Hash, "01ENDED", EventSignedOut, "signed_out", later}}, func(ctx context.Context, db *DB, a struct {
			Session Session
			Cookie  Cookie
			Event   Event
			Place   Place
			Old     Replaced
		}) error {
			return errOf(db.CreateCookieSession(ctx, a.Session, a.Cookie, a.Event, a.Place, aUser("ada"), a.Old))
		}),
		methodOf("CookieByHash", false, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error {
			_, _, _, err := db.CookieByHash(ctx, aCookie("cookie-5", "").Hash)
			return err
		}),
		methodOf("UseCookie", true, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error {
			return db.UseCookie(ctx, aCookie("cookie-5", "").Hash, noon.Add(time.Minute), noon, noon.Add(31*time.Minute))
		}),
		methodOf("ProveWithGrant", true, struct {
			Proof    Proof
			ClientID string
			Event    Event
		}{aProof("session-1"), "durward", anEvent(EventSteppedUp, "ada")}, func(ctx context.Context, db *DB, a struct {
			Proof    Proof
			ClientID string
			Event    Event
		}) error {
			_, _, err := db.ProveWithGrant(ctx, a.Proof, a.ClientID, a.Event)
			return err
		}),
		methodOf("ProveWithCookie", true, aRenewal("session-5", "cookie-5", "cookie-9"), func(ctx context.Context, db *DB, r CookieRenewal) error {
			return db.ProveWithCookie(ctx, r)
		}),

		methodOf("Revoke", true, struct{ Kind, Value string }{"jti", "token-3"}, func(ctx context.Context, db *DB, a struct{ Kind, Value string }) error {
			return errOf(db.Revoke(ctx, a.Kind, a.Value, later))
		}),
		methodOf("Revocations", false, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error {
			_, err := db.Revocations(ctx, 0, noon)
			return err
		}),
		methodOf("RevocationsAfter", false, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error {
			return errOf(db.RevocationsAfter(ctx, 0, 10))
		}),
		methodOf("PurgeSessions", true, struct{ Before time.Time }{noon.AddDate(10, 0, 0)}, func(ctx context.Context, db *DB, a struct{ Before time.Time }) error {
			return db.PurgeSessions(ctx, noon.Sub(a.Before))
		}),
		methodOf("PurgeRevocations", true, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return db.PurgeRevocations(ctx) }),

		methodOf("Keys", false, struct{ Use string }{UseSigning}, func(ctx context.Context, db *DB, a struct{ Use string }) error { return errOf(db.Keys(ctx, a.Use)) }),
		methodOf("AddKey", true, struct {
			Key   Key
			Event Event
		}{aKey("key-9", UseSigning, KeyPending, 0), anEvent(EventKeyCreated, "")}, func(ctx context.Context, db *DB, a struct {
			Key   Key
			Event Event
		}) error {
			return db.AddKey(ctx, a.Key, a.Event)
		}),
		methodOf("AddKeyIfNone", true, struct{ Key Key }{aKey("key-r", UseRefresh, KeyActive, 1)}, func(ctx context.Context, db *DB, a struct{ Key Key }) error {
			return db.AddKeyIfNone(ctx, a.Key)
		}),
		methodOf("PromoteKey", true, struct {
			ID, Old string
			Event   Event
		}{"key-pending", "key-active", anEvent(EventKeyState, "")}, func(ctx context.Context, db *DB, a struct {
			ID, Old string
			Event   Event
		}) error {
			return db.PromoteKey(ctx, a.ID, a.Old, noon, a.Event)
		}),
		methodOf("ForgetKey", true, withID{"key-retiring", anEvent(EventKeyState, "")}, func(ctx context.Context, db *DB, a withID) error {
			return db.ForgetKey(ctx, a.ID, a.Event)
		}),
		methodOf("GiveUpKey", true, struct {
			ID, State, Next string
			Add             Key
			Event           Event
		}{"key-active", KeyActive, "key-pending", aKey("key-9", UseSigning, KeyPending, 0), anEvent(EventKeyWithdrawn, "")}, func(ctx context.Context, db *DB, a struct {
			ID, State, Next string
			Add             Key
			Event           Event
		}) error {
			_, err := db.GiveUpKey(ctx, GivenUp{ID: a.ID, State: a.State, Next: a.Next, Add: []Key{a.Add}, At: noon, Until: noon.Add(time.Hour)}, a.Event)
			return err
		}),

		methodOf("CreateSignIn", true, struct {
			SignIn SignIn
			Event  Event
		}{aSignIn("sign-in-9"), anEvent(EventSignInBegun, "eve")}, func(ctx context.Context, db *DB, a struct {
			SignIn SignIn
			Event  Event
		}) error {
			return db.CreateSignIn(ctx, a.SignIn, withFactor("eve"), a.Event)
		}),
		methodOf("SignInByHash", false, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error {
			_, _, err := db.SignInByHash(ctx, aSignIn("sign-in-1").Hash, noon)
			return err
		}),
		methodOf("FinishSignIn", true, struct {
			Session Session
			Grant   Grant
			Place   Place
			Event   Event
		}{aSession("session-9", "eve"), aGrant("grant-9", "session-9"), home, anEvent(EventSignedIn, "eve")}, func(ctx context.Context, db *DB, a struct {
			Session Session
			Grant   Grant
			Place   Place
			Event   Event
		}) error {
			_, _, err := db.FinishSignIn(ctx, FinishedSignIn{
				Hash: aSignIn("sign-in-1").Hash, Try: aTry(FactorTOTP, 7),
				NewSession: NewSession{Session: a.Session, Grant: a.Grant, Place: a.Place, Event: a.Event},
			})
			return err
		}),
		methodOf("AddPasskey", true, struct {
			Passkey Passkey
			Event   Event
		}{aPasskey("passkey-9"), factorEvent(EventPasskeyAdded)}, func(ctx context.Context, db *DB, a struct {
			Passkey Passkey
			Event   Event
		}) error {
			return db.AddPasskey(ctx, a.Passkey, SpentChallenge{[]byte("challenge-9"), later}, 9, a.Event)
		}),
		methodOf("RenamePasskey", true, struct {
			ID, Name string
			Event    Event
		}{"passkey-1", "Laptop", factorEvent(EventPasskeyRenamed)}, func(ctx context.Context, db *DB, a struct {
			ID, Name string
			Event    Event
		}) error {
			return errOf(db.RenamePasskey(ctx, a.ID, a.Name, a.Event))
		}),
		methodOf("RemovePasskey", true, withID{"passkey-1", factorEvent(EventPasskeyRemoved)}, func(ctx context.Context, db *DB, a withID) error {
			return errOf(db.RemovePasskey(ctx, a.ID, later, a.Event))
		}),
		methodOf("UsePasskey", true, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return db.UsePasskey(ctx, aUse("challenge-9")) }),
		methodOf("SignInWithPasskey", true, struct {
			Session Session
			Grant   Grant
			Place   Place
			Event   Event
		}{aSession("session-9", "eve"), aGrant("grant-9", "session-9"), home, anEvent(EventSignedIn, "eve")}, func(ctx context.Context, db *DB, a struct {
			Session Session
			Grant   Grant
			Place   Place
			Event   Event
		}) error {
			n := NewSession{Session: a.Session, Grant: a.Grant, Event: a.Event, Place: a.Place}
			return errOf(db.SignInWithPasskey(ctx, aUse("challenge-9"), n, withFactor("eve")))
		}),
		methodOf("Passkeys", false, byUser{"eve"}, func(ctx context.Context, db *DB, a byUser) error { return errOf(db.Passkeys(ctx, a.UserID)) }),
		methodOf("PasskeyByCredential", false, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error {
			_, _, err := db.PasskeyByCredential(ctx, aPasskey("passkey-1").Credential)
			return err
		}),
		methodOf("PurgeChallenges", true, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return db.PurgeChallenges(ctx) }),
		methodOf("CreateClient", true, struct {
			Client Client
			Event  Event
		}{aClient("other"), anEvent(EventClientAdded, "")}, func(ctx context.Context, db *DB, a struct {
			Client Client
			Event  Event
		}) error {
			return db.CreateClient(ctx, a.Client, []HashedSecret{aSecret("secret-9", a.Client.ID)}, a.Event)
		}),
		methodOf("SetClient", true, struct {
			Name, SID string
			Scopes    []string
			Event     Event
		}{"Other", "sid-9", []string{"openid"}, anEvent(EventClientChanged, "")}, func(ctx context.Context, db *DB, a struct {
			Name, SID string
			Scopes    []string
			Event     Event
		}) error {
			c := aClient("app")
			c.Name, c.Scopes = a.Name, a.Scopes
			return errOf(db.SetClient(ctx, aClient("app"), c, a.SID, later, a.Event))
		}),
		methodOf("DisableClient", true, ofClient{"app", "sid-9", anEvent(EventClientDisabled, "")}, func(ctx context.Context, db *DB, a ofClient) error {
			return errOf(db.DisableClient(ctx, a.ID, a.SID, later, a.Event))
		}),
		methodOf("EnableClient", true, withID{"off", anEvent(EventClientEnabled, "")}, func(ctx context.Context, db *DB, a withID) error {
			return db.EnableClient(ctx, a.ID, a.Event)
		}),
		methodOf("DeleteClient", true, withID{"app", anEvent(EventClientDeleted, "")}, func(ctx context.Context, db *DB, a withID) error {
			return errOf(db.DeleteClient(ctx, a.ID, later, a.Event))
		}),
		methodOf("AddClientSecret", true, struct {
			ID    string
			Event Event
		}{"secret-9", anEvent(EventClientSecretAdded, "")}, func(ctx context.Context, db *DB, a struct {
			ID    string
			Event Event
		}) error {
			return db.AddClientSecret(ctx, aSecret(a.ID, "app"), a.Event)
		}),
		methodOf("RemoveClientSecret", true, ofClient{"app", "sid-9", anEvent(EventClientSecretRemoved, "")}, func(ctx context.Context, db *DB, a ofClient) error {
			return errOf(db.RemoveClientSecret(ctx, a.ID, "secret-1", a.SID, later, a.Event))
		}),
		methodOf("SyncClients", true, struct {
			Client Client
			Event  Event
		}{aClient("configured"), anEvent(EventClientAdded, "")}, func(ctx context.Context, db *DB, a struct {
			Client Client
			Event  Event
		}) error {
			hashes := [][32]byte{aSecret("secret-9", "configured").Hash}
			return errOf(db.SyncClients(ctx, []ConfiguredClient{{a.Client, hashes}}, noon, later, func(string, string) Event { return a.Event }))
		}),
		methodOf("Clients", false, struct{ After string }{"a"}, func(ctx context.Context, db *DB, a struct{ After string }) error {
			return errOf(db.Clients(ctx, a.After, 10))
		}),
		methodOf("ClientByID", false, struct{ ID string }{"app"}, func(ctx context.Context, db *DB, a struct{ ID string }) error {
			return errOf(db.ClientByID(ctx, a.ID))
		}),
		methodOf("ClientWithSecrets", false, struct{ ID string }{"app"}, func(ctx context.Context, db *DB, a struct{ ID string }) error {
			_, _, err := db.ClientWithSecrets(ctx, a.ID)
			return err
		}),
		methodOf("ClientSecrets", false, struct{ ID string }{"app"}, func(ctx context.Context, db *DB, a struct{ ID string }) error {
			return errOf(db.ClientSecrets(ctx, a.ID))
		}),
		methodOf("CreateCode", true, struct{ Code Code }{aCode("code-9")}, func(ctx context.Context, db *DB, a struct{ Code Code }) error {
			return db.CreateCode(ctx, a.Code, "session-1")
		}),
		methodOf("SpendCode", true, struct{ Event Event }{anEvent(EventApplicationSignedIn, "ada")}, func(ctx context.Context, db *DB, a struct{ Event Event }) error {
			use, err := db.SpendCode(ctx, aSpending("session-9", a.Event))
			return errors.Join(err, use.Refused)
		}),
		methodOf("CreateRequest", true, aRequest("request-9"), func(ctx context.Context, db *DB, r AuthorizationRequest) error {
			return db.CreateRequest(ctx, r, 10)
		}),
		methodOf("RequestByHash", false, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error {
			return errOf(db.RequestByHash(ctx, aRequest("request-1").Hash, noon))
		}),
		methodOf("BindRequest", true, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error {
			return db.BindRequest(ctx, aRequest("request-2").Hash, []byte("browser"))
		}),
		methodOf("AdvanceRequest", true, struct{ Progress string }{"progress"}, func(ctx context.Context, db *DB, a struct{ Progress string }) error {
			r := aRequest("request-1")
			r.Progress = a.Progress
			return db.AdvanceRequest(ctx, r, "{}")
		}),
		methodOf("EndRequest", true, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error {
			return db.EndRequest(ctx, aRequest("request-1").Hash)
		}),
		methodOf("PurgeRequests", true, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return db.PurgeRequests(ctx) }),
		methodOf("GiveConsents", true, struct {
			Consents []Consent
			Event    Event
		}{[]Consent{aConsent("https://api.example.com", "items:read")}, anEvent(EventConsentGiven, "ada")}, func(ctx context.Context, db *DB, a struct {
			Consents []Consent
			Event    Event
		}) error {
			return db.GiveConsents(ctx, a.Consents, a.Event)
		}),
		methodOf("Consents", false, struct{ UserID, ClientID string }{"ada", "app"}, func(ctx context.Context, db *DB, a struct{ UserID, ClientID string }) error {
			return errOf(db.Consents(ctx, a.UserID, a.ClientID))
		}),
		methodOf("ConsentsOf", false, byUser{"ada"}, func(ctx context.Context, db *DB, a byUser) error { return errOf(db.ConsentsOf(ctx, a.UserID, noon)) }),
		methodOf("WithdrawConsent", true, struct {
			UserID, ClientID string
			Event            Event
		}{"ada", "app", anEvent(EventConsentWithdrawn, "ada")}, func(ctx context.Context, db *DB, a struct {
			UserID, ClientID string
			Event            Event
		}) error {
			return errOf(db.WithdrawConsent(ctx, a.UserID, a.ClientID, later, a.Event))
		}),
		methodOf("PurgeCodes", true, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return db.PurgeCodes(ctx) }),
		methodOf("PurgeSignIns", true, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return db.PurgeSignIns(ctx) }),
		methodOf("Factors", false, byUser{"eve"}, func(ctx context.Context, db *DB, a byUser) error { return errOf(db.Factors(ctx, a.UserID)) }),
		methodOf("TryFactor", true, byUser{"eve"}, func(ctx context.Context, db *DB, a byUser) error {
			f := aTry(FactorTOTP, 7)
			f.UserID = a.UserID
			return errOf(db.TryFactor(ctx, f))
		}),
		methodOf("Seeds", false, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return errOf(db.Seeds(ctx, "", 10)) }),
		methodOf("StartTOTP", true, struct{ ID, UserID string }{"totp-9", "eve"}, func(ctx context.Context, db *DB, a struct{ ID, UserID string }) error {
			return db.StartTOTP(ctx, TOTP{ID: a.ID, UserID: a.UserID, Sealed: []byte("seed"), CreatedAt: noon}, "session-6")
		}),
		methodOf("ConfirmTOTP", true, ofUser{"eve", factorEvent(EventFactorAdded)}, func(ctx context.Context, db *DB, a ofUser) error {
			_, _, err := db.ConfirmTOTP(ctx, a.UserID, noon.Add(-time.Minute), accept(8), a.Event)
			return err
		}),
		methodOf("RemoveTOTP", true, ofUser{"eve", factorEvent(EventFactorRemoved)}, func(ctx context.Context, db *DB, a ofUser) error {
			return errOf(db.RemoveTOTP(ctx, a.UserID, later, a.Event))
		}),
		methodOf("ResetFactors", true, ofUser{"eve", factorEvent(EventFactorRemoved)}, func(ctx context.Context, db *DB, a ofUser) error {
			return errOf(db.ResetFactors(ctx, a.UserID, later, a.Event))
		}),
		methodOf("ReplaceRecoveryCodes", true, ofUser{"eve", factorEvent(EventRecoveryCodesMade)}, func(ctx context.Context, db *DB, a ofUser) error {
			return db.ReplaceRecoveryCodes(ctx, a.UserID, [][]byte{{8}, {9}}, a.Event)
		}),

		methodOf("CreateAPIKey", true, struct {
			Key   APIKey
			Event Event
		}{anAPIKey("api-9", "ada"), anEvent(EventAPIKeyCreated, "ada")}, func(ctx context.Context, db *DB, a struct {
			Key   APIKey
			Event Event
		}) error {
			return db.CreateAPIKey(ctx, a.Key, 10, a.Event)
		}),
		methodOf("RotateAPIKey", true, struct {
			Old   string
			Key   APIKey
			Event Event
		}{"api-1", anAPIKey("api-9", "ada"), anEvent(EventAPIKeyRotated, "ada")}, func(ctx context.Context, db *DB, a struct {
			Old   string
			Key   APIKey
			Event Event
		}) error {
			return db.RotateAPIKey(ctx, a.Old, a.Key, a.Event)
		}),
		methodOf("RevokeAPIKey", true, withOwner{"api-1", "ada", anEvent(EventAPIKeyRevoked, "ada")}, func(ctx context.Context, db *DB, a withOwner) error {
			return db.RevokeAPIKey(ctx, a.ID, a.UserID, a.Event)
		}),
		methodOf("APIKeyByID", false, struct{ ID string }{"api-1"}, func(ctx context.Context, db *DB, a struct{ ID string }) error { return errOf(db.APIKeyByID(ctx, a.ID)) }),
		methodOf("APIKeyByPublicID", false, struct{ PublicID string }{"pub-api-1"}, func(ctx context.Context, db *DB, a struct{ PublicID string }) error {
			_, _, err := db.APIKeyByPublicID(ctx, a.PublicID)
			return err
		}),
		methodOf("APIKeys", false, struct{ UserID, After string }{"ada", "z"}, func(ctx context.Context, db *DB, a struct{ UserID, After string }) error {
			return errOf(db.APIKeys(ctx, a.UserID, a.After, 10))
		}),
		methodOf("UseAPIKeys", true, struct{ ID string }{"api-1"}, func(ctx context.Context, db *DB, a struct{ ID string }) error {
			return db.UseAPIKeys(ctx, map[string]time.Time{a.ID: noon})
		}),
		methodOf("PurgeAPIKeys", true, noon.Add(time.Minute), func(ctx context.Context, db *DB, before time.Time) error {
			return db.PurgeAPIKeys(ctx, noon.Sub(before))
		}),

		methodOf("AddMail", true, struct{ Mail Mail }{Mail{ID: "mail-9", Kind: MailResetPassword, Address: "eve@example.com", CreatedAt: noon}}, func(ctx context.Context, db *DB, a struct{ Mail Mail }) error {
			return db.AddMail(ctx, a.Mail)
		}),
		methodOf("SendReset", true, struct {
			UserID string
			Event  Event
		}{"ada", anEvent(EventResetSent, "ada")}, func(ctx context.Context, db *DB, a struct {
			UserID string
			Event  Event
		}) error {
			return db.SendReset(ctx, Mail{ID: "mail-9", Kind: MailResetPassword, UserID: a.UserID, CreatedAt: noon}, a.Event)
		}),
		methodOf("ClaimMails", true, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return errOf(db.ClaimMails(ctx, 10, time.Minute)) }),
		methodOf("PostponeMail", true, struct{ ID string }{"mail-1"}, func(ctx context.Context, db *DB, a struct{ ID string }) error {
			return db.PostponeMail(ctx, Mail{ID: a.ID}, later)
		}),
		methodOf("DropMail", true, withID{"mail-1", anEvent(EventLinkMailed, "ada")}, func(ctx context.Context, db *DB, a withID) error {
			return db.DropMail(ctx, Mail{ID: a.ID}, a.Event)
		}),
		methodOf("MailsWaiting", false, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error {
			_, _, err := db.MailsWaiting(ctx)
			return err
		}),
		methodOf("AddMailToken", true, struct{ Token MailToken }{aMailToken("token-9", "mail-9", later)}, func(ctx context.Context, db *DB, a struct{ Token MailToken }) error {
			return db.AddMailToken(ctx, a.Token)
		}),
		methodOf("MailTokenByHash", false, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error {
			_, _, err := db.MailTokenByHash(ctx, []byte("token-1"))
			return err
		}),
		methodOf("PurgeMailTokens", true, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return db.PurgeMailTokens(ctx) }),
		methodOf("ResetPassword", true, struct {
			Hash  string
			Event Event
		}{"$argon2id$new", anEvent(EventPasswordReset, "ada")}, func(ctx context.Context, db *DB, a struct {
			Hash  string
			Event Event
		}) error {
			return errOf(db.ResetPassword(ctx, aMailToken("token-1", "", later), a.Hash, later, a.Event))
		}),

		methodOf("Register", true, newUser{aUser("mia"), []string{"mia"}, anEvent(EventRegistered, "mia")}, func(ctx context.Context, db *DB, a newUser) error {
			return db.Register(ctx, a.User, a.Skeletons, a.Event)
		}),
		methodOf("VerifyEmail", true, struct{ Event Event }{anEvent(EventEmailVerified, "ada")}, func(ctx context.Context, db *DB, a struct{ Event Event }) error {
			return db.VerifyEmail(ctx, aMailToken("token-1", "", later), a.Event)
		}),
		methodOf("ChangeEmail", true, struct {
			Key       string
			Skeletons []string
			Event     Event
		}{"mia@example.com", []string{"mia"}, anEvent(EventEmailChanged, "ada")}, func(ctx context.Context, db *DB, a struct {
			Key       string
			Skeletons []string
			Event     Event
		}) error {
			return db.ChangeEmail(ctx, aMailToken("token-1", "", later), a.Key, a.Skeletons, a.Event)
		}),
		methodOf("UndoEmail", true, struct {
			Key       string
			Skeletons []string
			Event     Event
			Mail      Mail
		}{"mia@example.com", []string{"mia"}, anEvent(EventEmailUndone, "ada"), Mail{ID: "mail-9", Kind: MailResetPassword, UserID: "ada", CreatedAt: noon}}, func(ctx context.Context, db *DB, a struct {
			Key       string
			Skeletons []string
			Event     Event
			Mail      Mail
		}) error {
			return errOf(db.UndoEmail(ctx, aMailToken("token-1", "", later), a.Key, a.Skeletons, later, a.Event, a.Mail))
		}),
		methodOf("Invite", true, newUser{aUser("mia"), []string{"mia"}, anEvent(EventUserInvited, "mia")}, func(ctx context.Context, db *DB, a newUser) error {
			return db.Invite(ctx, a.User, a.Skeletons, false, a.Event)
		}),
		methodOf("AcceptInvitation", true, struct {
			Hash, Name string
			Event      Event
		}{"$argon2id$new", "Ada", anEvent(EventInvited, "ada")}, func(ctx context.Context, db *DB, a struct {
			Hash, Name string
			Event      Event
		}) error {
			return db.AcceptInvitation(ctx, aMailToken("token-1", "", later), a.Hash, a.Name, a.Event)
		}),
		methodOf("AddCounts", true, Count{At: noon, Node: "node-1", Name: "refusals", Labels: "code=INVALID_TOKEN", N: 3}, func(ctx context.Context, db *DB, c Count) error {
			return db.AddCounts(ctx, []Count{c})
		}),
		methodOf("Counts", false, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error {
			return errOf(db.Counts(ctx, noon, later, time.Hour))
		}),
		methodOf("PurgeCounts", true, noon.Add(time.Hour), func(ctx context.Context, db *DB, before time.Time) error {
			return db.PurgeCounts(ctx, noon.Sub(before))
		}),
		methodOf("AddDenials", true, struct{ Denials []Denial }{[]Denial{aDenial("denial-8"), aDenial("denial-9")}}, func(ctx context.Context, db *DB, a struct{ Denials []Denial }) error {
			return db.AddDenials(ctx, a.Denials)
		}),
		methodOf("DenialByID", false, struct{ ID string }{"denial-1"}, func(ctx context.Context, db *DB, a struct{ ID string }) error { return errOf(db.DenialByID(ctx, a.ID)) }),
		methodOf("Denials", false, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error {
			return errOf(db.Denials(ctx, DenialFilter{Limit: 10}))
		}),
		methodOf("PurgeDenials", true, noon.Add(time.Second), func(ctx context.Context, db *DB, before time.Time) error {
			return db.PurgeDenials(ctx, noon.Sub(before))
		}),
		methodOf("AddEvents", true, struct {
			First []Event
			Event Event
		}{[]Event{anEvent(EventSignInRefused, "ada")}, anEvent(EventSignInRefused, "bob")}, func(ctx context.Context, db *DB, a struct {
			First []Event
			Event Event
		}) error {
			return db.AddEvents(ctx, append(slices.Clip(a.First), a.Event))
		}),
		methodOf("AddEventOnce", true, struct{ Event Event }{anEvent(EventLogRead, "ada")}, func(ctx context.Context, db *DB, a struct{ Event Event }) error {
			return db.AddEventOnce(ctx, a.Event, time.Hour)
		}),
		methodOf("BeginSetup", true, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return db.BeginSetup(ctx, []byte{8}, later) }),
		methodOf("Setup", false, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return errOf(db.Setup(ctx)) }),
		methodOf("FinishSetup", true, struct {
			User      User
			Skeletons []string
			Event     Event
		}{aUser("root"), []string{"root@example.com"}, anEvent(EventUserAdded, "root")}, func(ctx context.Context, db *DB, a struct {
			User      User
			Skeletons []string
			Event     Event
		}) error {
			return db.FinishSetup(ctx, []byte{7}, a.User, a.Skeletons, a.Event)
		}),
		methodOf("Totals", false, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return errOf(db.Totals(ctx)) }),
		methodOf("Events", false, EventFilter{Kind: EventSignedIn, UserID: "ada", Actor: "root", Before: "z"}, func(ctx context.Context, db *DB, f EventFilter) error { return errOf(db.Events(ctx, f)) }),
		methodOf("SealEvents", true, struct{ SignedBy string }{"key-1"}, func(ctx context.Context, db *DB, a struct{ SignedBy string }) error {
			return errOf(db.SealEvents(ctx, 100, func(last Seal, events []Event) Seal {
				for i := range events {
					events[i].Number, events[i].Hash = last.LastEvent+int64(i)+1, []byte{1}
				}
				last.Number, last.LastEvent, last.SignedBy = last.Number+1, last.LastEvent+int64(len(events)), a.SignedBy
				return last
			}))
		}),
		methodOf("PurgeEvents", true, struct{ SignedBy string }{"key-1"}, func(ctx context.Context, db *DB, a struct{ SignedBy string }) error {
			return errOf(db.PurgeEvents(ctx, -time.Hour, 100, func(last Seal, firstKept int64) Seal {
				last.Number, last.FirstKept, last.SignedBy = last.Number+1, firstKept, a.SignedBy
				return last
			}))
		}),
		methodOf("EventsAfter", false, EventFilter{Kind: EventSignedIn, UserID: "ada"}, func(ctx context.Context, db *DB, f EventFilter) error {
			return errOf(db.EventsAfter(ctx, f, ""))
		}),
		methodOf("Seals", false, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return errOf(db.Seals(ctx, 0, 10)) }),
		methodOf("LastSeal", false, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return errOf(db.LastSeal(ctx)) }),
		methodOf("SealedEvents", false, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return errOf(db.SealedEvents(ctx, 0, 10)) }),
		methodOf("Notifications", false, struct{ UserID, After string }{"ada", "z"}, func(ctx context.Context, db *DB, a struct{ UserID, After string }) error {
			return errOf(db.Notifications(ctx, a.UserID, a.After, 10))
		}),
		methodOf("Position", false, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return errOf(db.Position(ctx, 1)) }),
		methodOf("Check", false, struct{}{}, func(ctx context.Context, db *DB, _ struct{}) error { return errOf(db.Check(ctx)) }),
	}
}

// errOf returns the error of a method, and an error if it returned a value beside it.
func errOf[T any](v T, err error) error {
	if err != nil && !reflect.ValueOf(&v).Elem().IsZero() {
		return fmt.Errorf("%w (and a value beside the error: %v)", errBeside, v)
	}
	return err
}

var errBeside = errors.New("an error and a value")

// each runs a test for every method, on a furnished database of its own.
func each(t *testing.T, fresh testkit.Engine, test func(t *testing.T, db *DB, d dbMethod)) {
	for _, d := range allMethods() {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			db := openAt(t, fresh(t))
			furnish(t, db)
			test(t, db, d)
		})
	}
}

// eachOnOne runs a test for every method on one furnished database, which the test must leave as it was.
func eachOnOne(t *testing.T, fresh testkit.Engine, test func(t *testing.T, db *DB, d dbMethod)) {
	db := openAt(t, fresh(t))
	furnish(t, db)
	before := contents(t, db)
	for _, d := range allMethods() {
		t.Run(d.name, func(t *testing.T) {
			test(t, db, d)
			if diff := cmp.Diff(before, contents(t, db)); diff != "" {
				t.Fatalf("it left (-before +after):\n%s", diff)
			}
		})
		if t.Failed() {
			return
		}
	}
}

// Every exported method is in allMethods.
func TestEveryMethodIsListed(t *testing.T) {
	t.Parallel()
	listed := map[string]bool{"Close": true, "Epoch": true, "SessionEpoch": true, "Now": true, "Local": true, "TokenTime": true, "Jumped": true, "Follow": true}
	for _, d := range allMethods() {
		listed[d.name] = true
	}
	for m := range reflect.TypeFor[*DB]().Methods() {
		if !listed[m.Name] {
			t.Errorf("the method %s is not in allMethods", m.Name)
		}
	}
}

// Every write changes the contents of the database, and no read does.
func TestMethodsHaveAnEffect(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		each(t, fresh, func(t *testing.T, db *DB, d dbMethod) {
			before := contents(t, db)
			if err := d.run(t.Context(), db); err != nil {
				t.Fatalf("got %v, want no error", err)
			}
			same := slices.Equal(before, contents(t, db))
			if same == d.writes {
				t.Errorf("contents changed: %v, want %v", !same, d.writes)
			}
			clean(t, db)
		})
	})
}

// If the event of a write cannot be inserted, nothing is written.
func TestMethodsAreAtomic(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		each(t, fresh, func(t *testing.T, db *DB, d dbMethod) {
			if d.collides == nil {
				return
			}
			taken := anEvent(EventSignedIn, "ada")
			taken.ID = eventTaken
			must(t, db.AddEvents(t.Context(), []Event{taken}))
			before := contents(t, db)
			err := d.collides(t.Context(), db)
			if err == nil || errors.Is(err, errBeside) || !isUnique(err) || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrEmailTaken) {
				t.Errorf("with an event that is there already: %v, want the violation of its key and nothing else", err)
			}
			if diff := cmp.Diff(before, contents(t, db)); diff != "" {
				t.Errorf("a method that failed changed the database (-before +after):\n%s", diff)
			}
		})
	})
}

// Text with NUL or invalid UTF-8 reaches no engine, in any field.
func TestMethodsRefuseInvalidText(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		eachOnOne(t, fresh, func(t *testing.T, db *DB, d dbMethod) {
			for _, unfit := range []string{"a\x00b", "\x00", "a\xffb", "\xed\xa0\x80", "\xc3"} {
				for field, run := range d.hostile(unfit) {
					err := run(t.Context(), db)
					if !errors.Is(err, ErrText) && !errors.Is(err, ErrNotFound) {
						t.Errorf("%s = %q: %v, want ErrText or ErrNotFound", field, unfit, err)
					}
					if errors.Is(err, ErrUnavailable) {
						t.Errorf("%s = %q: %v, which is no outage", field, unfit, err)
					}
				}
			}
		})
	})
}

// With a context that has ended, a method returns the error of the context, not an outage, and changes
// nothing.
func TestMethodsAfterCancel(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		eachOnOne(t, fresh, func(t *testing.T, db *DB, d dbMethod) {
			cancelled, cancel := context.WithCancel(t.Context())
			cancel()
			past, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
			defer cancel()
			for range 20 { // the writer may take it or not
				for _, ctx := range []context.Context{cancelled, past} {
					if err := d.run(ctx, db); !errors.Is(err, ctx.Err()) || errors.Is(err, ErrUnavailable) {
						t.Fatalf("got %v, want %v and no outage", err, ctx.Err())
					}
				}
			}
		})
	})
}

func TestMethodsOfAClosedDatabase(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		each(t, fresh, func(t *testing.T, db *DB, d dbMethod) {
			must(t, d.run(t.Context(), db)) // its statements are prepared
			must(t, db.Close())
			must(t, db.Close())
			if err := d.run(t.Context(), db); !errors.Is(err, ErrUnavailable) {
				t.Errorf("got %v, want ErrUnavailable", err)
			}
		})
	})
}

// While the database is read-only, writes return ErrUnavailable and reads succeed. When it is writable again,
// writes succeed without a new Open.
func TestMethodsOfAReadOnlyDatabase(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		each(t, fresh, func(t *testing.T, db *DB, d dbMethod) {
			writable := takesNoWrites(t, db)
			before := contents(t, db)
			err := d.run(t.Context(), db)
			if d.writes && !errors.Is(err, ErrUnavailable) || !d.writes && err != nil {
				t.Errorf("got %v, want ErrUnavailable of a method that writes: %v", err, d.writes)
			}
			if errors.Is(err, ErrNotFound) || errors.Is(err, ErrText) || errors.Is(err, errBeside) {
				t.Errorf("got %v, want nothing but ErrUnavailable", err)
			}
			if diff := cmp.Diff(before, contents(t, db)); diff != "" {
				t.Errorf("it left (-before +after):\n%s", diff)
			}
			writable()
			if err := d.run(t.Context(), db); err != nil {
				t.Errorf("when it takes writes again: %v", err)
			}
		})
	})
}

// takesNoWrites makes a database read-only until the returned function is called.
func takesNoWrites(t *testing.T, db *DB) (writable func()) {
	t.Helper()
	e, ok := db.engine.(*postgresEngine)
	if !ok {
		must(t, db.do(t.Context(), func(tx *tx) error {
			return tx.exec("PRAGMA query_only = ON")
		}))
		return func() {} // the connection is given up after the first failure
	}
	set := func(to string) {
		conn, err := e.writing.Conn(t.Context())
		must(t, err)
		_, err = raw(t.Context(), conn, "BEGIN READ WRITE; ALTER DATABASE "+e.config.Database+" SET default_transaction_read_only = "+to+"; COMMIT")
		must(t, errors.Join(err, conn.Close()))
		e.writers.Reset() // it counts for new connections
	}
	set("on")
	return func() { set("off") }
}

// A transaction that fails, is cancelled or panics affects no other transaction in its batch of SQLite.
func TestBatchIsolation(t *testing.T) {
	t.Parallel()
	db := openAt(t, testkit.SQLite(t))
	set := func(name string, err error) func(*tx) error {
		return func(tx *tx) error { return errors.Join(tx.SetMeta(name, name), err) }
	}
	own := fmt.Errorf("an error of its own: %w", ErrNotFound)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	here := t.Context()
	transactions := []struct {
		name string
		ctx  context.Context
		work func(*tx) error
		want error
		kept bool
	}{
		{"first", here, set("first", nil), nil, true},
		{"fails", here, set("fails", own), own, false},
		{"second", here, set("second", nil), nil, true},
		{"panics", here, func(tx *tx) error { _ = tx.SetMeta("panics", "1"); panic("in a transaction") }, errPanicked, false},
		{"third", here, set("third", nil), nil, true},
		{"gone", gone, set("gone", nil), context.Canceled, false},
		{"breaks a rule", here, func(tx *tx) error {
			_ = tx.SetMeta("breaks a rule", "1")
			err := tx.exec(`INSERT INTO meta (name, value) VALUES ($1, $2)`, metaEpoch, "again")
			if !isUnique(err) {
				t.Errorf("a row that is there: %v", err)
			}
			tx.err = ErrEmailTaken
			return nil
		}, ErrEmailTaken, false},
		{"goes past its savepoint", here, func(tx *tx) error {
			_ = tx.SetMeta("goes past its savepoint", "1")
			_, err := collect(tx, func(*int) []any { panic("with rows open") }, `SELECT name, value FROM meta`)
			return err
		}, errPanicked, false},
		{"last", here, set("last", nil), nil, true},
	}
	// The writer is held, so that all of them are in one batch.
	held, hold := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		must(t, db.do(here, func(*tx) error { close(held); <-hold; return nil }))
	})
	<-held
	errs := make([]error, len(transactions))
	for i, d := range transactions {
		wg.Go(func() {
			q := &writeRequest{ctx: d.ctx, work: d.work, done: make(chan struct{})}
			db.engine.(*sqliteEngine).requests <- q
			<-q.done
			errs[i] = q.err
		})
	}
	close(hold)
	wg.Wait()
	for i, d := range transactions {
		if !errors.Is(errs[i], d.want) || d.want == nil && errs[i] != nil {
			t.Errorf("%s: got %v, want %v", d.name, errs[i], d.want)
		}
		if errors.Is(errs[i], ErrUnavailable) {
			t.Errorf("%s: %v, which is no outage", d.name, errs[i])
		}
		if n := count(t, db, `SELECT count(*) FROM meta WHERE name = $1`, d.name); n == 1 != d.kept {
			t.Errorf("%s: %d rows, want one: %v", d.name, n, d.kept)
		}
	}
	clean(t, db)
}

// If the context ends while a transaction is in a batch, the caller waits for the result: the transaction
// is applied once.
func TestCancelDuringATransaction(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		ctx, cancel := context.WithCancel(t.Context())
		err := db.do(ctx, func(tx *tx) error {
			cancel()
			return tx.SetMeta("taken", "1")
		})
		if n := count(t, db, `SELECT count(*) FROM meta WHERE name = 'taken'`); err != nil || n != 1 {
			t.Errorf("got %v and %d rows, want no error and one row", err, n)
		}
	})
}

// If a batch cannot be committed, all its writes are rolled back and return an error, and the next batch
// succeeds.
func TestBatchThatCannotBeCommitted(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string][]string{
		"its transaction is gone":             {"ROLLBACK"},
		"its savepoint is gone":               {"RELEASE request"},
		"its transaction is another's":        {"ROLLBACK", "BEGIN"},
		"a reference is broken at its commit": {"PRAGMA defer_foreign_keys = ON", "INSERT INTO places (user_id, network, browser, seen_at) VALUES ('nobody', '', '', 0)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := openAt(t, testkit.SQLite(t))
			before := contents(t, db)
			held, hold := make(chan struct{}), make(chan struct{})
			var wg sync.WaitGroup
			var neighbour, spoiler error
			wg.Go(func() {
				spoiler = db.do(t.Context(), func(tx *tx) error {
					close(held)
					<-hold
					for _, q := range spoil {
						if err := tx.exec(q); err != nil {
							t.Errorf("%s: %v", q, err)
						}
					}
					return nil
				})
			})
			<-held
			wg.Go(func() {
				q := &writeRequest{ctx: t.Context(), work: func(tx *tx) error { return tx.SetMeta("neighbour", "1") }, done: make(chan struct{})}
				close(hold)
				db.engine.(*sqliteEngine).requests <- q
				<-q.done
				neighbour = q.err
			})
			wg.Wait()
			if spoiler == nil {
				t.Error("the transaction that spoilt the batch returned no error")
			}
			if kept := count(t, db, `SELECT count(*) FROM meta WHERE name = 'neighbour'`) == 1; kept != (neighbour == nil) {
				t.Errorf("the neighbour was told %v, and it is there: %v", neighbour, kept)
			}
			for range 3 {
				if err := db.Beat(t.Context(), noon); err != nil {
					t.Fatalf("the next batch: %v", err)
				}
			}
			if after := contents(t, db); len(after)-len(before) > 2 {
				t.Errorf("it left %q", after)
			}
			clean(t, db)
		})
	}
}

// Many waiting writes are committed in few full batches, each once.
func TestConcurrentMethods(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		const many = 3 * maxBatch
		var wg sync.WaitGroup
		for i := range many {
			wg.Go(func() {
				err := ErrUnavailable
				for errors.Is(err, ErrUnavailable) { // on a busy machine no connection may be free for some seconds
					_, err = db.Revoke(context.Background(), "jti", fmt.Sprintf("token-%d", i), later)
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		list, err := db.Revocations(t.Context(), 0, noon)
		must(t, err)
		if len(list) != many {
			t.Errorf("%d revocations, want %d", len(list), many)
		}
		for i, r := range list {
			if r.Seq != int64(i+1) {
				t.Fatalf("revocation %d has number %d", i+1, r.Seq)
			}
		}
	})
}

// Close finishes the writes in progress and refuses all others; no caller waits forever.
func TestCloseDuringTransactions(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		path := fresh(t)
		db := openAt(t, path)
		var told atomic.Int64
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				for n := 0; ; n++ {
					_, err := db.Revoke(context.Background(), "jti", fmt.Sprintf("%d-%d", i, n), later)
					if errors.Is(err, ErrUnavailable) {
						return
					} else if err != nil {
						t.Error(err)
						return
					}
					if told.Add(1) == 100 {
						go db.Close()
					}
				}
			})
		}
		wg.Wait()
		must(t, db.Close())
		again := openAt(t, path)
		if n := count(t, again, `SELECT count(*) FROM revocations`); int64(n) != told.Load() {
			t.Errorf("got %d transactions in the database, want the %d that returned no error", n, told.Load())
		}
		clean(t, again)
	})
}

func TestOpenRefusesNoPath(t *testing.T) {
	t.Parallel()
	if db, err := Open(t.Context(), Config{}); err == nil || db != nil || !strings.Contains(err.Error(), "URL of the database is empty") {
		t.Errorf("Open of an empty URL: %v, %v, want an error that names it", db, err)
	}
}

func TestOpenWithACallerThatHasGone(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	testkit.EachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		if db, err := Open(ctx, Config{URL: fresh(t)}); !errors.Is(err, context.Canceled) || db != nil {
			t.Errorf("got %v, %v, want the caller's own error", db, err)
		}
	})
}

// The database holds secrets: its files have mode 0600 for every umask.
func TestFileMode(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "durward.db")
	db := openAt(t, "sqlite:"+path)
	addUser(t, db, "ada")
	if _, err := db.UserByID(t.Context(), "ada"); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		must(t, err)
		if got := info.Mode().Perm(); got != 0o600 {
			t.Errorf("durward.db%s has mode %v, want 0600", suffix, got)
		}
	}
}

// Special characters in a path do not set options of the engine.
func TestPaths(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"with space.db", "a?mode=memory", "a#b.db", "100%.db", "%20.db", "%3f.db", "a&b=c;d.db", "o'clock.db", `double"quote.db`, "back\\slash.db",
		"Überlieferung-数据.db", "file:x.db", ":memory:", "-dash.db", "plus+plus.db", "a?_pragma=journal_mode(DELETE)", "semi;colon.db", "new\nline.db",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, name)
			db := openAt(t, "sqlite:"+path)
			addUser(t, db, "ada")
			if mode := journalMode(t, db); mode != "wal" {
				t.Errorf("journal mode %q, want wal", mode)
			}
			must(t, db.Close())
			entries, err := os.ReadDir(dir)
			must(t, err)
			if len(entries) != 1 || entries[0].Name() != name {
				t.Errorf("the folder holds %v, want %q alone", entries, name)
			}
			if _, err := openAt(t, "sqlite:"+path).UserByID(t.Context(), "ada"); err != nil {
				t.Errorf("opened again: %v", err)
			}
		})
	}
}

func journalMode(t *testing.T, db *DB) (mode string) {
	t.Helper()
	must(t, pool(db).QueryRowContext(t.Context(), "PRAGMA journal_mode").Scan(&mode))
	return mode
}

// Every connection has the settings for durability and foreign keys.
func TestSettings(t *testing.T) {
	t.Parallel()
	db := openAt(t, testkit.SQLite(t))
	must(t, db.do(t.Context(), func(tx *tx) error {
		return settings(tx.row, map[string]string{"synchronous": "2", "foreign_keys": "1", "journal_mode": "wal", "query_only": "0", "trusted_schema": "0", "busy_timeout": "5000"})
	}))
	must(t, settings(db.reader(t.Context()).row, map[string]string{"foreign_keys": "1", "query_only": "1", "trusted_schema": "0", "busy_timeout": "5000"}))
	if _, err := pool(db).ExecContext(t.Context(), `UPDATE meta SET value = ''`); err == nil {
		t.Error("a connection for reading takes a write")
	}
}

func settings(row func(string, ...any) scanner, want map[string]string) error {
	for name, want := range want {
		var got string
		if err := row("PRAGMA " + name).Scan(&got); err != nil || got != want {
			return fmt.Errorf("%s is %q, want %q: %w", name, got, want, err)
		}
	}
	return nil
}

// The error of Open contains the path and the reason.
func TestOpenRefusals(t *testing.T) {
	t.Parallel()
	garbage := []byte(strings.Repeat("This is no database. ", 1000))
	tests := []struct {
		name        string
		make        func(t *testing.T, path string)
		want        []string
		unavailable bool
	}{
		{"not a database", func(t *testing.T, path string) { must(t, os.WriteFile(path, garbage, 0o600)) }, []string{"durward.db", "not a database"}, false},
		{"a short file", func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte("hello"), 0o600)) }, []string{"durward.db", "not a database"}, false},
		{"a folder", func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o700)) }, []string{"durward.db", "directory"}, true},
		{"a folder that is not there", func(t *testing.T, path string) { must(t, os.Remove(filepath.Dir(path))) }, []string{"durward.db", "no such file"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			must(t, os.Mkdir(dir, 0o700))
			path := filepath.Join(dir, "durward.db")
			tt.make(t, path)
			db, err := Open(t.Context(), Config{URL: "sqlite:" + path})
			if err == nil || db != nil {
				t.Fatalf("got %v, %v, want an error", db, err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if errors.Is(err, ErrUnavailable) != tt.unavailable {
				t.Errorf("error %q is an outage: %v, want %v", err, !tt.unavailable, tt.unavailable)
			}
		})
	}
	t.Run("what is no database is left as it is", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "durward.db")
		must(t, os.WriteFile(path, garbage, 0o600))
		_, _ = Open(t.Context(), Config{URL: "sqlite:" + path})
		if after, err := os.ReadFile(path); err != nil || string(after) != string(garbage) {
			t.Errorf("the file was changed (%v)", err)
		}
	})
}

// A database of a newer program stays unchanged.
func TestOpenNewer(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "durward.db")
	db := openAt(t, "sqlite:"+path)
	must(t, db.do(t.Context(), func(tx *tx) error {
		err := tx.exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES ($1, 1)`, SchemaVersion+1)
		return err
	}))
	problems, err := db.Check(t.Context())
	if err != nil || len(problems) != 1 || !strings.Contains(problems[0], fmt.Sprintf("version %d", SchemaVersion+1)) {
		t.Errorf("Check: %q, %v, want the version alone", problems, err)
	}
	must(t, db.Close())
	before, err := os.ReadFile(path)
	must(t, err)
	got, err := Open(t.Context(), Config{URL: "sqlite:" + path})
	if !errors.Is(err, ErrNewer) || errors.Is(err, ErrUnavailable) || got != nil {
		t.Fatalf("got %v, %v, want ErrNewer", got, err)
	}
	for _, want := range []string{fmt.Sprintf("schema %d", SchemaVersion+1), fmt.Sprintf("supports %d", SchemaVersion), "newer program"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("the file was changed (%v)", err)
	}
}

// SchemaVersion is the number of the newest migration.
func TestSchemaVersion(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		names := make(map[string][]string)
		for _, engine := range []string{"sqlite", "postgres"} {
			files, err := migrationFiles.ReadDir("migrations/" + engine)
			must(t, err)
			for _, f := range files {
				names[engine] = append(names[engine], f.Name())
			}
		}
		if diff := cmp.Diff(names["sqlite"], names["postgres"]); diff != "" {
			t.Errorf("the engines have other migrations (-sqlite +postgres):\n%s", diff)
		}
		if newest := names["sqlite"][len(names["sqlite"])-1]; !strings.HasPrefix(newest, fmt.Sprintf("%04d_", SchemaVersion)) || len(names["sqlite"]) != SchemaVersion {
			t.Errorf("%d migrations, the newest is %s, want %d", len(names["sqlite"]), newest, SchemaVersion)
		}
		db := openAt(t, fresh(t))
		if v := db.reader(t.Context()).number(schemaVersion); v != SchemaVersion {
			t.Errorf("a new database is of version %d, want %d", v, SchemaVersion)
		}
	})
}

func TestMeta(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		path := fresh(t)
		db := openAt(t, path)
		epoch := db.Epoch()
		if len(epoch) < 26 {
			t.Errorf("epoch %q is short", epoch)
		}
		if other := openAt(t, fresh(t)).Epoch(); other == epoch {
			t.Errorf("two databases have the epoch %s", epoch)
		}
		must(t, db.Ping(t.Context()))
		must(t, db.Issuer(t.Context(), "https://auth.example.com"))
		must(t, db.Issuer(t.Context(), "https://auth.example.com"))
		must(t, db.Close())

		db = openAt(t, path)
		if got := db.Epoch(); got != epoch {
			t.Errorf("epoch %s after it was opened again, want %s", got, epoch)
		}
		err := db.Issuer(t.Context(), "https://other.example.com")
		if err == nil || errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "https://auth.example.com") || !strings.Contains(err.Error(), "https://other.example.com") {
			t.Errorf("another issuer: %v, want an error that names both", err)
		}
		must(t, db.Issuer(t.Context(), "https://auth.example.com"))
	})
}

// If two issuers bind a new database at once, one succeeds and the other is refused.
func TestIssuerRace(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		var won atomic.Int64
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				if err := db.Issuer(context.Background(), fmt.Sprintf("https://%d.example.com", i)); err == nil {
					won.Add(1)
				} else if !strings.Contains(err.Error(), "belongs to the issuer") {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("%d issuers bound the database, want 1", won.Load())
		}
	})
}

func TestOutage(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		at := func(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }
		steps := []struct {
			beat, start time.Time
			want        Outage
		}{
			{start: at(0), want: Outage{DownAt: at(0), UpAt: at(0)}},
			{beat: at(4)},
			{start: at(5), want: Outage{DownAt: at(4), UpAt: at(5)}},
			{beat: at(7)},
			{beat: at(8)},
			{start: at(20), want: Outage{DownAt: at(8), UpAt: at(20)}},
			// An outage within two minutes of the last start is joined with the last one.
			{start: at(21), want: Outage{DownAt: at(8), UpAt: at(21)}},
			{beat: at(22)},
			{start: at(30), want: Outage{DownAt: at(8), UpAt: at(30)}},
			{beat: at(32)},
			{start: at(33), want: Outage{DownAt: at(32), UpAt: at(33)}},
			// A sign of life from the future says nothing.
			{start: at(3), want: Outage{UpAt: at(3)}},
		}
		for i, s := range steps {
			if !s.beat.IsZero() {
				must(t, db.Beat(t.Context(), s.beat))
				continue
			}
			if got, err := db.Start(t.Context(), s.start, 2*time.Minute); err != nil || got != s.want {
				t.Errorf("step %d: Start(%v) = %v, %v, want %v", i, s.start, got, err, s.want)
			}
		}
		must(t, db.do(t.Context(), func(tx *tx) error { return tx.SetMeta("alive_at", "yesterday") }))
		if _, err := db.Start(t.Context(), at(30), 0); err == nil || !strings.Contains(err.Error(), "alive_at") {
			t.Errorf("with a sign of life that is no time: %v, want an error that names it", err)
		}
	})
}

func TestMomentsAreKept(t *testing.T) {
	t.Parallel()
	for _, want := range []time.Time{{}, noon, time.Unix(0, 1000).UTC(), time.Unix(-1, 0).UTC(), time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC)} {
		if got := moment(micros(want)); got != want {
			t.Errorf("moment(micros(%v)) = %v", want, got)
		}
	}
	if got := micros(noon.In(time.FixedZone("", 3600))); got != noon.UnixMicro() {
		t.Errorf("another zone: %d, want %d", got, noon.UnixMicro())
	}
}

func FuzzText(f *testing.F) {
	for _, seed := range []string{"", "Ada", "a\x00", "\xff", "é", "\xed\xa0\x80", "\U0010ffff", "\u202e", "' OR 1=1 --", "$1"} {
		f.Add(seed)
	}
	both := []*DB{openAt(f, testkit.SQLite(f)), openAt(f, services.Database(f))}
	for _, db := range both {
		addUser(f, db, "ada")
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, db := range both {
			// An accepted name is returned byte for byte; a refused one changes nothing.
			before, err := db.UserByID(context.Background(), "ada")
			must(t, err)
			got, err := db.SetName(context.Background(), "ada", s)
			switch {
			case err == nil && got.Name != s:
				t.Errorf("SetName(%q) = %q", s, got.Name)
			case err != nil && !errors.Is(err, ErrText):
				t.Errorf("SetName(%q): %v", s, err)
			case (err == nil) != (checkText(s) == nil):
				t.Errorf("SetName(%q): %v, but text says %v", s, err, checkText(s))
			}
			want := s
			if err != nil {
				want = before.Name
			}
			if after, err := db.UserByID(context.Background(), "ada"); err != nil || after.Name != want {
				t.Errorf("read after SetName(%q): %q, %v, want %q", s, after.Name, err, want)
			}
		}
	})
}

// If the context ends during a read, the error is that of the context, and the connection returns to the
// pool.
func TestReaderThatLeaves(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		for range 12 {
			ctx, cancel := context.WithCancel(t.Context())
			read := make(chan error, 1)
			go func() {
				var n int
				read <- classify(db.reader(ctx).row(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) SELECT count(*) FROM n WHERE i > $1`, 1).Scan(&n))
			}()
			for pool(db).Stats().InUse == 0 {
				select {
				case err := <-read:
					t.Fatalf("the reading ended: %v", err)
				case <-time.After(time.Millisecond):
				}
			}
			cancel()
			if err := <-read; !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) {
				t.Fatalf("got %v, want the caller's own error", err)
			}
		}
		if _, err := db.Keys(t.Context(), UseSigning); err != nil {
			t.Errorf("the next reader: %v", err)
		}
	})
}

func TestPanicIsLogged(t *testing.T) {
	t.Parallel()
	var log testkit.Log
	db, err := Open(t.Context(), Config{URL: testkit.SQLite(t), Log: log.Logger()})
	must(t, err)
	err = db.do(t.Context(), func(*tx) error { panic("secret-value") })
	must(t, db.Close())
	if !errors.Is(err, errPanicked) {
		t.Errorf("got %v, want errPanicked", err)
	}
	if got := log.String(); !strings.Contains(got, "TestPanicIsLogged") || strings.Contains(got, "secret-value\n") {
		t.Errorf("the log says %q, want where it was", got)
	}
}

// A write is refused if the account changed after the caller read it.
func TestChangedSinceItWasRead(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		furnish(t, db)
		ctx := t.Context()
		begin := func(id string, was User) error {
			return errOf(db.CreateSession(ctx, aSession(id, "ada"), aGrant(id, id), anEvent(EventSignedIn, "ada"), home, was))
		}
		change := func(was time.Time) error {
			e := anEvent(EventPasswordChanged, "ada")
			e.At = noon.Add(time.Hour)
			return errOf(db.ChangePassword(ctx, "ada", "$argon2id$newer", "", was, later, e))
		}
		must(t, change(noon.Add(time.Nanosecond))) // the same microsecond
		before := contents(t, db)
		for name, err := range map[string]error{
			"sign-in by the old password": begin("late-1", aUser("ada")),
			"change after the change":     change(noon),
			"change a microsecond beside": change(noon.Add(time.Hour + time.Microsecond)),
		} {
			if !errors.Is(err, ErrChanged) {
				t.Errorf("%s: %v, want ErrChanged", name, err)
			}
		}
		if err := errOf(db.ChangePassword(ctx, "nobody", "$argon2id$newer", "", noon, later, anEvent(EventPasswordChanged, ""))); !errors.Is(err, ErrNotFound) {
			t.Errorf("a person who is not: %v, want ErrNotFound", err)
		}
		if diff := cmp.Diff(before, contents(t, db)); diff != "" {
			t.Errorf("something was done (-before +after):\n%s", diff)
		}
		changed := aUser("ada")
		changed.PasswordChangedAt = noon.Add(time.Hour)
		must(t, begin("now", changed))
		must(t, change(time.Time{})) // the operator gives none
		must(t, errOf(db.LockUser(ctx, "ada", later, anEvent(EventUserLocked, "ada"))))
		if err := begin("late-2", changed); !errors.Is(err, ErrChanged) {
			t.Errorf("sign-in of a locked person: %v, want ErrChanged", err)
		}
	})
}

// A revocation is kept for a day after it affects no token.
func TestRevocationsAreKept(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		for value, end := range map[string]time.Time{"ended a day ago": noon.Add(time.Microsecond - revocationsKept), "ended before": noon.Add(-revocationsKept)} {
			must(t, errOf(db.Revoke(t.Context(), "jti", value, end)))
		}
		must(t, db.PurgeRevocations(t.Context()))
		var kept string
		must(t, pool(db).QueryRowContext(t.Context(), `SELECT value FROM revocations`).Scan(&kept))
		if kept != "ended a day ago" {
			t.Errorf("kept %q", kept)
		}
	})
}

// A purge deletes sessions that ended long ago with their grants and cookies, a limited number at a time,
// and no live session.
func TestPurgeSessions(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		addUser(t, db, "ada")
		for id, ends := range map[string]time.Duration{"long-ended": time.Hour, "just-ended": 2 * time.Hour, "living": 3 * time.Hour} {
			s := aSession(id, "ada")
			s.EndsAt = noon.Add(ends)
			_, err := db.CreateSession(t.Context(), s, aGrant("grant of "+id, id), anEvent(EventSignedIn, "ada"), home, aUser("ada"))
			must(t, err)
		}
		before := contents(t, db)
		must(t, db.PurgeSessions(t.Context(), noon.Sub(noon.Add(time.Hour)))) // that moment is not before it
		if diff := cmp.Diff(before, contents(t, db)); diff != "" {
			t.Errorf("changed (-before +after):\n%s", diff)
		}
		must(t, db.PurgeSessions(t.Context(), noon.Sub(noon.Add(2*time.Hour))))
		for id, want := range map[string]error{"long-ended": ErrNotFound, "just-ended": nil, "living": nil} {
			if _, _, _, err := db.GrantByID(t.Context(), aGrantID("grant of "+id)); !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", id, err, want)
			}
		}
		for n := range purgedAtOnce + 5 {
			must(t, db.do(t.Context(), func(tx *tx) error {
				err := tx.exec(`INSERT INTO sessions SELECT CAST($1 AS TEXT), user_id, client_id, scope, created_at, CAST($2 AS BIGINT), ended_at, end_reason, auth_time, acr, amr, network, device, agent, failures, remembered, parent_id FROM sessions WHERE id = 'living'`,
					fmt.Sprint("old ", n), n)
				return err
			}))
		}
		left := func() (n int) {
			must(t, pool(db).QueryRowContext(t.Context(), `SELECT count(*) FROM sessions`).Scan(&n))
			return n
		}
		for _, want := range []int{2 + 5, 2} {
			must(t, db.PurgeSessions(t.Context(), 0))
			if n := left(); n != want {
				t.Errorf("%d sessions are left, want %d", n, want)
			}
		}
		if _, ok := db.engine.(*sqliteEngine); ok {
			var plan string
			must(t, pool(db).QueryRowContext(t.Context(), `EXPLAIN QUERY PLAN SELECT id FROM sessions WHERE ends_at < 1 ORDER BY ends_at LIMIT 1`).Scan(new(any), new(any), new(any), &plan))
			if !strings.Contains(plan, "sessions_by_end") {
				t.Errorf("all sessions are read to find those that ended: %s", plan)
			}
		}
		clean(t, db)
	})
}
