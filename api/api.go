// Package api is what a Durward server says to programs: the shapes of its answers,
// a client that reads them, and [Revocations], by which a service elsewhere refuses a
// token within a second of its revocation, without a question for each request:
//
//	revoked, err := api.NewRevocations(ctx, api.Config{URL: "https://auth.example.com", Token: key})
//	if err != nil {
//		log.Fatal(err)
//	}
//	go revoked.Run(ctx)
//	verifier, err := jwt.New(jwt.Config{
//		Issuer: "https://auth.example.com", Audience: …, Keys: …,
//		Revoked: revoked.Check, RevokedAsOf: revoked.AsOf,
//	})
//
// The credentials are an API key or an access token with the scope revocations, which
// nothing else needs and no sign-in has:
//
//	durward apikey add root@example.com --name "notes" --scope revocations
//
// They are sent to the server alone: over https, or http on loopback, and never to
// where a redirect points. Nothing here blocks a request: while the server is away the
// last list serves, AsOf says how old it is, and routes that want better news than
// that have durward.Policy.Freshness.
package api

import "time"

// RevocationPage is an answer of GET /api/revocations.
type RevocationPage struct {
	Epoch string       `json:"epoch"` // another one: the feed has begun anew, all is to be read again
	Next  int64        `json:"next"`  // what to ask for after next time
	More  bool         `json:"more,omitempty"`
	Items []Revocation `json:"items"` // by number; some may have been in an earlier answer
}

// Revocation says that a token, a session or a signing key is dead.
type Revocation struct {
	Seq   int64     `json:"seq"`
	Kind  string    `json:"kind"` // the claim or header parameter it matches: jti, sid, kid
	Value string    `json:"value"`
	At    time.Time `json:"at"`
	Until time.Time `json:"until"` // when nothing is left that it concerns
}

// AsOfField is the field of an answer of GET /api/revocations that says as of when it
// is complete: in seconds from the arrival of the request, so that clocks need not
// agree.
const AsOfField = "Durward-As-Of"

// Problem is the body of a refusal (RFC 9457). Programs read Code.
type Problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Code     string `json:"code"`
	Detail   string `json:"detail"`
	Hint     string `json:"hint"`
	Instance string `json:"instance"`
}
