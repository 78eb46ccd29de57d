// Zitadelrp is a relying party of zitadel/oidc: a confidential client with PKCE. Standard input: {address, issuer, client,
// secret, api}. GET /start begins a sign-in. /callback completes it, uses all that the library offers, and answers with
// a line for each step.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"

	"github.com/zitadel/oidc/v3/pkg/client/rp"
	httphelper "github.com/zitadel/oidc/v3/pkg/http"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"
)

type config struct{ Address, Issuer, Client, Secret, API string }

func main() {
	var c config
	if err := json.NewDecoder(os.Stdin).Decode(&c); err != nil {
		log.Fatal(err)
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // crypto/rand.Read never returns an error
	cookies := httphelper.NewCookieHandler(key, key, httphelper.WithUnsecure())
	party, err := rp.NewRelyingPartyOIDC(context.Background(), c.Issuer, c.Client, c.Secret, "http://"+c.Address+"/callback",
		[]string{oidc.ScopeOpenID, oidc.ScopeEmail, oidc.ScopeOfflineAccess, "notes"}, rp.WithPKCE(cookies), rp.WithCookieHandler(cookies),
		rp.WithAuthStyle(oauth2.AuthStyleInParams), rp.WithSigningAlgsFromDiscovery())
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/start", rp.AuthURLHandler(rand.Text, party, rp.WithURLParam("resource", c.API)))
	http.Handle("/callback", rp.CodeExchangeHandler(rp.UserinfoCallback(
		func(w http.ResponseWriter, r *http.Request, tokens *oidc.Tokens[*oidc.IDTokenClaims], _ string, _ rp.RelyingParty, info *oidc.UserInfo) {
			var lines bytes.Buffer
			if err := c.use(r.Context(), &lines, party, tokens, info); err != nil {
				fmt.Fprintf(&lines, "failed: %v\n", err)
			}
			w.Header().Set("Content-Type", "text/plain")
			_, _ = w.Write(lines.Bytes())
		}), party))
	log.Fatal(http.ListenAndServe(c.Address, nil))
}

func (c config) use(ctx context.Context, w io.Writer, party rp.RelyingParty, tokens *oidc.Tokens[*oidc.IDTokenClaims], info *oidc.UserInfo) error {
	fmt.Fprintln(w, "signed in", tokens.IDTokenClaims.Subject)
	fmt.Fprintln(w, "userinfo", info.Email)
	text, err := c.call(ctx, tokens.AccessToken)
	if err != nil {
		return err
	}
	fmt.Fprintln(w, "api", text)
	next, err := rp.RefreshTokens[*oidc.IDTokenClaims](ctx, party, tokens.RefreshToken, "", "")
	if err != nil {
		return err
	}
	if text, err = c.call(ctx, next.AccessToken); err != nil {
		return err
	}
	fmt.Fprintln(w, "refreshed, api", text)
	if err := rp.RevokeToken(ctx, party, next.RefreshToken, "refresh_token"); err != nil {
		return err
	}
	fmt.Fprintln(w, "revoked")
	_, err = rp.RefreshTokens[*oidc.IDTokenClaims](ctx, party, next.RefreshToken, "", "")
	var refused *oidc.Error
	if !errors.As(err, &refused) {
		return fmt.Errorf("refresh after the revocation: %w", err)
	}
	fmt.Fprintln(w, "refresh:", refused.ErrorType)
	resp, err := get(ctx, party.UserinfoEndpoint(), next.AccessToken)
	if err != nil {
		return err
	}
	resp.Body.Close()
	_, parameters, _ := strings.Cut(resp.Header.Get("WWW-Authenticate"), `error="`)
	code, _, _ := strings.Cut(parameters, `"`)
	fmt.Fprintln(w, "userinfo:", code)
	return nil
}

// call sends a request with a token to the API.
func (c config) call(ctx context.Context, token string) (string, error) {
	resp, err := get(ctx, c.API, token)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s %s %w", resp.Status, body, err)
	}
	return string(bytes.TrimSpace(body)), nil
}

// get sends a request with a token.
func get(ctx context.Context, url, token string) (*http.Response, error) {
	return oauth2.NewClient(ctx, oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token})).Get(url)
}
