// Package oauth2source gets the tokens of a [client.Tokens] source with configurations of
// golang.org/x/oauth2. The source answers 401 responses, refreshes once for all waiting requests
// and stores the new refresh token:
//
//	tokens := client.Tokens(client.TokensConfig{
//		Origins: []string{"https://api.example.com"},
//		Next:    oauth2source.Refresh(config),
//		Store:   client.FileStore{Path: path},
//	})
package oauth2source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/durward-auth/durward/client"
)

// Refresh returns a function for [client.TokensConfig.Next] that uses the refresh token of the old
// token. It takes the HTTP client from the context ([oauth2.HTTPClient]).
func Refresh(c *oauth2.Config) func(ctx context.Context, old client.Token) (client.Token, error) {
	return func(ctx context.Context, old client.Token) (client.Token, error) {
		if old.Refresh == "" {
			return client.Token{}, fmt.Errorf("oauth2source: no refresh token: %w", client.ErrSignedOut)
		}
		asked := time.Now()
		t, err := c.TokenSource(ctx, &oauth2.Token{RefreshToken: old.Refresh}).Token()
		if err != nil {
			return client.Token{}, failed(err)
		}
		next := Token(t, asked)
		next.Scope = cmp.Or(next.Scope, old.Scope) // RFC 6749 s5.1
		if next.Refresh == old.Refresh {
			next.RefreshExpires = old.RefreshExpires
		}
		return next, nil
	}
}

// ClientCredentials returns a function for [client.TokensConfig.Next] that gets tokens for the
// client itself.
func ClientCredentials(c *clientcredentials.Config) func(ctx context.Context, old client.Token) (client.Token, error) {
	return func(ctx context.Context, _ client.Token) (client.Token, error) {
		asked := time.Now()
		t, err := c.Token(ctx)
		if err != nil {
			return client.Token{}, failed(err)
		}
		return Token(t, asked), nil
	}
}

// Token converts a token, such as the result of [oauth2.Config.Exchange]. asked is the time of the
// request for it; the end of the token is counted from asked if the server sent expires_in.
func Token(t *oauth2.Token, asked time.Time) client.Token {
	next := client.Token{
		Access:   t.AccessToken,
		Type:     t.Type(),
		Received: asked,
		Expires:  t.Expiry,
		Refresh:  t.RefreshToken,
	}
	if t.ExpiresIn > 0 {
		next.Expires = asked.Add(time.Duration(t.ExpiresIn) * time.Second)
	}
	next.Scope, _ = t.Extra("scope").(string)
	return next
}

// failed converts an error of package oauth2 to ErrSignedOut or a RetryError where it is one.
func failed(err error) error {
	said, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return err
	}
	// The body may hold secrets: the error shows only the code.
	plain := fmt.Errorf("oauth2source: the authorization server refuses (%d): %.200q",
		said.Response.StatusCode, said.ErrorCode)
	switch status := said.Response.StatusCode; {
	case said.ErrorCode == "invalid_grant": // RFC 6749 s5.2
		return fmt.Errorf("%w: %w", client.ErrSignedOut, plain)
	case status == http.StatusTooManyRequests || status >= 500:
		again, _ := errors.AsType[*client.RetryError](client.CheckResponse(said.Response)) // there is one for these
		return &client.RetryError{After: again.After, Err: plain}
	}
	return plain
}
