package jwt

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-auth/durward"
)

// provider is a file of testdata/providers: the form of an identity provider's tokens.
type provider struct {
	Profile          string
	Issuer, Audience string
	Tenants          []string
	Now              int64
	Key              json.RawMessage
	Tokens           []struct {
		Name            string
		Header, Payload json.RawMessage
		Principal       struct {
			Subject, Client, Issuer, Tenant string
			Scopes, Roles                   []string
		}
	}
	IDToken struct{ Header, Payload json.RawMessage } `json:"id_token"`
	Other   map[string]json.RawMessage                `json:"other_tenant"`

	name    string
	key     *PrivateKey
	profile Profile
}

func providers(t testing.TB) []*provider {
	t.Helper()
	files, err := filepath.Glob("../testdata/providers/*.json")
	if err != nil || len(files) != len(known()) {
		t.Fatalf("%d files, %v; want one for each of %d profiles", len(files), err, len(known()))
	}
	all := make([]*provider, len(files))
	for i, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p := &provider{name: strings.TrimSuffix(filepath.Base(file), ".json")}
		if err := json.Unmarshal(text, p); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if p.key, err = ParsePrivateKey(p.Key); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		at := slices.IndexFunc(known(), func(u *rules) bool { return u.Name == p.Profile })
		if at < 0 {
			t.Fatalf("%s: no profile is called %q", file, p.Profile)
		}
		p.profile = known()[at].Profile
		all[i] = p
	}
	return all
}

// verifier returns a verifier of p's tokens with a profile, changed by change.
func (p *provider) verifier(t testing.TB, profile Profile, change func(*Config)) *Verifier {
	t.Helper()
	keys, err := NewKeys(p.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	c := Config{
		Issuer: p.Issuer, Tenants: p.Tenants, Audience: []string{p.Audience}, Profile: profile, Keys: keys,
		Algorithms: algorithms, Now: func() time.Time { return time.Unix(p.Now, 0) },
	}
	if profile.Tenant == "" && len(p.Tenants) > 0 { // another provider's profile
		c.Issuer, c.Tenants = strings.Replace(p.Issuer, tenantID, p.Tenants[0], 1), nil
	}
	if profile.TrustDomain {
		c.Issuer, c.Tenants = "spiffe://example.org", nil
	}
	if change != nil {
		change(&c)
	}
	v, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// with returns a JSON object with other values of some members; nil removes one.
func with(t testing.TB, object []byte, changes map[string]any) string {
	t.Helper()
	members := make(map[string]any)
	if err := json.Unmarshal(object, &members); err != nil {
		t.Fatal(err)
	}
	for name, value := range changes {
		if members[name] = value; value == nil {
			delete(members, name)
		}
	}
	text, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// An ID token of Entra names no client. It stays refused if Profile.Client names a claim that it has.
func TestEntraIDTokenWithAnotherClient(t *testing.T) {
	t.Parallel()
	for _, p := range providers(t) {
		if p.name != "entra-v1" && p.name != "entra-v2" {
			continue
		}
		profile := p.profile
		profile.Client = append(slices.Clone(profile.Client), "oid")
		token := forge(t, p.key, string(p.IDToken.Header), string(p.IDToken.Payload))
		_, err := p.verifier(t, profile, nil).Verify(t.Context(), token)
		refused(t, token, err, durward.InvalidToken, p.profile.Client[0]+" is missing")
	}
}

// Each provider's tokens are accepted by its profile. RFC 9068 accepts them too, or its refusal
// names a setting.
func TestProviders(t *testing.T) {
	t.Parallel()
	for _, p := range providers(t) {
		v, strict := p.verifier(t, p.profile, nil), p.verifier(t, Profile{}, nil)
		for _, token := range p.Tokens {
			t.Run(p.name+"/"+token.Name, func(t *testing.T) {
				text := forge(t, p.key, string(token.Header), string(token.Payload))
				want := token.Principal
				if want.Issuer == "" {
					want.Issuer = p.Issuer
				}
				for range 2 { // the second time it is cached
					got, err := v.Verify(t.Context(), text)
					if err != nil {
						t.Fatalf("%s\ngot %v, want accepted", token.Payload, err)
					}
					if d := cmp.Diff(
						[]any{want.Subject, want.Client, want.Issuer, want.Tenant, want.Scopes, want.Roles},
						[]any{got.Subject, got.ClientID, got.Issuer, got.Tenant, got.Scopes, got.Roles},
					); d != "" {
						t.Errorf("principal (-want +got):\n%s", d)
					}
				}
				_, err := strict.Verify(t.Context(), text)
				if err != nil {
					refused(t, text, err, durward.InvalidToken, "")
				}
				if err != nil && !strings.Contains(err.Error(), "Profile") {
					t.Errorf("by RFC 9068: %v; want the name of a setting", err)
				}
				in, insErr := inspect(text, time.Unix(p.Now, 0))
				if insErr != nil {
					t.Fatal(insErr)
				}
				if !slices.Contains(in.Profiles, v.rules.called()) || slices.Contains(in.Profiles, "RFC 9068") != (err == nil) || len(in.Problems) > 0 {
					t.Errorf("Inspect: profiles %q, problems %q; want %s, and RFC 9068: %t", in.Profiles, in.Problems, v.rules.called(), err == nil)
				}
				if (len(in.Deviations) > 0) != (err != nil) {
					t.Errorf("Inspect: deviations %q, but RFC 9068: %v", in.Deviations, err)
				}
			})
		}
	}
}

// Each profile keeps the checks that decide trust.
func TestProvidersRefuse(t *testing.T) {
	t.Parallel()
	all := providers(t)
	for i, p := range all {
		v := p.verifier(t, p.profile, nil)
		token := p.Tokens[0]
		header, payload := string(token.Header), string(token.Payload)
		change := func(changes map[string]any) string { return forge(t, p.key, header, with(t, token.Payload, changes)) }
		audience := "aud"
		if !strings.Contains(payload, `"aud"`) {
			audience = "client_id"
		}
		issuer := map[string]any{"iss": "https://other.example"}
		if p.profile.TrustDomain {
			issuer = map[string]any{"sub": "spiffe://other.example/web", "iss": p.Issuer}
		}
		tenant := make(map[string]any)
		for name, value := range p.Other {
			tenant[name] = value
		}
		other := all[(i+1)%len(all)].key
		if other.Algorithm() != p.key.Algorithm() {
			other = all[(i+2)%len(all)].key
		}
		der, err := x509.MarshalPKIXPublicKey(p.key.Public().m.public)
		if err != nil {
			t.Fatal(err)
		}
		confused, err := SharedSecret(p.key.ID(), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		if err != nil {
			t.Fatal(err)
		}
		unsigned := forge(t, p.key, with(t, token.Header, map[string]any{"alg": "none"}), payload)
		for _, row := range []struct {
			name, token string
			code        durward.Code
			cause       string
		}{
			{"other audience", change(map[string]any{audience: "https://other.example"}), durward.InvalidToken, "this service is"},
			{"audience with a slash more", change(map[string]any{audience: p.Audience + "/"}), durward.InvalidToken, "this service is"},
			{"no audience", change(map[string]any{audience: nil}), durward.InvalidToken, "missing"},
			{"other issuer", change(issuer), durward.InvalidToken, "keys are held for"},
			{"other tenant", change(tenant), durward.InvalidToken, ""},
			{"expired", change(map[string]any{"exp": p.Now}), durward.TokenExpired, "expired 0s ago"},
			{"without an end", change(map[string]any{"exp": nil}), durward.InvalidToken, "exp is missing"},
			{"lives ten years", change(map[string]any{"exp": p.Now + 10*365*86400}), durward.InvalidToken, "Config.MaxLifetime"},
			{"not yet valid", change(map[string]any{"nbf": p.Now + 60}), durward.InvalidToken, "nbf is 1m0s ahead"},
			{"ID token", forge(t, p.key, string(p.IDToken.Header), string(p.IDToken.Payload)), durward.InvalidToken, ""},
			{"wrong key", forge(t, other, header, payload), durward.InvalidToken, "signature is not one of key"},
			{"public key as secret", forge(t, confused, with(t, token.Header, map[string]any{"alg": "HS256"}), payload), durward.InvalidToken, "HS256"},
			{"alg none", unsigned, durward.InvalidToken, `alg is "none"`},
			{"alg none, no signature", unsigned[:strings.LastIndexByte(unsigned, '.')+1], durward.InvalidToken, `alg is "none"`},
			{"key in the header", forge(t, other, with(t, token.Header, map[string]any{"jwk": map[string]any{"kty": "RSA"}}), payload), durward.InvalidToken, `header has "jwk"`},
			{"certificate in the header", forge(t, other, with(t, token.Header, map[string]any{"x5c": []string{"MIIB"}}), payload), durward.InvalidToken, `header has "x5c"`},
			{"no subject", change(map[string]any{"sub": nil, "client_id": nil, "azp": nil}), durward.InvalidToken, ""},
			{"empty subject", change(map[string]any{"sub": ""}), durward.InvalidToken, "sub"},
			{"typ of a DPoP proof", forge(t, p.key, with(t, token.Header, map[string]any{"typ": "dpop+jwt"}), payload), durward.InvalidToken, "typ in the header is"},
			{"typ of a logout token", forge(t, p.key, with(t, token.Header, map[string]any{"typ": "logout+jwt"}), payload), durward.InvalidToken, "typ in the header is"},
		} {
			t.Run(p.name+"/"+row.name, func(t *testing.T) {
				who, err := v.Verify(t.Context(), row.token)
				if who != nil {
					t.Errorf("got %+v, want refused", who)
				}
				refused(t, row.token, err, row.code, row.cause)
			})
		}
	}
}

// Each profile meets the tokens of each other provider, with the right issuer, audience and keys.
// The table lists the tokens that a wrong profile accepts; no profile accepts an ID token.
func TestProfilesMeetOtherProviders(t *testing.T) {
	t.Parallel()
	accepts := map[string][]string{
		"RFC 9068": {"auth0: RFC 9068 dialect"},
		// Its tokens are of RFC 9068, except for lists.
		"IdentityServer": {"auth0: RFC 9068 dialect", "rfc9068: figure 2 of the RFC"},
		// Auth0's tokens have no claim of their own.
		"Auth0": {
			"google: service account", "keycloak: client credentials", "keycloak: without the at+jwt switch",
			"rfc9068: figure 2 of the RFC", "rfc9068: x5t beside kid, as .NET writes it",
		},
	}
	for _, p := range providers(t) {
		signed := map[string]string{"ID token": forge(t, p.key, string(p.IDToken.Header), string(p.IDToken.Payload))}
		for _, token := range p.Tokens {
			signed[token.Name] = forge(t, p.key, string(token.Header), string(token.Payload))
		}
		for _, u := range known() {
			if u.Name == p.Profile {
				continue
			}
			v := p.verifier(t, u.Profile, nil)
			for name, token := range signed {
				_, err := v.Verify(t.Context(), token)
				row := p.name + ": " + name
				if want := slices.Contains(accepts[u.called()], row); (err == nil) != want {
					t.Errorf("profile %s, %s: got %v, want accepted: %t", u.called(), row, err, want)
				}
				if err != nil {
					refused(t, token, err, durward.InvalidToken, "")
				}
			}
		}
	}
}

// Each setting accepts what it names, and nothing without it. The refusal names the setting.
func TestProfileSettings(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	typed := func(typ string) string { return strings.Replace(headerOf(k, ""), `"typ":"at+jwt"`, typ, 1) }
	loose := func(p Profile) Profile { p.Types = []string{"JWT", "", "at+jwt"}; return p }
	for _, row := range []struct {
		name, header, payload string
		without               Profile // refuses
		setting               string  // that the refusal names
		profile               Profile // accepts
		want                  func(*durward.Principal) bool
	}{
		{"typ JWT", typed(`"typ":"JWT"`), payloadWith("", ""), Profile{}, "Profile.Types", Profile{Types: []string{"JWT"}}, nil},
		{"typ application/jwt", typed(`"typ":"application/jwt"`), payloadWith("", ""), Profile{}, "Profile.Types", Profile{Types: []string{"JWT"}}, nil},
		{"no typ", typed(`"x":1`), payloadWith("", ""), Profile{Types: []string{"JWT"}}, "Profile.Types", Profile{Types: []string{""}}, nil},
		{"at+jwt where JWT is wanted", headerOf(k, ""), payloadWith("", ""), Profile{Types: []string{"JWT"}}, "Profile.Types", Profile{}, nil},
		{"no jti", headerOf(k, ""), payloadWith("jti", ""), Profile{}, "Profile.Required", Profile{Required: []string{"client_id", "iat"}}, nil},
		{"no iat", headerOf(k, ""), payloadWith("iat", ""), Profile{}, "Profile.Required", Profile{Required: []string{}}, func(p *durward.Principal) bool { return p.AsOf.Equal(p.Expires.Add(-24 * time.Hour)) }},
		{"no client_id", headerOf(k, ""), payloadWith("client_id", ""), Profile{}, "Profile.Client", Profile{Required: []string{}}, func(p *durward.Principal) bool { return p.ClientID == "" }},
		{"azp for client_id", headerOf(k, ""), strings.Replace(payloadWith("", ""), `"client_id"`, `"azp"`, 1), Profile{}, "Profile.Client", Profile{Client: []string{"azp"}}, func(p *durward.Principal) bool { return p.ClientID == "app" }},
		{"azp before client_id", headerOf(k, ""), payloadWith("azp", `"first"`), Profile{Types: []string{"JWT"}}, "Profile.Types", Profile{Client: []string{"azp", "client_id"}}, func(p *durward.Principal) bool { return p.ClientID == "first" }},
		{"no sub", headerOf(k, ""), payloadWith("sub", ""), Profile{}, "Profile.Subject", Profile{Subject: []string{"sub", "client_id"}}, func(p *durward.Principal) bool { return p.Subject == "app" }},
		{"no sub, whatever is required", headerOf(k, ""), payloadWith("sub", ""), Profile{Required: []string{}}, "Profile.Subject", Profile{Subject: []string{"client_id"}}, nil},
		{"no aud", headerOf(k, ""), strings.Replace(payloadWith("aud", ""), `"app"`, `"`+service+`"`, 1), Profile{}, "Profile.Audience", Profile{Audience: []string{"aud", "client_id"}}, nil},
		{"another aud before the client", headerOf(k, ""), strings.Replace(payloadWith("aud", `"https://other.example"`), `"app"`, `"`+service+`"`, 1), Profile{Audience: []string{"aud", "client_id"}}, "Config.Audience", Profile{Audience: []string{"client_id", "aud"}}, nil},
		{"a required value", headerOf(k, ""), payloadWith("token_use", `"id"`), Profile{Required: []string{"token_use=access"}}, "Profile.Required", Profile{Required: []string{"token_use=access", "token_use=id"}}, nil},
		{"a required value that is missing", headerOf(k, ""), payloadWith("", ""), Profile{Required: []string{"token_use=access"}}, "Profile.Required", Profile{}, nil},
		{"a required value of another type", headerOf(k, ""), payloadWith("ver", "1.0"), Profile{Required: []string{"ver=1.0"}}, "Profile.Required", Profile{Required: []string{"ver"}}, nil},
		{"nonce", headerOf(k, ""), payloadWith("nonce", `"n"`), loose(Profile{}), "Profile.IDToken", loose(Profile{IDToken: []string{}}), nil},
		{"at_hash", headerOf(k, ""), payloadWith("at_hash", `"h"`), loose(Profile{}), "Profile.IDToken", Profile{}, nil},
		{"typ ID", headerOf(k, ""), payloadWith("typ", `"ID"`), loose(Profile{}), "Profile.IDToken", loose(Profile{IDToken: []string{"nonce"}}), nil},
		{"token_use id", headerOf(k, ""), payloadWith("token_use", `"id"`), loose(Profile{}), "Profile.IDToken", Profile{}, nil},
		{"scope as a list", headerOf(k, ""), payloadWith("scope", `["read","write"]`), Profile{}, "Profile.StringOrList", Profile{StringOrList: true}, func(p *durward.Principal) bool { return slices.Equal(p.Scopes, []string{"read", "write"}) }},
		{"scp and scope", headerOf(k, ""), payloadWith("scp", `"a b"`), Profile{Types: []string{"JWT"}}, "Profile.Types", Profile{Scopes: []string{"scp", "scope"}}, func(p *durward.Principal) bool { return p.HasScope("a", "b", "read", "write") && len(p.Scopes) == 4 }},
		{"amr as a string", headerOf(k, ""), payloadWith("amr", `"pwd"`), Profile{}, "Profile.StringOrList", Profile{StringOrList: true}, func(p *durward.Principal) bool { return slices.Equal(p.AMR, []string{"pwd"}) }},
		{"role as a string", headerOf(k, ""), payloadWith("role", `"clerk of all"`), Profile{Roles: []string{"role"}}, "Profile.StringOrList", Profile{Roles: []string{"role"}, StringOrList: true}, func(p *durward.Principal) bool { return slices.Equal(p.Roles, []string{"clerk of all"}) }},
		{"jku", headerOf(k, `,"jku":"https://evil.example"`), payloadWith("", ""), Profile{}, "Profile.IgnoredHeader", Profile{IgnoredHeader: []string{"jku"}}, nil},
		{"x5c", headerOf(k, `,"x5c":["MIIB"]`), payloadWith("", ""), Profile{}, "Profile.IgnoredHeader", Profile{IgnoredHeader: []string{"x5c"}}, nil},
		{"zip NONE, as OpenAM writes it", headerOf(k, `,"zip":"NONE"`), payloadWith("", ""), Profile{}, "Profile.IgnoredHeader", Profile{IgnoredHeader: []string{"zip"}}, nil},
		{"30 days", headerOf(k, ""), payloadWith("exp", fmt.Sprint(noon.AddDate(0, 0, 30).Unix())), Profile{}, "Config.MaxLifetime", Profile{MaxLifetime: 30 * 24 * time.Hour}, nil},
		{"30 days without iat", headerOf(k, ""), strings.Replace(payloadWith("iat", ""), fmt.Sprint(noon.Add(15*time.Minute).Unix()), fmt.Sprint(noon.AddDate(0, 0, 30).Unix()), 1), Profile{Required: []string{}}, "Config.MaxLifetime", Profile{Required: []string{}, MaxLifetime: 30 * 24 * time.Hour}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			token := forge(t, k, row.header, row.payload)
			_, err := verifier(t, Config{Profile: row.without}, k.Public()).Verify(context.Background(), token)
			refused(t, token, err, durward.InvalidToken, row.setting)
			p, err := verifier(t, Config{Profile: row.profile}, k.Public()).Verify(context.Background(), token)
			if err != nil {
				t.Fatalf("with the setting: got %v, want accepted", err)
			}
			if row.want != nil && !row.want(p) {
				t.Errorf("got %+v", p)
			}
		})
	}
}

// Members of the header that a profile ignores are never used, and x5t without kid is refused.
func TestIgnoredHeader(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	for _, row := range []struct {
		name, header string
		ignored      []string
		cause        string // empty: accepted
	}{
		{"x5t beside kid", headerOf(k, `,"x5t":"AAAA"`), nil, ""},
		{"x5t#S256 before kid", strings.Replace(headerOf(k, ""), "{", `{"x5t#S256":7,`, 1), nil, ""},
		{"x5t without kid", `{"alg":"ES256","typ":"at+jwt","x5t":"AAAA"}`, nil, `header has "x5t": keys are found by kid alone`},
		{"x5t without kid, ignored", `{"alg":"ES256","typ":"at+jwt","x5t":"AAAA"}`, []string{"x5t"}, "kid is missing"},
		{"x5c where jku is ignored", headerOf(k, `,"x5c":["MIIB"]`), []string{"jku"}, `header has "x5c"`},
		{"crit where all is ignored", headerOf(k, `,"crit":["exp"]`), ignorable, `header has "crit"`},
		{"enc where all is ignored", headerOf(k, `,"enc":"A128GCM"`), ignorable, `header has "enc"`},
		{"all of them, ignored", headerOf(k, `,"jku":"https://evil.example","jwk":{},"x5u":"u","x5c":[],"x5t":"A","x5t#S256":"A","zip":"DEF"`), ignorable, ""},
	} {
		token := forge(t, k, row.header, payloadWith("", ""))
		_, err := verifier(t, Config{Profile: Profile{IgnoredHeader: row.ignored}}, k.Public()).Verify(t.Context(), token)
		if row.cause == "" {
			if err != nil {
				t.Errorf("%s: got %v, want accepted", row.name, err)
			}
			continue
		}
		refused(t, token, err, durward.InvalidToken, row.cause)
	}
}

// An issuer with {tenantid} accepts the listed tenants, or any, if iss and tid agree.
func TestTenants(t *testing.T) {
	t.Parallel()
	var p *provider
	for _, each := range providers(t) {
		if each.name == "entra-v2" {
			p = each
		}
	}
	token := p.Tokens[0]
	mine, other := p.Tenants[0], "99999999-8888-7777-6666-555555555555"
	iss := func(tenant string) string { return strings.Replace(p.Issuer, tenantID, tenant, 1) }
	listed := p.verifier(t, p.profile, nil)
	free := p.verifier(t, p.profile, func(c *Config) { c.Tenants, c.AnyTenant = nil, true })
	single := p.verifier(t, p.profile, func(c *Config) { c.Issuer, c.Tenants = iss(other), nil })
	for _, row := range []struct {
		name     string
		iss, tid any
		listed   string // cause of the refusal; empty: accepted
		free     string
	}{
		{"listed tenant", iss(mine), mine, "", ""},
		{"other tenant", iss(other), other, "which Config.Tenants does not list", ""},
		{"iss of a listed tenant, tid of another", iss(mine), other, "iss is that of tenant", "iss is that of tenant"},
		{"iss of another tenant, tid of a listed one", iss(other), mine, "which Config.Tenants does not list", "iss is that of tenant"},
		{"no tid", iss(mine), nil, "tid is missing", "tid is missing"},
		{"empty tid", iss(mine), "", "tid is empty", "tid is empty"},
		{"tid that is a list", iss(mine), []string{mine}, "tid is not a string", "tid is not a string"},
		{"empty tenant", iss(""), "", "keys are held for", "keys are held for"},
		{"tenant with a slash", iss("a/b"), "a/b", "keys are held for", "keys are held for"},
		{"tenant that leads away", iss("x.evil.example/" + mine), mine, "keys are held for", "keys are held for"},
		{"tenant of dots", iss(".."), "..", "keys are held for", "keys are held for"},
		{"tenant with a query", iss("a?b"), "a?b", "keys are held for", "keys are held for"},
		{"the name tenantid itself", p.Issuer, tenantID, "keys are held for", "keys are held for"},
		{"long tenant", iss(strings.Repeat("a", 129)), strings.Repeat("a", 129), "keys are held for", "keys are held for"},
		{"other host", "https://login.evil.example/" + mine + "/v2.0", mine, "keys are held for", "keys are held for"},
		{"other version", "https://login.microsoftonline.com/" + mine + "/v1.0", mine, "keys are held for", "keys are held for"},
		{"slash at the end", iss(mine) + "/", mine, "keys are held for", "keys are held for"},
		{"in capitals", strings.ToUpper(iss(mine)), mine, "keys are held for", "keys are held for"},
	} {
		text := forge(t, p.key, string(token.Header), with(t, token.Payload, map[string]any{"iss": row.iss, "tid": row.tid}))
		for v, cause := range map[*Verifier]string{listed: row.listed, free: row.free} {
			who, err := v.Verify(t.Context(), text)
			if cause != "" {
				refused(t, text, err, durward.InvalidToken, cause)
			} else if err != nil || who.Tenant != row.tid || who.Issuer != row.iss {
				t.Errorf("%s: got %+v, %v", row.name, who, err)
			}
		}
	}
	// Several verifiers: an exact issuer precedes the rule.
	issuers, err := NewIssuers(single, listed)
	if err != nil {
		t.Fatal(err)
	}
	for tenant, ok := range map[string]bool{mine: true, other: true, "third": false} {
		text := forge(t, p.key, string(token.Header), with(t, token.Payload, map[string]any{"iss": iss(tenant), "tid": tenant}))
		if who, err := issuers.Verify(t.Context(), text); (err == nil) != ok || ok && who.Tenant != tenant {
			t.Errorf("Issuers, tenant %s: got %+v, %v", tenant, who, err)
		}
	}
	if v := issuers.find("https://login.evil.example/"+mine+"/v2.0", ""); v != nil {
		t.Errorf("Issuers: got a verifier of %s for another host", v.c.Issuer)
	}
}

// A trust domain accepts SPIFFE IDs in it.
func TestTrustDomain(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	keys, err := NewKeys(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	v, err := New(Config{
		Issuer: "spiffe://example.org", Audience: []string{service}, Keys: keys, Profile: SPIFFE,
		Now: func() time.Time { return noon.Add(time.Minute) },
	})
	if err != nil {
		t.Fatal(err)
	}
	issuers, err := NewIssuers(v, verifier(t, Config{}, k.Public()))
	if err != nil {
		t.Fatal(err)
	}
	for id, ok := range map[string]bool{
		"spiffe://example.org/web": true, "spiffe://example.org/ns/shop/sa/web-1_x.y": true,
		"spiffe://example.org": false, "spiffe://example.org/": false, "spiffe://example.org//web": false, "spiffe://example.org/web/": false,
		"spiffe://example.org/../web": false, "spiffe://example.org/./web": false, "spiffe://example.org/a%2fb": false, "spiffe://example.org/ä": false,
		"spiffe://example.org.evil.example/web": false, "spiffe://other.example/web": false, "SPIFFE://example.org/web": false, "spiffe://example.org/web?x": false,
		"spiffe://example.org/" + strings.Repeat("a", 2048): false, "web": false,
	} {
		token := forge(t, k, fmt.Sprintf(`{"alg":"ES256","kid":%q}`, k.ID()), fmt.Sprintf(`{"sub":%q,"aud":%q,"exp":%d}`, id, service, noon.Add(5*time.Minute).Unix()))
		for _, verify := range []func(context.Context, string) (*durward.Principal, error){v.Verify, issuers.Verify} {
			who, err := verify(t.Context(), token)
			if (err == nil) != ok || ok && (who.Subject != id || who.Issuer != "spiffe://example.org") {
				t.Errorf("%.60s: got %+v, %v; want accepted: %t", id, who, err, ok)
			}
		}
	}
}

// Configurations that contradict themselves are refused, each mistake by its name.
func TestProfileMistakes(t *testing.T) {
	t.Parallel()
	keys, err := NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	rule := "https://login.example/{tenantid}/v2.0"
	for want, c := range map[string]Config{
		"give either Tenants":                            {Issuer: rule, Profile: EntraV2},
		"accepted tenants, or AnyTenant":                 {Issuer: rule, Profile: EntraV2, Tenants: []string{"a"}, AnyTenant: true},
		"Tenants or AnyTenant without {tenantid}":        {Issuer: issuer, Profile: EntraV2, Tenants: []string{"a"}},
		"AnyTenant without {tenantid} in Issuer":         {Issuer: issuer, Profile: EntraV2, AnyTenant: true},
		"Profile.Tenant names no claim":                  {Issuer: rule, AnyTenant: true},
		"it may only have {tenantid}":                    {Issuer: "https://login.example/{tenant}/v2.0", Profile: EntraV2},
		"have {tenantid}, once":                          {Issuer: rule + "/{tenantid}", Profile: EntraV2, AnyTenant: true},
		"in its host":                                    {Issuer: "https://{tenantid}/v2.0", Profile: EntraV2, AnyTenant: true},
		"want a SPIFFE trust domain":                     {Issuer: issuer, Profile: SPIFFE},
		"SPIFFE trust domain such as":                    {Issuer: "spiffe://example.org/web", Profile: SPIFFE},
		`Profile.IgnoredHeader has "crit"`:               {Profile: Profile{IgnoredHeader: []string{"crit"}}},
		"Profile.MaxLifetime is -1s":                     {Profile: Profile{MaxLifetime: -time.Second}},
		`Profile.Client has "exp"`:                       {Profile: Profile{Client: []string{"exp"}}},
		`Profile.Roles has "scope"`:                      {Profile: Profile{Roles: []string{"scope"}}},
		`Profile.Subject has ""`:                         {Profile: Profile{Subject: []string{""}}},
		`Profile.Tenant has "/sub/x"`:                    {Profile: Profile{Tenant: "/sub/x"}},
		`Profile.Required has "sub=ada"`:                 {Profile: Profile{Required: []string{"sub=ada"}}},
		`Profile.Required has ""`:                        {Profile: Profile{Required: []string{""}}},
		`Profile.IDToken has "exp=1"`:                    {Profile: Profile{IDToken: []string{"exp=1"}}},
		"may have 8 claims together":                     {Profile: Profile{Client: strings.Split("a b c d e f g h", " ")}},
		"want at most 64":                                {Profile: Profile{Required: strings.Split(strings.Repeat("a ", 63)+"b", " "), Roles: many(64)}},
		"MaxSize is -1 and MaxElements -2, they must be": {MaxSize: -1, MaxElements: -2},
	} {
		if c.Issuer == "" {
			c.Issuer = issuer
		}
		c.Audience, c.Keys = []string{service}, keys
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		_, err := NewIntrospector(IntrospectorConfig{URL: "https://a.example", Audience: []string{service}, ClientID: "x", Profile: c.Profile, MaxSize: c.MaxSize})
		if bad := strings.HasPrefix(want, "Profile.") && want != "Profile.Tenant names no claim"; bad && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("introspector: got %v, want %q", err, want)
		}
	}
}

func many(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprint("r", i))
	}
	return names
}

// Size and width are settings; claims that are not read do not count.
func TestLimits(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	groups := func(n int) string { return `["` + strings.Join(many(n), `","`) + `"]` }
	for _, row := range []struct {
		name, payload string
		c             Config
		cause         string // empty: accepted
	}{
		{"190 groups of 40 octets, unread", payloadWith("groups", strings.ReplaceAll(groups(190), "r", strings.Repeat("g", 37))), Config{}, ""},
		{"1,000 groups, unread", payloadWith("groups", groups(1000)), Config{}, ""},
		{"500 unread claims", strings.TrimSuffix(payloadWith("", ""), "}") + manyMembers(500) + "}", Config{}, ""},
		{"500 unread members", payloadWith("x", `{"a":1`+manyMembers(500)+"}"), Config{}, ""},
		{"256 roles", payloadWith("groups", groups(256)), Config{Profile: Profile{Roles: []string{"groups"}}}, ""},
		{"257 roles", payloadWith("groups", groups(257)), Config{Profile: Profile{Roles: []string{"groups"}}}, "groups has more than 256 elements"},
		{"257 roles, by the setting", payloadWith("groups", groups(257)), Config{Profile: Profile{Roles: []string{"groups"}}, MaxElements: 257}, ""},
		{"two audiences where one is allowed", payloadWith("aud", `["`+service+`","b"]`), Config{MaxElements: 1}, "aud has more than 1 elements"},
		{"24 KiB", payloadWith("x", `"`+strings.Repeat("x", 17_000)+`"`), Config{}, "want at most 16384; MaxSize may allow more"},
		{"24 KiB, by the setting", payloadWith("x", `"`+strings.Repeat("x", 17_000)+`"`), Config{MaxSize: 32 << 10}, ""},
		{"small where less is allowed", payloadWith("", ""), Config{MaxSize: 100}, "want at most 100"},
	} {
		token := forge(t, k, headerOf(k, ""), row.payload)
		v := verifier(t, row.c, k.Public())
		issuers, err := NewIssuers(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, verify := range []func(context.Context, string) (*durward.Principal, error){v.Verify, issuers.Verify, v.VerifyEnded} {
			_, err := verify(t.Context(), token)
			if row.cause == "" && err != nil || row.cause != "" && (!errors.Is(err, durward.InvalidToken) || !strings.Contains(err.Error(), row.cause)) {
				t.Errorf("%s: got %v, want %q", row.name, err, row.cause)
			}
		}
	}
}

// A verifier does not share lists with the profile that it was made from, or with principals.
func TestProfileIsCopied(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	p := Profile{Types: []string{"JWT"}, IgnoredHeader: []string{"jku"}}
	v := verifier(t, Config{Profile: p}, k.Public())
	p.Types[0], p.IgnoredHeader[0] = "at+jwt", "x5c"
	token := forge(t, k, fmt.Sprintf(`{"alg":"ES256","typ":"JWT","kid":%q,"jku":"u"}`, k.ID()), payloadWith("", ""))
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Errorf("got %v, want accepted", err)
	}
	// The caller may modify the principal of a cached token.
	v = verifier(t, Config{Profile: Profile{Roles: []string{"roles"}}}, k.Public())
	token = forge(t, k, headerOf(k, ""), payloadWith("roles", `["a"]`))
	for range 2 {
		who, err := v.Verify(t.Context(), token)
		if err != nil || !slices.Equal(who.Roles, []string{"a"}) {
			t.Fatalf("got %+v, %v", who, err)
		}
		who.Roles[0] = "admin"
	}
}

// JSON Pointers of roles, with the escapes of RFC 6901 s3.
func TestRolePointers(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	for _, row := range []struct {
		pointer, claim, value, cause string
		want                         []string
	}{
		{"/realm_access/roles", "realm_access", `{"x":1,"roles":["a","b"]}`, "", []string{"a", "b"}},
		{"/resource_access/my~1api/roles", "resource_access", `{"my/api":{"roles":["a"]},"other":{"roles":["root"]}}`, "", []string{"a"}},
		{"/a~0b/~01", "a~b", `{"~1":["a"]}`, "", []string{"a"}},
		{"https://example.com/roles", "https://example.com/roles", `["a"]`, "", []string{"a"}},
		{"/https:~1~1example.com~1~0roles", "https://example.com/~roles", `["a"]`, "", []string{"a"}},
		{"/realm_access/roles", "realm_access", `{}`, "", nil},
		{"/realm_access/roles", "realm_access", `{"Roles":["a"]}`, "", nil},
		{"/realm_access/roles", "realm_access", `["a"]`, "realm_access is not an object", nil},
		{"/realm_access/roles", "realm_access", `{"roles":{"a":true}}`, "/realm_access/roles is not a list", nil},
		{"/realm_access/roles", "realm_access", `{"roles":["a",7]}`, "element 1 of /realm_access/roles", nil},
		{"/realm_access/roles", "realm_access", `{"roles":["a"],"roles":["b"]}`, "duplicate", nil},
	} {
		token := forge(t, k, headerOf(k, ""), payloadWith(row.claim, row.value))
		who, err := verifier(t, Config{Profile: Profile{Roles: []string{row.pointer}}}, k.Public()).Verify(t.Context(), token)
		if row.cause != "" {
			refused(t, token, err, durward.InvalidToken, row.cause)
		} else if err != nil || !slices.Equal(who.Roles, row.want) {
			t.Errorf("%s in %s: got %+v, %v, want %q", row.pointer, row.value, who, err, row.want)
		}
	}
}

// A token that a profile accepts names its issuer, subject and audience; what the profile ignores is
// not used.
func FuzzProfiles(f *testing.F) {
	k, err := SharedSecret("shared", make([]byte, 32))
	if err != nil {
		f.Fatal(err)
	}
	keys, err := NewKeys(k.Public())
	if err != nil {
		f.Fatal(err)
	}
	var verifiers []*Verifier
	for i, p := range providers(f) {
		for _, token := range p.Tokens {
			f.Add(uint8(i), with(f, token.Header, map[string]any{"alg": "HS256", "kid": "shared"}), string(token.Payload))
		}
		verifiers = append(verifiers, p.verifier(f, p.profile, func(c *Config) { c.Keys = keys }))
	}
	f.Fuzz(func(t *testing.T, at uint8, header, payload string) {
		v := verifiers[int(at)%len(verifiers)]
		token := forge(t, k, header, payload)
		_, _ = inspect(token, noon) // never panics
		p, err := v.Verify(t.Context(), token)
		if err != nil {
			if p != nil || codesIn(err) != 1 || len(err.Error()) > 2048 {
				t.Fatalf("%s %s: got %+v, %v", header, payload, p, err)
			}
			return
		}
		var claims map[string]any
		if err := json.Unmarshal([]byte(payload), &claims); err != nil {
			t.Fatalf("%s: accepted, but %v", payload, err)
		}
		values := slices.Collect(maps.Values(claims))
		if !slices.Contains(values, any(p.Subject)) || p.Subject == "" || hasControl(p.Subject+p.ClientID+p.Tenant+p.Issuer+strings.Join(p.Roles, "")) {
			t.Fatalf("%s: got %+v", payload, p)
		}
		if v.rules.TrustDomain {
			if !inTrustDomain(p.Subject, v.c.Issuer) || p.Issuer != v.c.Issuer {
				t.Fatalf("%s: got %+v", payload, p)
			}
		} else if claims["iss"] != p.Issuer || strings.Replace(v.c.Issuer, tenantID, p.Tenant, 1) != p.Issuer {
			t.Fatalf("%s: got %+v for %s", payload, p, v.c.Issuer)
		}
		if text := fmt.Sprint(claims["aud"], claims["client_id"]); !strings.Contains(text, v.c.Audience[0]) {
			t.Fatalf("%s: accepted for %s", payload, v.c.Audience)
		}
		if p.Expires.Before(v.c.Now()) || p.Expires.Sub(v.c.Now()) > v.c.MaxLifetime+time.Minute {
			t.Fatalf("%s: expires %s", payload, p.Expires)
		}
	})
}
