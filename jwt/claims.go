package jwt

import (
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/durward-auth/durward"
)

// Claims holds the claims of an access token (RFC 9068 s2.2). Sign writes times in whole seconds;
// tokens of other issuers may have fractions.
type Claims struct {
	Issuer    string    // iss
	Subject   string    // sub: the user or client, unique within Issuer
	Audience  []string  // aud: the services; a single one is written as a string
	Expires   time.Time // exp: when the token expires
	NotBefore time.Time // nbf: when the token becomes valid; zero: at once
	IssuedAt  time.Time // iat: when the token was issued
	ID        string    // jti
	ClientID  string    // client_id: the OAuth client that received the token

	Scopes    []string  // scope: one string in the token, separated by spaces (RFC 6749 s3.3)
	SessionID string    // sid: the session of the token
	AuthTime  time.Time // auth_time: when the user last signed in; zero if unknown
	ACR       string    // acr: authentication context class
	AMR       []string  // amr: authentication methods, RFC 8176 names
	Groups    []string  // groups: those of the user (RFC 9068 s2.2.3.1). Sign writes them; Profile.Roles reads them

	Confirmation *Confirmation // cnf: the key that the sender of the token must hold
}

// Confirmation binds a token to a key of its sender (RFC 7800 s3.1).
type Confirmation struct {
	X5tS256 string // x5t#S256: base64url SHA-256 of a client certificate (RFC 8705 s3.1)
	JKT     string // jkt: RFC 7638 thumbprint of a DPoP key (RFC 9449 s6.1)
}

// maxNumericDate is the last second of the year 9999 in Unix time.
const maxNumericDate = 253402300799

// maxLeeway is the maximum of Config.Leeway.
const maxLeeway = time.Minute

// iatSkew is the accepted difference between the clocks of issuer and service.
const iatSkew = 10 * time.Second

// reading holds the state of parsing the claims of a payload.
type reading struct {
	Claims
	rules  *rules           // nil means standard
	all    bool             // keep every problem, not only the first
	lax    bool             // an answer of introspection: null and an empty aud count as absent
	bad    []error          // claims that are missing, have the wrong type or are refused
	iss    error            // the same for iss, which is checked before the signature
	seen   uint64           // bits of the claims that are present
	marks  int              // marks of an ID token that were found
	lacks  int              // missing claims that ID tokens lack too
	texts  [maxTexts]string // claims of kindText
	roles  []string
	tenant string
}

// read parses a payload. It returns an error if the payload is not a JSON object; claims of a wrong
// type are recorded in r.bad.
func (r *reading) read(payload []byte) error {
	if err := json.Unmarshal(payload, r); err != nil {
		return fmt.Errorf("payload is not the JSON that a token may hold: %w", syntax(err))
	}
	r.resolve()
	switch {
	case r.rules.TrustDomain:
		r.Issuer, r.iss = "", nil // the verifier takes it from the subject
	case r.Issuer == "" && r.iss == nil:
		r.iss = errors.New("iss is missing or empty (RFC 9068 s2.2)")
	}
	for i := range r.rules.needs {
		if n := &r.rules.needs[i]; r.seen&n.bits == 0 {
			if n.access {
				r.lacks++
			}
			r.problem("%s is missing%s", n.name, n.why)
		}
	}
	if len(r.bad) == 0 && !r.Expires.After(r.IssuedAt) {
		r.problem("exp is not after iat")
	}
	return nil
}

// resolve sets the values that one of several claims holds.
func (r *reading) resolve() {
	first := func(slots []int) string {
		for _, slot := range slots {
			if r.texts[slot] != "" {
				return r.texts[slot]
			}
		}
		return ""
	}
	r.Subject, r.ClientID, r.tenant = first(r.rules.subject), first(r.rules.client), first(r.rules.tenant)
	for _, slot := range r.rules.audience {
		if slot < 0 && len(r.Audience) > 0 {
			break
		}
		if slot >= 0 && r.texts[slot] != "" {
			r.Audience = []string{r.texts[slot]}
			break
		}
	}
}

func (r *reading) problem(format string, args ...any) {
	if r.all || len(r.bad) == 0 {
		r.bad = append(r.bad, fmt.Errorf(format, args...))
	}
}

// UnmarshalJSONFrom reads the claims set.
func (r *reading) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if r.rules == nil {
		r.rules = standard
	}
	return readMembers(d, func(name []byte) error { return r.member(d, r.rules.claims, name) })
}

// member parses one claim, if it is one of claims.
func (r *reading) member(d *jsontext.Decoder, claims map[string]*claim, name []byte) error {
	c := claims[string(name)]
	if c == nil || r.lax && d.PeekKind() == 'n' && c.kind != kindConfirmation {
		return skip(d)
	}
	r.seen |= c.bit
	if c.mark {
		r.marks++
		r.problem("%s marks an ID token, which is no access token; Profile.IDToken lists the marks", c.name)
	}
	switch c.kind {
	case kindText:
		return r.name(d, c.name, &r.texts[c.slot])
	case kindObject:
		if d.PeekKind() != '{' {
			r.problem("%s is not an object", c.name)
			return skip(d)
		}
		return readMembers(d, func(name []byte) error { return r.member(d, c.inner, name) })
	case kindIssuer:
		ok, err := readString(d, &r.Issuer)
		if !ok {
			r.iss = errors.New("iss is not a string")
		} else {
			r.judge(c, r.Issuer)
		}
		return err
	case kindID:
		return r.name(d, c.name, &r.ID)
	case kindSession:
		return r.name(d, c.name, &r.SessionID)
	case kindACR:
		return r.name(d, c.name, &r.ACR)
	case kindScope:
		return r.scope(d, c.name)
	case kindRoles:
		return r.strings(d, c.name, r.rules.StringOrList, &r.roles)
	case kindAMR:
		return r.strings(d, c.name, r.rules.StringOrList, &r.AMR)
	case kindAudience:
		return r.audience(d)
	case kindExpires:
		return r.date(d, c.name, &r.Expires)
	case kindNotBefore:
		return r.date(d, c.name, &r.NotBefore)
	case kindIssuedAt:
		return r.date(d, c.name, &r.IssuedAt)
	case kindAuthTime:
		return r.date(d, c.name, &r.AuthTime)
	case kindConfirmation:
		return r.confirmation(d)
	}
	if c.values == nil && c.marks == nil {
		return skip(d)
	}
	var value string
	_, err := readString(d, &value) // another type leaves it empty
	r.judge(c, value)
	return err
}

// judge checks the value of a claim that Profile.Required or Profile.IDToken lists.
func (r *reading) judge(c *claim, value string) {
	if slices.Contains(c.marks, value) {
		r.marks++
		r.problem("the claim %s is %s, which marks an ID token; Profile.IDToken lists the marks", c.name, shown(value))
	} else if c.values != nil && !slices.Contains(c.values, value) {
		r.problem("the claim %s is %s, the profile %s requires %q; Profile.Required can do without it", c.name, shown(value), r.rules.called(), c.values)
	}
}

// audience parses aud: a string or a list of strings (RFC 7519 s4.1.3).
func (r *reading) audience(d *jsontext.Decoder) error {
	known, one := len(r.bad), d.PeekKind() == '"'
	err := r.strings(d, "aud", true, &r.Audience)
	switch {
	case r.lax && one && r.Audience[0] == "":
		r.Audience, r.bad = nil, r.bad[:known] // as if absent
	case !r.lax && len(r.Audience) == 0 && len(r.bad) == known:
		r.problem("aud is empty")
	}
	return err
}

// name parses an identifier. It must not be empty or have control characters, because software
// behind this package treats those differently: NUL ends a string in some databases, and a line
// break ends a header field.
func (r *reading) name(d *jsontext.Decoder, name string, to *string) error {
	ok, err := readString(d, to)
	switch {
	case err != nil:
		return err
	case !ok:
		r.problem("%s is not a string", name)
	case *to == "":
		r.problem("%s is empty", name)
	case hasControl(*to):
		r.problem("%s has a control character in it", name)
	}
	return nil
}

func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// list parses a list of strings.
func (r *reading) list(d *jsontext.Decoder, name string, to *[]string) error {
	if d.PeekKind() != '[' {
		r.problem("%s is not a list of strings", name)
		return skip(d)
	}
	return readList(d, name, r.rules.list, func(n int) error {
		var s string
		ok, err := readString(d, &s)
		if err != nil {
			return err
		}
		if !ok || s == "" || hasControl(s) {
			r.problem("element %d of %s is not a string, or empty, or has a control character in it", n, name)
		}
		*to = append(*to, s)
		return nil
	})
}

// strings parses a list of strings, or one string if one is set.
func (r *reading) strings(d *jsontext.Decoder, name string, one bool, to *[]string) error {
	if d.PeekKind() != '"' {
		return r.list(d, name, to)
	}
	if !one {
		r.problem("%s is not a list of strings; Profile.StringOrList accepts one string", name)
		return skip(d)
	}
	var s string
	err := r.name(d, name, &s)
	*to = append(*to, s)
	return err
}

// scope parses the scopes (RFC 9068 s2.2.3, RFC 8693 s4.2), or a list of them if the profile
// accepts it. Some issuers write an empty string for no scopes.
func (r *reading) scope(d *jsontext.Decoder, name string) error {
	at := len(r.Scopes)
	switch k := d.PeekKind(); {
	case k == '[' && r.rules.StringOrList:
		if err := r.list(d, name, &r.Scopes); err != nil {
			return err
		}
	case k == '[':
		r.problem("%s is not a string; Profile.StringOrList accepts a list", name)
		return skip(d)
	default:
		var s string
		ok, err := readString(d, &s)
		if err != nil {
			return err
		}
		if !ok {
			r.problem("%s is not a string", name)
		} else if s != "" && at == 0 {
			r.Scopes = strings.Split(s, " ")
		} else if s != "" {
			r.Scopes = append(r.Scopes, strings.Split(s, " ")...)
		}
	}
	if i := slices.IndexFunc(r.Scopes[at:], func(s string) bool { return !isScope(s) }); i >= 0 {
		r.problem("scope %s is not one (RFC 6749 s3.3)", shown(r.Scopes[at+i]))
	}
	return nil
}

// isScope reports whether s is a scope-token (RFC 6749 s3.3):
// 1*( %x21 / %x23-5B / %x5D-7E ).
func isScope(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool { return c <= 0x20 || c == '"' || c == '\\' || c > 0x7e })
}

// date parses a NumericDate: seconds since 1970, possibly with a fraction (RFC 7519 s2).
func (r *reading) date(d *jsontext.Decoder, name string, to *time.Time) error {
	if d.PeekKind() != '0' {
		r.problem("%s is not a number (RFC 7519 s2)", name)
		return skip(d)
	}
	raw, err := d.ReadValue()
	if err != nil {
		return err
	}
	var n, ns int64
	if n, err = strconv.ParseInt(string(raw), 10, 64); err != nil {
		f, ferr := strconv.ParseFloat(string(raw), 64)
		if ferr != nil || !(f >= 0 && f <= maxNumericDate) {
			n = -1
		} else {
			whole, fraction := math.Modf(f)
			n, ns = int64(whole), int64(fraction*1e9)
		}
	}
	if n < 0 || n > maxNumericDate || raw[0] == '-' {
		r.problem("%s is %s, not a time from 1970 to 9999", name, cut(string(raw)))
		return nil
	}
	*to = time.Unix(n, ns).UTC()
	return nil
}

func (r *reading) confirmation(d *jsontext.Decoder) error {
	if d.PeekKind() != '{' {
		r.problem("cnf is not an object (RFC 7800 s3.1)")
		return skip(d)
	}
	r.Confirmation = new(Confirmation)
	return readMembers(d, func(name []byte) error {
		switch string(name) {
		case "x5t#S256":
			return r.name(d, "cnf x5t#S256", &r.Confirmation.X5tS256)
		case "jkt":
			return r.name(d, "cnf jkt", &r.Confirmation.JKT)
		}
		return skip(d)
	})
}

// principal returns the principal of verified claims.
func (r *reading) principal() durward.Principal {
	return durward.Principal{
		Scheme: "Bearer", Subject: r.Subject, Issuer: r.Issuer, Tenant: r.tenant, ClientID: r.ClientID,
		SessionID: r.SessionID, TokenID: r.ID, ACR: r.ACR, AMR: r.AMR, AuthTime: r.AuthTime, Expires: r.Expires,
		Scopes: r.Scopes, Roles: r.roles,
	}
}

// tooLong returns an error if the lifetime is longer than most. A token without iat counts from
// now.
func (c *Claims) tooLong(most time.Duration, now time.Time) error {
	from, since := "iat", c.IssuedAt
	if since.IsZero() {
		from, since = "now", now
	}
	if life := c.Expires.Sub(since); life > most {
		return fmt.Errorf("lives %s from %s to exp, want at most %s; Config.MaxLifetime may allow more", life, from, most)
	}
	return nil
}

// ahead returns an error if the token is not valid yet. Clocks may differ by iatSkew (RFC 7519
// s4.1.5).
func (c *Claims) ahead(now time.Time) error {
	for _, t := range [...]struct {
		name string
		at   time.Time
	}{{"nbf", c.NotBefore}, {"iat", c.IssuedAt}, {"auth_time", c.AuthTime}} {
		if d := t.at.Sub(now); !t.at.IsZero() && d > iatSkew {
			return fmt.Errorf("%s is %s ahead of our clock, want at most %s", t.name, rough(d), iatSkew)
		}
	}
	return nil
}

// sentBy returns an error if the token is bound to another key than the sender's: that of the DPoP
// proof, or that of the client certificate.
func (c *Confirmation) sentBy(thumbprint string, cert *x509.Certificate) error {
	switch {
	case thumbprint != "" && (c == nil || c.JKT == "" && c.X5tS256 != ""):
		return errors.New("a token that is bound to no DPoP key was sent with a proof (RFC 9449 s7.1)")
	case c == nil:
		return nil
	case c.JKT == "" && c.X5tS256 == "":
		return errors.New("a token bound to its sender in a way that is not known here (cnf, RFC 7800 s3.1)")
	case c.JKT != "" && thumbprint == "":
		return errors.New("a token bound to a DPoP key (cnf jkt) was sent as plain Bearer (RFC 9449 s7.2)")
	case c.JKT != thumbprint:
		return errors.New("a token bound to another DPoP key (cnf jkt) than that of the proof (RFC 9449 s7.1)")
	case c.X5tS256 != "" && cert == nil:
		return errors.New("a token bound to a client certificate (cnf x5t#S256) was sent without one (RFC 8705 s3)")
	case c.X5tS256 != "" && c.X5tS256 != Thumbprint(cert):
		return errors.New("a token bound to another client certificate (cnf x5t#S256) than that of the connection (RFC 8705 s3)")
	}
	return nil
}

// ended returns an error if a token with this exp has expired.
func ended(exp, now time.Time, leeway time.Duration) error {
	// RFC 7519 s4.1.4: not accepted on or after exp.
	if now.Before(exp.Add(leeway)) {
		return nil
	}
	if leeway > 0 {
		return fmt.Errorf("expired %s ago by our clock, leeway %s", rough(now.Sub(exp)), leeway)
	}
	if now.Before(exp.Add(maxLeeway)) {
		return fmt.Errorf("expired %s ago by our clock; Config.Leeway may forgive up to %s", rough(now.Sub(exp)), maxLeeway)
	}
	return fmt.Errorf("expired %s ago by our clock", rough(now.Sub(exp)))
}

// rough rounds a duration for an error text.
func rough(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(time.Second)
}

// check returns all mistakes in claims that are to be signed.
func (c *Claims) check() error {
	var errs []error
	mistake := func(format string, args ...any) { errs = append(errs, fmt.Errorf("jwt: "+format, args...)) }
	for _, f := range [...]struct{ name, value string }{
		{"Issuer (iss)", c.Issuer}, {"Subject (sub)", c.Subject}, {"ID (jti)", c.ID}, {"ClientID (client_id)", c.ClientID},
	} {
		if f.value == "" {
			mistake("%s is empty, RFC 9068 s2.2 requires it", f.name)
		}
	}
	if len(c.Audience) == 0 {
		mistake("Audience (aud) is empty, RFC 9068 s2.2 requires it")
	}
	names := []string{c.Issuer, c.Subject, c.ID, c.ClientID, c.SessionID, c.ACR}
	if c.Confirmation != nil {
		names = append(names, c.Confirmation.X5tS256, c.Confirmation.JKT)
	}
	if slices.ContainsFunc(names, hasControl) || slices.ContainsFunc(c.AMR, hasControl) || slices.ContainsFunc(c.Groups, hasControl) || slices.ContainsFunc(c.Audience, hasControl) {
		mistake("a claim has a control character in it")
	}
	if slices.Contains(c.Audience, "") || slices.Contains(c.AMR, "") || slices.Contains(c.Groups, "") {
		mistake("Audience, AMR or Groups has an empty element")
	}
	if len(c.Audience) > maxMembers || len(c.AMR) > maxMembers || len(c.Groups) > maxMembers {
		mistake("Audience, AMR or Groups has more than %d elements", maxMembers)
	}
	if i := slices.IndexFunc(c.Scopes, func(s string) bool { return !isScope(s) }); i >= 0 {
		mistake("scope %q is not one (RFC 6749 s3.3)", c.Scopes[i])
	}
	for _, t := range [...]struct {
		name   string
		at     time.Time
		wanted bool
	}{{"Expires (exp)", c.Expires, true}, {"IssuedAt (iat)", c.IssuedAt, true}, {"NotBefore (nbf)", c.NotBefore, false}, {"AuthTime (auth_time)", c.AuthTime, false}} {
		if t.at.IsZero() {
			if t.wanted {
				mistake("%s is zero, RFC 9068 s2.2 requires it", t.name)
			}
		} else if s := t.at.Unix(); s < 0 || s > maxNumericDate {
			mistake("%s is %s, not a time from 1970 to 9999", t.name, t.at)
		}
	}
	if len(errs) == 0 && c.Expires.Unix() <= c.IssuedAt.Unix() {
		mistake("Expires is not at least a second after IssuedAt")
	}
	if len(errs) == 0 && (c.NotBefore.Unix() >= c.Expires.Unix() || c.AuthTime.Unix() >= c.Expires.Unix()) {
		mistake("NotBefore or AuthTime is not before Expires")
	}
	return errors.Join(errs...)
}

// append appends the claims as JSON.
func (c *Claims) append(b []byte) ([]byte, error) {
	var bad error
	text := func(name, value string) {
		if value == "" {
			return
		}
		b = append(b, name...)
		var err error
		if b, err = jsontext.AppendQuote(b, value); err != nil && bad == nil {
			bad = fmt.Errorf("jwt: claim %s: %w", strings.Trim(name, `,{":`), err)
		}
	}
	list := func(name string, values []string) {
		for i, v := range values {
			if i == 0 {
				text(name+"[", v)
			} else {
				text(",", v)
			}
		}
		if len(values) > 0 {
			b = append(b, ']')
		}
	}
	date := func(name string, t time.Time) {
		if !t.IsZero() {
			// Rounded down, so that a token does not live longer than intended.
			b = strconv.AppendInt(append(b, name...), t.Unix(), 10)
		}
	}
	text(`{"iss":`, c.Issuer)
	text(`,"sub":`, c.Subject)
	if len(c.Audience) == 1 {
		text(`,"aud":`, c.Audience[0]) // RFC 7519 s4.1.3
	} else {
		list(`,"aud":`, c.Audience)
	}
	date(`,"exp":`, c.Expires)
	date(`,"nbf":`, c.NotBefore)
	date(`,"iat":`, c.IssuedAt)
	text(`,"jti":`, c.ID)
	text(`,"client_id":`, c.ClientID)
	for i, s := range c.Scopes { // characters of a scope need no escaping
		if i == 0 {
			b = append(b, `,"scope":"`...)
		} else {
			b = append(b, ' ')
		}
		b = append(b, s...)
	}
	if len(c.Scopes) > 0 {
		b = append(b, '"')
	}
	text(`,"sid":`, c.SessionID)
	date(`,"auth_time":`, c.AuthTime)
	text(`,"acr":`, c.ACR)
	list(`,"amr":`, c.AMR)
	list(`,"groups":`, c.Groups)
	if f := c.Confirmation; f != nil {
		b = append(b, `,"cnf":{`...)
		text(`"x5t#S256":`, f.X5tS256)
		if f.X5tS256 != "" && f.JKT != "" {
			b = append(b, ',')
		}
		text(`"jkt":`, f.JKT)
		b = append(b, '}')
	}
	return append(b, '}'), bad
}
