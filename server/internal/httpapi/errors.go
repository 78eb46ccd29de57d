package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/store"
)

// asRefusal maps errors of the rules and of the store to refusals. An error that it does not know
// and that wraps no code becomes AUTH_UNAVAILABLE in the guard.
func asRefusal(err error) error {
	switch _, ok := errors.AsType[durward.Code](err); {
	case ok:
		return err
	case errors.Is(err, store.ErrNotFound):
		return &durward.Refusal{Code: durward.NotFound, Err: err}
	case errors.Is(err, store.ErrNotAdmin):
		return &durward.Refusal{
			Code:   durward.Forbidden,
			Detail: "You are not an administrator any more.",
			Hint:   "Another administrator can give the right back.",
			Err:    err,
		}
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

// UnknownOwner maps "not found" for the user of the credentials, as the endpoints of the API do.
func UnknownOwner(err error) error { return unknownOwner(err) }

// unknown maps "not found" for an object of a user, such as "key".
func unknown(object string, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("this user has no active %s with this id: %w", object, durward.NotFound)
	}
	return err
}

// settingNames replaces the library's settings in a cause by those of the server's operator.
var settingNames = strings.NewReplacer(
	"Config.ProxySocket", "the entry unix: of trusted_proxies",
	"Config.Proxies", "trusted_proxies",
	"Config.InsecureAllowHTTP", "insecure_allow_http",
	" (Config.InsecureEncodedSlashes accepts it)", "",
	" (Config.InsecureDoubleSlashes accepts it)", "",
)

// recordRefusal gives a refusal and its cause to the security log, and completes its hint. It does
// not wait.
func (s *Server) recordRefusal(r *http.Request, f *durward.Refusal) {
	f.Hint = s.prefixHint(f.Hint)
	recordOAuth(r, f)
	d := store.Denial{
		ID:        f.ID,
		Code:      string(f.Code),
		Status:    f.Status,
		Method:    r.Method,
		Path:      account.WithoutKeys(fullPath(r)),
		Scheme:    f.Scheme,
		Cause:     settingNames.Replace(f.Cause()),
		Network:   addressOf(r.Context()).Network(),
		RequestID: requestID(r.Context()),
	}
	if p := durward.From(r.Context()); p != nil {
		d.Subject = p.Subject
	}
	s.c.SecurityLog.AddRefusal(r.Context(), d)
}
