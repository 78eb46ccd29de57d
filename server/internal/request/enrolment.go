package request

import "context"

type enrolmentKey struct{}

// ForEnrolment returns a context for a request that sets up a second factor, or that every user may send.
// A user who owes a second factor is accepted there and nowhere else.
func ForEnrolment(ctx context.Context) context.Context {
	return context.WithValue(ctx, enrolmentKey{}, true)
}

// IsForEnrolment reports whether ctx is one of ForEnrolment.
func IsForEnrolment(ctx context.Context) bool { return ctx.Value(enrolmentKey{}) != nil }
