// Package oauth2source lets configurations of golang.org/x/oauth2 get the tokens of a
// [client.Tokens] source, which then looks at each 401, refreshes once for all who
// wait, and keeps the refresh token that rotates:
//
//	tokens := client.Tokens(client.TokensConfig{
//		Origins: []string{"https://api.example.com"},
//		Next:    oauth2source.Refresh(config),
//		Store:   client.FileStore{Path: path},
//	})
package oauth2source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/durward-auth/durward/client"
)

// Refresh returns a [client.TokensConfig.Next] that uses the refresh token of the token
// before. The HTTP client is that of the context ([oauth2.HTTPClient]), as there.
func Refresh(c *oauth2.Config) func(ctx context.Context, old client.Token) (client.Token, error) {
	return func(ctx context.Context, old client.Token) (client.Token, error) {
		if old.Refresh == "" {
			return client.Token{}, fmt.Errorf("oauth2source: there is no refresh token: %w", client.ErrSignedOut)
		}
		asked := time.Now()
		t, err := c.TokenSource(ctx, &oauth2.Token{RefreshToken: old.Refresh}).Token()
		if err != nil {
			return client.Token{}, failed(err)
		}
		next := Token(t, asked)
		if next.Scope == "" {
			next.Scope = old.Scope // RFC 6749 s5.1
		}
		if next.Refresh == old.Refresh {
			next.RefreshExpires = old.RefreshExpires
		}
		return next, nil
	}
}

// ClientCredentials returns a [client.TokensConfig.Next] that gets tokens for the client
// itself.
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

// Token returns what t is as a [client.Token] that was asked for at a moment, such as
// the first one of [oauth2.Config.Exchange]. Its end is counted by expires_in from then
// on, where the server said it.
func Token(t *oauth2.Token, asked time.Time) client.Token {
	next := client.Token{Access: t.AccessToken, Type: t.Type(), Received: asked, Expires: t.Expiry, Refresh: t.RefreshToken}
	if t.ExpiresIn > 0 {
		next.Expires = asked.Add(time.Duration(t.ExpiresIn) * time.Second)
	}
	next.Scope, _ = t.Extra("scope").(string)
	return next
}

// failed says what an error means for the sign-in.
func failed(err error) error {
	said, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return err
	}
	// What stands in the body is for nobody's log.
	plain := fmt.Errorf("oauth2source: the authorization server refuses (%d): %.200q", said.Response.StatusCode, said.ErrorCode)
	switch status := said.Response.StatusCode; {
	case said.ErrorCode == "invalid_grant": // RFC 6749 s5.2
		return fmt.Errorf("%w: %w", client.ErrSignedOut, plain)
	case status == http.StatusTooManyRequests || status >= 500:
		again, _ := errors.AsType[*client.RetryError](client.CheckResponse(said.Response)) // there is one for these
		return &client.RetryError{After: again.After, Err: plain}
	}
	return plain
}
