package httpapi

import (
	"errors"
	"fmt"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/store"
)

// asRefusal maps errors of the rules and of the store to refusals. An error that it does not know
// and that wraps no code becomes AUTH_UNAVAILABLE in the guard.
func asRefusal(err error) error {
	var code durward.Code
	switch {
	case errors.As(err, &code):
		return err
	case errors.Is(err, store.ErrNotFound):
		return &durward.Refusal{Code: durward.NotFound, Err: err}
	case errors.Is(err, store.ErrText):
		return &durward.Refusal{
			Code:   durward.InvalidRequest,
			Detail: "The request contains text that cannot be stored.",
			Hint:   "Leave out NUL characters and send valid UTF-8.",
			Err:    err,
		}
	}
	return err
}

// unknownOwner maps "not found" for the user of the credentials: their token counts as revoked.
func unknownOwner(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("the user of the token does not exist: %w", durward.TokenRevoked)
	}
	return err
}

// unknownKey maps "not found" for an API key.
func unknownKey(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("this user has no active key with this id: %w", durward.NotFound)
	}
	return err
}
