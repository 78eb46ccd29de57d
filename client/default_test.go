package client

import "net/http"

// The end of each test server closes the idle connections of http.DefaultTransport, also those that another
// test is about to use. So the tests hide its CloseIdleConnections.
func init() { http.DefaultTransport = struct{ http.RoundTripper }{http.DefaultTransport} }
