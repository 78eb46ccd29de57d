package httpapi

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/durward-auth/durward"
)

// list is a page of items; next names where the following page begins and is
// absent on the last.
type list[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

// pageOf says which page of a list is asked for.
func pageOf(r *http.Request) (limit int, after string, err error) {
	query := r.URL.Query()
	limit = pageSize
	if text := query.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxPageSize {
			return 0, "", &durward.Refusal{Code: durward.InvalidRequest, Detail: "The parameter limit is not a number from 1 to " + strconv.Itoa(maxPageSize) + ".", Members: map[string]any{"member": "limit"}, Err: errors.New("parameter limit is no number in its range")}
		}
	}
	return limit, query.Get("after"), nil
}

const (
	pageSize    = 50
	maxPageSize = 200
)
