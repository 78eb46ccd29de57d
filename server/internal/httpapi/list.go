package httpapi

import (
	"context"
	"net/http"

	"github.com/durward-auth/durward"
)

// list is a page of items. Next is the value of the parameter after for the next page; it is absent
// on the last page.
type list[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

const (
	pageSize    = 50
	maxPageSize = 200
)

// answerPage answers with the page of the user's rows that the query parameters limit and after name.
func answerPage[R, T any](
	w http.ResponseWriter, r *http.Request,
	rows func(ctx context.Context, userID, after string, limit int) ([]R, error), item func(R) T, id func(T) string,
) error {
	query := r.URL.Query()
	most, err := integer(query, "limit", pageSize, 1, maxPageSize)
	if err != nil {
		return err
	}
	limit := int(most)
	// One more row shows that there is a next page.
	read, err := rows(r.Context(), durward.From(r.Context()).Subject, query.Get("after"), limit+1)
	n := min(len(read), limit)
	page := list[T]{Items: make([]T, 0, n)}
	for _, row := range read[:n] {
		page.Items = append(page.Items, item(row))
	}
	if len(read) > limit {
		page.Next = id(page.Items[n-1])
	}
	return answer(w, http.StatusOK, page, err)
}
