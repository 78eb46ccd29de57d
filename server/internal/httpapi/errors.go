package httpapi

import (
	"errors"
	"fmt"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/store"
)

// asRefusal is the one table from what rules and the store say to what a client
// reads. What is on no row and wraps no code is AUTH_UNAVAILABLE.
func asRefusal(err error) error {
	var code durward.Code
	switch {
	case errors.As(err, &code):
		return err
	case errors.Is(err, store.ErrNotFound):
		return &durward.Refusal{Code: durward.NotFound, Err: err}
	case errors.Is(err, store.ErrText):
		return &durward.Refusal{Code: durward.InvalidRequest, Detail: "The request holds text that cannot be stored.", Hint: "Leave out NUL characters and send valid UTF-8.", Err: err}
	}
	return err
}

// goneOwner turns a token whose person is no more into what the token then is.
func goneOwner(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("the token's person is gone: %w", durward.TokenRevoked)
	}
	return err
}

func noSuchKey(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("this person has no live key of that id: %w", durward.NotFound)
	}
	return err
}
