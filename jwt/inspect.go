package jwt

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// maxInspect is the maximum length of the text that [Inspect] reads, in bytes.
const maxInspect = 64 << 10

// Inspection is the unverified content of a token.
type Inspection struct {
	Header  []byte // JSON, unchanged
	Payload []byte // JSON, unchanged
	Claims  Claims // the claims that could be parsed, as the first of Profiles names them

	// Profiles lists the names of the profiles that the token fits by its form: its typ, header and
	// claims. "RFC 9068" comes first, then those of [Profile]. The form is no proof of the issuer.
	Profiles []string

	// IDToken is set if the token fits no profile and looks like an ID token (OpenID Connect Core
	// s2). It names the providers that issue such ones: "Keycloak", "Okta or another provider" or "an
	// unknown provider".
	IDToken string

	// Problems lists the reasons why a [Verifier] with the first profile of Profiles or IDToken
	// would refuse the token now, apart from signature, issuer and audience; without one, a Verifier
	// of RFC 9068. Each is a sentence.
	Problems []string

	// Deviations lists what RFC 9068 wants otherwise and the first of Profiles accepts.
	Deviations []string
}

// known returns the profiles that Inspect compares a token with.
var known = sync.OnceValue(func() []*rules {
	all := []Profile{
		{}, Keycloak, EntraV2, EntraV1, Cognito, Okta, Google, Firebase, GitHubActions, GitLabCI, Kubernetes, UAA,
		IdentityServer, SPIFFE, Auth0, // the least specific one comes last
	}
	prepared := make([]*rules, len(all))
	for i, p := range all {
		prepared[i], _ = p.rules() // without mistakes, unless a program has overwritten a variable
	}
	return prepared
})

// plainOpenID accepts each JWT that has no mark of an ID token.
var plainOpenID = sync.OnceValue(func() *rules {
	u, _ := Profile{Types: []string{"JWT", ""}, Required: []string{}}.rules()
	return u
})

// Inspect parses a token without verifying it, so an attacker can have chosen everything in it. Use
// it to display tokens, never for a decision. The error explains why the text is not a token.
func Inspect(token string) (*Inspection, error) { return inspect(token, time.Now()) }

func inspect(token string, now time.Time) (*Inspection, error) {
	in := new(Inspection)
	problem := func(err error) {
		if err != nil {
			in.Problems = append(in.Problems, err.Error())
		}
	}
	if len(token) > maxInspect {
		return nil, fmt.Errorf("jwt: %d octets, want at most %d: is it a token?", len(token), maxInspect)
	}
	if t := strings.TrimSpace(token); t != token {
		problem(errors.New("there is white space around the token"))
		token = t
	}
	if len(token) > maxToken {
		problem(fmt.Errorf("the token has %d octets, want at most %d; Config.MaxSize may allow more", len(token), maxToken))
	}
	parts := strings.SplitN(token, ".", 7)
	switch {
	case len(parts) == 5:
		return nil, errors.New("jwt: 5 parts: an encrypted token (JWE, RFC 7516), only its recipient can read it")
	case len(parts) != 3:
		return nil, fmt.Errorf("jwt: %d parts separated by dots, a signed token has 3 (RFC 7515 s7.1): is it an opaque token, or cut off?", strings.Count(token, ".")+1)
	}
	var err error
	if in.Header, err = in.part("header", parts[0]); err != nil {
		return nil, err
	}
	if in.Payload, err = in.part("payload", parts[1]); err != nil {
		return nil, err
	}
	if _, err := in.part("signature", parts[2]); err != nil {
		problem(errors.New(strings.TrimPrefix(err.Error(), "jwt: ")))
	}
	for _, p := range []struct {
		name string
		text jsontext.Value
	}{{"header", in.Header}, {"payload", in.Payload}} {
		if !p.text.IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) {
			return nil, fmt.Errorf("jwt: the %s is not JSON: is it another kind of token?", p.name)
		}
	}

	var h header
	_ = h.parse(in.Header, nil) // the profiles report it
	if !slices.Contains(algorithms, h.alg) {
		problem(fmt.Errorf("alg is %s, none of %s", shown(h.alg), strings.Join(algorithms, ", ")))
	}
	if h.kid == "" {
		problem(errors.New("kid is missing from the header"))
	}
	var first judgement
	var ids []judgement // of profiles whose ID token it may be
	marked := in.judge(plainOpenID(), now).marked
	for i, u := range known() {
		j := in.judge(u, now)
		if i == 0 {
			first, in.Deviations = j, j.form
		}
		switch {
		case len(j.form) == 0:
			if in.Profiles = append(in.Profiles, u.called()); len(in.Profiles) == 1 {
				first = j
			}
		case i > 0 && j.idToken && (u.own || marked):
			ids = append(ids, j)
		}
	}
	if len(in.Profiles) == 0 {
		in.Deviations = nil
		if slices.ContainsFunc(ids, func(j judgement) bool { return j.by.own }) {
			ids = slices.DeleteFunc(ids, func(j judgement) bool { return !j.by.own })
		}
		for _, j := range ids {
			in.IDToken += j.by.called() + " or "
		}
		switch {
		case len(ids) == 0 && marked:
			in.IDToken = "an unknown provider"
		case len(ids) > 0 && !ids[0].by.own:
			in.IDToken += "another provider"
		}
		in.IDToken = strings.TrimSuffix(in.IDToken, " or ")
		if len(ids) > 0 {
			first = ids[0]
		}
	}
	in.Claims = first.claims
	in.Problems = append(append(in.Problems, first.form...), first.times...)
	return in, nil
}

// judgement is what a profile finds in a token.
type judgement struct {
	by      *rules
	claims  Claims
	form    []string // problems of the form
	times   []string // problems of the present time and of the sender
	marked  bool     // it has a mark of an ID token
	idToken bool     // the problems of the form are those of the provider's ID tokens
}

// judge compares a token with a profile.
func (in *Inspection) judge(u *rules, now time.Time) (j judgement) {
	add := func(to *[]string, err error) {
		if err != nil {
			*to = append(*to, err.Error())
		}
	}
	var h header
	add(&j.form, h.parse(in.Header, u.IgnoredHeader))
	expected := 0 // problems of an ID token
	if err := u.accepts(h.typ); err != nil {
		add(&j.form, err)
		if strings.EqualFold(h.typ, "JWT") && slices.Contains(u.Types, "at+jwt") {
			expected++
		}
	}
	r := reading{rules: u, all: true}
	add(&j.form, r.read(in.Payload))
	add(&j.form, r.iss)
	if domain := trustDomainOf(r.Subject); u.TrustDomain && (domain == "" || !inTrustDomain(r.Subject, domain)) {
		add(&j.form, errors.New("sub is not a SPIFFE ID"))
	}
	for _, err := range r.bad {
		add(&j.form, err)
	}
	expected += r.marks + r.lacks
	j.by, j.claims, j.marked = u, r.Claims, r.marks > 0
	j.idToken = r.marks+r.lacks > 0 && expected == len(j.form)
	if !r.Expires.IsZero() && (!r.IssuedAt.IsZero() || u.TrustDomain) {
		add(&j.times, r.tooLong(cmp.Or(u.MaxLifetime, 24*time.Hour), now))
	}
	add(&j.times, r.ahead(now))
	add(&j.times, r.Confirmation.sentBy("", nil))
	if !r.Expires.IsZero() {
		add(&j.times, ended(r.Expires, now, 0))
	}
	return j
}

// part decodes one part, in spellings that a verifier refuses too.
func (in *Inspection) part(name, text string) ([]byte, error) {
	b, err := b64.DecodeString(text)
	if err == nil && !strings.ContainsAny(text, "\r\n") {
		return b, nil
	}
	forgiven := strings.NewReplacer("+", "-", "/", "_", "=", "", "\r", "", "\n", "").Replace(text)
	if b, err = base64.RawURLEncoding.DecodeString(forgiven); err != nil {
		return nil, fmt.Errorf("jwt: the %s is not base64url: %w", name, err)
	}
	in.Problems = append(in.Problems, fmt.Sprintf("the %s is not canonical base64url without padding (RFC 7515 s2)", name))
	return b, nil
}
