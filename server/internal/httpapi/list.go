package httpapi

import (
	"net/http"
	"strconv"
)

// list is a page of items. Next is the value of the parameter after for the next page; it is absent
// on the last page.
type list[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

// pageOf reads the query parameters limit and after of a list.
func pageOf(r *http.Request) (limit int, after string, err error) {
	query := r.URL.Query()
	limit = pageSize
	if text := query.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxPageSize {
			return 0, "", invalid("limit", "The parameter limit must be an integer from 1 to "+strconv.Itoa(maxPageSize)+".", "")
		}
	}
	return limit, query.Get("after"), nil
}

const (
	pageSize    = 50
	maxPageSize = 200
)

// pageOfRows returns a page of at most limit of rows. The caller has read limit+1 rows, so that a
// further row shows that there is a next page.
func pageOfRows[R, T any](rows []R, limit int, item func(R) T, id func(R) string) list[T] {
	page := list[T]{Items: make([]T, 0, min(len(rows), limit))}
	for _, row := range rows[:min(len(rows), limit)] {
		page.Items = append(page.Items, item(row))
	}
	if len(rows) > limit {
		page.Next = id(rows[limit-1])
	}
	return page
}
