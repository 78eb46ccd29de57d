package durward

import "time"

// ProofRequest describes a DPoP proof that a client wants to send (RFC 9449 s4.2).
type ProofRequest struct {
	Method string    // of the HTTP request
	URL    string    // without query and fragment
	Token  string    // access token sent with the proof; empty for none
	Nonce  string    // nonce that the server asked for; empty for none
	Issued time.Time // time of issue by the server's clock; zero means now
}
